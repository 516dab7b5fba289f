"""Clients that go too far over HTTP/2: each ends its own connection, is counted, and costs others nothing."""

from __future__ import annotations

import socket

import pytest

from tests.doubles.faults import at_body
from tests.doubles.steps import Stall, Wait
from tests.edge.http2.conftest import Ground
from tests.edge.http2.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from tests.edge.hypercorn_front import H2Client
from tests.node import FakeClock, Shield

CALM = 11  # ENHANCE_YOUR_CALM
GET = b"\x82\x87\x84\x41\x01x"  # GET, https, /, a Host of x


def _ends(h2: H2Client, ground: Ground, word: str, code: int) -> None:
    """The connection has ended for this reason, and another client is served."""
    h2.wait_for_end()
    assert [said for _, said in h2.goaways] == [code]
    ground.shield.wait_for(lambda: ground.shield.connections == 0)
    assert ground.statistics.cut_off == {word: 1}
    assert ground.client().get("/a").status == 200


def test_rapid_reset(h2: H2Client, ground: Ground) -> None:
    asked = b"".join(
        frame(HEADERS, GET, stream=2 * n + 1, flags=END_HEADERS | END_STREAM)
        + frame(RST_STREAM, b"\x00\x00\x00\x08", stream=2 * n + 1)
        for n in range(1000)
    )

    h2.socket.sendall(asked)

    _ends(h2, ground, "missteps", CALM)
    assert ground.statistics.taken_back <= 300
    assert len(ground.origin.requests) < 50


def test_requests_that_are_taken_back_one_by_one(h2: H2Client, ground: Ground) -> None:
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            stream = h2.ask("/endless")
            while not h2.streams[stream].status:
                h2.step()
            h2.cancel(stream)

    _ends(h2, ground, "missteps", CALM)
    ground.origin.wait_for(lambda: ground.origin.requests_active == 0)


def test_a_cdn_whose_clients_often_leave_is_no_abuse(h2: H2Client, ground: Ground) -> None:
    ground.origin.spoils("/large", at_body(0, Stall()))
    for _ in range(300):
        h2.cancel(h2.ask("/large"))
        h2.get("/a")

    assert ground.statistics.cut_off == {}


@pytest.mark.parametrize(
    ("flood", "times"),
    [
        (frame(PING, b"12345678"), 3000),
        (frame(SETTINGS), 3000),
        (frame(SETTINGS, b"\x00\x04\x00\x00\xff\xff" * 2000), 100),
        (frame(PRIORITY, b"\x00\x00\x00\x00\x10", stream=1), 3000),
        (frame(WINDOW_UPDATE, b"\x00\x00\x00\x01"), 3000),
        (frame(RST_STREAM, b"\x00\x00\x00\x08", stream=1), 3000),
        (frame(DATA, stream=3), 3000),
        (frame(0x77, b"unknown"), 3000),
    ],
    ids=["ping", "settings", "long settings", "priority", "window", "reset", "empty data", "unknown"],
)
def test_floods(h2: H2Client, ground: Ground, flood: bytes, times: int) -> None:
    h2.get("/a")
    h2.ask("/a", method="GET", ends=False)

    h2.socket.sendall(flood * times)

    _ends(h2, ground, "flood", CALM)


def test_windows_of_a_byte(h2: H2Client, ground: Ground) -> None:
    h2.get("/large")
    h2.connection.update_settings({4: 1})  # INITIAL_WINDOW_SIZE
    h2.flush()
    h2.get("/a", method="HEAD")  # it is known
    h2.reading = False
    stream = h2.ask("/large")
    h2.read_body(stream, 1)

    h2.socket.sendall(frame(WINDOW_UPDATE, b"\x00\x00\x00\x01", stream=stream) * 3000)

    _ends(h2, ground, "flood", CALM)


def test_pings_and_windows_beside_answers_are_no_flood(h2: H2Client, ground: Ground) -> None:
    for _ in range(100):
        h2.socket.sendall(frame(PING, b"12345678") * 9)
        h2.get("/a")
    for _ in range(20):
        h2.get("/large")  # a WINDOW_UPDATE or two for each frame

    assert ground.statistics.cut_off == {}


def test_time_gives_a_little_back(h2: H2Client, ground: Ground, clock: FakeClock) -> None:
    for _ in range(10):
        h2.socket.sendall(frame(PING, b"12345678") * 1000)
        h2.get("/a")
        clock.advance(50.0)

    assert ground.statistics.cut_off == {}


# header blocks


def test_a_continuation_flood(h2: H2Client, ground: Ground) -> None:
    h2.socket.sendall(frame(HEADERS, GET, stream=1) + frame(CONTINUATION, stream=1) * 5000)

    h2.wait_for_end()

    ground.shield.wait_for(lambda: ground.shield.connections == 0)
    assert sum(ground.statistics.cut_off.values()) == 1
    assert ground.client().get("/a").status == 200


def test_a_header_block_without_end(h2: H2Client, ground: Ground) -> None:
    line = b"\x00\x01x" + b"\x7f\xe1\x7e" + b"a" * 16_352  # a field of 16,352 bytes
    h2.socket.sendall(frame(HEADERS, GET, stream=1) + frame(CONTINUATION, line[:16_384], stream=1) * 10)

    _ends(h2, ground, "head-too-large", CALM)


def test_a_small_block_that_unfolds_into_a_large_list(h2: H2Client, ground: Ground) -> None:
    bomb = b"\x40\x01x" + b"\x7f\x81\x1e" + b"a" * 3968  # kept in the table
    h2.socket.sendall(frame(HEADERS, GET + bomb + b"\xbe" * 4000, stream=1, flags=END_HEADERS | END_STREAM))

    _ends(h2, ground, "head-too-large", CALM)


def test_a_block_that_cannot_be_decoded(h2: H2Client, ground: Ground) -> None:
    h2.socket.sendall(frame(HEADERS, b"\xff\xff\xff\xff\xff\xff", stream=1, flags=END_HEADERS | END_STREAM))

    _ends(h2, ground, "protocol-error", 1)


def test_a_frame_that_is_too_large_is_not_waited_for(h2: H2Client, ground: Ground) -> None:
    h2.socket.sendall(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01")

    _ends(h2, ground, "frame-too-large", 6)


@pytest.mark.parametrize(
    "wrong",
    [
        frame(HEADERS, GET, stream=2, flags=END_HEADERS | END_STREAM),
        frame(HEADERS, GET, stream=0, flags=END_HEADERS | END_STREAM),
        frame(DATA, b"x", stream=1),
        frame(PING, b"1234567"),
        frame(SETTINGS, b"12345"),
        frame(CONTINUATION, GET, stream=1, flags=END_HEADERS),
        frame(HEADERS, GET, stream=1) + frame(PING, b"12345678"),
        frame(HEADERS, GET, stream=1) + frame(GOAWAY, bytes(8)),
        frame(WINDOW_UPDATE, bytes(4)),
        frame(WINDOW_UPDATE, b"\x7f\xff\xff\xff"),
        frame(PUSH_PROMISE, b"\x00\x00\x00\x02" + GET, stream=1, flags=END_HEADERS),
        frame(RST_STREAM, bytes(4), stream=0),
    ],
)
def test_what_breaks_the_protocol_ends_the_connection(h2: H2Client, ground: Ground, wrong: bytes) -> None:
    h2.socket.sendall(wrong)

    h2.wait_for_end()

    assert len(h2.goaways) == 1
    ground.shield.wait_for(lambda: ground.shield.connections == 0)
    assert ground.statistics.cut_off == {"protocol-error": 1}
    assert ground.client().get("/a").status == 200


def test_another_protocol_behind_alpn(ground: Ground, node: Shield) -> None:
    context = ground.authority.client()
    context.set_alpn_protocols(["h2"])

    with context.wrap_socket(
        socket.create_connection(("127.0.0.1", ground.port)), server_hostname="localhost"
    ) as raw:
        raw.settimeout(10.0)
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while raw.recv(1000):
            pass

    node.wait_for(lambda: node.connections == 0)
    assert ground.statistics.cut_off == {"no-preface": 1}


# streams


def test_streams_beyond_the_limit_may_be_sent_again(ground: Ground) -> None:
    with ground.node(limits={"streams": 3}):
        client = ground.client()
        gate = ground.origin.gate()
        ground.origin.spoils("/large", at_body(1000, Wait(gate)))
        streams = [client.ask("/large") for _ in range(3)]
        gate.reached()

        client.socket.sendall(frame(HEADERS, GET, stream=101, flags=END_HEADERS | END_STREAM))
        ground.shield.wait_for(lambda: ground.shield.node.front.http2.refused == 1)
        gate.open()
        answers = [client.finish(stream) for stream in streams]

        assert {answer.status for answer in answers} == {200}
        assert ground.statistics.cut_off == {}


def test_a_client_that_ignores_the_limit_is_cut_off(ground: Ground) -> None:
    with ground.node(limits={"streams": 3}):
        client = ground.client()
        client.socket.sendall(b"".join(frame(HEADERS, GET, stream=2 * n + 1, flags=END_HEADERS) for n in range(300)))

        client.wait_for_end()

        assert client.goaways
        assert sum(ground.statistics.cut_off.values()) == 1


def test_a_window_that_overflows_ends_its_stream(h2: H2Client, ground: Ground) -> None:
    h2.reading = False
    stream = h2.ask("/endless")
    h2.read_body(stream, 65_535)

    h2.socket.sendall(frame(WINDOW_UPDATE, b"\x7f\xff\xff\xff", stream=stream) * 2)

    h2.connection.increment_flow_control_window(1 << 20)
    assert h2.finish(stream).reset == 3  # FLOW_CONTROL_ERROR
    assert h2.get("/a").status == 200
    ground.origin.wait_for(lambda: ground.origin.requests_active == 0)


# time, as the worker counts it


def test_a_head_that_does_not_come_to_its_end(ground: Ground) -> None:
    with ground.node(limits={"head": "2s"}) as shield:
        client = ground.client()
        client.get("/a")
        client.socket.sendall(frame(HEADERS, GET, stream=3))
        shield.wait_for(lambda: any(each._frames.open for each in shield._state.connections))

        for _ in range(4):
            client.socket.sendall(frame(CONTINUATION, stream=3))
            shield.sweep()

        client.wait_for_end()
        assert ground.statistics.cut_off == {"head-too-slow": 1}


def test_a_body_that_does_not_come_to_its_end(ground: Ground) -> None:
    with ground.node(limits={"head": "2s"}) as shield:
        client = ground.client()
        stream = client.ask("/a", ends=False)
        shield.wait_for(lambda: any(each._streams for each in shield._state.connections))

        shield.sweep(4)

        assert client.finish(stream).status == 408
        assert client.get("/a").status == 200


def test_a_client_that_opens_no_window_loses_its_stream(ground: Ground) -> None:
    with ground.node(limits={"send": "2s"}) as shield:
        client = ground.client()
        client.reading = False
        slow = client.ask("/large")
        client.read_body(slow, 65_535)
        shield.wait_for(lambda: shield.node.front.http2.under_way)

        shield.sweep(4)

        assert client.finish(slow).reset == 8  # CANCEL
        assert client.get("/a", method="HEAD").status == 200
        line = shield.log()[0]
        assert (line["target"], line["status"], line["broken"]) == ("/large", 499, True)


def test_a_client_that_opens_windows_slowly_keeps_its_stream(ground: Ground) -> None:
    with ground.node(limits={"send": "2s", "send_bytes": 1000}) as shield:
        client = ground.client()
        client.reading = False
        slow = client.ask("/large")
        size = 65_535
        client.read_body(slow, size)
        for _ in range(6):
            shield.sweep(2)
            size += 1000
            client.connection.increment_flow_control_window(1000)
            client.connection.increment_flow_control_window(1000, slow)
            client.flush()
            client.read_body(slow, size)

        assert client.streams[slow].reset is None


def test_a_client_that_reads_nothing_loses_its_connection(ground: Ground) -> None:
    with ground.node(limits={"send": "2s"}) as shield:
        client = ground.client(receive_buffer=4096)
        client.connection.increment_flow_control_window(2**30)
        client.connection.update_settings({4: 2**30})
        client.flush()
        client.ask("/endless")
        shield.wait_for(lambda: any(not each.ready for each in shield._state.connections))

        for _ in range(60):
            if shield.connections:
                shield.sweep()

        shield.wait_for(lambda: shield.connections == 0)
        ground.origin.wait_for(lambda: ground.origin.requests_active == 0)
