"""Brings index and segment files into agreement: at opening, and from the records after the index was lost.

The newest segment is scanned first, since recent records are requested most. A slice may turn up long before the head
of its entry, so slices without an entry are swept out only at the end, together with the tombstones of keys removed
in between.
"""

from __future__ import annotations

import errno
from itertools import islice

from shield.store.directory.change import number_of
from shield.store.directory.index import Found, IndexChange, IndexCounters, Row, State
from shield.store.directory.premises import Premises
from shield.store.directory.record import ALIGN, DamagedError, Header, RecordKind, padding
from shield.store.directory.segments import START

RECORDS = 2048
"""Records restored in one step at most: some tens of milliseconds."""

_RUN = 512  # restored in one transaction: a few milliseconds, for which other processes can't write
_SMALL_RUN = 64  # for a small index, which mustn't grow by so many pages at once
_LARGE = 256 << 20
_EPOCH_SHIFT = 40  # sequences and generations of a later epoch are greater, even if the index was lost in between
_END = (1 << 32) - 1


class Rebuild:
    """The repairs that one directory needs."""

    def __init__(self, premises: Premises) -> None:
        self._claim = premises.claim
        self._index = premises.index
        self._segments = premises.segments
        self._files = premises.files
        self._worker = premises.worker
        self._run = _RUN if self._index.limit >= _LARGE else _SMALL_RUN
        self._below = _END  # all segments from here on are scanned
        self._swept = b""  # entries up to here are swept

    def reconcile(self) -> None:
        """Make rows and files agree: all of them in the first process, else those of a dead one with our number."""
        if self._claim.first:
            self._reconcile_all()
            return
        left = [number for number, row in self._index.rows() if row.worker == self._worker and _is_busy(row)]
        if left:
            with self._index.write() as change:
                for number in left:
                    row = change.row(number)
                    if row is not None and _is_busy(row):
                        change.set_row(number, self._sealed(number, row))

    def _reconcile_all(self) -> None:
        there = set(self._segments.numbers())
        epoch = self._claim.epoch
        orphans: list[int] = []
        with self._index.write() as change:
            counters = change.counters
            lost = counters.epoch == 0
            for number, row in list(change.rows()):
                if number not in there or _is_busy(row):
                    change.set_row(number, self._sealed(number, row) if number in there else None)
                there.discard(number)
            counters.epoch = epoch
            counters.next_segment = max([counters.next_segment, *(number + 1 for number in there)])
            change.advance(sequence=epoch << _EPOCH_SHIFT, floor=self._claim.floor())
            for number in sorted(there):
                size = self._size_of(number) if lost else None
                if size is None:
                    orphans.append(number)
                else:
                    change.set_row(number, Row(State.UNSCANNED, self._worker, size))
            if lost:
                counters.rebuilding = int(bool(there))
                counters.generation = epoch << _EPOCH_SHIFT  # earlier removals are forgotten, not undone
        for number in orphans:
            self._segments.unlink(number)

    def _sealed(self, number: int, row: Row) -> Row | None:
        """The new row for the segment of a dead process; None when its file is missing."""
        size = self._size_of(number)
        return None if size is None else Row(State.SEALED, row.worker, size)

    def step(self, step: int) -> bool:
        """Scan `step` more bytes, or sweep some entries; False when all is done."""
        counters = self._index.counters()
        if not counters.unscanned:
            return bool(counters.rebuilding) and self._sweep()
        waiting = self._index.newest_unscanned(self._below)
        if waiting is None:
            self._below = _END  # a segment that another process left half scanned
        else:
            self._below = waiting[0] + 1
            self._scan(*waiting, step)
        return True

    def _size_of(self, number: int) -> int | None:
        try:
            return self._files.size(self._segments.path(number))
        except FileNotFoundError:
            return None

    def _scan(self, number: int, row: Row, step: int) -> None:
        start = stop = max(row.progress, START)
        batch: list[tuple[Header, Found]] = []
        try:
            segment = self._segments.open(number)
            for offset, header in islice(self._segments.scan(segment, start, start + step), RECORDS):
                batch.append((header, Found(*header.indexed(number, offset // ALIGN))))
                length = header.header_length + header.body_length
                stop = offset + length + padding(length)
            if len(batch) < RECORDS:
                stop = max(stop, start + step)
        except (DamagedError, FileNotFoundError):
            stop = row.size
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            stop = start + step  # unreadable bytes are lost; later records aren't
        for at in range(0, len(batch), self._run):
            with self._index.write() as change:
                if not _is_still(change, number, row):
                    return  # another process is reclaiming or rebuilding it
                for header, found in batch[at : at + self._run]:
                    _take_back(change, header, found)
        with self._index.write() as change:
            if _is_still(change, number, row):
                state = State.SEALED if stop >= row.size else State.UNSCANNED
                change.set_row(number, row._replace(state=state, progress=stop))

    def _sweep(self) -> bool:
        """Forget tombstones and slices without an entry among the next entries; False after the last."""
        page = self._index.page(self._swept, RECORDS)
        # Keep slices written during this run of the node: their entry may still be on its way.
        counters = self._index.counters()
        waste = [(key, found) for key, found in page if _is_waste(found, counters)]
        for at in range(0, len(waste), self._run):
            with self._index.write() as change:
                for key, found in waste[at : at + self._run]:
                    if found.kind == RecordKind.REMOVED:
                        change.drop_tombstone(key[:16])
                    else:
                        change.sweep(key[:16], number_of(key), found)
        if len(page) == RECORDS:
            self._swept = page[-1][0] + b"\0"
            return True
        with self._index.write() as change:
            if not change.counters.unscanned:
                change.counters.rebuilding = 0
        return False


def _is_busy(row: Row) -> bool:
    """Whether a process writes or reclaims it, or did so when it died."""
    return row.state in (State.ACTIVE, State.DRAINING)


def _is_still(change: IndexChange, number: int, row: Row) -> bool:
    return change.row(number) == row


def _is_waste(found: Found, counters: IndexCounters) -> bool:
    """Whether a value may have to go; for slices the caller still has to look."""
    if found.kind == RecordKind.REMOVED:
        return True
    return found.kind == RecordKind.SLICE and found.sequence < counters.epoch << _EPOCH_SHIFT


def _take_back(change: IndexChange, header: Header, found: Found) -> None:
    """Index a record found in a segment, unless something later supersedes it."""
    change.advance(sequence=found.sequence)
    if found.sequence <= change.counters.floor:
        return
    if found.kind == RecordKind.REMOVED:
        change.remove(header.digest, found, sequence=found.sequence)
    else:
        change.put(header.digest, header.slice, found)
