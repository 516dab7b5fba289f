"""Sweeps a directory of the records that fall under marks of purges, so that the marks needn't be kept.

First a fence is set: from then on nothing is added that isn't known to fall under no mark up to it. Then all segments
are read through, their headers only, and what falls under a mark is removed durably, or becomes stale. The thread
that reads is one of its own; all changes are the writer's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from shield.rules.key import CacheKey
from shield.rules.purging import PurgeMark, PurgeMarks
from shield.store.directory.index import Found, State
from shield.store.directory.log import RUN, Log, under_later
from shield.store.directory.premises import Premises
from shield.store.directory.record import DamagedError, Header, RecordKind
from shield.store.directory.segments import START

STEP = 256
"""Records that are looked at in one go: some milliseconds."""

_TOMBSTONES = 1024  # made durable together


class Fallen(NamedTuple):
    """A record that falls under a mark."""

    key: CacheKey
    slice_number: int | None
    found: Found
    head: bytes  # as StoredHead.block
    mark: PurgeMark


@dataclass(slots=True)
class SweepStep:
    """Some records: how many were looked at, and those that fell under a mark."""

    seen: int = 0
    fallen: list[Fallen] = field(default_factory=list)


class Sweep:
    """Of one directory, up to the mark `until`."""

    def __init__(self, premises: Premises, log: Log, until: int) -> None:
        self._claim = premises.claim
        self._index = premises.index
        self._segments = premises.segments
        self._files = premises.files
        self._worker = premises.worker
        self._log = log
        self.until = until

    # the writer's thread

    def begin(self) -> None:
        """Set the fence."""
        with self._index.write() as change:
            change.counters.fence = max(change.counters.fence, self.until)

    def carry_out(self, fallen: Sequence[Fallen], softens: Callable[[int], bool]) -> int:
        """Remove records durably, with their slices, and make those stale that have a soft mark and a status which
        `softens`, unless later ones have taken their places; how many there were.
        """
        gone: list[tuple[CacheKey, int]] = []
        done = 0
        for at in range(0, len(fallen), RUN):
            self._log.room.make(0)
            with self._index.write() as change:
                for key, number, found, head, mark in fallen[at : at + RUN]:
                    if mark.soft and number is not None:
                        continue  # its head tells
                    if mark.soft and softens(found.status):
                        new = under_later(found, found.head or head, found.freshness.outdated(mark.at), self.until)
                        done += change.move(key.digest, None, found, new)
                    elif sequence := change.expel(key.digest, number, found, until=self.until):
                        gone.append((key, sequence + 1))
        self._log.bury_up_to(gone, _TOMBSTONES)
        return done + len(gone)

    def end(self) -> None:
        """Nothing here falls under a mark up to `until`; durably so."""
        self._claim.set_swept(self.until, worker=self._worker)
        with self._index.write() as change:
            change.counters.swept = max(change.counters.swept, self.until)

    # any thread

    def steps(self, marks: PurgeMarks) -> Iterator[SweepStep]:
        """All records from before the fence, once it is set. Raises OSError and StoreError."""
        for number, row in self._index.rows():
            if row.state != State.UNSCANNED:  # of a lost index: its records are found once that is rebuilt
                yield from self._segment(number, marks)

    def _segment(self, number: int, marks: PurgeMarks) -> Iterator[SweepStep]:
        try:
            segment = self._segments.open(number)
            size = self._files.size(self._segments.path(number))
        except (DamagedError, FileNotFoundError):
            return
        step = SweepStep()
        for offset, header in self._segments.scan(segment, START, size):
            step.seen += 1
            mark = self._mark(header, header.since, marks)
            if mark is not None:  # else it falls under none with a later head, either
                found = self._index.peek(header.digest, header.slice)
                is_here = found is not None and found.segment == number and found.offset == offset
                if found is not None and is_here and (mark := self._mark(header, found.since, marks)) is not None:
                    key = CacheKey(header.text, header.digest)
                    step.fallen.append(Fallen(key, header.slice, found, header.head, mark))
            if step.seen == STEP:
                yield step
                step = SweepStep()
        yield step

    def _mark(self, header: Header, since: int, marks: PurgeMarks) -> PurgeMark | None:
        if since >= self.until or header.kind == RecordKind.REMOVED:
            return None
        return marks.verdict(header.text, header.tags, since, header)
