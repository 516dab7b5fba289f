"""Giving up a segment: each record that is still of use is judged, then the file is removed with one unlink.

A slice without its entry is useless, so none is judged before its head is known. Heads come last, and a head whose
body has slices in other segments, or has just been given some, is kept without asking the judge.

The judge is called outside of any transaction, and dropped records are forgotten after it has answered: it may take
as long as moving a body to another disk.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Protocol

from shield.errors import StoreError
from shield.store.directory.files import Files
from shield.store.directory.index import BATCH, Found, Index, IndexFullError
from shield.store.directory.record import DamagedError, Header, Record, RecordKind, decode
from shield.store.directory.segments import START, Segment, Segments

_HEADS = 4096  # of a segment, judged after all slices in it


class NoRoomError(StoreError):
    """Nothing can be given up to make room."""


class Fate(Enum):
    KEEP = "keep"  # write it again at the head of the log; as much as half a segment
    DROP = "drop"  # also when the judge has handed it to another tier


class ReclaimCandidate:
    """A record whose segment must go: its index value, its header, and on request its body. The index value has all
    that is known of marks of purges.

    `can_stay`: there is room to keep it.
    """

    __slots__ = ("_files", "_segment", "can_stay", "found", "record")

    def __init__(self, found: Found, record: Record, segment: Segment, files: Files, *, can_stay: bool) -> None:
        self.found = found
        self.record = record
        self.can_stay = can_stay
        self._segment = segment
        self._files = files

    def body(self) -> bytearray | None:
        """The checked body; None when it is damaged or can't be read."""
        try:
            return read_body(self._files, self._segment, self.found)
        except (DamagedError, OSError):
            return None


Judge = Callable[[ReclaimCandidate], Fate]


class KeepRecord(Protocol):
    """Writes a candidate again; False when it couldn't be."""

    def __call__(self, candidate: ReclaimCandidate) -> bool: ...


def drop_all(candidate: ReclaimCandidate) -> Fate:
    """The judge of a first-in, first-out cache."""
    return Fate.DROP


def _keep_none(candidate: ReclaimCandidate) -> bool:
    return False


class Drain:
    """The records of one segment, judged; afterwards the index knows none of them there."""

    def __init__(self, files: Files, index: Index, segments: Segments, *, judge: Judge, keep: KeepRecord) -> None:
        self._files = files
        self._index = index
        self._segments = segments
        self._judge = judge
        self._keep = keep

    def run(self, number: int, *, keep_bytes: int) -> int:
        """Empty a segment, keeping at most `keep_bytes`; returns the greatest sequence in it."""
        try:
            segment = self._segments.open(number)
        except (DamagedError, FileNotFoundError):
            return 0
        last, left, swept = 0, keep_bytes, self._index.counters().swept  # before any record is looked up
        dropped: list[ReclaimCandidate] = []
        heads: list[tuple[Found, Header]] = []
        for offset, header in self._records(segment):
            last = max(last, header.sequence)
            found = self._index.lookup(header.digest, header.slice)
            if found is None or found.segment != number or found.offset != offset:
                continue
            found = found if found.since >= swept else found._replace(since=swept)  # the sweep has left it
            if found.kind == RecordKind.HEAD and len(heads) < _HEADS:
                heads.append((found, header))  # judged once its slices have been
                continue
            left -= self._decide(found, header, segment, left, dropped)
        for found, header in heads:
            left -= self._decide(found, header, segment, left, dropped)
        self._forget(dropped)
        return last

    def close(self) -> None:
        """Nothing more is written."""
        self._keep = _keep_none  # it refers to what has this

    def _decide(
        self, found: Found, header: Header, segment: Segment, left: int, dropped: list[ReclaimCandidate]
    ) -> int:
        """Bytes of the record that were written again; 0 if it is dropped."""
        candidate = ReclaimCandidate(found, header.record, segment, self._files, can_stay=left >= found.length)
        if self._fate(candidate, segment.number) is Fate.KEEP and candidate.can_stay and self._keep(candidate):
            return found.length
        dropped.append(candidate)
        if len(dropped) >= BATCH:
            self._forget(dropped)
            dropped.clear()
        return 0

    def _records(self, segment: Segment) -> Iterator[tuple[int, Header]]:
        """The readable records; unreadable ones are lost in any case, and their space is wanted."""
        try:
            size = self._files.size(self._segments.path(segment.number))
            yield from self._segments.scan(segment, START, size)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENOENT):
                raise

    def _fate(self, candidate: ReclaimCandidate, number: int) -> Fate:
        found, digest = candidate.found, candidate.record.key.digest
        if found.kind == RecordKind.SLICE:
            entry = self._index.lookup(digest)
            if entry is None or not entry.owns(found):
                return Fate.DROP
        elif (
            found.kind == RecordKind.HEAD
            and candidate.can_stay
            and self._index.has_slices(digest, found, outside=number)
        ):
            return Fate.KEEP
        return self._judge(candidate)

    def _forget(self, dropped: list[ReclaimCandidate]) -> None:
        if not dropped:
            return
        try:
            with self._index.write() as change:
                for candidate in dropped:
                    record = candidate.record
                    number = record.slice if record.kind is RecordKind.SLICE else None
                    change.delete(record.key.digest, number, candidate.found)
        except IndexFullError:
            if len(dropped) == 1:
                raise
            # A change of many pages needs as many free pages.
            half = len(dropped) // 2
            self._forget(dropped[:half])
            self._forget(dropped[half:])


def read_body(files: Files, segment: Segment, found: Found) -> bytearray:
    """A record's whole body, checked; raises DamagedError or OSError."""
    return read_record(files, segment, found)[1]


def read_record(files: Files, segment: Segment, found: Found) -> tuple[Header, bytearray]:
    """The same with its header."""
    from_disk = bytearray(found.header_length), bytearray(found.body_length)
    if files.read(segment.fd, from_disk, found.offset) < found.length:
        raise DamagedError("cut short")
    header = decode(from_disk[0], seed=segment.seed(found.offset))
    if header.body_length != found.body_length:
        raise DamagedError("not the record that the index means")
    header.check(from_disk[1])
    return header, from_disk[1]
