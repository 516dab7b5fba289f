"""The cap on bytes per second towards a client: told to the kernel for each connection, and to no other."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from shield.build.regime import regime_of
from shield.edge.pace import _ANY_RATE, _SO_MAX_PACING_RATE, pace
from tests.doubles.certificates import Authority
from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.greeter import greeting
from tests.edge.hypercorn_front import H2Client, hypercorn
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two

CAPPED = {"max_rate": "5MB/s"}


def rate_of(transport: Any) -> int:
    connected: socket.socket = transport.get_extra_info("socket")
    (rate,) = struct.unpack("@L", connected.getsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.calcsize("@L")))
    return int(rate)


def rates(shield: Shield) -> list[int]:
    return shield.call(lambda: [rate_of(each._transport) for each in shield.node.front.connections])  # type: ignore[attr-defined]


def test_a_connection_is_paced_and_follows_another_regime(origin: FaultyOrigin, clock: FakeClock) -> None:
    def put_in_force(**limits: Any) -> None:
        another = regime_of(settings_of({"fra": origin}, limits=limits), workers=1)
        shield.call(lambda: shield.node.in_force.swap(another))

    origin.serves("/a", b"aaa", lifetime=60)
    with Shield(settings_of({"fra": origin}, limits=CAPPED), clock=clock) as shield, shield.client() as client:
        assert client.ask("/a").status == 200
        assert rates(shield) == [5_000_000]
        put_in_force(max_rate="64KiB/s")
        assert rates(shield) == [65536]
        put_in_force(max_rate="off")
        assert rates(shield) == [_ANY_RATE]


def test_without_a_cap_the_kernel_is_told_nothing(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings_of({"fra": origin}), clock=clock) as shield, shield.client() as client:
        client.ask("/a")
        assert rates(shield) == [_ANY_RATE]


def test_http2_is_paced(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    authority = Authority()
    chain, key = authority.write_server(tmp_path, "localhost")
    tls = {"certificate_file": str(chain), "key_file": str(key)}
    settings = settings_of({"fra": origin}, limits=CAPPED, tls=tls)
    with (
        Shield(settings, clock=clock) as shield,
        greeting(shield, settings) as port,
        H2Client(port, authority.client()) as client,
    ):
        client.get("/a")
        assert rates(shield) == [5_000_000]


def test_connections_of_other_servers_are_paced(
    origin: FaultyOrigin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.serves("/a", b"a" * 1000, lifetime=60)
    told: list[int] = []

    def told_to(writer: asyncio.Transport, rate: int) -> None:
        pace(writer, rate)
        told.append(rate_of(writer))

    monkeypatch.setattr("shield.edge.asgi.pace", told_to)
    settings = settings_of({"fra": origin}, limits=CAPPED)
    with Shield(settings, clock=clock) as shield, hypercorn(shield) as port, H2Client(port) as client:
        client.get("/a")
    assert told == [5_000_000]


def test_workers_among_themselves_are_not_paced(origin: FaultyOrigin, clock: FakeClock) -> None:
    with two(origin, clock, limits=CAPPED) as workers:
        assert workers.asker.node.front.limits.max_rate == 5_000_000
        assert workers.asker.node.peers.limits.max_rate == 0
