"""Bodies and their ends."""

from __future__ import annotations

import pytest

from shield.errors import Fault
from tests.origin.bench import CHUNKED, OK5, Bench, taken


def test_a_known_length_passes_on_the_very_bytes_that_were_read(bench: Bench) -> None:
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
