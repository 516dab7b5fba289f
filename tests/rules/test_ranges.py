"""Range and Content-Range, RFC 9110 §14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.ranges import (
    MAX_RANGES,
    UNSATISFIABLE,
    ByteRange,
    Span,
    Unsatisfiable,
    content_range,
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
        (b"bytes=10-19", Span(10, 20)),
        (b"bytes=0-", Span(0, 100)),
        (b"bytes=100-", UNSATISFIABLE),
        (b"bytes=100-,-0", UNSATISFIABLE),
        (b"bytes=0-9,200-", Span(0, 10)),  # only one of them has bytes
        (b"bytes=10-19,0-9", Span(0, 20)),
        (b"bytes=0-50,10-20,-60", Span(0, 100)),
        (b"bytes=0-9,11-19", None),
        (b"items=0-9", None),
    ],
)
def test_one_span_416_or_the_whole_is_chosen(value: bytes, choice: Span | Unsatisfiable | None) -> None:
    assert select(value, 100) == choice


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


NUMBERS = st.one_of(st.none(), st.integers(0, 300))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5), st.integers(0, 250))
def test_a_chosen_span_has_exactly_the_bytes_asked_for(
    asked: list[tuple[int | None, int | None]], length: int
) -> None:
    def text(number: int | None) -> str:
        return "" if number is None else str(number)

    value = ("bytes=" + ",".join(f"{text(first)}-{text(last)}" for first, last in asked)).encode()
    choice = select(value, length)

    wanted: set[int] = set()
    for first, last in asked:
        if first is None:
            wanted |= set(range(max(0, length - (last or 0)), length))
        else:
            wanted |= set(range(first, length if last is None else min(last + 1, length)))
    if isinstance(choice, Span):
        assert set(range(choice.start, choice.stop)) == wanted
        assert parse_content_range(content_range(choice, length)) == (choice.start, choice.stop - 1, length)
    elif choice is UNSATISFIABLE:
        assert not wanted


@given(
    st.one_of(st.binary(max_size=40), st.binary(max_size=30).map(lambda tail: b"bytes=" + tail)), st.integers(0, 9)
)
def test_any_bytes_give_a_span_inside_or_none(value: bytes, length: int) -> None:
    choice = select(value, length)

    assert not isinstance(choice, Span) or 0 <= choice.start < choice.stop <= length
    assert parse_content_range(value) is None or value.lower().startswith(b"bytes ")
