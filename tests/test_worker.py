"""`shield serve` as a process: how it starts, and how it stops."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import PATIENCE, Client, request
from tests.doubles.certificates import Authority
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

BODY = Pattern(2_000_000)


@pytest.fixture
def origin() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as made:
        made.serves("/a", b"hello", lifetime=60)
        made.serves("/large", BODY, lifetime=60)
        yield made


def test_a_node_serves_and_stops_when_it_is_told_to(tmp_path: Path, origin: FaultyOrigin) -> None:
    with Process(settings_file(tmp_path, origin)) as node:
        with Client(node.port) as client:
            assert client.ask("/a").body == b"hello"
            assert client.ask("/a").hit
            assert node.admin("/ready").status == 200

            node.signal()

            assert client.at_end()
        assert node.ended() == 0
        assert "the worker has stopped" in node.said


def test_a_node_that_drains_finishes_what_runs_and_takes_nothing_new(tmp_path: Path, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    with Process(settings_file(tmp_path, origin)) as node, Client(node.port) as client:
        client.send(request("/large"))
        gate.reached()
        answer = client.read_head()

        node.signal()
        node.says("no longer accepting connections; 1 are open")

        assert node.admin("/ready").status == 503
        assert node.admin("/live").status == 200
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", node.port), PATIENCE)
        assert node.process.poll() is None
        gate.open()
        client.read_body(answer)
        assert answer.clean and BODY.check(answer.body)
        assert client.at_end()
        client.close()
        assert node.ended() == 0


def test_a_node_is_not_ready_before_it_stops_to_accept(tmp_path: Path, origin: FaultyOrigin) -> None:
    with Process(settings_file(tmp_path, origin, delay="1h")) as node, Client(node.port) as old:
        before = old.ask("/a")
        node.signal()
        node.says("draining")

        assert node.admin("/ready").status == 503
        assert before.get("connection") is None
        for client in (old, Client(node.port)):
            answer = client.ask("/a")
            assert (answer.body, answer.get("connection")) == (b"hello", "close")
            assert client.at_end()
            client.close()

        node.signal()
        assert node.ended() == 0


def test_an_answer_that_is_still_to_begin_when_a_node_drains_says_that_it_is_the_last(
    tmp_path: Path, origin: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.spoils("/a", preceded_by(Wait(gate)))
    with Process(settings_file(tmp_path, origin, delay="1h")) as node, Client(node.port) as client:
        client.send(request("/a"))
        gate.reached()
        node.signal()
        node.says("draining")

        gate.open()
        answer = client.read()

        assert (answer.body, answer.get("connection")) == (b"hello", "close")
        assert client.at_end()
        node.signal()
        assert node.ended() == 0


def test_a_second_signal_does_not_wait_for_transfers(tmp_path: Path, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    with Process(settings_file(tmp_path, origin)) as node, Client(node.port) as client:
        client.send(request("/large"))
        gate.reached()
        answer = client.read_head()
        node.signal()
        node.says("no longer accepting connections; 1 are open")

        node.signal(signal.SIGINT)

        assert node.ended() == 0
        client.read_body(answer)
        assert not answer.clean


def test_transfers_are_cut_off_when_the_time_to_drain_is_over(tmp_path: Path, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    with Process(settings_file(tmp_path, origin, timeout="200ms")) as node, Client(node.port) as client:
        client.send(request("/large"))
        gate.reached()
        answer = client.read_head()

        node.signal()

        client.read_body(answer)
        assert not answer.clean
        assert node.ended() == 0


def test_a_hangup_reloads_and_ends_nothing(tmp_path: Path, origin: FaultyOrigin) -> None:
    with Process(settings_file(tmp_path, origin)) as node, Client(node.port) as client:
        assert client.ask("/a").body == b"hello"

        node.signal(signal.SIGHUP)
        node.says("settings of generation 2 are in force")

        assert client.ask("/a").hit
        assert node.admin("/ready").status == 200
        node.signal()
        client.close()
        assert node.ended() == 0


def test_listeners_speak_tls_with_the_certificate_that_is_given(tmp_path: Path, origin: FaultyOrigin) -> None:
    authority = Authority()
    certificate, key = authority.write_server(tmp_path, "localhost")
    with Process(
        settings_file(tmp_path, origin, tls={"certificate_file": certificate.name, "key_file": key.name})
    ) as node:
        bodies = []
        for method in ("GET", "GET", "HEAD"):
            raw = socket.create_connection(("127.0.0.1", node.port), PATIENCE)
            with authority.client().wrap_socket(raw, server_hostname="localhost") as secure:
                secure.sendall(request("/a", [("connection", "close")], method=method))
                with secure.makefile("rb") as file:
                    bodies.append(file.read().partition(b"\r\n\r\n"))
        node.signal()

        assert "https://127.0.0.1" in node.said
        assert node.ended() == 0
    assert [head.partition(b"\r\n")[0] for head, _, _ in bodies] == [b"HTTP/1.1 200 OK"] * 3
    assert b"; hit" in bodies[1][0]
    assert [body for _, _, body in bodies] == [b"hello", b"hello", b""]


def test_a_certificate_that_cannot_be_used_ends_it_at_once(tmp_path: Path, origin: FaultyOrigin) -> None:
    (tmp_path / "not.pem").write_text("nothing")
    config = settings_file(tmp_path, origin, tls={"certificate_file": "not.pem", "key_file": "not.pem"})

    done = subprocess.run(
        [sys.executable, "-m", "shield", "serve", "--config", str(config)], capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 2
    assert "not.pem" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(tmp_path: Path, origin: FaultyOrigin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [
            sys.executable,
            "-m",
            "shield",
            "serve",
            "-c",
            str(settings_file(tmp_path, origin, listen=address)),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)

    assert ended.returncode == 2
    assert f"listen {address}: Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_settings_that_cannot_be_used_end_it_at_once(tmp_path: Path) -> None:
    file = tmp_path / "shield.yaml"
    file.write_text("listen: nowhere\n")

    command = [sys.executable, "-m", "shield", "serve", "--config", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)

    assert ended.returncode == 2
    assert "listen" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_slow_readers_are_cut_that_hold_more_than_all_may(tmp_path: Path, origin: FaultyOrigin) -> None:
    origin.serves("/stored", Pattern(7_000_000), lifetime=60)

    with (
        Process(settings_file(tmp_path, origin, limits={"unsent": "1MiB"})) as node,
        Client(node.port) as other,
        Client(node.port, receive_buffer=65536) as slow,
    ):
        assert other.ask("/stored").clean
        slow.send(request("/stored"))
        answer = slow.read_head()
        until(lambda: open_at(node) == 2)
        until(lambda: open_at(node) == 1)
        slow.read_body(answer)

    assert answer.hit
    assert not answer.clean


def open_at(node: Process) -> int:
    """Clients' connections, as counted last."""
    found = json.loads(node.admin("/state").body)["connections"]
    assert isinstance(found, int)
    return found
