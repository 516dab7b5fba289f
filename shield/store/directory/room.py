"""Space in one directory: how much is taken, and which segments must go for more.

The oldest segments go first. The index forgets a segment's records, then its file is unlinked, then its row goes; a
process that ends between two of these steps leaves no index value without its record.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import islice, takewhile

from shield.errors import StoreError
from shield.store.directory.claim import FULL
from shield.store.directory.index import BATCH, IndexCounters, Row, State
from shield.store.directory.premises import Premises
from shield.store.directory.reclaim import Drain, NoRoomError
from shield.store.directory.record import ALIGN

_RESERVE = 4 << 20  # of disk space, so that something can be given up when the disk is full
_LOOK, _LOOKS = 0.01, 500  # seconds between looks whether another worker has made room, and how many at most
_pause = threading.Event().wait  # of the volume's thread; nobody sets it
_INDEX_BYTES = 400  # of the index's limit for each entry: it takes less than half, later heads the rest


def segment_size(capacity: int, *, wanted: int = 0) -> int:
    """Bytes of a segment in a directory of this capacity; `wanted`: another number, 0 for the usual one."""
    # Small enough that one segment to write, one spare and several workers' open ones leave room for the rest.
    wanted = wanted or min(max(capacity // 4096, 256 << 20), 1 << 30)
    return min(wanted, max(capacity // 8, 64 << 10)) // ALIGN * ALIGN


def held_back(capacity: int) -> tuple[int, int]:
    """Bytes of a directory that aren't for segments: a margin for its index, and a reserve for full disks."""
    # The index may grow by this much in one transaction, before the next check sees it.
    return min(8 << 20, capacity // 8), min(_RESERVE, capacity // 64)


class Room:
    """One thread; raises OSError and StoreError."""

    def __init__(self, premises: Premises, *, drain: Drain) -> None:
        limits = premises.limits
        self._claim = premises.claim
        self._index = premises.index
        self._segments = premises.segments
        self._files = premises.files
        self._worker = premises.worker
        self._drain = drain
        self._capacity = limits.capacity
        self._free_floor = limits.free_floor
        self.segment_bytes = segment_size(limits.capacity, wanted=limits.segment_bytes)
        self._margin, self._reserve = held_back(limits.capacity)
        self._max_entries = self._index.limit // _INDEX_BYTES
        self.reclaiming = False

    def close(self) -> None:
        """No record is kept any more."""
        self._drain.close()

    def make(self, size: int) -> None:
        """Give up old segments until `size` more bytes fit; raises NoRoomError when that isn't enough."""
        if self.reclaiming:
            return
        while not self.fits(size, self._index.counters()):
            if not self.reclaim():
                raise NoRoomError(f"{self._claim.segments_path}: no room, and no segment can be given up")
        for _ in range(2):  # space taken by other files mustn't cost us everything at once
            if self._is_free(size):
                return
            self.reclaim()
        if not self._is_free(size):
            raise NoRoomError(f"{self._claim.segments_path}: less free space than must stay free for other uses")

    def make_spare(self) -> None:
        """Make room for the next segment now, while the current one has room for the records to be kept."""
        with suppress(NoRoomError):
            self.make(self.segment_bytes)

    def await_spare(self) -> None:
        """Wait while others make room for a segment, some seconds at most. What this worker gave up instead, without
        a segment of its own that is open, would be lost: it couldn't keep hot records.
        """
        calm = 0  # looks at which nobody was at it: between two segments, somebody is for a moment
        for _ in range(_LOOKS):
            if self.reclaiming or calm > 1 or self.has_segment():
                return
            calm = 0 if self._do_others_reclaim() else calm + 1
            _pause(_LOOK)

    def _do_others_reclaim(self) -> bool:
        rows = [row for _, row in self._index.rows()]
        return any(row.state == State.DRAINING and row.worker != self._worker for row in rows)

    def has_segment(self) -> bool:
        """Whether there is room for another segment."""
        return self.fits(self.segment_bytes, self._index.counters()) and self._is_free(self.segment_bytes)

    def fits(self, size: int, counters: IndexCounters) -> bool:
        used = counters.segment_bytes + self._index.size() + self._margin + self._reserve
        return used + size <= self._capacity and counters.entries + BATCH <= self._max_entries

    def reclaim(self) -> bool:
        """Give up the oldest segment that may go; False when there is none."""
        self._claim.check_here()
        with self._index.write() as change:
            victim = next((found for found in change.rows() if self._may_go(found[1])), None)
            if victim is None:
                return False
            number, row = victim
            change.set_row(number, row._replace(state=State.DRAINING, worker=self._worker))
        self.reclaiming = True
        try:
            self._drop(number, self._drain.run(number, keep_bytes=self.segment_bytes // 2))
        except BaseException:
            with suppress(StoreError, OSError), self._index.write() as change:
                change.set_row(number, row)
            raise
        finally:
            self.reclaiming = False
        with self._index.write() as change:
            change.set_row(number, None)
        return True

    def reclaim_on_full_disk(self) -> bool:
        """As `reclaim`, on a disk without room for its own writes."""
        try:
            done = self.reclaim()
        except OSError as error:
            if error.errno not in FULL or not self._claim.spend_reserve():
                raise
            done = self.reclaim()
        self.renew_reserve()
        return done

    def renew_reserve(self) -> None:
        self._claim.renew_reserve(self._reserve)

    def empty(self) -> None:
        """Give up all segments that may go. The index has already forgotten their records."""
        ends = self._index.ends()
        last = 0 if ends is None else ends[1]
        while True:
            with self._index.write() as change:
                old = takewhile(lambda found: found[0] <= last, change.rows())
                doomed = list(islice((found for found in old if self._may_go(found[1])), BATCH))
                for number, row in doomed:
                    change.set_row(number, row._replace(state=State.DRAINING, worker=self._worker))
            if not doomed:
                return
            for number, _ in doomed:
                self._segments.unlink(number)
            with self._index.write() as change:
                for number, _ in doomed:
                    change.set_row(number, None)

    def _may_go(self, row: Row) -> bool:
        """Nobody writes or reclaims it. A segment that this process was reclaiming is left from a failed attempt."""
        ours = row.state == State.DRAINING and row.worker == self._worker and not self.reclaiming
        return ours or row.state in (State.SEALED, State.UNSCANNED)

    def _is_free(self, size: int) -> bool:
        """Whether the file system has `size` bytes beside the space that must stay free."""
        if not self._free_floor:
            return True
        return self._files.free_bytes(self._claim.segments_path) - size >= self._free_floor

    def _drop(self, number: int, floor: int) -> None:
        """Unlink an empty segment. Records older than its own mustn't come back after an index is lost."""
        with self._index.write() as change:
            change.advance(floor=floor)
        try:
            self._claim.set_floor(floor, worker=self._worker)
        except OSError as error:
            if error.errno not in FULL:  # on a full disk, freeing space comes first
                raise
        self._segments.unlink(number)
