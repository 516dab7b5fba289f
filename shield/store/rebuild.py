"""Index and segment files brought to agree: at opening, and from the records when the index was lost."""

from __future__ import annotations

from shield.store.claim import Claim
from shield.store.files import Files
from shield.store.index import Found, Index, IndexChange, Row, State
from shield.store.log import RUN, advance, located, slice_of
from shield.store.record import DamagedError, Kind, Record, padding
from shield.store.segments import START, Segments

_EPOCH_SHIFT = 40  # sequences of one epoch: those of a later one are greater, even if the index was lost between


class Rebuild:
    """What is to be put right in one directory."""

    def __init__(self, claim: Claim, index: Index, segments: Segments, *, files: Files, worker: int) -> None:
        self._claim = claim
        self._index = index
        self._segments = segments
        self._files = files
        self._worker = worker

    def reconcile(self) -> None:
        """Make rows and files agree: for the first process all of them, else those of a dead one with our number."""
        first, epoch = self._claim.first, self._claim.epoch
        there = set(self._segments.numbers()) if first else set()
        orphans: list[int] = []
        with self._index.write() as change:
            lost = change.counters.epoch == 0
            for number, row in change.rows():
                if first and number not in there:
                    change.set_row(number, None)
                elif row.state in (State.ACTIVE, State.DRAINING) and (first or row.worker == self._worker):
                    size = self._size_of(number)
                    change.set_row(number, None if size is None else Row(State.SEALED, row.worker, size))
                there.discard(number)
            if first:
                counters = change.counters
                floor = max(counters.floor, self._claim.floor())
                sequence = max(counters.sequence, epoch << _EPOCH_SHIFT)
                following = max([counters.next_segment, *(number + 1 for number in there)])
                change.counters = counters._replace(
                    epoch=epoch, sequence=sequence, floor=floor, next_segment=following
                )
                for number in sorted(there):
                    size = self._size_of(number) if lost else None
                    if size is None:
                        orphans.append(number)
                    else:
                        change.set_row(number, Row(State.UNSCANNED, self._worker, size))
        for number in orphans:
            self._segments.unlink(number)

    def _size_of(self, number: int) -> int | None:
        try:
            return self._files.size(self._segments.path(number))
        except FileNotFoundError:
            return None

    def step(self, step: int) -> bool:
        """Scan so many bytes more; False when all is known."""
        waiting = [(number, row) for number, row in self._index.rows() if row.state == State.UNSCANNED]
        if not waiting:
            return False
        number, row = waiting[-1]
        start = max(row.progress, START)
        stop = start + step
        batch: list[tuple[int, Record, Found]] = []
        try:
            segment = self._segments.open(number)
            for offset, header in self._segments.scan(segment, start, stop):
                record = header.record
                found = located(record, number, offset, header.header_length, header.body_length)
                batch.append((offset, record, found))
                stop = max(stop, offset + found.length + padding(found.length))
        except (DamagedError, FileNotFoundError):
            stop = row.size
        for at in range(0, len(batch), RUN):
            with self._index.write() as change:
                for _, record, found in batch[at : at + RUN]:
                    _take_back(change, record, found)
        done = stop >= row.size
        with self._index.write() as change:
            state = State.SEALED if done else State.UNSCANNED
            change.set_row(number, row._replace(state=state, progress=stop))
        if done and len(waiting) == 1:
            self._forget_tombstones()
        return not (done and len(waiting) == 1)

    def _forget_tombstones(self) -> None:
        digests = [digest for digest, _, found in self._index.entries() if found.kind == Kind.REMOVED]
        for at in range(0, len(digests), RUN):
            with self._index.write() as change:
                change.drop_tombstones(digests[at : at + RUN])


def _take_back(change: IndexChange, record: Record, found: Found) -> None:
    """Index a record found in a segment, as far as nothing later says otherwise."""
    advance(change, record.sequence)
    if record.sequence <= change.counters.floor:
        return
    if record.kind is Kind.REMOVED:
        change.remove(record.key.digest, found, sequence=record.sequence)
    else:
        change.put(record.key.digest, slice_of(record), found)
