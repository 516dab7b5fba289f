"""How HTTP/2 connections end: told before, after the answers under way, at once for what is over."""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

from shield.build.listeners import listener_tls
from tests.doubles.faults import at_body
from tests.doubles.gate import Gate
from tests.doubles.steps import Wait
from tests.edge.http2.conftest import LARGE, Ground
from tests.edge.http2.wire import END_HEADERS, END_STREAM, GOAWAY, HEADERS, frame
from tests.edge.hypercorn_front import H2Client
from tests.node import Shield

HIGHEST = 2**31 - 1
GET = b"\x82\x87\x84\x41\x01x"


def _gated(ground: Ground) -> Gate:
    gate = ground.origin.gate()
    ground.origin.spoils("/large", at_body(1_000_000, Wait(gate)))
    return gate


def test_a_stop_waits_for_streams_and_takes_no_more(h2: H2Client, ground: Ground) -> None:
    gate = _gated(ground)
    stream = h2.ask("/large")
    gate.reached()

    ground.shield.shut_down()
    assert h2.get("/a").status == 200  # sent before the client could know
    assert h2.goaways == [(HIGHEST, 0)]
    ground.shield.sweep()
    late = h2.finish(h2.ask("/a"))
    gate.open()
    answer = h2.finish(stream)
    h2.wait_for_end()

    assert late.reset == 7  # REFUSED_STREAM
    assert h2.goaways == [(HIGHEST, 0), (3, 0)]
    assert answer.ended
    assert bytes(answer.body) == LARGE[:]
    ground.shield.wait_for(lambda: ground.shield.connections == 0)
    assert ground.statistics.cut_off == {}


def test_a_stop_closes_idle_connections_at_once(h2: H2Client, ground: Ground) -> None:
    h2.get("/a")

    ground.shield.shut_down()
    h2.wait_for_end()

    assert h2.goaways == [(1, 0)]
    ground.shield.wait_for(lambda: ground.shield.connections == 0)


def test_a_node_that_is_about_to_stop_ends_connections_after_their_next_answer(h2: H2Client, ground: Ground) -> None:
    h2.get("/a")
    ground.shield.call(ground.shield.node.front.wind_down)
    assert h2.goaways == []

    assert h2.get("/a").status == 200
    ground.shield.sweep()
    h2.wait_for_end()

    assert h2.goaways == [(HIGHEST, 0), (3, 0)]
    ground.shield.wait_for(lambda: ground.shield.connections == 0)


def test_a_connection_ends_after_so_many_requests(ground: Ground) -> None:
    with ground.node(limits={"requests": 3}) as shield:
        client = ground.client()
        for _ in range(3):
            assert client.goaways == []
            assert client.get("/a").status == 200
        shield.sweep()
        client.wait_for_end()

        assert client.goaways == [(HIGHEST, 0), (5, 0)]
        shield.wait_for(lambda: shield.connections == 0)


def test_the_end_of_the_time_to_drain_ends_streams_uncleanly(h2: H2Client, ground: Ground) -> None:
    gate = _gated(ground)
    stream = h2.ask("/large")
    gate.reached()
    h2.read_body(stream, 500_000)

    ground.shield.call(lambda: [each.abort() for each in list(ground.shield._state.connections)])
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        h2.finish(stream)

    assert not h2.streams[stream].ended
    gate.open()


def test_a_client_that_says_goodbye_gets_what_it_asked_for(h2: H2Client, ground: Ground) -> None:
    gate = _gated(ground)
    stream = h2.ask("/large")
    gate.reached()

    h2.socket.sendall(frame(GOAWAY, bytes(8)))
    ground.shield.wait_for(lambda: all(each._frames.goes_away for each in ground.shield._state.connections))
    gate.open()
    answer = h2.finish(stream)
    h2.wait_for_end()

    assert answer.ended
    assert bytes(answer.body) == LARGE[:]
    ground.shield.wait_for(lambda: ground.shield.connections == 0)


def test_a_client_that_says_goodbye_after_its_last_answer(h2: H2Client, ground: Ground) -> None:
    h2.get("/a")

    h2.socket.sendall(frame(GOAWAY, bytes(8)))
    h2.wait_for_end()

    ground.shield.wait_for(lambda: ground.shield.connections == 0)


def test_idle_connections_end_when_their_time_is_over(ground: Ground) -> None:
    with ground.node(limits={"keep_alive": "5s", "head": "2s"}) as shield:
        used, unused = ground.client(), ground.client()
        used.get("/a")
        shield.wait_for(lambda: shield.connections == 2)

        shield.sweep(4)
        unused.wait_for_end()
        shield.wait_for(lambda: shield.connections == 1)
        shield.sweep(4)
        used.wait_for_end()

        assert (used.goaways, unused.goaways) == ([(1, 0)], [(0, 0)])
        shield.wait_for(lambda: shield.connections == 0)


def test_pings_keep_no_idle_connection_open(ground: Ground) -> None:
    with ground.node(limits={"keep_alive": "5s"}) as shield:
        client = ground.client()
        client.get("/a")
        for _ in range(8):
            client.connection.ping(b"12345678")
            with contextlib.suppress(OSError):
                client.flush()
            shield.sweep()
        client.wait_for_end()

        shield.wait_for(lambda: shield.connections == 0)


def test_a_connection_under_way_does_not_end_for_its_age(h2: H2Client, ground: Ground) -> None:
    gate = _gated(ground)
    stream = h2.ask("/large")
    h2.read_body(stream, 999_000)
    gate.reached()

    ground.shield.sweep(1000)
    gate.open()

    assert bytes(h2.finish(stream).body) == LARGE[:]


# the door


def test_an_idle_connection_gives_way_to_another(ground: Ground) -> None:
    with ground.node(limits={"connections": 1, "connections_per_address": 0}) as shield:
        first = ground.client()
        first.get("/a")
        shield.sweep(2)

        second = ground.client()

        assert second.get("/a").status == 200
        first.wait_for_end()
        assert shield.node.front.door.gave_way == 1


def test_a_connection_that_is_busy_gives_no_way(ground: Ground) -> None:
    with ground.node(limits={"connections": 1, "connections_per_address": 0}) as shield:
        gate = _gated(ground)
        first = ground.client()
        stream = first.ask("/large")
        gate.reached()
        shield.sweep(2)

        with socket.create_connection(("127.0.0.1", ground.port), 10.0) as raw:
            assert raw.recv(1) == b""
        gate.open()

        assert bytes(first.finish(stream).body) == LARGE[:]
        assert shield.node.front.door.turned_away == 1


def test_connections_count_at_the_door_until_they_are_gone(ground: Ground) -> None:
    with ground.node(limits={"connections_per_address": 2}) as shield:
        for _ in range(5):
            client = ground.client()
            client.get("/a")
            client.socket.close()
            shield.wait_for(lambda: shield.connections == 0)

        assert shield.node.front.door._places == {}


# settings and certificates that change


def test_a_new_certificate_is_shown_to_http_2_clients(ground: Ground, tmp_path: Path) -> None:
    with ground.node() as shield:
        before = ground.client()
        chain, key = ground.authority.write_server(tmp_path, "localhost", "new.example")
        assert (chain, key) == (ground.chain, ground.key)
        context = listener_tls(shield._settings)
        assert context is not None
        shield.call(lambda: ground.greeter.use(context))
        after = ground.client()

        assert [client.get("/a").status for client in (before, after)] == [200, 200]
        names = [_names(client) for client in (before, after)]
        assert names == [{"localhost"}, {"localhost", "new.example"}]
        assert after.socket.selected_alpn_protocol() == "h2"  # type: ignore[attr-defined]


def _names(client: H2Client) -> set[str]:
    assert isinstance(client.socket, ssl.SSLSocket)
    certificate: Any = client.socket.getpeercert()
    return {name for kind, name in certificate["subjectAltName"] if kind == "DNS"}


def test_a_request_that_begins_while_the_client_is_refused_is_none_of_the_last(h2: H2Client, node: Shield) -> None:
    node.shut_down()
    with contextlib.suppress(OSError):
        h2.socket.sendall(frame(HEADERS, GET, stream=1, flags=END_HEADERS | END_STREAM))
    h2.wait_for_end()

    assert h2.goaways == [(0, 0)]
