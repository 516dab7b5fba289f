"""The token that a command sends to a running node, and what it says of one that is refused."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shield.cli import _app
from tests.cli.test_admin import json_response
from tests.cli.test_health import answering

READ, OPERATE, OTHER = "hunter2-read-0123", "hunter2-operate-01", "hunter2-other-0123"
REFUSED = json_response("403 Forbidden", b'{"problems": ["token a has the role read; this takes operate"]}')


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("SHIELD_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


def settings(path: Path, listen: str, **tokens: dict[str, str]) -> Path:
    file = path / "shield.yaml"
    origins = {"fra": {"provider": "http", "endpoint": "http://127.0.0.1:9"}}
    file.write_text(json.dumps({"admin": {"listen": listen, "tokens": tokens}, "origins": origins}))
    return file


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(_app, words)
    return done.exit_code, done.output


def sent(heard: list[bytes]) -> str | None:
    for line in heard[0].decode().splitlines():
        name, _, value = line.partition(": ")
        if name.lower() == "authorization":
            return value
    return None


OWN = {"b": {"role": "operate", "secret": OPERATE}, "a": {"role": "read", "secret": READ}}


@pytest.mark.parametrize(
    ("option", "variable", "own", "expected"),
    [
        (False, None, {}, None),
        (False, None, OWN, OPERATE),
        (False, OTHER, OWN, OTHER),
        (True, OTHER, OWN, "hunter2-file-0123"),
        (True, None, {}, "hunter2-file-0123"),
        (False, f" {OTHER}\n", {}, OTHER),
    ],
)
def test_the_option_comes_before_the_variable_and_that_before_the_settings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: bool,
    variable: str | None,
    own: dict[str, dict[str, str]],
    expected: str | None,
) -> None:
    (tmp_path / "token").write_text("hunter2-file-0123\n")
    if variable is not None:
        monkeypatch.setenv("SHIELD_ADMIN_TOKEN", variable)
    with answering(json_response("200 OK", b'{"generation": 2, "needs_restart": []}')) as (port, heard):
        file = settings(tmp_path, f"127.0.0.1:{port}", **own)
        words = ["reload", "--config", str(file), *(["--token-file", str(tmp_path / "token")] if option else [])]
        assert run(*words)[0] == 0

    assert sent(heard) == (None if expected is None else f"Bearer {expected}")


def test_a_token_of_settings_whose_file_cant_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    denied = json_response("401 Unauthorized", b'{"problems": ["expected a token"]}')
    with answering(denied) as (port, heard):
        file = settings(tmp_path, f"127.0.0.1:{port}", oncall={"role": "operate", "secret_file": "gone"})
        code, said = run("reload", "--config", str(file))

    assert code == 1 and sent(heard) is None
    assert said.splitlines()[:2] == [
        "expected a token",
        "no token was sent: give one by --token-file FILE or SHIELD_ADMIN_TOKEN, since those of the settings can't "
        "be read here (oncall: the file can't be read: No such file or directory)",
    ]


@pytest.mark.parametrize(
    ("words", "code"), [(("reload",), 1), (("drill", "status"), 2), (("origin", "ls"), 1), (("ramp", "status"), 1)]
)
def test_a_refused_token_is_named_and_its_secret_isnt(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    with answering(REFUSED) as (port, _):
        file = settings(tmp_path, f"127.0.0.1:{port}", a={"role": "read", "secret": READ})
        ended, said = run(*words, "--config", str(file))

    assert ended == code
    assert "token a has the role read; this takes operate" in said
    assert "the token is a of these settings; --token-file names another" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(("content", "problem"), [(None, "can't be read"), ("\n", "is empty")])
def test_a_token_file_without_a_token_is_an_error_before_anything_is_sent(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)

    file = settings(tmp_path, "127.0.0.1:9")

    code, said = run("reload", "--config", str(file), "--token-file", str(tmp_path / "token"))

    assert code == 2 and problem in " ".join(said.replace("│", "").split())


@contextmanager
def on_a_socket(path: Path, said: bytes) -> Iterator[list[bytes]]:
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(4096))
                connection.sendall(said)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield heard
        thread.join(10)


def test_a_node_is_asked_on_its_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    file = settings(tmp_path, f"unix:{path}")
    with on_a_socket(path, json_response("200 OK", b'{"generation": 2, "needs_restart": []}')) as heard:
        assert run("reload", "--config", str(file))[0] == 0
    assert heard[0].startswith(b"POST /reload HTTP/1.1\r\n")
    path.unlink()
    with on_a_socket(path, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n"):
        assert run("health", "--config", str(file)) == (
            0,
            f"healthy: unix:{path} (admin.listen) says that the node is ready\n",
        )


def test_a_socket_that_nobody_listens_on_is_named(tmp_path: Path) -> None:
    code, said = run("reload", "--config", str(settings(tmp_path, f"unix:{tmp_path}/gone.sock")))

    assert code == 1
    assert said.startswith(f"no node answers on unix:{tmp_path}/gone.sock (admin.listen): ")
