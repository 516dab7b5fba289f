"""`shield health`: 0 only if the node says that it is ready, else 1 and why in one line."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from loadtest.processes import free_port
from shield.cli import _app
from shield.cli.health import health
from shield.config.section import ListenAddress
from tests.client import Client, request
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.process import Process, settings_file

PATIENCE = 45.0


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("SHIELD_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)


def settings(path: Path, *, listen: object = "127.0.0.1:8080", admin: object, **more: Any) -> Path:
    file = path / "shield.yaml"
    origins = {"fra": {"provider": "http", "endpoint": "http://127.0.0.1:9"}}
    tokens = {"oncall": {"role": "operate", "secret": "0123456789abcdef"}}
    given = {"listen": listen, "admin": {"listen": admin, "tokens": tokens}, "origins": origins, **more}
    file.write_text(json.dumps(given))
    return file


@contextmanager
def answering(said: bytes | None, *, host: str = "127.0.0.1") -> Iterator[tuple[int, list[bytes]]]:
    """A listener's port, and the request that it got; None: it accepts and says nothing."""
    heard: list[bytes] = []
    done = threading.Event()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    with socket.create_server((host, 0), family=family) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                heard.append(connection.recv(4096))
                if said is None:
                    done.wait(PATIENCE)
                else:
                    connection.sendall(said)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            done.set()
            thread.join(PATIENCE)


def response(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


@pytest.mark.parametrize(("listen", "host"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("[::]", "::1")])
def test_a_node_that_is_ready_is_healthy_whatever_it_listens_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], listen: str, host: str
) -> None:
    if host == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    with answering(response("200 OK", b"ready\n"), host=host) as (port, heard):
        code = health(settings(tmp_path, admin=f"{listen}:{port}"), timeout=PATIENCE)

    assert code == 0
    assert capsys.readouterr() == (f"healthy: {listen}:{port} (admin.listen) says that the node is ready\n", "")
    assert heard[0].startswith(b"GET /ready HTTP/1.1\r\n") and b"\r\nhost: localhost:" in heard[0]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (response("503 Service Unavailable", b"not ready\n"), "says: not ready; the node starts or drains"),
        (response("200 OK", b"<html>hello"), "is no Shield node: status 200 to /ready"),
        (response("404 Not Found", b"ready\n"), "is no Shield node: status 404 to /ready"),
        (b"220 mail.example ESMTP\r\n", "doesn't speak HTTP"),
        (b"", "can't be reached"),
    ],
    ids=["draining", "page", "404", "mail", "closed"],
)
def test_other_answers_are_unhealthy_and_it_is_said_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: bytes, why: str
) -> None:
    with answering(said) as (port, _):
        code = health(settings(tmp_path, admin=f"127.0.0.1:{port}"), timeout=PATIENCE)

    printed = capsys.readouterr()
    assert (code, printed.out) == (1, "")
    assert printed.err.startswith("unhealthy: ") and why in printed.err and printed.err.count("\n") == 1


def test_a_node_that_hangs_is_unhealthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(None) as (port, _):
        code = health(settings(tmp_path, admin=f"127.0.0.1:{port}"), timeout=0.1)

    assert code == 1
    assert "gave no answer in 0.1 s" in capsys.readouterr().err


def test_nothing_that_listens_is_unhealthy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()

    assert health(settings(tmp_path, admin=f"127.0.0.1:{port}"), timeout=PATIENCE) == 1
    assert f"127.0.0.1:{port} (admin.listen) can't be reached: Connection refused" in capsys.readouterr().err


def test_without_an_admin_listener_every_listener_for_clients_must_accept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_port = listener.getsockname()[1]
        one, other = f"127.0.0.1:{open_port}", f"127.0.0.1:{free_port()}"

        assert health(settings(tmp_path, listen=one, admin="off"), timeout=PATIENCE) == 0
        assert capsys.readouterr().out.startswith(f"healthy: {one} accepts connections; admin.listen is off")

        assert health(settings(tmp_path, listen=[one, other], admin="off"), timeout=PATIENCE) == 1
        assert f"{other} (listen) can't be reached" in capsys.readouterr().err


def test_a_port_that_nobody_knows_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert health(settings(tmp_path, admin="127.0.0.1:0"), timeout=PATIENCE) == 1
    assert "127.0.0.1:0 (admin.listen): port 0" in capsys.readouterr().err


def test_a_node_that_drips_its_answer_is_unhealthy_in_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes within the time of each read."""
    gate = threading.Event()
    monkeypatch.setattr("shield.cli.health._ready", lambda address, timeout: str(gate.wait(PATIENCE)))

    assert health(settings(tmp_path, admin="127.0.0.1:1"), timeout=0.1) == 1
    gate.set()
    assert "127.0.0.1:1 (admin.listen) gave no answer in 0.1 s" in capsys.readouterr().err


def test_a_quiet_probe_says_only_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(response("200 OK", b"ready\n")) as (port, _):
        file = settings(tmp_path, admin=f"127.0.0.1:{port}", wrokers=2)
        assert health(file, timeout=PATIENCE, quiet=True) == 0
    assert capsys.readouterr() == ("", "")

    assert health(settings(tmp_path, admin=f"127.0.0.1:{free_port()}"), timeout=PATIENCE, quiet=True) == 1
    assert "can't be reached" in capsys.readouterr().err


# settings that can't be used

BROKEN = {
    "a tab": "admin: {{listen: '{0}'}}\norigins:\n\tfra: x\n",
    "a tab before": "origins:\n\tfra: x\nadmin:\n  # here\n\n  listen: {0}\nnode: x\n",
    "an unknown key": "wrokers: 2\nadmin: {{listen: '{0}', hosst: 1}}\n",
    "no secrets": "origins: {{a: {{provider: aws, region: x, bucket: b}}}}\nadmin: {{listen: '{0}'}}\n",
    "an open quote": "admin: {{\n  listen: '{0}'\n}}\nnode: 'x\n",
    "JSON without a comma": '{{"origins": {{"a": 1}} "b": 2, "admin": {{"hosts": ["a", "b"], "listen": "{0}"}}}}',
    "JSON that ends too early": '{{"node": "x", "admin": {{"listen": "{0}"}}, "origins": {{"fra": {{"provider": ',
    "JSON with an open quote": '{{"admin": {{"listen": "{0}"}}, "node": "x}}',
    "JSON without an end": '{{\n  "origins": {{"admin": 1}},\n  "admin": {{\n  "listen": "{0}"\n}}\n, "node": "x\n',
    "not UTF-8": "admin: {{listen: '{0}'}}\n# \xff\n",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_node_that_is_ready_is_healthy_whatever_has_become_of_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    file = tmp_path / "shield.yaml"
    with answering(response("200 OK", b"ready\n")) as (port, _):
        file.write_bytes(BROKEN[case].format(f"127.0.0.1:{port}").encode("latin-1"))
        code = health(file, timeout=PATIENCE)

    printed = capsys.readouterr()
    assert (code, printed.out) == (0, f"healthy: 127.0.0.1:{port} (admin.listen) says that the node is ready\n")
    assert printed.err.startswith(f"warning: {file}") and printed.err.count("\n") == 1
    assert printed.err.endswith("these settings can't be used; the node runs with those it has\n")


@pytest.mark.parametrize("given", ["variable", "nothing"])
def test_a_file_that_is_gone_leaves_variables_and_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    with answering(response("200 OK", b"ready\n")) as (port, _):
        address = ListenAddress("127.0.0.1", port)
        if given == "variable":
            monkeypatch.setenv("SHIELD_ADMIN__LISTEN", str(address))
        else:
            monkeypatch.setattr("shield.config.glimpse.AdminSettings", lambda: SimpleNamespace(listen=address))

        assert health(tmp_path / "gone.yaml", timeout=PATIENCE) == 0
    assert "gone.yaml: can't be read: No such file or directory" in capsys.readouterr().err


def test_without_an_admin_listener_broken_settings_still_say_where_clients_are_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shield.yaml"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listen = f"127.0.0.1:{listener.getsockname()[1]}"
        file.write_text(f"listen:\n- {listen}\nadmin: {{listen: off}}\norigins:\n\tfra: x\n")
        assert health(file, timeout=PATIENCE) == 0
    assert health(file, timeout=PATIENCE) == 1

    printed = capsys.readouterr()
    assert printed.out.startswith(f"healthy: {listen} accepts connections; admin.listen is off")
    assert f"unhealthy: {listen} (listen) can't be reached" in printed.err


def test_a_node_that_cannot_be_reached_is_unhealthy_and_the_file_is_named_too(tmp_path: Path) -> None:
    file = settings(tmp_path, admin=f"127.0.0.1:{free_port()}", wrokers=2, lissten=3)

    ran = CliRunner().invoke(_app, ["health", "--config", str(file)])

    first, second = ran.output.splitlines()
    assert ran.exit_code == 1
    assert first.startswith("unhealthy: 127.0.0.1:") and "can't be reached" in first
    assert second.startswith(f"unhealthy: {file}") and "(and 1 more)" in second


@pytest.mark.slow
def test_a_node_is_healthy_until_it_drains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    with FaultyOrigin() as origin:
        origin.serves("/large", Pattern(2_000_000), lifetime=60)
        gate = origin.gate()
        origin.spoils("/large", at_body(1000, Wait(gate)))
        file = settings_file(tmp_path, origin, admin={"listen": f"127.0.0.1:{port}"}, delay="60s")
        with Process(file) as node, Client(node.port) as client:
            running = tmp_path / "running.yaml"  # as the node's own file, whose port for clients is another's by now
            running.write_text(file.read_text())
            assert health(running, timeout=PATIENCE) == 0

            client.send(request("/large"))
            gate.reached()
            node.signal()
            node.says("draining")

            assert health(running, timeout=PATIENCE) == 1
            assert "not ready" in capsys.readouterr().err
            gate.open()
