"""Range and Content-Range, RFC 9110 §14."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.ranges import (
    MAX_RANGES,
    NEAR,
    UNSATISFIABLE,
    ByteRange,
    Span,
    Unsatisfiable,
    content_range,
    first_bytes,
    parse_content_range,
    parse_range,
    select,
)


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        (b"bytes=0-499", (ByteRange(0, 499),)),
        (b"bytes=500-", (ByteRange(500, None),)),
        (b"bytes=-500", (ByteRange(None, 500),)),
        (b"bytes=-0", (ByteRange(None, 0),)),
        (b"Bytes=0-0", (ByteRange(0, 0),)),  # §14.1: units in any case
        (b"bytes= 0-0 ,\t4-5,,", (ByteRange(0, 0), ByteRange(4, 5))),
        (b"bytes=000-0001", (ByteRange(0, 1),)),
        (b"bytes=0-" + b"9" * 40, (ByteRange(0, 2**63 - 1),)),
    ],
)
def test_ranges_are_read_as_the_wire_says_them(value: bytes, ranges: tuple[ByteRange, ...]) -> None:
    assert parse_range(value) == ranges


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"bytes",
        b"bytes=",
        b"bytes=,",
        b"bytes=-",
        b"bytes=a-b",
        b"bytes=5-4",
        b"bytes=0-1,5-4",
        b"bytes=0-1 2-3",
        b"bytes=0 - 1",
        b"bytes =0-1",
        b"bytes=--1",
        b"bytes=+1-2",
        b"bytes=0x1-2",
        b"bytes=1",
        b"items=0-1",
        b"bytes=" + b",".join([b"0-0"] * (MAX_RANGES + 1)),
        b"bytes=0-" + b"1" * 5000,
    ],
)
def test_what_is_no_range_is_ignored(value: bytes) -> None:
    assert parse_range(value) is None
    assert select(value, 100) is None


@pytest.mark.parametrize(
    ("byte_range", "length", "span"),
    [
        (ByteRange(0, 499), 10000, Span(0, 500)),
        (ByteRange(9500, None), 10000, Span(9500, 10000)),
        (ByteRange(0, 499), 100, Span(0, 100)),
        (ByteRange(99, 99), 100, Span(99, 100)),
        (ByteRange(100, None), 100, None),
        (ByteRange(None, 500), 10000, Span(9500, 10000)),
        (ByteRange(None, 500), 100, Span(0, 100)),
        (ByteRange(None, 0), 100, None),
        (ByteRange(None, 5), 0, None),
        (ByteRange(0, None), 0, None),
    ],
)
def test_a_range_resolves_to_the_bytes_there_are(byte_range: ByteRange, length: int, span: Span | None) -> None:
    assert byte_range.resolve(length) == span


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        (b"bytes=10-19", (Span(10, 20),)),
        (b"bytes=0-", (Span(0, 1000),)),
        (b"bytes=1000-", UNSATISFIABLE),
        (b"bytes=-0", UNSATISFIABLE),
        (b"bytes=1000-,-0", UNSATISFIABLE),
        (b"items=0-9", None),
        # only one of them has bytes
        (b"bytes=0-9,2000-", (Span(0, 10),)),
        # apart: in the order asked
        (b"bytes=0-9,500-509,-10", (Span(0, 10), Span(500, 510), Span(990, 1000))),
        (b"bytes=-10,0-9,500-509", (Span(990, 1000), Span(0, 10), Span(500, 510))),
        (b"bytes=500-509,2000-,0-9", (Span(500, 510), Span(0, 10))),
        # touching, overlapping, near: one, at the place of the first of them
        (b"bytes=10-19,0-9", (Span(0, 20),)),
        (b"bytes=0-50,10-20,-60", (Span(0, 51), Span(940, 1000))),
        (b"bytes=500-509,0-9,515-519,11-19", (Span(500, 520), Span(0, 20))),
        (b"bytes=500-509,0-9,510-519", (Span(500, 520), Span(0, 10))),
        (b"bytes=0-9,%d-99" % (9 + NEAR), (Span(0, 100),)),
        (b"bytes=0-9,%d-99" % (10 + NEAR), (Span(0, 10), Span(10 + NEAR, 100))),
        (b"bytes=0-9,500-509,0-600", (Span(0, 601),)),
        # more than there is, or more overlaps than an honest client needs
        (b"bytes=0-999,0-0", None),
        (b"bytes=0-,0-", None),
        (b"bytes=-600,0-599", None),
        (b"bytes=0-9,0-9,0-9", None),
        (b"bytes=0-9,5-14,10-19,15-24", None),
        (b"bytes=0-9,5-14,10-19", (Span(0, 20),)),
    ],
)
def test_spans_416_or_the_whole_are_chosen(value: bytes, choice: tuple[Span, ...] | Unsatisfiable | None) -> None:
    assert select(value, 1000) == choice


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        (b"bytes=0-", UNSATISFIABLE),
        (b"bytes=-0", UNSATISFIABLE),
        (b"bytes=-5", None),  # the last bytes of nothing are all of it
        (b"bytes=0-0,-5", None),
    ],
)
def test_an_empty_body_has_no_bytes_to_begin_at_but_an_end(value: bytes, choice: Unsatisfiable | None) -> None:
    assert select(value, 0) == choice


@pytest.mark.parametrize(
    ("value", "span"),
    [
        (b"bytes=5-9", Span(5, 10)),
        (b"bytes=5-", None),
        (b"bytes=-5", None),
        (b"bytes=0-0,5-9", None),
        (b"lines=5-9", None),
    ],
)
def test_bytes_known_without_the_length_are_those_of_one_range_with_both_ends(
    value: bytes, span: Span | None
) -> None:
    assert first_bytes(value) == span


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        (b"bytes 42-1233/1234", (42, 1233, 1234)),
        (b"bytes 42-1233/*", (42, 1233, None)),
        (b"BYTES 0-0/1", (0, 0, 1)),
        (b"bytes */1234", None),
        (b"bytes 0-9/9", None),
        (b"bytes 5-4/10", None),
        (b"bytes 0-9", None),
        (b"bytes=0-9/10", None),
        (b"bytes  0-9/10", None),
        (b"bytes 0-9/10, bytes 0-9/10", None),
        (b"items 0-9/10", None),
        (b"bytes 0-9/" + b"9" * 5000, None),
        (b"", None),
    ],
)
def test_content_range_is_read_strictly(value: bytes, parsed: tuple[int, int, int | None] | None) -> None:
    assert parse_content_range(value) == parsed


NUMBERS = st.one_of(st.none(), st.integers(0, 1200))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6), st.integers(0, 1000))
def test_chosen_spans_have_the_bytes_asked_for_once_and_little_else(
    asked: list[tuple[int | None, int | None]], length: int
) -> None:
    def text(number: int | None) -> str:
        return "" if number is None else str(number)

    value = ("bytes=" + ",".join(f"{text(first)}-{text(last)}" for first, last in asked)).encode()
    choice = select(value, length)

    wanted: list[range] = []
    for first, last in asked:
        if first is None:
            wanted.append(range(max(0, length - (last or 0)), length))
        else:
            wanted.append(range(first, length if last is None else min(last + 1, length)))
    bytes_wanted = {place for one in wanted for place in one}
    if choice is UNSATISFIABLE:
        assert not bytes_wanted
    if not isinstance(choice, tuple):
        return
    sent = [place for span in choice for place in range(span.start, span.stop)]
    assert len(sent) == len(set(sent))
    assert bytes_wanted <= set(sent) <= set(range(length))
    apart = sorted(choice, key=lambda span: span.start)
    assert all(after.start - span.stop >= NEAR for span, after in pairwise(apart))
    # What wasn't asked for lies between two that were, and is less than another part's head.
    extra = sorted(set(sent) - bytes_wanted)
    for _, run in groupby(enumerate(extra), key=lambda item: item[1] - item[0]):
        places = [place for _, place in run]
        assert len(places) < NEAR and {places[0] - 1, places[-1] + 1} <= bytes_wanted
    # In the order asked, by the first of those that became one.
    firsts = [min(at for at, one in enumerate(wanted) if one and s.start <= one[0] < s.stop) for s in choice]
    assert firsts == sorted(firsts)
    for span in choice:
        assert parse_content_range(content_range(span, length)) == (span.start, span.stop - 1, length)


@given(
    st.one_of(st.binary(max_size=40), st.binary(max_size=30).map(lambda tail: b"bytes=" + tail)), st.integers(0, 9)
)
def test_any_bytes_give_spans_inside_or_none(value: bytes, length: int) -> None:
    choice = select(value, length)

    assert not isinstance(choice, tuple) or all(0 <= span.start < span.stop <= length for span in choice)
    assert parse_content_range(value) is None or value.lower().startswith(b"bytes ")
