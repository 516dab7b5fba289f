"""The chunked coding: what is refused, and that llhttp reads what we accept as we do."""

from __future__ import annotations

import re

import pytest
from httptools import HttpParserError, HttpResponseParser
from hypothesis import example, given
from hypothesis import strategies as st

from shield.errors import Fault
from shield.origin.chunks import LONGEST_LINE, ChunkReader
from shield.origin.head import MessageError
from shield.origin.response import Response
from tests.origin.bench import Bench, cut
from tests.origin.leg import Taker

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Reading:
    """One reader and what it delivered."""

    def __init__(self, max_trailers: int = 1000) -> None:
        response = Response(Bench().connection, 1 << 30)
        self.taker = Taker()
        response.start(self.taker)
        self.reader = ChunkReader(response, max_trailers)
        self.refused = False

    def feed(self, *segments: bytes) -> Reading:
        for segment in segments:
            if segment and not self.refused and not self.reader.complete:
                try:
                    self.reader.feed(segment)
                except MessageError as error:
                    assert error.fault is Fault.MALFORMED
                    self.refused = True
        return self


class Llhttp:
    """The same by llhttp: `complete` and the body, or `refused`."""

    def __init__(self, wire: bytes) -> None:
        self.body = b""
        self.complete = self.refused = False
        parser = HttpResponseParser(self)
        try:
            parser.feed_data(HEAD + wire)
        except HttpParserError:
            self.refused = not self.complete

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


# What llhttp refuses and we take: blanks behind a size or before a trailer's colon, and leading zeros without end.
PADDED = re.compile(rb"[0-9A-Fa-f][\t ]+[;\r]|0{10,}[0-9A-Fa-f]|[\t ]:")

framing = st.lists(
    st.one_of(
        st.sampled_from([b"\r\n", b"\n", b"\r", b"0", b"1", b"5", b"a", b"F", b"0\r\n\r\n", b"5\r\nhello\r\n", b"g"]),
        st.sampled_from([b";", b";x=y", b" ", b"\t", b"x: y\r\n", b":", b"\x00", b"1\r\nz\r\n", b"+", b"-", b"0x"]),
        st.binary(max_size=3),
    ),
    max_size=12,
).map(b"".join)


@given(framing, st.lists(st.integers(0, 100), max_size=8))
@example(b"5\r\nhello\r\n0\r\n\r\n", [])
@example(b"5\r\nhello\r\n0\r\nx: y\r\n\r\n", [3])
def test_what_we_accept_llhttp_reads_the_same_and_cuts_change_nothing(wire: bytes, places: list[int]) -> None:
    whole = Reading().feed(wire)
    pieces = Reading().feed(*cut(wire, places))

    assert (pieces.refused, pieces.reader.complete) == (whole.refused, whole.reader.complete)
    assert pieces.taker.body == whole.taker.body
    if PADDED.search(wire):
        return
    oracle = Llhttp(wire)
    if whole.reader.complete:
        assert (oracle.complete, oracle.body) == (True, whole.taker.body)
    if oracle.refused:
        assert not whole.reader.complete


@pytest.mark.parametrize(
    "wire",
    [
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5 ;a=b\r\nhello\r\n0 \r\n\r\n",
        b"5\t \t; a = b \r\nhello\r\n0   ;x\r\n\r\n",
        b"0000000000000000000000000005\r\nhello\r\n" + b"0" * 300 + b"\r\n\r\n",
        b"5         \r\nhello\r\n0\r\nx : y\r\n\r\n",
    ],
)
def test_blanks_and_zeros_that_pad_a_size_are_passed_over(wire: bytes) -> None:
    for segments in ([wire], cut(wire, list(range(len(wire))))):
        reading = Reading().feed(*segments)

        assert reading.taker.body == b"hello"
        assert (reading.reader.complete, reading.reader.surplus) == (True, False)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.binary(max_size=3), st.lists(st.integers(0, 400)))
def test_a_body_comes_out_and_every_byte_after_it_is_noticed(
    chunks: list[bytes], surplus: bytes, places: list[int]
) -> None:
    wire = b"".join([b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]) + b"0\r\n\r\n"
    before = cut(wire, places)

    reading = Reading().feed(*before[:-1], before[-1] + surplus)

    assert reading.taker.body == b"".join(chunks)
    assert reading.reader.complete
    assert reading.reader.surplus is bool(surplus)


@pytest.mark.parametrize(
    "wire",
    [
        b"g",
        b"\r\n",
        b"-5\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b" 5\r\n",
        b"5 5\r\n",
        b"5 X",
        b"5\t\x00",
        b"5 \n",
        b"00 00\r\n",
        b"5_0\r\n",
        b"5\n",
        b"5\rX",
        b"5;a\nb",
        b"5;\x00",
        b"\xb2\r\n",
        b"8000000000000000\r\n",
        b"00000000000000000500000000000000000",
        b"5\r\nhelloX",
        b"5\r\nhello\n",
        b"5\r\nhello\rX",
        b"0\r\nx\r\n",
        b"0\r\nx y: z",
        b"0\r\n folded: x",
        b"0\r\n: x",
        b"0\r\nx: \x00",
        b"0\r\nx: y\n",
        b"0\r\n\n",
        b"0\r\nContent-Length: 5\r\n",
        b"0\r\nTransfer-encoding: chunked\r\n",
    ],
)
def test_malformed_framing_is_refused_as_soon_as_it_can_be_told(wire: bytes) -> None:
    assert Reading().feed(wire).refused
    assert Reading().feed(*cut(wire, list(range(len(wire))))).refused


@pytest.mark.parametrize("wire", [b"5;" + b"a" * LONGEST_LINE, b"0\r\nx: " + b"a" * LONGEST_LINE])
def test_a_line_without_end_is_refused(wire: bytes) -> None:
    assert Reading(max_trailers=1 << 30).feed(wire).refused


def test_trailers_are_bounded_as_a_whole() -> None:
    line = b"x: y\r\n"

    assert not Reading(max_trailers=60).feed(b"0\r\n" + line * 10).refused
    assert Reading(max_trailers=60).feed(b"0\r\n" + line * 11).refused


def test_a_segment_within_a_chunk_is_passed_on_as_it_is() -> None:
    segment = bytes(1000)

    reading = Reading().feed(b"2000\r\n", segment, segment)

    assert all(piece is segment for piece in reading.taker.pieces)


def test_nothing_is_kept_for_a_sink_that_closed_within_the_segment() -> None:
    bench = Bench()
    response = bench.ask()

    class Leaver(Taker):
        def on_data(self, data: bytes) -> None:
            super().on_data(data)
            response.close()

    leaver = Leaver()
    response.start(leaver)
    bench.says(HEAD + b"1\r\na\r\n" * 10)

    assert (leaver.body, bench.released) == (b"a", 1)
    assert not response._buffer
