"""Commands that ask the running node by its admin listener: where it is, and what is said if there is none."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.processes import free_port
from shield.cli import admin
from shield.cli.reload import compare, reload
from shield.cli.upgrade import upgrade
from shield.config.section import ListenAddress
from tests.cli.test_health import answering, response, settings

COMMANDS = pytest.mark.parametrize(("command", "signal"), [(reload, "SIGHUP"), (upgrade, "SIGUSR2")])


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("SHIELD_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


def json_response(status: str, body: bytes) -> bytes:
    return response(status, body).replace(b"\r\n\r\n", b"\r\nContent-Type: application/json\r\n\r\n", 1)


@COMMANDS
def test_without_an_admin_listener_the_signal_that_does_the_same_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Callable[[Path], int], signal: str
) -> None:
    file = settings(tmp_path, admin="off")

    assert command(file) == 1
    assert capsys.readouterr().err == f"{file}: admin.listen is off, so the node can't be asked; send it {signal}\n"


@COMMANDS
def test_a_server_that_is_no_node_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Callable[[Path], int], signal: str
) -> None:
    with answering(response("200 OK", b"hello")) as (port, _):
        assert command(settings(tmp_path, admin=f"127.0.0.1:{port}")) == 1
    assert capsys.readouterr().err == f"the server on 127.0.0.1:{port} (admin.listen) is no Shield node\n"


@COMMANDS
def test_a_node_that_has_gone_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Callable[[Path], int], signal: str
) -> None:
    port = free_port()

    assert command(settings(tmp_path, admin=f"127.0.0.1:{port}")) == 1
    said = f"no node answers on 127.0.0.1:{port} (admin.listen): Connection refused"
    assert capsys.readouterr().err.startswith(f"{said}; is the node running")


@COMMANDS
def test_problems_are_printed_before_the_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: Callable[[Path], int], signal: str
) -> None:
    refusal = json_response("409 Conflict", b'{"version": "0.0.9", "problems": ["one", "two"]}')
    with answering(refusal) as (port, _):
        assert command(settings(tmp_path, admin=f"127.0.0.1:{port}")) == 1

    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["one", "two"]
    assert len(said) == 3


@pytest.mark.parametrize(("listen", "host"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::", "::1")])
def test_it_is_reached_whatever_it_listens_on_by_a_name_that_it_accepts(listen: str, host: str) -> None:
    with answering(json_response("200 OK", b"{}"), host=host) as (port, heard):
        assert admin.ask(admin.AdminDoor(ListenAddress(listen, port)), "GET", "/state", seconds=5.0) == (200, {})

    assert b"\r\nhost: localhost:%d\r\n" % port in heard[0].lower()


@pytest.mark.parametrize(
    ("said", "lines"),
    [
        ([], ["nothing differs from the settings of generation 3, which are in force"]),
        (
            [
                {"key": "workers", "before": 1, "after": 2, "source": "a.yaml:3", "needs_restart": True},
                {"key": "log.level", "before": "info", "after": None, "source": "a.yaml:9", "needs_restart": False},
            ],
            ["workers: 1 -> 2  (a.yaml:3, after a restart)", 'log.level: "info" -> null  (a.yaml:9)'],
        ),
    ],
)
def test_what_a_reload_would_change_is_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: list[object], lines: list[str]
) -> None:
    body = json.dumps({"generation": 3, "changes": said}).encode()
    with answering(json_response("200 OK", body)) as (port, heard):
        assert compare(settings(tmp_path, admin=f"127.0.0.1:{port}")) == 0

    assert capsys.readouterr().out.splitlines() == lines
    assert b"\r\nContent-Length: 14\r\n" in heard[0]  # {"diff": true}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        ("409 Conflict", b'{"generation": 1, "problems": ["one"]}', "one\na reload would be refused\n"),
        ("200 OK", b'{"generation": 1, "needs_restart": []}', "the node is of a version that can't compare\n"),
    ],
)
def test_what_cant_be_compared_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: str, body: bytes, words: str
) -> None:
    with answering(json_response(status, body)) as (port, _):
        assert compare(settings(tmp_path, admin=f"127.0.0.1:{port}")) == 1
    assert capsys.readouterr().err == words


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory"), "No such file or directory; is the node running"),
        (PermissionError(13, "Permission denied"), "Permission denied; run the command as a user who may open"),
        (TimeoutError("timed out"), "timed out; the node hangs"),
        (http.client.BadStatusLine("x"), "x"),
    ],
)
def test_a_request_without_an_answer_is_told_with_its_remedy(error: Exception, said: str) -> None:
    door = admin.AdminDoor(ListenAddress("127.0.0.1", 9180))

    assert f"no node answers on 127.0.0.1:9180 (admin.listen): {said}" in admin.no_answer(door, error)
