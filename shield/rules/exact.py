"""The bytes to fetch for a range request. Pure.

Fetching a whole slice, or a whole small object, pays off with later requests. But a first request for little of it
would let a client that sends a hundred bytes make an origin send megabytes, once for each slice. So a request may
cost at most `FREE` bytes more than twice what it wants; beyond that, only the wanted bytes are fetched.
"""

from __future__ import annotations

from typing import Final

from shield.rules import ranges
from shield.rules.ranges import Span, Unsatisfiable

FREE: Final = 64 << 10
"""Bytes that an origin may send for one request beyond twice the bytes that it wants."""

GRID: Final = FREE // 2
"""Exact spans are extended to multiples of this: neighbouring requests share one fetch, and both ends together cost
at most `FREE`. It is also the size of a fetch that only has to find out an object's length."""

PIECE = 512 << 10
"""Bytes of a slice that one exact fetch brings at most: the memory that one slow reader can occupy."""

_FARTHEST = 1 << 53  # an offset beyond any object that every parser of numbers can read


def is_worth(size: int, wanted: int, *, slack: int = FREE) -> bool:
    """Whether `size` bytes may be fetched for a request that wants `wanted` of them."""
    return size <= slack + 2 * wanted


def rounded(start: int, stop: int, *, slack: int = FREE) -> Span:
    """A span extended by at most `slack` bytes in all, to a grid that neighbouring requests share."""
    grid = max(1, slack // 2)
    return Span(start // grid * grid, -(-stop // grid) * grid)


def first_of(value: bytes) -> int | None:
    """The first byte that a Range field names; None if that depends on the length, or it names several ranges."""
    parsed = ranges.parse_range(value)
    return parsed[0].first if parsed is not None and len(parsed) == 1 else None


def first_asked(value: bytes, slice_bytes: int, *, most: int, touched: bool) -> Span | None:
    """The span to request of an object of unknown length, for the value of a Range field; None: all of it.

    With slices: up to `most` whole ones, beginning with the first one in the range, if their cost is allowed or that
    one was `touched` by an earlier request; else only the wanted bytes of it. Without slices (`slice_bytes` 0): only
    the wanted bytes.
    """
    parsed = ranges.parse_range(value)
    if parsed is None:
        return None
    only = parsed[0] if len(parsed) == 1 else None
    if only is None or only.first is None:
        return Span(0, GRID)  # a suffix or several ranges: the length has to be known first
    if only.first == 0 and only.last is None:
        return None
    start, stop = only.first, _FARTHEST if only.last is None else min(only.last + 1, _FARTHEST)
    if start >= stop:
        return Span(0, GRID)  # beyond any object
    if not slice_bytes:
        return _beginning(Span(start, stop))  # surrounding bytes would be of no use to other requests
    first = start // slice_bytes * slice_bytes
    boundary = first + slice_bytes
    if not touched and not is_worth(slice_bytes, min(stop, boundary) - start):
        asked = rounded(start, min(stop, boundary, start + PIECE))
        return _beginning(Span(max(asked.start, first), min(asked.stop, boundary)))
    end = min(stop, first + most * slice_bytes)
    over = end % slice_bytes
    if over and end > boundary and not is_worth(slice_bytes, over):
        return Span(first, end - over)  # too little of the last slice is wanted
    return Span(first, end - over + slice_bytes if over else end)


def _beginning(span: Span) -> Span:
    """A span that begins at 0 is extended to `FREE` bytes, so that small objects are fetched whole."""
    return Span(0, max(span.stop, FREE)) if span.start == 0 else span


def spans_of(value: bytes | None, length: int) -> tuple[Span, ...]:
    """The spans that a request gets of a body of `length` bytes, by the value of Range (None: all of it); () if the
    range is unsatisfiable.
    """
    found = None if value is None else ranges.select(value, length)
    if isinstance(found, Unsatisfiable):
        return ()
    return (Span(0, length),) if found is None else found
