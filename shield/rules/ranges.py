"""The wire format of Range and Content-Range (RFC 9110 §14), and the spans of bytes that all other code uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from itertools import combinations

from shield.messages import Field, Fields, ResponseHead
from shield.rules.digests import CHECKSUMS, OF_CONTENT

MAX_RANGES = 16
"""A request for more ranges than this gets the whole body (RFC 9110 §17.15)."""

MAX_OVERLAPS = 2
"""So does a request with more pairs of overlapping ranges than this (RFC 9110 §14.2)."""

NEAR = 80
"""Ranges with a gap of fewer bytes are coalesced: the head of another part would be longer (RFC 9110 §15.3.7.2)."""

_LONGEST = 1024  # longer Range values are ignored
_MAX_OFFSET = 2**63 - 1

_RANGES = re.compile(rb"bytes=(.+)", re.IGNORECASE)
_RANGE = re.compile(rb"(\d*)-(\d*)")
_CONTENT_RANGE = re.compile(rb"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to but not including `stop`; never empty."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range as on the wire, both ends inclusive (RFC 9110 §14.1.2).

    `last` None: up to the end; `first` None: the last `last` bytes (a suffix range).
    """

    first: int | None
    last: int | None

    def resolve(self, length: int) -> Span | None:
        """The span of a body of `length` bytes; None if the range is unsatisfiable (§14.1.2)."""
        if self.first is None:
            size = min(self.last or 0, length)
            return Span(length - size, length) if size else None
        if self.first >= length:
            return None
        return Span(self.first, length if self.last is None else min(self.last + 1, length))


class Unsatisfiable(Enum):
    """The response is 416 with `Content-Range: bytes */length` (RFC 9110 §15.5.17)."""

    UNSATISFIABLE = "unsatisfiable"


UNSATISFIABLE = Unsatisfiable.UNSATISFIABLE


def parse_range(value: bytes) -> tuple[ByteRange, ...] | None:
    """The ranges in a value of Range, at least one; None if Range is to be ignored (RFC 9110 §14.2).

    That is the case for other units, syntax errors, a last byte before the first, and more than `MAX_RANGES` ranges.
    """
    match = _RANGES.fullmatch(value) if len(value) <= _LONGEST else None
    if match is None:
        return None
    ranges: list[ByteRange] = []
    for padded in match[1].split(b","):
        text = padded.strip(b"\t ")
        if not text:
            continue  # RFC 9110 §5.6.1.2: empty list elements
        byte_range = _byte_range(text)
        if byte_range is None or len(ranges) == MAX_RANGES:
            return None
        ranges.append(byte_range)
    return tuple(ranges) or None


def select(value: bytes, length: int) -> tuple[Span, ...] | Unsatisfiable | None:
    """The spans of a representation of `length` bytes for a value of Range; UNSATISFIABLE, or None for all of it.

    Spans are disjoint and in the requested order: ranges that overlap or are near each other are coalesced, at the
    position of the first of them. Excessive requests get all of it (RFC 9110 §14.2, §17.15).
    """
    ranges = parse_range(value)
    if ranges is None:
        return None
    found = [span for byte_range in ranges if (span := byte_range.resolve(length)) is not None]
    if not found:
        of_nothing = length == 0 and any(r.first is None and r.last for r in ranges)
        return None if of_nothing else UNSATISFIABLE  # §14.1.2: a suffix of an empty body is all of it
    if len(ranges) == 1:
        return (found[0],)
    return None if _is_excessive(found, length) else _coalesced(found)


def first_bytes(value: bytes) -> Span | None:
    """The span of a single range with both ends stated; None for any other value, since it depends on the length."""
    parsed = parse_range(value)
    if parsed is None or len(parsed) > 1 or parsed[0].first is None or parsed[0].last is None:
        return None
    return Span(parsed[0].first, parsed[0].last + 1)


_PARTS = (b"accept-ranges", b"bytes")


def has_parts(status: int, fields: Fields) -> bool:
    """Whether the server supports ranges of this object: the head says so, or is a 206 (RFC 9110 §14.2, §14.3).

    Servers may ignore Range. Storages don't: `rules.fields` adds the field to their responses.
    """
    if status == 206 or _PARTS in fields:
        return True
    return any(name == b"accept-ranges" and _are_bytes(value) for name, value in fields)


def with_parts(fields: Fields) -> tuple[Field, ...]:
    """The fields with `Accept-Ranges: bytes`."""
    if has_parts(200, fields):
        return tuple(fields)
    return (*[line for line in fields if line[0] != b"accept-ranges"], (b"accept-ranges", b"bytes"))


def _are_bytes(value: bytes) -> bool:
    return value == b"bytes" or b"bytes" in [unit.strip(b" \t") for unit in value.lower().split(b",")]


def content_range(span: Span, length: int) -> bytes:
    """The value of Content-Range for a 206 (RFC 9110 §14.4)."""
    return b"bytes %d-%d/%d" % (span.start, span.stop - 1, length)


def parse_content_range(value: bytes) -> tuple[int, int, int | None] | None:
    """(first, last, complete length or None for "*") of a 206's Content-Range, both ends inclusive.

    None for an invalid value: another unit, a last byte before the first or beyond the length (RFC 9110 §14.4).
    """
    match = _CONTENT_RANGE.fullmatch(value)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    length = None if match[3] == b"*" else int(match[3])
    if last < first or (length is not None and last >= length):
        return None
    return first, last, length


_OF_THE_PART = OF_CONTENT | CHECKSUMS | {b"content-length", b"content-range"}


def head_of_whole(head: ResponseHead) -> ResponseHead:
    """The head of the whole object, derived from a 206 (RFC 9111 §3.4). Its length isn't among the fields."""
    _, _, length = parse_content_range(head.get(b"content-range") or b"") or (0, 0, None)
    return ResponseHead(200, tuple([field for field in head.fields if field[0] not in _OF_THE_PART]), length)


def _is_excessive(spans: list[Span], length: int) -> bool:
    """Whether several ranges add up to more than the whole, or overlap more often than a genuine client's."""
    if sum(span.stop - span.start for span in spans) > length:
        return True
    ordered = sorted(spans, key=lambda span: span.start)
    return sum(after.start < span.stop for span, after in combinations(ordered, 2)) > MAX_OVERLAPS


def _coalesced(spans: list[Span]) -> tuple[Span, ...]:
    """The spans, with those near each other merged at the position of the first of them."""
    merged: list[tuple[int, Span]] = []
    for place, span in sorted(enumerate(spans), key=lambda item: item[1].start):
        before, last = merged[-1] if merged else (place, span)
        if merged and span.start - last.stop < NEAR:
            merged[-1] = min(before, place), Span(last.start, max(last.stop, span.stop))
        else:
            merged.append((place, span))
    return tuple(span for _, span in sorted(merged, key=lambda item: item[0]))


def _byte_range(text: bytes) -> ByteRange | None:
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    first, last = _offset(match[1]), _offset(match[2])
    if first is None:
        return None if last is None else ByteRange(None, last)
    if last is not None and last < first:
        return None
    return ByteRange(first, last)


def _offset(digits: bytes) -> int | None:
    """A position, None for no digits; values beyond the size of any file are clamped."""
    if not digits:
        return None
    significant = digits.lstrip(b"0")
    return min(int(significant or b"0"), _MAX_OFFSET) if len(significant) <= 19 else _MAX_OFFSET
