"""Any frames at all, on one connection after another: the node answers or ends the connection, and goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.http2.paper import connected
from tests.edge.http2.wire import END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame
from tests.node import Shield, settings_of


class Kept(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


def _head(path: str, method: str, extra: tuple[tuple[str, str], ...]) -> bytes:
    lines = [(":method", method), (":scheme", "https"), (":authority", "cdn.example"), (":path", path), *extra]
    return bytes(Encoder().encode([(name, value) for name, value in lines]))


HEADS = st.builds(
    _head,
    st.sampled_from(["/a", "/a", "/large", "/absent", "/a%zz", "a"]),
    st.sampled_from(["GET", "GET", "HEAD", "POST", "OPTIONS", "CONNECT"]),
    st.sampled_from([(), (("range", "bytes=1-2"),), (("te", "x"),), (("content-length", "3"),)]),
)
STREAMS = st.sampled_from([1, 3, 5, 7, 9, 2, 0])
LIKELY = st.one_of(
    st.builds(
        lambda head, stream, flags: frame(HEADERS, head, stream=stream, flags=flags),
        HEADS,
        STREAMS,
        st.sampled_from([END_HEADERS, END_HEADERS | END_STREAM, END_HEADERS | END_STREAM, 0]),
    ),
    st.builds(lambda stream: frame(RST_STREAM, b"\0\0\0\x08", stream=stream), STREAMS),
    st.builds(
        lambda stream, more: frame(WINDOW_UPDATE, more.to_bytes(4, "big"), stream=stream),
        STREAMS,
        st.sampled_from([1, 1000, 100_000, 2**31 - 1]),
    ),
    st.builds(
        lambda name, value: frame(SETTINGS, name.to_bytes(2, "big") + value.to_bytes(4, "big")),
        st.sampled_from([1, 3, 4, 5, 6]),
        st.sampled_from([0, 1, 4096, 16_384, 100_000, 2**31 - 1]),
    ),
)
ANY = st.builds(
    frame, st.integers(0, 12), st.binary(max_size=60), stream=STREAMS, flags=st.sampled_from([0, 1, 4, 5, 8, 0x20])
)
STEPS = st.lists(st.one_of(LIKELY, LIKELY, LIKELY, ANY, st.just("go on"), st.just("sweep")), max_size=25)


@pytest.fixture(scope="module")
def shield() -> Iterator[Shield]:
    with FaultyOrigin() as origin, Shield(settings_of({"fra": origin})) as made:
        origin.serves("/a", b"hello", lifetime=3600)
        origin.serves("/large", bytes(200_000), lifetime=3600)
        for target in ("/a", "/large"):
            made.get(target)
        yield made


@given(STEPS)
@settings(max_examples=300)
def test_a_connection_answers_or_ends(shield: Shield, steps: list[bytes | str]) -> None:
    handler = Kept()
    logging.getLogger("shield.edge").addHandler(handler)
    front = shield.node.front
    before = shield.call(lambda: len(front.http2.under_way))

    async def play() -> bytes:
        connection, transport = connected(shield)
        for step in steps:
            if step == "go on":
                transport.go_on()
            elif step == "sweep":
                connection.sweep()
            elif isinstance(step, bytes) and not transport.closed and not transport.paused:
                connection.data_received(step)
            await asyncio.sleep(0)
        transport.go_on()
        connection.connection_lost(None)
        assert connection._streams == {}
        return transport.written

    try:
        written = shield.run(play())
    finally:
        logging.getLogger("shield.edge").removeHandler(handler)

    assert handler.said == []
    assert shield.call(lambda: len(front.http2.under_way)) == before
    assert _are_frames(written)


def _are_frames(written: bytes) -> bool:
    at = 0
    while at < len(written):
        at += 9 + int.from_bytes(written[at : at + 3], "big")
    return at == len(written)
