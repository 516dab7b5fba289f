"""The origin's listener and connections: refusing, vanishing, returning, and what it remembers of all it saw."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from pathlib import Path

import pytest

from tests.doubles.client import Client, connected, exchange, fetch
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import HOST, FaultyOrigin
from tests.doubles.steps import Step, Wait, Wire

SYN_SENT = 2  # of Linux's tcp_states.h


@pytest.fixture
def origin() -> FaultyOrigin:
    return FaultyOrigin()


# Its listener.


def test_it_refuses_and_returns_on_the_same_port(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x")
        with connected(origin) as connection:
            exchange(connection, "/a")
            origin.refuses()

            with pytest.raises(ConnectionRefusedError):
                fetch(origin, "/a")
            assert exchange(connection, "/a").body == b"x"

        origin.returns()
        assert fetch(origin, "/a").body == b"x"


def test_it_stops_with_everything_on_it(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x" * 100)
        gate = origin.gate()
        origin.spoils("/a", at_body(10, Wait(gate)), times=1)
        with Client(origin) as idle, Client(origin) as busy:
            busy.ask("/a")
            gate.reached()

            origin.stops()

            assert idle.rest() == (b"", False)
            assert busy.rest()[1] is False
            with pytest.raises(ConnectionRefusedError):
                fetch(origin, "/a")
        origin.wait_for(lambda: origin.connections_open == 0)

        origin.returns()
        assert fetch(origin, "/a").status == 200


def test_it_vanishes_and_connects_hang(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x")
        origin.vanishes()

        with socket.socket() as hanging:
            hanging.setblocking(False)
            with pytest.raises(BlockingIOError):
                hanging.connect((HOST, origin.port))
            # Loopback answers a SYN at once, so a connection that isn't there by now never will be.
            state = hanging.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
            assert struct.unpack("B", state)[0] == SYN_SENT

        origin.returns()
        assert fetch(origin, "/a").body == b"x"


def test_idle_connections_are_closed_and_busy_ones_stay(origin: FaultyOrigin) -> None:
    with origin, Client(origin) as idle, Client(origin) as busy:
        origin.serves("/a", b"0123456789")
        gate = origin.gate()
        idle.ask("/a")
        idle.head()
        idle.read(10)
        origin.spoils("/a", at_body(5, Wait(gate)))
        busy.ask("/a")
        busy.head()
        gate.reached()
        origin.wait_for(lambda: origin.requests_active == 1)

        origin.closes_idle_connections()

        assert idle.rest() == (b"", True)
        gate.open()
        assert busy.read(10) == b"0123456789"


# What it saw.


def test_it_remembers_every_request(origin: FaultyOrigin) -> None:
    with origin, Client(origin) as client:
        origin.serves("/a", b"12345")
        client.ask("/a?x=1", fields={"X-One": " 1 "})
        client.ask("/b", method="PUT", fields={"Content-Length": "4"}, body=b"body")
        origin.wait_for(lambda: len(origin.requests) == 2 and origin.requests[1].ended)

        first, second = origin.requests
        assert (first.order, first.connection, first.method, first.target, first.path) == (
            0,
            1,
            "GET",
            "/a?x=1",
            "/a",
        )
        assert first.fields == [("host", "double"), ("x-one", "1")]
        assert (second.order, second.connection, second.body) == (1, 1, b"body")
        assert first.complete and first.sent > 5
        assert (origin.fetches("/a"), origin.fetches("/b")) == (1, 0)


def test_it_counts_connections_and_requests(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x")
        gate = origin.gate()
        origin.spoils("/a", at_body(0, Wait(gate)))
        clients = [Client(origin) for _ in range(3)]
        for client in clients:
            client.ask("/a")
        gate.reached(times=3)

        assert (origin.requests_active, origin.connections_open) == (3, 3)

        gate.open()
        for client in clients:
            client.head()
            client.socket.close()
        origin.wait_for(lambda: origin.connections_open == 0)
        assert (origin.requests_peak, origin.connections_peak, origin.connections_opened) == (3, 3, 3)
        assert origin.requests_active == 0


def test_it_knows_how_far_an_answer_got_when_the_client_left(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x" * 1000)
        gate = origin.gate()
        origin.spoils("/a", at_body(100, Wait(gate)))
        with Client(origin) as client:
            client.ask("/a")
            head = client.head()
            client.read(100)

        origin.wait_for(lambda: origin.requests[0].ended)
        assert origin.requests[0].sent == len(head) + 100
        assert not origin.requests[0].complete


def test_a_head_that_is_no_request_is_kept(origin: FaultyOrigin) -> None:
    with origin, Client(origin) as client:
        client.socket.sendall(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")

        answer, clean = client.rest()

        assert answer.startswith(b"HTTP/1.1 400 ") and clean
        assert origin.malformed == [b"GET / HTTP/1.1\r\nno colon"]
        assert origin.requests == []


def test_pipelined_requests_are_answered_in_order(origin: FaultyOrigin) -> None:
    with origin, Client(origin) as client:
        for number in range(3):
            origin.answers(f"/{number}", b"%d" % number)

        client.socket.sendall(b"".join([b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3)]))

        assert client.read(3) == b"012"


def test_a_test_with_a_loop_can_wait_too(origin: FaultyOrigin) -> None:
    async def run() -> bytes:
        gate = origin.gate()
        origin.spoils("/a", at_body(3, Wait(gate)))
        reader, writer = await asyncio.open_connection(HOST, origin.port)
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await gate.reached_async()
        gate.open()
        await origin.wait_for_async(lambda: origin.requests[0].complete)
        await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(6)
        writer.close()
        await writer.wait_closed()
        return body

    with origin:
        origin.serves("/a", b"abcdef")
        assert asyncio.run(run()) == b"abcdef"


def test_waiting_for_what_does_not_happen_ends(origin: FaultyOrigin) -> None:
    with origin:
        with pytest.raises(TimeoutError):
            origin.wait_for(lambda: False, timeout=0)
        with pytest.raises(TimeoutError):
            asyncio.run(origin.wait_for_async(lambda: False, timeout=0))
        with pytest.raises(TimeoutError):
            origin.gate().reached(timeout=0)


def test_a_step_that_breaks_fails_the_test_that_brought_it(origin: FaultyOrigin) -> None:
    class Broken(Step):
        async def play(self, wire: Wire) -> None:
            raise ZeroDivisionError

    with pytest.raises(AssertionError, match="the faulty origin itself broke"), origin, Client(origin) as client:
        origin.script("/a", Broken())
        client.ask("/a")
        client.rest()


def test_leaving_ends_every_connection(origin: FaultyOrigin) -> None:
    with origin:
        client = Client(origin)
        origin.wait_for(lambda: origin.connections_open == 1)

    with client:
        assert client.rest() == (b"", False)
        assert origin.connections_open == 0
    with pytest.raises(ConnectionRefusedError):
        Client(origin)


def test_nothing_is_left_when_it_is_over() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before, threads = descriptors(), threading.active_count()
    for _ in range(5):
        with FaultyOrigin() as origin:
            origin.vanishes()
            origin.returns()
            with Client(origin) as client:
                client.ask("/a")
                client.head()

    assert (descriptors(), threading.active_count()) == (before, threads)
