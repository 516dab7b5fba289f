"""Slow, silent, departing and too many clients, and a node that stops: limits on resources and time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shield.edge.door import Door
from shield.edge.pace import _TCP_NOTSENT_LOWAT, UNSENT, unsent
from shield.edge.states import Reading
from shield.peers.words import named
from shield.rules.limits import ClientLimits
from tests.client import Client, request
from tests.doubles.faults import at_body, chunked
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Stall, Wait
from tests.node import FakeClock, Shield, settings_of

SMALL_WINDOW = 65536
LARGE = Pattern(8_000_000)  # more than the kernel takes for a connection
ENDLESS = Pattern(64_000_000)


@pytest.fixture(autouse=True)
def objects(origin: FaultyOrigin) -> None:
    origin.serves("/a", b"a", lifetime=60)
    origin.serves("/large", LARGE, lifetime=60)
    origin.serves("/endless", ENDLESS, fields={"cache-control": "no-store"})


def limit(shield: Shield, **changes: Any) -> None:
    """Other limits from now on."""
    in_force = shield.node.in_force
    limits = replace(in_force.regime.limits, **changes)
    shield.call(lambda: in_force.swap(replace(in_force.regime, limits=limits)))


def _unsent(shield: Shield) -> int:
    return shield.call(lambda: sum(int(c._transport.get_write_buffer_size()) for c in shield._state.connections))


def _takes(shield: Shield, client: Client, size: int) -> None:
    """The client reads so much, and the node's kernel knows it."""

    def left() -> int:
        return sum(unsent(c._transport) for c in shield._state.connections)

    before = shield.call(left)
    client.read_some(size)
    shield.wait_for(lambda: left() < before)


# slow readers


def test_hits_that_are_not_read_do_not_pile_up(shield: Shield) -> None:
    shield.get("/large")

    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request("/large") * 50)
        shield.wait_for(lambda: any(not c.ready for c in shield._state.connections))

        assert _unsent(shield) < 2 * len(LARGE)
        for _ in range(50):
            answer = client.read()
            assert answer.clean and LARGE.check(answer.body)
            assert _unsent(shield) < 2 * len(LARGE)


def test_a_body_that_is_not_read_stays_at_the_origin(shield: Shield, origin: FaultyOrigin) -> None:
    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request("/endless"))
        answer = client.read_head()
        shield.wait_for(lambda: any(not c.ready for c in shield._state.connections))

        assert _unsent(shield) < 4_000_000
        client.read_body(answer)

    assert answer.clean
    assert ENDLESS.check(answer.body)


def test_the_kernel_keeps_little_of_what_an_origin_is_held_to_and_all_it_likes_of_hits(shield: Shield) -> None:
    def most() -> set[int]:
        sockets = [connection._transport.get_extra_info("socket") for connection in shield._state.connections]
        return {connected.getsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT) for connected in sockets}

    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request("/large"))
        answer = client.read_head()
        while_it_comes = shield.call(most)
        client.read_body(answer)
        hit = client.ask("/large")
        afterwards = shield.call(most)

    assert (while_it_comes, afterwards) == ({UNSENT}, {0})
    assert (answer.clean, hit.hit, hit.clean) == (True, True, True)


@pytest.mark.parametrize("target", ["/large", "/endless"])
def test_a_client_that_takes_nothing_is_cut_off(shield: Shield, target: str) -> None:
    shield.get("/large")
    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request(target) * 5)
        shield.wait_for(lambda: any(not c.ready for c in shield._state.connections))

        shield.sweep(times=55)
        assert shield.connections == 1
        shield.sweep(times=10)
        shield.wait_for(lambda: shield.connections == 0)


def test_a_client_that_takes_a_little_is_not(shield: Shield, origin: FaultyOrigin) -> None:
    larger = Pattern(8_000_000)
    origin.serves("/larger", larger, lifetime=60)
    shield.get("/larger")
    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request("/larger", [("Connection", "close")]))
        answer = client.read_head()
        got = b""
        while before := _unsent(shield):
            while _unsent(shield) == before:
                got += client.read_some(100_000)
            shield.sweep(times=40)
        client.read_body(answer)

    assert larger.check(got + answer.body)
    assert len(got) + len(answer.body) == len(larger)


def test_what_a_client_takes_out_of_the_kernels_buffers_counts(shield: Shield, origin: FaultyOrigin) -> None:
    shield.get("/large")
    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request("/large"))
        client.read_head()
        shield.wait_for(lambda: any(not c.ready for c in shield._state.connections))
        before = _unsent(shield)

        for _ in range(4):
            _takes(shield, client, 150_000)
            shield.sweep(times=40)

        assert _unsent(shield) == before  # else this shows nothing
        assert shield.connections == 1


def test_a_client_that_takes_one_answer_after_the_other_is_not_cut_off(shield: Shield) -> None:
    shield.get("/large")
    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request("/large") * 4)
        for _ in range(3):
            shield.wait_for(lambda: any(not c.ready for c in shield._state.connections))
            shield.sweep(times=40)
            assert client.read().clean

        assert client.read().clean


@pytest.mark.parametrize(("send_bytes", "cut"), [(100_000, False), (1_000_000, True)])
def test_a_client_must_take_enough_in_its_time(shield: Shield, send_bytes: int, cut: bool) -> None:
    limit(shield, send_bytes=send_bytes)
    shield.get("/large")
    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request("/large"))
        client.read_head()
        shield.wait_for(lambda: any(not c.ready for c in shield._state.connections))

        for _ in range(4):
            shield.sweep(times=20)
            if shield.connections:
                _takes(shield, client, 150_000)

        assert shield.connections == (0 if cut else 1)


def test_what_is_left_of_an_idle_connection_that_reads_nothing_is_cut_off(shield: Shield) -> None:
    shield.get("/large")
    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request("/large"))
        shield.wait_for(lambda: any(not c.ready for c in shield._state.connections))
        shield.shut_down()
        shield.sweep(times=70)

        shield.wait_for(lambda: shield.connections == 0)


# clients that leave


@pytest.mark.parametrize("target", ["/large", "/endless", "/chunks"])
def test_a_client_that_resets_in_a_body_leaves_nothing_behind(
    shield: Shield, origin: FaultyOrigin, target: str
) -> None:
    origin.serves("/chunks", ENDLESS, fields={"cache-control": "no-store"})
    origin.spoils("/chunks", chunked(100_000))
    shield.get("/large")

    with shield.client(receive_buffer=SMALL_WINDOW) as client:
        client.send(request(target) * 3)
        client.read_head()
        client.read_some(1000)
        client.reset()

    shield.wait_for(lambda: shield.connections == 0)
    origin.wait_for(lambda: origin.requests_active == 0)


def test_a_client_that_resets_before_the_answer_ends_its_request(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.script("/slow", Wait(gate), Stall())

    with shield.client() as client:
        client.ask("/large")
        client.send(request("/slow"))
        gate.reached()
        client.reset()

    shield.wait_for(lambda: shield.connections == 0)
    lines = [line for line in shield.log() if line["target"] == "/slow"]
    assert [(line["status"], line["bytes"]) for line in lines] == [(499, 0)]


def test_a_client_that_closed_is_found_out_when_it_is_written_to(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/endless", at_body(0, Wait(gate)))

    with shield.client() as client:
        client.send(request("/endless"))
        gate.reached()
    gate.open()

    shield.wait_for(lambda: shield.connections == 0)
    origin.wait_for(lambda: origin.requests_active == 0)


# silence


def test_an_idle_connection_is_closed_in_the_end(shield: Shield) -> None:
    with shield.client() as client:
        client.ask("/a")
        shield.sweep(times=600)
        assert client.ask("/a").hit
        shield.sweep(times=600)
        assert client.ask("/a").hit
        shield.sweep(times=653)
        assert client.at_end()


def test_a_connection_without_any_request_is_closed_soon(shield: Shield) -> None:
    with shield.client() as client:
        shield.wait_for(lambda: shield.connections == 1)
        shield.sweep(times=12)
        assert client.at_end()


def test_a_head_that_takes_too_long_is_refused(shield: Shield) -> None:
    with shield.client() as client:
        client.ask("/a")
        shield.sweep(times=100)
        client.send(request("/a")[:-2])
        shield.wait_for(lambda: any(c._reading is Reading.HEAD for c in shield._state.connections))
        for _ in range(10):
            shield.sweep()
            client.send(b"x: y\r\n")
        shield.sweep(times=3)
        answer = client.read()
        assert client.at_end()

    assert answer.status == 408
    assert answer.get("connection") == "close"


def test_every_head_has_its_own_time(shield: Shield) -> None:
    whole = request("/a")
    shield.get("/a")

    with shield.client() as client:
        client.send(whole[:10])
        for _ in range(30):
            shield.sweep(times=2)
            client.send(whole[10:] + whole[:10])
            assert client.read().hit


def test_waiting_for_an_origin_is_not_the_clients_fault(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/a", at_body(0, Wait(gate)))

    with shield.client() as client:
        client.send(request("/a") + request("/a")[:10])
        gate.reached()
        shield.sweep(times=2000)
        gate.open()
        assert client.read().body == b"a"


def test_what_a_refused_client_goes_on_to_send_is_dropped_for_a_while(shield: Shield) -> None:
    with shield.client() as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(20):
            client.send(b"x" * 100_000)
        assert client.read().status == 405
        shield.sweep(times=4)
        shield.wait_for(lambda: shield.connections == 0)


# too many


def test_connections_beyond_the_limit_are_closed_at_once(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(
        settings_of({"fra": origin}, limits={"connections": 2, "connections_per_address": 0}), clock=clock
    ) as shield:
        with shield.client() as first, shield.client() as second:
            first.ask("/a")
            second.ask("/a")
            with shield.client() as third:
                assert third.at_end()
            assert first.ask("/a").hit
        shield.wait_for(lambda: shield.connections == 0)
        assert shield.get("/a").hit


def test_connections_of_one_address_beyond_its_limit_are_closed_at_once(shield: Shield) -> None:
    limit(shield, max_connections_per_address=2)

    with shield.client() as first, shield.client() as second:
        first.ask("/a")
        second.ask("/a")
        with shield.client() as third:
            assert third.at_end()
        other = socket.create_connection(("127.0.0.1", shield.port), source_address=("127.0.0.2", 0))
        with other, other.makefile("rb") as file:
            other.sendall(request("/a"))
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"
        assert first.ask("/a").hit
        second.close()
        shield.wait_for(lambda: shield.connections == 1)
        with shield.client() as third:
            assert third.ask("/a").hit  # before the next comes: one that says nothing would give way
            with shield.client() as fourth:
                assert fourth.at_end()
    shield.wait_for(lambda: shield.connections == 0)

    assert shield.get("/a").hit
    assert shield.node.front.door.turned_away == 2


@pytest.mark.parametrize(
    ("peers", "places"),
    [
        (["192.0.2.1", "192.0.2.2"], 2),
        (["2001:db8::1", "2001:db8::2"], 1),  # a client has all of a network
        (["2001:db8::1", "2001:db8:0:1::1"], 2),
        (["192.0.2.1", "::ffff:192.0.2.1"], 1),
        (["::ffff:192.0.2.1", "::ffff:192.0.2.2"], 2),
        (["fe80::1%eth0", "fe80::2%eth0"], 1),
    ],
)
def test_an_address_is_what_one_client_has(clock: FakeClock, peers: Sequence[str], places: int) -> None:
    door = Door(ClientLimits(max_connections_per_address=1), clock=clock)

    assert sum(door.enter(peer, None, 0) for peer in peers) == places
    for peer in peers[:places]:
        door.leave(peer)
    assert sum(door.enter(peer, None, 0) for peer in peers) == places


def test_clients_that_are_turned_away_make_one_log_line_in_a_while(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door(ClientLimits(max_connections=0), clock=clock)

    for _ in range(3):
        assert not door.enter("192.0.2.1", None, 0)
        clock.advance(4.9)

    assert len(caplog.records) == 1
    clock.advance(1)
    assert not door.enter("192.0.2.1", None, 0)
    assert "4 so far" in caplog.records[1].message


def test_workers_of_the_node_are_not_limited(shield: Shield, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    front = shield.node.peers
    front.limits = replace(front.limits, max_connections_per_address=1, max_requests=1, max_connections=1)
    front.door = Door(front.limits, clock=shield.clock)

    async def listen() -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(lambda: front.protocol(None, shield._state, {}), path)  # type: ignore[arg-type]

    async def close() -> None:
        server.close()
        await server.wait_closed()

    key = shield.node.proxy.resolve(b"/a").key
    server = shield.run(listen())
    try:
        with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
            for each in (first, second):
                each.settimeout(10)
                each.connect(path)
                with each.makefile("rb") as file:
                    for _ in range(2):
                        each.sendall(request("/a", method="HEAD", host=named(key).decode()))
                        assert file.readline() == b"HTTP/1.1 200 OK\r\n"
                        while file.readline() != b"\r\n":
                            pass
        shield.wait_for(lambda: shield.connections == 0)
    finally:
        shield.run(close())


def test_the_last_request_that_a_connection_may_bring_ends_it(shield: Shield) -> None:
    limit(shield, max_requests=3)

    with shield.client() as client:
        answers = [client.ask(target) for target in ("/a", "/large", "/a")]
        assert client.at_end()

    assert [answer.status for answer in answers] == [200] * 3
    assert [answer.get("connection") for answer in answers] == [None, None, "close"]
    assert answers[2].hit


@pytest.mark.parametrize("first", ["/a", "/large"])
def test_of_a_burst_no_more_than_may_come_on_a_connection_are_answered(shield: Shield, first: str) -> None:
    limit(shield, max_requests=3)
    shield.get("/a")

    with shield.client() as client:
        client.send(request(first) + request("/a") * 5)
        answers = [client.read() for _ in range(3)]
        assert client.at_end()

    assert [answer.get("connection") for answer in answers] == [None, None, "close"]


# the end


def test_a_node_that_stops_closes_idle_connections_and_finishes_the_others(
    shield: Shield, origin: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    with shield.client() as idle, shield.client() as busy, shield.client() as late:
        idle.ask("/a")
        busy.send(request("/large") + request("/a"))
        late.send(request("/a")[:-2])
        shield.wait_for(lambda: any(c._reading is Reading.HEAD for c in shield._state.connections))
        gate.reached()

        shield.shut_down()

        assert idle.at_end()
        late.send(b"\r\n")
        answer = late.read()
        assert answer.hit and answer.get("connection") == "close"
        assert late.at_end()
        gate.open()
        answer = busy.read()
        assert answer.clean and LARGE.check(answer.body)
        assert busy.at_end()

    shield.wait_for(lambda: shield.connections == 0)


def test_what_still_runs_when_the_time_to_drain_is_over_ends_short(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    with shield.client() as client:
        client.send(request("/large"))
        answer = client.read_head()
        gate.reached()
        shield.shut_down()
        shield.call(lambda: [c.abort() for c in list(shield._state.connections)])
        client.read_body(answer)

    assert not answer.clean


def test_a_head_is_refused_in_its_time_though_each_second_brings_a_line(shield: Shield) -> None:
    with shield.client() as client:
        client.send(request("/a")[:-2])
        shield.wait_for(lambda: any(each._reading is Reading.HEAD for each in shield._state.connections))
        for _ in range(13):
            shield.sweep()
            with contextlib.suppress(ConnectionError):
                client.send(b"x: y\r\n")
            shield.wait_for(
                lambda: all(each._heard or each._reading is Reading.DEAF for each in shield._state.connections)
            )

        assert client.read().status == 408
