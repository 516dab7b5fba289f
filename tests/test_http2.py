"""`shield serve` speaks HTTP/2 as a process of its own, with workers, certificates that change, and an end."""

from __future__ import annotations

import json
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles.certificates import Authority
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.edge.hypercorn_front import H2Client
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow
LARGE = Pattern(3_000_000)


@pytest.fixture
def origin() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as made:
        made.serves("/a", b"hello", lifetime=60)
        made.serves("/large", LARGE, lifetime=60)
        yield made


def serve(path: Path, origin: FaultyOrigin, authority: Authority, **more: Any) -> Process:
    certificate, key = authority.write_server(path, "localhost")
    tls = {"certificate_file": certificate.name, "key_file": key.name}
    return Process(settings_file(path, origin, tls=tls, **more))


def trusts(authority: Authority, port: int) -> bool:
    """Whether a client that trusts this authority alone is answered over HTTP/2."""
    try:
        with H2Client(port, authority.client()) as client:
            return client.get("/a").status == 200
    except ssl.SSLError:
        return False


def test_all_workers_answer_and_share_what_is_fetched(tmp_path: Path, origin: FaultyOrigin) -> None:
    authority = Authority()

    with serve(tmp_path, origin, authority, workers=2) as node:
        for _ in range(6):
            with httpx.Client(http1=False, http2=True, verify=authority.client(), trust_env=False) as client:
                answer = client.get(f"https://localhost:{node.port}/large")
            assert (answer.http_version, answer.content) == ("HTTP/2", LARGE[:])
        state = json.loads(node.admin("/state").body)
        metrics = node.admin("/metrics").body.decode()

    assert origin.fetches("/large") == 1
    assert "\nshield_http2_requests_total 6.0\n" in metrics
    assert state["http2"]["connections"] == 6, state.keys()


def test_certificates_that_are_replaced_are_shown_to_http_2_clients(tmp_path: Path, origin: FaultyOrigin) -> None:
    first, second = Authority("first"), Authority("second")

    with serve(tmp_path, origin, first) as node, H2Client(node.port, first.client()) as client:
        assert client.get("/a").status == 200
        second.write_server(tmp_path, "localhost")
        until(lambda: trusts(second, node.port))

        assert client.get("/a").status == 200  # what is open stays
        assert not trusts(first, node.port)


def test_a_stop_lets_streams_finish(tmp_path: Path, origin: FaultyOrigin) -> None:
    authority, gate = Authority(), origin.gate()
    origin.spoils("/large", at_body(1_000_000, Wait(gate)))

    with serve(tmp_path, origin, authority) as node, H2Client(node.port, authority.client()) as client:
        stream = client.ask("/large")
        gate.reached()
        node.signal(signal.SIGTERM)
        node.says("no longer accepting connections")
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", node.port))
        gate.open()
        answer = client.finish(stream)
        client.wait_for_end()

        assert answer.ended
        assert bytes(answer.body) == LARGE[:]
        assert client.goaways[-1] == (1, 0)
        assert node.ended() == 0


def test_a_reload_may_turn_it_off_for_connections_to_come(tmp_path: Path, origin: FaultyOrigin) -> None:
    authority = Authority()

    with serve(tmp_path, origin, authority) as node, H2Client(node.port, authority.client()) as client:
        assert client.get("/a").status == 200
        tls: Any = {"certificate_file": "server.pem", "key_file": "server.key", "http2": False}
        settings_file(tmp_path, origin, tls=tls)
        node.signal(signal.SIGHUP)
        node.says("settings of generation 2 are in force")

        with httpx.Client(http2=True, verify=authority.client(), trust_env=False) as other:
            assert other.get(f"https://localhost:{node.port}/a").http_version == "HTTP/1.1"
        assert client.get("/a").status == 200
