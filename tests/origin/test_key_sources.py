"""Credentials from a command, and from AWS's chain: real programs, and a scripted metadata service."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import CredentialsError
from shield.origin.key_sources import AwsChainKeys, CommandKeys, parse
from shield.origin.signer import Credentials

EXPIRY = datetime(2130, 1, 1, tzinfo=UTC).timestamp()

WHOLE = {
    "Version": 1,
    "AccessKeyId": "AKONE",
    "SecretAccessKey": "hidden",
    "SessionToken": "token",
    "Expiration": "2030-01-01T00:00:00Z",
}


def printing(text: str) -> CommandKeys:
    return CommandKeys([sys.executable, "-c", f"print({text!r})"], timeout=20.0)


# a command


def test_a_command_prints_credentials_with_their_expiry() -> None:
    found = printing(json.dumps(WHOLE)).obtain()

    assert found == Credentials("AKONE", "hidden", "token", 1893456000.0)


def test_token_and_expiry_may_be_missing() -> None:
    found = parse(b'{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s"}', "keys")

    assert found == Credentials("A", "s")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Version": 2}, '"Version": 1'),
        ({"AccessKeyId": None}, '"AccessKeyId"'),
        ({"SecretAccessKey": 7}, '"SecretAccessKey"'),
        ({"SecretAccessKey": "hid\nden"}, "secret_key: expected printable ASCII"),
        ({"Expiration": "tomorrow"}, "ISO 8601"),
        ({"Expiration": "2030-01-01T00:00:00"}, "ISO 8601"),  # of which zone?
        ({"Expiration": 1893456000}, "ISO 8601"),
    ],
)
def test_output_that_is_no_credentials_is_refused_without_being_shown(change: Mapping[str, Any], said: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        parse(json.dumps({**WHOLE, **change}).encode(), "keys")

    assert said in str(caught.value)
    assert "hid" not in str(caught.value) and "token" not in str(caught.value)


@given(st.binary(max_size=200) | st.from_type(object).map(repr).map(str.encode))
def test_any_output_gives_credentials_or_a_clear_error(output: bytes) -> None:
    with pytest.raises(CredentialsError, match="keys printed"):
        parse(output, "keys")


def test_output_without_end_is_refused() -> None:
    with pytest.raises(CredentialsError, match="64 KiB"):
        parse(json.dumps({**WHOLE, "more": "x" * 70_000}).encode(), "keys")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('first', file=sys.stderr); print('no vault', file=sys.stderr); exit(3)", "3: no vault"),
        ("exit(4)", "exited with 4"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed (9)"),
        ("import time; time.sleep(60)", "took longer than 0.5 s"),
    ],
)
def test_a_command_that_fails_says_so(code: str, said: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        CommandKeys([sys.executable, "-c", code], timeout=0.5 if "sleep" in code else 20.0).obtain()

    assert said in str(caught.value)


def test_a_command_that_isnt_there_says_so() -> None:
    with pytest.raises(CredentialsError, match="/nowhere/keys can't be run: No such file"):
        CommandKeys(["/nowhere/keys"], timeout=1.0).obtain()


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    text = f"$(touch {tmp_path / 'made'})"
    with pytest.raises(CredentialsError, match="printed no JSON"):
        CommandKeys(["/bin/echo", text, ";", "touch", str(tmp_path / "made")], timeout=5.0).obtain()

    assert not (tmp_path / "made").exists()


# AWS's chain


@contextmanager
def metadata(answers: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """A service that answers these requests, by method and path; the address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = answers.get((self.command, self.path))
            self.send_response(404 if body is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body or "")))
            self.end_headers()
            self.wfile.write((body or "").encode())

        do_GET = do_PUT = do_POST = _answer  # noqa: N815  # names of the base class

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


GIVEN = json.dumps(
    {
        "Code": "Success",
        "AccessKeyId": "ASIAROLE",
        "SecretAccessKey": "hidden",
        "Token": "token",
        "Expiration": "2130-01-01T00:00:00Z",
    }
)


@pytest.fixture(autouse=True)
def no_other_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("BOTO_CONFIG", str(tmp_path / "boto"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_a_containers_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with metadata({("GET", "/role"): GIVEN}) as address:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{address}/role")
        found = AwsChainKeys(None).obtain()

    assert (found.access_key_id, found.secret_key, found.session_token) == ("ASIAROLE", "hidden", "token")
    assert found.expires == EXPIRY


def test_a_machines_credentials_by_metadata_version_2(monkeypatch: pytest.MonkeyPatch) -> None:
    base = "/latest/meta-data/iam/security-credentials/"
    answers = {("PUT", "/latest/api/token"): "a token", ("GET", base): "shield", ("GET", f"{base}shield"): GIVEN}
    with metadata(answers) as address:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{address}/")
        found = AwsChainKeys(None).obtain()

    assert (found.access_key_id, found.expires) == ("ASIAROLE", EXPIRY)


def test_a_web_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey>
<SessionToken>token</SessionToken><Expiration>2130-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
    (tmp_path / "token").write_text("a.web.identity")
    with metadata({("POST", "/"): answer}) as address:
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/shield")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", address)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        found = AwsChainKeys(None).obtain()

    assert (found.access_key_id, found.session_token) == ("ASIAWEB", "token")


def test_a_profile_of_the_shared_files(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = OTHER\naws_secret_access_key = other\n"
        "[shield]\naws_access_key_id = AKONE\naws_secret_access_key = hidden\n"
    )

    assert AwsChainKeys("shield").obtain() == Credentials("AKONE", "hidden")


def test_without_any_it_says_so() -> None:
    with pytest.raises(CredentialsError, match="found none"):
        AwsChainKeys(None).obtain()


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(CredentialsError, match="nowhere"):
        AwsChainKeys("nowhere").obtain()
