"""How much of an object is fetched for a part of it. Pure.

A slice, or the whole of a small object, is worth fetching for the next ones who ask. For the first who asks for
little of it, it isn't: a client that sends a hundred bytes could make an origin send megabytes, as often as there are
slices. So what a request costs beyond twice what it asks for is `FREE` at most, and what would cost more is fetched
exactly.
"""

from __future__ import annotations

from shield.rules import ranges
from shield.rules.ranges import Span, Unsatisfiable

FREE = 64 << 10
"""Bytes that an origin may send for one request beyond twice what the client asked for."""

GRID = FREE // 2
"""To multiples of this, exact spans are rounded out: so far that neighbours share one fetch, and both ends together
cost no more than `FREE`. So much is asked for, too, of what must be known before the wanted bytes can be named."""

PIECE = 512 << 10
"""Bytes of a slice that are fetched exactly at a time: so much memory one slow reader can hold."""

_FARTHEST = 1 << 53  # an offset that no object reaches, and every parser of numbers can read


def is_worth(size: int, wanted: int, *, slack: int = FREE) -> bool:
    """Whether `size` bytes may be fetched for so many of them."""
    return size <= slack + 2 * wanted


def rounded(start: int, stop: int, *, slack: int = FREE) -> Span:
    """A span, and what may be fetched besides."""
    grid = max(1, slack // 2)
    return Span(start // grid * grid, -(-stop // grid) * grid)


def first_of(value: bytes) -> int | None:
    """The first byte that a Range field wants; None where that depends on the length, or it wants several parts."""
    parsed = ranges.parse_range(value)
    return parsed[0].first if parsed is not None and len(parsed) == 1 else None


def first_asked(value: bytes, slice_bytes: int, *, most: int, touched: bool) -> Span | None:
    """What to ask for of an object that nobody knows, by a Range field's value; None: the whole.

    With slices, up to `most` whole ones from the first that the range touches, if they are worth their price or that
    first one was `touched` before; else what is wanted of that one. Without (`slice_bytes` 0), just what is wanted.
    """
    parsed = ranges.parse_range(value)
    if parsed is None:
        return None
    only = parsed[0] if len(parsed) == 1 else None
    if only is None or only.first is None:
        return Span(0, GRID)  # its length has to be known first
    if only.first == 0 and only.last is None:
        return None
    start, stop = only.first, _FARTHEST if only.last is None else min(only.last + 1, _FARTHEST)
    if start >= stop:
        return Span(0, GRID)  # so far that it lies beyond any object
    if not slice_bytes:
        return _beginning(Span(start, stop))  # nobody shares what lies around it
    first = start // slice_bytes * slice_bytes
    boundary = first + slice_bytes
    if not touched and not is_worth(slice_bytes, min(stop, boundary) - start):
        asked = rounded(start, min(stop, boundary, start + PIECE))
        return _beginning(Span(max(asked.start, first), min(asked.stop, boundary)))
    end = min(stop, first + most * slice_bytes)
    over = end % slice_bytes
    if over and end > boundary and not is_worth(slice_bytes, over):
        return Span(first, end - over)  # of the last one too little is wanted
    return Span(first, end - over + slice_bytes if over else end)


def _beginning(span: Span) -> Span:
    """A span from 0 on takes in all that is free: small objects come whole."""
    return Span(0, max(span.stop, FREE)) if span.start == 0 else span


def spans_of(value: bytes | None, length: int) -> tuple[Span, ...]:
    """What a Range field, if there is one, gets of so many bytes; nothing where it can't be satisfied."""
    found = None if value is None else ranges.select(value, length)
    if isinstance(found, Unsatisfiable):
        return ()
    return (Span(0, length),) if found is None else found
