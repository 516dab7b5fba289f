"""Reads records, from memory without waiting or from the disk; both are checked before a byte leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from shield.errors import StoreError
from shield.rules.freshness import Freshness
from shield.rules.heads import StoredHead, as_judged, of_fields, split_block
from shield.rules.key import CacheKey
from shield.store.directory.files import Files
from shield.store.directory.index import Found
from shield.store.directory.record import (
    ALIGN,
    BLOCK,
    MAX_HEADER,
    DamagedError,
    ForeignError,
    Header,
    Record,
    Whole,
    decode,
    read_whole,
    record_of,
)
from shield.store.directory.segments import SEEDS, Segment, Segments

SMALL: Final = 256 << 10
"""Records up to this size are read whole with their header."""


class GoneError(StoreError):
    """The record is unavailable: damaged, reclaimed since, or another key's. A miss."""


@dataclass(slots=True)
class StoredRecord:
    """A record as read. Holds its segment, so its bytes stay readable whatever happens to it in the store."""

    found: Found
    key: CacheKey
    slice: int | None
    header: Header
    segment: Segment
    body: bytearray | None  # of a small record: all of it

    @property
    def head(self) -> bytes:
        """The newest head block known."""
        return self.found.head or self.header.head

    def stored_head(self) -> StoredHead:
        """The same, with fields and validators."""
        return later_head(self.found.head, self.found.freshness) if self.found.head else self.header.stored_head()


class RecordReader:
    """Reads of one directory. The `_nowait` methods return None for bytes that aren't in memory; the others wait.

    All raise DamagedError for bytes that aren't the record, GoneError for another key's, OSError.
    """

    def __init__(self, files: Files, segments: Segments) -> None:
        self._files = files
        self._segments = segments
        self._open = segments.by_number

    def fetch_nowait(self, found: Found, key: CacheKey, slice_number: int | None) -> StoredRecord | None:
        segment = self._segments.opened(found.segment)
        if segment is None:
            return None
        header, body, wanted = _buffers(found)
        count = self._files.read_nowait(segment.fd, [header] if body is None else [header, body], found.offset)
        if count is None or count < wanted:
            return None  # a thread will find out whether it is cold or cut short
        return _stored(found, key, slice_number, segment, header, body)

    def whole_nowait(self, found: Found, key: CacheKey) -> Whole | None:
        segment = self._open.get(found.segment)
        if segment is None:
            return None
        segment.used = True
        # Two pieces: the body is sent, and kept in RAM, as it is here.
        offset, header, body = found.place * ALIGN, bytearray(found.header_length), bytearray(found.body_length)
        if self._files.read_nowait(segment.fd, (header, body), offset) != len(header) + len(body):
            return None
        try:
            return read_whole(header, body, key, sequence=found.sequence, seed=segment.salt + offset & SEEDS)
        except ForeignError as error:
            raise GoneError(str(error)) from None

    def fetch(self, found: Found, key: CacheKey, slice_number: int | None) -> StoredRecord:
        segment = self._segments.open(found.segment)
        header, body, wanted = _buffers(found)
        count = self._files.read(segment.fd, [header] if body is None else [header, body], found.offset)
        if count < wanted:
            raise DamagedError("cut short")
        return _stored(found, key, slice_number, segment, header, body)

    def read_nowait(self, stored: StoredRecord, start: int, stop: int) -> bytearray | None:
        if stored.body is not None:
            return stored.body[start:stop]
        first, buffer = _span(stored, start, stop)
        offset = stored.found.offset + stored.found.header_length + first
        count = self._files.read_nowait(stored.segment.fd, [buffer], offset)
        if count is None or count < len(buffer):
            return None
        return _checked(stored, buffer, first, start, stop)

    def read(self, stored: StoredRecord, start: int, stop: int) -> bytearray:
        if stored.body is not None:
            return stored.body[start:stop]
        first, buffer = _span(stored, start, stop)
        offset = stored.found.offset + stored.found.header_length + first
        if self._files.read(stored.segment.fd, [buffer], offset) < len(buffer):
            raise DamagedError("cut short")
        return _checked(stored, buffer, first, start, stop)


def later_head(block: bytes, freshness: Freshness) -> StoredHead:
    """A stored head made from a finished block."""
    status, fields = split_block(block)
    return as_judged(of_fields(status, tuple(fields)), freshness)


def latest(record: Record, found: Found) -> Record:
    """A record under the newest head known, if a later one came."""
    if not found.head:
        return record if record.since >= found.since else replace(record, since=found.since)
    later = record_of(record.key, later_head(found.head, found.freshness), found.freshness)
    return replace(under_head_of(later, record), since=found.since)


def under_head_of(later: Record, record: Record) -> Record:
    """A record under the head and freshness of another one."""
    names = ("freshness", "head", "status", "etag", "last_modified", "no_cache", "must_revalidate")
    return replace(record, **{name: getattr(later, name) for name in names})


def _buffers(found: Found) -> tuple[bytearray, bytearray | None, int]:
    """Buffers for the header and, if read along with it, the body, and their total size."""
    if found.header_length > MAX_HEADER:
        raise DamagedError("no header is so long")
    if found.header_length + found.body_length <= SMALL:
        return bytearray(found.header_length), bytearray(found.body_length), found.header_length + found.body_length
    return bytearray(found.header_length), None, found.header_length


def _stored(
    found: Found, key: CacheKey, slice_number: int | None, segment: Segment, data: bytearray, body: bytearray | None
) -> StoredRecord:
    header = decode(data, seed=segment.seed(found.offset))
    if header.sequence != found.sequence or header.body_length != found.body_length:
        raise DamagedError("not the record that the index means")
    if header.slice != slice_number or header.kind != found.kind:
        raise DamagedError("not the slice that the index means")
    if header.text != key.text:
        raise GoneError("another key of the same digest")
    if body is not None:
        header.check(body)
    return StoredRecord(found, key, slice_number, header, segment, body)


def _span(stored: StoredRecord, start: int, stop: int) -> tuple[int, bytearray]:
    """Start of the first block of the span, and a buffer for all its blocks."""
    first = start - start % BLOCK
    last = min(-(-stop // BLOCK) * BLOCK, stored.header.body_length)
    return first, bytearray(max(0, last - first))


def _checked(stored: StoredRecord, buffer: bytearray, first: int, start: int, stop: int) -> bytearray:
    stored.header.check(buffer, first)
    whole = start == first and stop >= first + len(buffer)
    return buffer if whole else buffer[start - first : stop - first]
