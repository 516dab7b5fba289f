"""What the index holds, and how it lies there: every value under a checksum of its own. Pure.

LMDB trusts its pages. A bit that flipped on the disk could show a wrong head or lifetime, so nothing is believed that
doesn't hash to what it was.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import IntEnum
from operator import attrgetter
from struct import Struct
from typing import Any, Final, NamedTuple

import xxhash

from shield.errors import StoreError
from shield.rules.freshness import Freshness
from shield.store.directory.record import ALIGN, RecordKind

# Times in which the fraction of a second doesn't matter have half the width: a small index holds more so.
_FOUND: Final = Struct("<QBHIIIIQQQQddfff")
_ROW = Struct("<QBHQQ")
_COUNTERS = Struct("<Q12QBQQ")
_REMOVAL = Struct("<QQ16s")
_FOUND_SIZE: Final = _FOUND.size
_SUM: Final = 8
_sum: Final = Struct("<Q").unpack_from
_fields_of_found: Final = Struct("<BHIIIIQQQQddfff0s").unpack_from  # behind the checksum, with an empty head
_hash: Final = xxhash.xxh3_64_intdigest
_make: Final = tuple.__new__  # without a call of Python code: this is on the path of every hit


class IndexFullError(StoreError):
    """The index has reached its limit: something must be removed before anything is added."""


class IndexDamagedError(StoreError):
    """The index can't be read: it must be made again."""


class IndexOutdatedError(IndexDamagedError):
    """The index is of another version; it may be fine for processes of that version."""


class IndexHaltedError(IndexDamagedError):
    """The index must be opened anew, and may be fine then."""


class Found(NamedTuple):
    """The index's value for a record. `head`, unless empty, replaces the record's own (a later 304)."""

    kind: int
    status: int
    segment: int
    place: int  # in units of ALIGN
    header_length: int
    body_length: int
    sequence: int
    identity: int
    total: int
    since: int  # of the purges: it falls under no mark up to that one
    born: float
    lifetime: float
    grace: float
    keep: float
    error_grace: float
    head: bytes = b""

    @property
    def offset(self) -> int:
        return self.place * ALIGN

    @property
    def length(self) -> int:
        """Bytes of the record."""
        return self.header_length + self.body_length

    @property
    def freshness(self) -> Freshness:
        return Freshness(self.born, self.lifetime, self.grace, self.keep, self.error_grace)

    def same_record(self, other: Found) -> bool:
        """Whether both refer to the same record on the disk."""
        return self.sequence == other.sequence and self.place == other.place and self.segment == other.segment

    def owns(self, piece: Found) -> bool:
        """Whether a slice belongs to the body whose head this is."""
        return self.kind == RecordKind.HEAD and self.identity == piece.identity


class State(IntEnum):
    """The state of a segment."""

    ACTIVE = 0  # its worker appends to it; counts as if it were full
    SEALED = 1  # complete
    UNSCANNED = 2  # its records aren't indexed yet; `progress` bytes are scanned
    DRAINING = 3  # its worker is reclaiming it


class Row(NamedTuple):
    """A segment: `size` counts against the capacity."""

    state: int
    worker: int
    size: int
    progress: int = 0


@dataclass(slots=True)
class IndexCounters:
    """`sequence`: the last one assigned; `floor`: records of a lost index up to this one are not restored.

    `generation` counts removals; `rebuilding` is 1 until all records of a lost index are restored and swept. Of the
    marks of purges: nothing is added any more that isn't known to fall under none up to `fence`, and nothing here
    falls under one up to `swept`. Only a write transaction changes these.
    """

    epoch: int = 0
    sequence: int = 0
    floor: int = 0
    next_segment: int = 1
    segment_bytes: int = 0
    entries: int = 0
    entry_bytes: int = 0
    generation: int = 0
    segments: int = 0
    unscanned: int = 0
    slices: int = 0
    tombstones: int = 0
    rebuilding: int = 0
    fence: int = 0
    swept: int = 0


_counts = attrgetter(*[field.name for field in dataclasses.fields(IndexCounters)])


def pack_found(found: Found) -> bytes:
    data = _FOUND.pack(0, *found[:-1]) + found.head
    return _hash(memoryview(data)[_SUM:]).to_bytes(_SUM, "little") + data[_SUM:]


def unpack_found(value: bytes) -> Found:
    """Raises IndexDamagedError unless the value is as it was packed; so do the other unpackers."""
    if len(value) < _FOUND_SIZE or _hash(value[_SUM:]) != _sum(value)[0]:
        raise IndexDamagedError("an entry is damaged")
    fields = _fields_of_found(value, _SUM)
    if len(value) > _FOUND_SIZE:
        fields = (*fields[:-1], value[_FOUND_SIZE:])
    return _make(Found, fields)


def pack_row(row: Row) -> bytes:
    return _checked(_ROW.pack(0, *row))


def unpack_row(value: bytes) -> Row:
    return Row(*_fields(_ROW, value))


def pack_counters(counters: IndexCounters) -> bytes:
    return _checked(_COUNTERS.pack(0, *_counts(counters)))


def unpack_counters(value: bytes) -> IndexCounters:
    return IndexCounters(*_fields(_COUNTERS, value))


def pack_removal(generation: int, digest: bytes) -> bytes:
    return _checked(_REMOVAL.pack(0, generation, digest))


def unpack_removal(value: bytes) -> tuple[int, bytes]:
    generation, digest = _fields(_REMOVAL, value)
    return generation, digest


def _checked(data: bytes) -> bytes:
    return _hash(data[_SUM:]).to_bytes(_SUM, "little") + data[_SUM:]


def _fields(form: Struct, value: bytes) -> tuple[Any, ...]:
    if len(value) != form.size:
        raise IndexDamagedError("a value is damaged")
    checksum, *rest = form.unpack(value)
    if _hash(value[_SUM:]) != checksum:
        raise IndexDamagedError("a value is damaged")
    return tuple(rest)
