"""Heads whose lines end by LF alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.origin.line_ends import with_line_ends
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Bytes
from tests.node import FakeClock, Shield, settings_of

LINES = st.lists(st.sampled_from([b"A: b", b"Content-Length: 5", b"C: d", b"E: \t f"]), max_size=5)
ENDS = st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=20, max_size=20)
HEAD = b"HTTP/1.1 200 OK\nCache-Control: max-age=60\nContent-Length: 5\n\n"


@given(st.lists(LINES, max_size=2), LINES, ENDS, st.sampled_from([b"", b"\n\nbody\n", b"a\r\nb\n"]))
def test_lines_end_as_if_the_origin_had_sent_both(
    interims: list[list[bytes]], final: list[bytes], ends: list[bytes], body: bytes
) -> None:
    heads = [[b"HTTP/1.1 103 Early Hints", *lines, b""] for lines in interims]
    lines = [line for head in (*heads, [b"HTTP/1.1 200 OK", *final, b""]) for line in head]
    sent = b"".join([line + ends[at % len(ends)] for at, line in enumerate(lines)])

    assert with_line_ends(sent + body) == b"".join([line + b"\r\n" for line in lines]) + body
    assert with_line_ends(sent[:-1]) is None


@pytest.mark.parametrize("pieces", [[HEAD + b"bytes"], [HEAD[:20], HEAD[20:-1], HEAD[-1:] + b"by", b"tes"]])
@pytest.mark.parametrize("lenient", [True, False])
def test_they_are_taken_from_origins_of_which_it_is_said(
    origin: FaultyOrigin, clock: FakeClock, pieces: list[bytes], lenient: bool
) -> None:
    origin.script("/a", *[Bytes(piece) for piece in pieces], times=None)
    settings = of_lenient(origin, lenient_heads=lenient)

    with Shield(settings, clock=clock) as shield:
        answers = [shield.get("/a"), shield.get("/a")]

    expected = [(200, b"bytes", False), (200, b"bytes", True)]
    if lenient:
        assert [(answer.status, answer.body, answer.hit) for answer in answers] == expected
        assert answers[0].get("cache-control") == "max-age=60"
    else:
        assert [answer.status for answer in answers] == [503, 503]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nA: b\rC: d\nContent-Length: 1\n\nx",
        b"HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\nx",
        b"HTTP/1.1 600 OK\nContent-Length: 1\n\nx",
        b"HTTP/1.1 099 OK\nContent-Length: 1\n\nx",
        b"HTTP/1.1 999 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\n" + b"A: " + b"b" * 70_000,
    ],
)
def test_nothing_else_is_taken_more_lightly(origin: FaultyOrigin, clock: FakeClock, answer: bytes) -> None:
    origin.answers("/a", answer)

    with Shield(of_lenient(origin), clock=clock) as shield:
        assert shield.get("/a").status == 503


def of_lenient(origin: FaultyOrigin, *, lenient_heads: bool = True) -> Any:
    fra = {"provider": "http", "endpoint": origin.url, "lenient_heads": lenient_heads}
    return settings_of({}, origins={"fra": fra})
