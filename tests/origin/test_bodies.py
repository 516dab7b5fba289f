"""Bodies and their ends."""

from __future__ import annotations

import pytest

from shield.errors import Fault
from tests.origin.bench import CHUNKED, OK5, Bench, taken


def test_a_known_length_passes_on_the_very_bytes_that_were_read() -> None:
    bench = Bench()
    response = bench.ask()
    bench.says(b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n")
    taker = taken(response)
    segment = bytes(1000)

    bench.says(segment, segment, segment)

    assert all(piece is segment for piece in taker.pieces)
    assert taker.ends == [None]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_answers_without_a_body_end_with_their_head(bench: Bench, head: bytes) -> None:
    response = bench.ask()

    bench.says(head)

    assert taken(response).ends == [None]
    assert bench.reusable


def test_the_answer_to_head_states_a_length_and_has_no_body(bench: Bench) -> None:
    response = bench.ask(b"HEAD")

    bench.says(OK5)

    assert response.head.length == 5
    assert taken(response).ends == [None]
    assert bench.reusable


def test_a_body_sent_in_answer_to_head_ends_the_connection(bench: Bench) -> None:
    response = bench.ask(b"HEAD")

    bench.says(OK5 + b"hello")

    assert (taken(response).body, response.error) == (b"", None)
    assert bench.connection.closed


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"5 x\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"\r\nhello\r\n",
        b"5\nhello\n0\n\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"fffffffffffffffff\r\nhello",
        b"5\r\nhello\r\n0\r\ncontent-length: 7\r\n\r\n",
        b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    ],
)
def test_malformed_chunks_end_the_body_with_an_error(bench: Bench, chunks: bytes) -> None:
    response = bench.ask()
    taker = taken(response)

    bench.says(CHUNKED, chunks)

    assert [end and end.fault for end in taker.ends] == [Fault.MALFORMED]
    assert bench.connection.closed


@pytest.mark.parametrize("flood", [b"5;" + b"a" * 70_000, b"0\r\n" + b"a: b\r\n" * 20_000])
def test_endless_chunk_extensions_and_trailers_are_refused(bench: Bench, flood: bytes) -> None:
    response = bench.ask()
    taker = taken(response)

    bench.says(CHUNKED, flood)

    assert [end and end.fault for end in taker.ends] == [Fault.MALFORMED]


def test_trailers_are_no_fields(bench: Bench) -> None:
    response = bench.ask()

    bench.says(CHUNKED, b"0\r\ncache-control: max-age=60\r\n\r\n")

    assert response.head.fields == ((b"transfer-encoding", b"chunked"),)
    assert taken(response).ends == [None]


# bodies that break off, as their origin's record knows them


def test_a_body_that_breaks_off_is_told_to_the_owner_and_a_whole_one_by_its_time(bench: Bench) -> None:
    bench.ask()
    bench.loop.passes(1)
    bench.says(OK5, b"hello")
    whole_at = bench.whole_at
    bench.ask()
    bench.loop.passes(1)
    bench.says(OK5, b"hell")
    bench.ends()

    assert (bench.breaks, whole_at) == ([Fault.SHORT_BODY], 1001.0)
    assert bench.whole_at == whole_at


@pytest.mark.parametrize(
    "wire",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 503 Slow\r\ncontent-length: 5\r\n\r\nhell"],
)
def test_what_fails_before_the_body_or_is_an_error_anyway_breaks_no_body(bench: Bench, wire: bytes) -> None:
    bench.ask()
    bench.says(wire)
    bench.ends()

    assert bench.breaks == []


def test_one_whose_reader_has_left_is_nobody_s_fault(bench: Bench) -> None:
    response = bench.ask()
    bench.says(OK5, b"he")
    response.close()
    bench.ends()

    assert bench.breaks == []


@pytest.mark.parametrize(("seconds", "is_resumed", "held"), [(6, True, True), (6, False, True), (4, True, False)])
def test_after_a_long_pause_of_ours_it_is_not_the_origin_s_fault(
    bench: Bench, seconds: float, is_resumed: bool, held: bool
) -> None:
    response = bench.ask()
    bench.says(OK5, b"he")
    taken(response)
    response.pause()
    bench.loop.passes(seconds)
    if is_resumed:
        response.resume()
    bench.ends()

    assert bench.breaks == [Fault.SHORT_BODY]
    assert bench.was_held is held


def test_a_pause_in_one_body_is_no_excuse_for_the_next(bench: Bench) -> None:
    response = bench.ask()
    bench.says(OK5, b"he")
    taken(response)
    response.pause()
    bench.loop.passes(6)
    response.resume()
    bench.says(b"llo")
    bench.ask()
    bench.says(OK5, b"he")
    bench.ends()

    assert (bench.breaks, bench.was_held) == ([Fault.SHORT_BODY], False)
