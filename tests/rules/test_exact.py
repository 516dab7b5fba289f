"""The bytes that are fetched for a range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.exact import FREE, GRID, first_asked, first_of, is_worth, rounded, spans_of
from shield.rules.ranges import Span

MIB = 1 << 20
SLICE = 8 * MIB
FAR = 1 << 53


@pytest.mark.parametrize(
    ("value", "touched", "asked"),
    [
        (b"bytes=0-0", False, Span(0, FREE)),  # small objects come whole
        (b"bytes=0-0", True, Span(0, SLICE)),
        (b"bytes=100000-100009", False, Span(3 * GRID, 4 * GRID)),
        (b"bytes=%d-%d" % (SLICE - 1, SLICE), False, Span(SLICE - GRID, SLICE)),  # the rest once the head is here
        (b"bytes=%d-%d" % (SLICE, SLICE), False, Span(SLICE, SLICE + GRID)),
        (b"bytes=%d-%d" % (SLICE, SLICE), True, Span(SLICE, 2 * SLICE)),
        (b"bytes=%d-" % (SLICE + 5), False, Span(SLICE, 5 * SLICE)),
        (b"bytes=%d-" % (2 * SLICE - 5), False, Span(2 * SLICE - GRID, 2 * SLICE)),
        (b"bytes=0-%d" % SLICE, False, Span(0, SLICE)),  # of the second slice it is one byte
        (b"bytes=0-%d" % (100 * SLICE), False, Span(0, 4 * SLICE)),
        (b"bytes=0-", False, None),
        (b"bytes=-1", False, Span(0, GRID)),  # where that is depends on the length
        (b"bytes=0-0,9-9", False, Span(0, GRID)),
        (b"bytes=99999999999999999999-99999999999999999999", False, Span(0, GRID)),
        (b"lines=1-2", False, None),
        (b"bytes=2-1", False, None),
    ],
)
def test_what_is_asked_for_of_an_object_that_nobody_knows(value: bytes, touched: bool, asked: Span | None) -> None:
    assert first_asked(value, SLICE, most=4, touched=touched) == asked


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (b"bytes=0-0", Span(0, FREE)),
        (b"bytes=100000-100009", Span(100000, 100010)),
        (b"bytes=7-", Span(7, FAR)),
        (b"bytes=-1", Span(0, GRID)),
        (b"bytes=0-", None),
    ],
)
def test_without_slices_just_what_is_wanted_is_asked_for(value: bytes, asked: Span | None) -> None:
    assert first_asked(value, 0, most=4, touched=False) == asked


@given(start=st.integers(0, 1 << 40), size=st.integers(1, 64 * MIB))
def test_the_first_fetch_never_costs_more_than_the_rule_allows(start: int, size: int) -> None:
    asked = first_asked(b"bytes=%d-%d" % (start, start + size - 1), SLICE, most=4, touched=False)

    assert asked is not None
    assert asked.start <= start < asked.stop
    assert asked.stop - asked.start <= FREE + 2 * size


@given(start=st.integers(0, 1 << 40), size=st.integers(1, 1 << 30), slack=st.integers(0, FREE))
def test_rounding_costs_no_more_than_its_slack(start: int, size: int, slack: int) -> None:
    span = rounded(start, start + size, slack=slack)

    assert span.start <= start and start + size <= span.stop
    assert span.stop - span.start <= size + slack


def test_what_is_worth_its_price() -> None:
    assert is_worth(FREE + 20, 10)
    assert not is_worth(FREE + 21, 10)
    assert not is_worth(21, 10, slack=0)


@pytest.mark.parametrize(
    ("value", "first"),
    [(b"bytes=5-6", 5), (b"bytes=5-", 5), (b"bytes=-5", None), (b"bytes=1-2,5-6", None), (b"x", None)],
)
def test_where_a_range_begins(value: bytes, first: int | None) -> None:
    assert first_of(value) == first


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        (None, (Span(0, 100),)),
        (b"bytes=-1", (Span(99, 100),)),
        (b"bytes=100-", ()),
        (b"x", (Span(0, 100),)),
    ],
)
def test_what_a_range_gets(value: bytes | None, spans: tuple[Span, ...]) -> None:
    assert spans_of(value, 100) == spans
