"""Slow, silent, leaving and too many clients, and the end of the node: what a connection may use, and until when."""

from __future__ import annotations

import pytest

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


def _unsent(shield: Shield) -> int:
    return shield.call(lambda: sum(int(c._transport.get_write_buffer_size()) for c in shield._state.connections))


def _read_to_the_end(client: Client) -> int:
    got = 0
    while data := client.read_some(1 << 20):
        got += len(data)
    return got


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
        shield.wait_for(lambda: any(c._in_head for c in shield._state.connections))
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
    with Shield(settings_of({"fra": origin}, limits={"connections": 2}), clock=clock) as shield:
        with shield.client() as first, shield.client() as second:
            first.ask("/a")
            second.ask("/a")
            with shield.client() as third:
                assert third.at_end()
            assert first.ask("/a").hit
        shield.wait_for(lambda: shield.connections == 0)
        assert shield.get("/a").hit


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
        shield.wait_for(lambda: any(c._in_head for c in shield._state.connections))
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
