"""`shield check --online`: what it asks of each origin, what it says of them, and its exit code."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shield.cli import _app
from tests.client import PATIENCE
from tests.doubles.certificates import Authority
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait

KEY, SECRET, REGION = "AKEXAMPLE", "secretexample", "eu-central-1"
LISTING = (
    b"<?xml version='1.0'?><ListBucketResult><EncodingType>url</EncodingType>"
    b"<Contents><Key>photos/</Key><Size>0</Size></Contents>"
    b"<Contents><Key>photos/a+b.webp</Key><Size>5</Size></Contents></ListBucketResult>"
)


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("SHIELD_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


@pytest.fixture
def bucket() -> Iterator[FaultyOrigin]:
    """An S3 server that checks signatures, whose bucket `images` has one object with bytes."""
    with FaultyOrigin(clock=time.time, bucket="images") as made:
        stock(made)
        yield made


def stock(origin: FaultyOrigin) -> None:
    origin.trusts(KEY, SECRET, region=REGION)
    origin.serves("/", LISTING)
    origin.serves("/photos/a b.webp", b"hello")


def s3(origin: FaultyOrigin, **changes: Any) -> dict[str, Any]:
    return {
        "provider": "ceph",
        "endpoint": origin.url,
        "region": REGION,
        "bucket": "images",
        "access_key_id": KEY,
        "secret_key": SECRET,
        **changes,
    }


def settings(directory: Path, origins: Mapping[str, Any], **more: Any) -> Path:
    file = directory / "shield.yaml"
    file.write_text(json.dumps({"origins": origins, **more}))
    file.chmod(0o600)
    return file


def run(file: Path, *options: str) -> Result:
    return CliRunner().invoke(_app, ["check", "--config", str(file), "--online", *options])


def judged(file: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what is said of each origin."""
    result = run(file, "--json", *options)
    return result.exit_code, json.loads(result.stdout)["origins"]


def test_origins_that_are_well_are_ok_in_a_table_below_the_settings(tmp_path: Path, bucket: FaultyOrigin) -> None:
    result = run(settings(tmp_path, {"fra": s3(bucket)}))

    lines = result.stdout.splitlines()
    at = lines.index("settings can be used")
    assert result.exit_code == 0
    assert lines[at + 2].split() == [
        *("origin", "verdict", "reached", "credentials", "bucket", "lists", "object", "ranges", "clock", "took")
    ]
    assert lines[at + 3].split()[:8] == ["fra", "ok", *["yes"] * 6]
    assert lines[at + 4 :] == ["fra: asked for a byte of /photos/a%20b.webp"]


def test_it_asks_as_traffic_does_for_a_listing_and_one_byte(tmp_path: Path, bucket: FaultyOrigin) -> None:
    judged(settings(tmp_path, {"fra": s3(bucket)}))

    asked = bucket.requests
    assert [(each.method, each.path, each.get("range")) for each in asked] == [
        ("GET", "/", None),
        ("GET", "/photos/a b.webp", "bytes=0-0"),
    ]
    assert all(each.get("user-agent") == "shield" and each.get("authorization") for each in asked)
    assert bucket.connections_opened == 1


def test_a_canary_is_mapped_by_its_route_and_asked_of_the_origins_that_the_route_has(
    tmp_path: Path, bucket: FaultyOrigin
) -> None:
    with FaultyOrigin(clock=time.time, bucket="images") as other:
        stock(other)
        bucket.serves("/v2/x.webp", b"x")
        routes = {"pictures": {"match": "/pictures", "strip": "/pictures", "add": "/v2", "origins": ["fra"]}}
        file = settings(tmp_path, {"fra": s3(bucket), "iad": s3(other)}, routes=routes)

        code, found = judged(file, "--canary", "https://cdn.example/pictures/x.webp?w=1")
        absent, told = judged(file, "--canary", "/pictures/none")

    assert (code, found["fra"]["canary"], found["iad"]["canary"]) == (0, "/v2/x.webp", "/photos/a%20b.webp")
    assert (absent, told["fra"]["verdict"], told["iad"]["verdict"]) == (1, "failed", "ok")
    assert told["fra"]["holds"] is False and "doesn't hold /v2/none" in told["fra"]["problems"][0]


def test_a_canary_that_no_client_could_ask_for_is_refused(tmp_path: Path, bucket: FaultyOrigin) -> None:
    result = run(settings(tmp_path, {"fra": s3(bucket)}), "--canary", "/%zz")

    assert (result.exit_code, bucket.requests) == (2, [])
    assert "--canary /%zz: would be rejected in a request: 400 bad-escape" in result.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret_key": "hunter2"}, "403 SignatureDoesNotMatch: it computes another signature: set secret_key"),
        ({"access_key_id": "AKNONE"}, "403 InvalidAccessKeyId: it knows no such access key: set access_key_id"),
        ({"session_token": "old"}, "400 InvalidToken"),
        ({"region": "us-west-2"}, "the bucket is in region eu-central-1: set the origin's region to it"),
    ],
)
def test_what_is_wrong_with_credentials_and_region_is_said_in_words(
    tmp_path: Path, bucket: FaultyOrigin, changes: dict[str, str], words: str
) -> None:
    code, found = judged(settings(tmp_path, {"fra": s3(bucket, **changes)}))

    assert (code, found["fra"]["verdict"], found["fra"]["reached"]) == (1, "failed", True)
    assert words in found["fra"]["problems"][0]
    assert "hunter2" not in json.dumps(found) and SECRET not in json.dumps(found)


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("NoSuchBucket", 404, "it has no bucket images: set bucket"),
        ("AccessDenied", 403, "may not list the bucket"),
        ("PermanentRedirect", 301, "the bucket is in another region"),
        ("InternalError", 500, "it doesn't work itself"),
        ("SlowDown", 503, "it is overloaded"),
    ],
)
def test_what_a_bucket_answers_is_said_in_words(
    tmp_path: Path, bucket: FaultyOrigin, code: str, status: int, words: str
) -> None:
    bucket.fails("/", code, status=status)

    _, found = judged(settings(tmp_path, {"fra": s3(bucket)}))

    assert words in found["fra"]["problems"][0]


def test_objects_that_may_not_be_read_are_told_from_a_bucket_that_may_not_be_listed(
    tmp_path: Path, bucket: FaultyOrigin
) -> None:
    file = settings(tmp_path, {"fra": s3(bucket)})
    bucket.fails("/photos/a b.webp", "AccessDenied")
    unreadable, found = judged(file)
    bucket.recovers()
    bucket.fails("/", "AccessDenied")
    unlisted, told = judged(file, "--canary", "/photos/a b.webp")

    assert (unreadable, found["fra"]["lists"]) == (1, True)
    assert "may not read /photos/a%20b.webp: allow s3:GetObject" in found["fra"]["problems"][0]
    assert (unlisted, told["fra"]["verdict"], told["fra"]["holds"]) == (0, "warning", True)


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
def test_a_clock_that_is_wrong_is_said_and_signed_by_as_in_traffic(
    tmp_path: Path, bucket: FaultyOrigin, seconds: float
) -> None:
    bucket.skews(seconds)

    code, found = judged(settings(tmp_path, {"fra": s3(bucket)}))

    assert (code, found["fra"]["verdict"], found["fra"]["holds"]) == (0, "warning", True)
    assert abs(found["fra"]["clock_offset_seconds"] - seconds) < 60
    assert "s ahead of this" in found["fra"]["problems"][0] or "s behind this" in found["fra"]["problems"][0]


def test_an_origin_that_ignores_ranges_is_warned_of(tmp_path: Path, bucket: FaultyOrigin) -> None:
    bucket.ignores("range")

    code, found = judged(settings(tmp_path, {"fra": s3(bucket)}))

    assert (code, found["fra"]["ranges"], found["fra"]["holds"]) == (0, False, True)


def test_origins_that_cannot_be_reached_are_told_apart(tmp_path: Path, bucket: FaultyOrigin) -> None:
    origins = {
        "closed": s3(bucket, endpoint="http://127.0.0.1:9"),
        "nameless": s3(bucket, endpoint="http://nosuch.invalid"),
        "plain": s3(bucket, endpoint=bucket.url.replace("http:", "https:")),
        "well": s3(bucket),
    }

    code, found = judged(settings(tmp_path, origins))

    assert code == 1
    assert {name: each["reached"] for name, each in found.items()} == {
        "closed": False,
        "nameless": False,
        "plain": False,
        "well": True,
    }
    assert "127.0.0.1:9: Connection refused: nothing accepts connections" in found["closed"]["problems"][0]
    assert "set endpoint to a name that resolves here" in found["nameless"]["problems"][0]
    assert "write http:// in endpoint" in found["plain"]["problems"][0]


@pytest.mark.parametrize(
    ("names", "host", "words"),
    [
        (["localhost"], "localhost", "name a file with its authority in ca_file"),
        (["other.test"], "localhost", "set endpoint to a name for which it has a certificate"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said_in_words(
    tmp_path: Path, names: list[str], host: str, words: str
) -> None:
    authority = Authority()
    with FaultyOrigin(clock=time.time, bucket="images", tls=authority.server(*names)) as secured:
        endpoint = f"https://{host}:{secured.port}"
        known = {"ca_file": str(authority.write(tmp_path))} if names != [host] else {}

        code, found = judged(settings(tmp_path, {"fra": s3(secured, endpoint=endpoint, **known)}))

    assert (code, found["fra"]["reached"]) == (1, False)
    assert words in found["fra"]["problems"][0]


def test_all_origins_are_asked_at_once_and_one_that_is_silent_is_given_up(
    tmp_path: Path, bucket: FaultyOrigin
) -> None:
    with FaultyOrigin(clock=time.time, bucket="images") as other:
        stock(other)
        gates = [each.gate() for each in (bucket, other)]
        for each, gate in zip((bucket, other), gates, strict=True):
            each.spoils("/", preceded_by(Wait(gate)))
        results: list[Result] = []
        file = settings(tmp_path, {"fra": s3(bucket), "iad": s3(other)})
        thread = threading.Thread(target=lambda: results.append(run(file, "--json", "--timeout", "600")))
        thread.start()
        for gate in gates:
            gate.reached()  # both, before any was answered
        gates[1].open()
        other.recovers()
        gates[0].open()
        thread.join()

        gates = [each.gate() for each in (bucket, other)]
        bucket.spoils("/", preceded_by(Wait(gates[0])))
        silent, found = judged(file, "--timeout", "0.3")
        gates[0].open()

    assert (results[0].exit_code, silent) == (0, 1)
    assert (found["fra"]["verdict"], found["iad"]["verdict"]) == ("failed", "ok")
    assert "it accepts connections and stays silent" in found["fra"]["problems"][0]


def test_a_resolver_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, ended = threading.Event(), threading.Event()

    def hangs(*args: object, **kwargs: object) -> list[object]:
        gate.wait(PATIENCE)
        ended.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    file = settings(tmp_path, {"web": {"provider": "http", "endpoint": "http://slow.example"}})

    code, found = judged(file, "--timeout", "0.2")

    assert not ended.is_set()
    gate.set()
    assert (code, found["web"]["reached"]) == (1, False)
    assert "fix this machine's DNS" in found["web"]["problems"][0]


def test_a_plain_web_server_is_asked_for_a_named_object(tmp_path: Path) -> None:
    with FaultyOrigin(clock=time.time) as web:
        web.serves("/a", b"hello")
        file = settings(tmp_path, {"web": {"provider": "http", "endpoint": web.url}})

        codes = [judged(file, *options) for options in ([], ["--canary", "/a"], ["--canary", "/none"])]

    assert [(code, found["web"]["verdict"]) for code, found in codes] == [(0, "warning"), (0, "ok"), (1, "failed")]


def test_settings_that_cannot_be_used_are_2_and_nobody_is_asked(tmp_path: Path, bucket: FaultyOrigin) -> None:
    file = settings(tmp_path, {"fra": s3(bucket)}, wrokers=2)

    result = run(file, "--json")

    assert (result.exit_code, bucket.requests) == (2, [])
    assert "wrokers" in json.loads(result.stdout)["problems"][0]


@pytest.mark.slow
def test_a_server_that_is_not_ours_is_understood(tmp_path: Path) -> None:
    """moto, in a process of its own, checks signatures."""
    command = [sys.executable, "-m", "shield.cli.demo_origin", REGION, "images"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        said = json.loads(process.stdout.readline())
        for order in (b"put images/a.png 5\nhello", b"secure\n"):
            process.stdin.write(order)
            process.stdin.flush()
            assert process.stdout.readline() == b"ok\n"
        own = {
            "provider": "aws",
            "addressing": "path",
            "endpoint": said["url"],
            "region": REGION,
            "bucket": "images",
            "access_key_id": said["access_key_id"],
            "secret_key": said["secret_key"],
        }
        origins = {
            "fra": own,
            "stranger": {**own, "access_key_id": "AKNONE"},
            "forger": {**own, "secret_key": "wrong"},
            "astray": {**own, "bucket": "nonesuch"},
        }

        code, found = judged(settings(tmp_path, origins))
        process.stdin.close()

    assert code == 1
    assert (found["fra"]["verdict"], found["fra"]["canary"], found["fra"]["ranges"]) == ("ok", "/images/a.png", True)
    for name, word in (
        ("stranger", "InvalidAccessKeyId"),
        ("forger", "SignatureDoesNotMatch"),
        ("astray", "NoSuchBucket"),
    ):
        assert word in found[name]["problems"][0]
