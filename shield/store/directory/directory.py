"""One cache directory: segments, their index, and the claim on both.

Threads: `fetch_nowait`, `whole_nowait` and `read_nowait` belong to one thread, the event loop's, and never wait for
the disk, as long as the index is in the page cache (`warm`). All calls that change something (`commit`, `freshen`,
`retag`, `remove`, `clear`, `reclaim_step`, `rebuild_step`, `tend`, `probe`) belong to one other thread, the process's
writer. `lookup` is for these two. `peek`, `fetch`, `read`, `warm`, `settled`, `generation` and `statistics` may be
called from any thread, also while the directory is being closed. `close` belongs to the writer's thread, when the
loop's has let go of the directory, or to the loop's when the writer's has ended. Several processes of one node may
have it open, each with a worker number of its own.

A key may be removed while its body is on the way into the directory. A caller that takes the `generation` before the
body sets out, and commits with it (`Draft.since`), never restores a removed entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import add
from pathlib import Path
from typing import Final, NamedTuple

from shield.errors import StoreError
from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey
from shield.store.directory.claim import FULL, Claim, CondemnedError
from shield.store.directory.condition import Condition, DirectoryHealth
from shield.store.directory.files import Files, failed
from shield.store.directory.index import BATCH, Found, Index, IndexDamagedError, IndexHaltedError, IndexOutdatedError
from shield.store.directory.log import Draft, Log, Screen, admit_none
from shield.store.directory.premises import DirectoryLimits, Premises
from shield.store.directory.reading import RecordReader, StoredRecord
from shield.store.directory.rebuild import Rebuild
from shield.store.directory.reclaim import Judge, drop_all
from shield.store.directory.record import DamagedError, Record, Whole
from shield.store.directory.segments import Segments
from shield.store.directory.sweep import Fallen, Sweep

__all__ = ["CacheDirectory", "DirectoryHealth", "DirectoryStatistics", "DirectoryWork"]

_REBUILD_STEP = 16 << 20
_OUT: Final = DirectoryHealth.OUT  # found in one step


@dataclass(frozen=True, slots=True)
class DirectoryStatistics:
    health: DirectoryHealth
    entries: int  # indexed records, slices too
    entry_bytes: int
    segments: int
    segment_bytes: int  # including the room that active segments may still take
    index_bytes: int
    capacity_bytes: int
    unscanned: int  # segments whose records aren't indexed again yet
    written_bytes: int  # by this process since it opened
    damaged: int  # records found damaged
    errors: int  # failed system calls
    slices: int  # of `entries`
    oldest: float | None  # when the oldest segment, and so the oldest record, was last written, as epoch time
    newest: float | None
    unlinked: int  # removed segments still held by readers of this process, as of the last `tend`
    held_bytes: int  # their disk space, not counted in any capacity


class DirectoryWork(NamedTuple):
    """Counted by this process."""

    written_bytes: int = 0
    damaged: int = 0  # records found damaged
    errors: int = 0  # failed system calls

    def plus(self, other: DirectoryWork) -> DirectoryWork:
        return DirectoryWork(*map(add, self, other))


class CacheDirectory:
    """See the module. `reason`: why the index was rebuilt at opening; empty if it wasn't."""

    def __init__(
        self,
        claim: Claim,
        limits: DirectoryLimits,
        *,
        worker: int = 0,
        files: Files,
        judge: Judge = drop_all,
        screen: Screen = admit_none,
    ) -> None:
        """Open, or begin to rebuild. `judge` decides on the records of a segment that must go, `screen` on those from
        before marks of purges. Raises StoreError.
        """
        self._claim = claim
        self._files = files
        self._worker = worker
        self._capacity = limits.capacity

        self._closed = False
        self._condition = Condition(claim)
        self.segments = Segments(files, claim.segments_path, max_open=limits.max_open or files.max_open() // 4)
        self._reader = RecordReader(files, self.segments)
        try:
            claim.begin(worker)
            premises, self._rebuild = self._opened(limits)
        except OSError as error:
            raise failed("opening", claim.index_path, error) from error
        self.index = premises.index
        try:
            self._premises = premises
            self._log = Log(premises, judge=judge, screen=screen)
            self._log.room.renew_reserve()
            claim.share()
        except OSError as error:
            self.index.close()
            raise failed("opening", claim.segments_path, error) from error
        except BaseException:
            self.index.close()
            raise
        self.reason = claim.reason

    @classmethod
    def open(
        cls, path: Path, limits: DirectoryLimits, *, node: str, boot_id: str, files: Files | None = None
    ) -> CacheDirectory:
        """Claim and open at once, for a node of one process."""
        files = files or Files()
        claim = Claim(path, node=node, boot_id=boot_id, files=files)
        try:
            return cls(claim, limits, files=files)
        except BaseException:
            claim.release(clean=False)
            raise

    # the loop's thread

    def lookup(self, digest: bytes, slice_number: int | None = None) -> Found | None:
        """The entry under a digest, or one of its slices. No hit yet: `fetch` compares the key's text."""
        if self._condition.health is _OUT:
            return None
        try:
            return self.index.lookup(digest, slice_number)
        except (IndexDamagedError, OSError) as error:
            self._condition.unreadable(error)
        return None

    def fetch_nowait(self, found: Found, key: CacheKey, slice_number: int | None = None) -> StoredRecord | None:
        """The record, with all of a small body; None when it isn't in memory. Raises GoneError for a miss."""
        try:
            return self._reader.fetch_nowait(found, key, slice_number)
        except (DamagedError, OSError) as error:
            raise self._condition.gone(error, found, key, slice_number) from error

    def whole_nowait(self, found: Found, key: CacheKey) -> Whole | None:
        """A whole record at half the cost of `fetch_nowait`; None when it isn't in memory. Raises GoneError."""
        try:
            return self._reader.whole_nowait(found, key)
        except (DamagedError, OSError) as error:
            raise self._condition.gone(error, found, key, None) from error

    def read_nowait(self, stored: StoredRecord, start: int, stop: int) -> bytearray | None:
        """Checked bytes of the body; None when they aren't in memory. Raises GoneError when they are unavailable."""
        try:
            return self._reader.read_nowait(stored, start, stop)
        except (DamagedError, OSError) as error:
            raise self._condition.gone(error, stored.found, stored.key, stored.slice) from error

    # any thread

    def peek(self, digest: bytes, slice_number: int | None = None) -> Found | None:
        """As `lookup`, at a higher cost; None once the directory is closed."""
        if self._condition.health is _OUT:
            return None
        try:
            return self.index.peek(digest, slice_number)
        except (IndexDamagedError, OSError) as error:
            self._condition.unreadable(error)
        return None

    def spared(self, found: Found, key: CacheKey, slice_number: int | None = None) -> Found | None:
        """The position of a record that is to be written elsewhere, with all that is known of marks of purges; None
        if it isn't there any more. As `peek`.
        """
        try:
            spared = self.index.spared(key.digest, slice_number)
        except (IndexDamagedError, OSError) as error:
            self._condition.unreadable(error)
            return None
        return spared if spared is not None and spared.same_record(found) else None

    def fetch(self, found: Found, key: CacheKey, slice_number: int | None = None) -> StoredRecord:
        """As `fetch_nowait`, but waits for the disk, and follows a record that has moved since."""
        try:
            stored = self._fetch(found, key, slice_number)
        except (DamagedError, OSError) as error:
            raise self._condition.gone(error, found, key, slice_number) from error
        self._condition.has_read()
        return stored

    def read(self, stored: StoredRecord, start: int, stop: int) -> bytearray:
        """As `read_nowait`, but waits for the disk."""
        try:
            data = self._reader.read(stored, start, stop)
        except (DamagedError, OSError) as error:
            raise self._condition.gone(error, stored.found, stored.key, stored.slice) from error
        self._condition.has_read()
        return data

    def warm(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Bring the index into the page cache, which takes as long as the disk takes to read it, or until stopped.

        False when it isn't all there: stopped, refused, or larger than half of the available memory. Run it in
        a thread of its own at the start; harmless at any time.
        """
        try:
            return self.index.warm(stopped)
        except OSError:
            self._condition.errors += 1
            return False

    def settled(self) -> None:
        """Called after a minute of good running: the index doesn't kill its readers."""
        self._claim.settled()

    def has_reclaimed(self) -> bool:
        """Whether anything ever had to go for want of room."""
        return self.index.counters().floor > 0

    def generation(self) -> int:
        """Grows with every removal by any process. Take it before a body sets out.

        Raises OSError, StoreError.
        """
        return self.index.counters().generation

    def swept(self) -> int:
        """Nothing here falls under a mark of a purge up to this one. Raises OSError, StoreError."""
        return self.index.counters().swept

    def fence(self) -> int:
        """Nothing is added that may fall under a mark up to this one. Raises OSError, StoreError."""
        return self.index.counters().fence

    def is_empty(self) -> bool:
        """Whether no record is here, nor one to be found by a rebuild. Raises OSError, StoreError."""
        counters = self.index.counters()
        return not (counters.entries or counters.unscanned)

    def swept_before(self) -> int:
        """The same as far as it is known durably, though the index was lost since. Raises OSError."""
        return self._claim.swept()

    def check_here(self) -> None:
        """Raise OSError unless it is still the directory that was opened."""
        self._claim.check_here()

    @property
    def path(self) -> Path:
        return self._claim.path

    def is_rebuilt(self) -> bool:
        """Whether all its records are known. Raises OSError, StoreError."""
        counters = self.index.counters()
        return not (counters.unscanned or counters.rebuilding)

    # the writer's thread

    def commit(self, drafts: Sequence[Draft]) -> list[Found | None]:
        """Append, then index, in runs; None for a draft that a later one has overtaken.

        Raises StoreError when a write fails or there is no room: then nothing of the failed run is visible.
        """
        with self._condition.changing("writing to"):
            return self._log.commit(drafts)

    def take_in(self, draft: Draft) -> Found | None:
        """Commit a draft whose body comes piece by piece; None if it was overtaken.

        Raises what the pieces raise, and StoreError as `commit` does: then nothing of it is visible.
        """
        with self._condition.changing("writing to"):
            return self._log.take_in(draft)

    def freshen(
        self, key: CacheKey, found: Found, head: bytes, freshness: Freshness, *, since: int | None = None
    ) -> Found | None:
        """Give a whole entry a later head (a 304's) without writing its body again; None if it is no longer there.

        `since`: up to where it is known to fall under no mark of a purge; None: as before.
        """
        with self._condition.changing("writing to"):
            return self._log.freshen(key, found, head, freshness, since=since)

    def retag(self, record: Record) -> Found | None:
        """Give an entry this record's head and its tags, by writing it again. None if it is no longer there."""
        with self._condition.changing("writing to"):
            return self._log.retag(record)

    def remove(self, keys: Sequence[CacheKey]) -> int:
        """Forget entries and all their slices, in all processes at once, and durably; returns how many records."""
        with self._condition.hiding():
            removed, sequence = self._log.forget(keys)
        with self._condition.changing("removing from"):
            self._log.bury(keys, sequence)
        return removed

    def clear(self) -> None:
        """Forget everything, in all processes at once, and durably."""
        with self._condition.hiding():
            sequence = self._log.forget_everything()
        with self._condition.changing("clearing"):
            self._log.bury_everything(sequence)

    def sweep(self, until: int) -> Sweep:
        """Of the records that fall under marks of purges up to this one."""
        return Sweep(self._premises, self._log, until)

    def begin_sweep(self, sweep: Sweep) -> None:
        """Set its fence. This and the next two raise StoreError."""
        with self._condition.changing("sweeping"):
            sweep.begin()

    def carry_out(self, sweep: Sweep, fallen: Sequence[Fallen], softens: Callable[[int], bool]) -> int:
        """Remove entries that fall under a mark, or make them stale; see `Sweep`."""
        with self._condition.changing("sweeping"):
            return sweep.carry_out(fallen, softens)

    def end_sweep(self, sweep: Sweep) -> None:
        """It has been done to its end."""
        with self._condition.changing("sweeping"):
            sweep.end()

    def reclaim_step(self) -> bool:
        """Give up the oldest complete segment; False when there is none."""
        with self._condition.changing("reclaiming"):
            return self._log.room.reclaim()

    def rebuild_step(self, step: int = _REBUILD_STEP) -> bool:
        """Restore some records of a lost index, newest first; False when all are known again."""
        with self._condition.changing("rebuilding"):
            return self._rebuild.step(step)

    def tend(self) -> DirectoryHealth:
        """Periodic upkeep: check that it is still there, forget damaged records, let go of removed files."""
        condition = self._condition
        if condition.health is DirectoryHealth.OUT or not self._is_here():
            return condition.health
        try:
            self.segments.close_removed(self.index.without_row(self.segments.alive()))
        except IndexDamagedError as error:
            condition.leave(error)
            return condition.health
        self._log.room.renew_reserve()
        if condition.health is DirectoryHealth.WELL:
            with condition.changing("tending"):
                self.index.forget_dead_readers()
                while condition.damaged:
                    with self.index.write() as change:
                        for _ in range(min(BATCH, len(condition.damaged))):
                            key, slice_number, found = condition.damaged.popleft()
                            change.delete(key.digest, slice_number, found)
        return condition.health

    def probe(self) -> DirectoryHealth:
        """Check whether it can be used again. Stays OUT if it is another directory now: then open anew."""
        if not self._is_here():
            return self._condition.health
        try:
            try:
                self._try_write()
            except OSError as refused:
                if refused.errno not in FULL or not self._log.room.reclaim_on_full_disk():
                    raise
                self._try_write()
            self.index.counters()
        except IndexDamagedError as error:
            self._condition.leave(error)
        except (OSError, StoreError):
            pass
        else:
            self._condition.well()
        return self._condition.health

    @property
    def health(self) -> DirectoryHealth:
        return self._condition.health

    @property
    def why(self) -> str:
        """Why it isn't well, for operators; empty if it is."""
        return self._condition.why

    def work(self) -> DirectoryWork:
        """Also of a directory that is out of use, or closed."""
        return DirectoryWork(self._log.written, self._condition.damaged_count, self._condition.errors)

    def statistics(self) -> DirectoryStatistics:
        """Cost doesn't depend on the amount stored. Raises OSError, StoreError."""
        counters, ends = self.index.counters(), self.index.ends()
        held = self.segments.held()
        return DirectoryStatistics(
            health=self._condition.health,
            entries=counters.entries,
            entry_bytes=counters.entry_bytes,
            segments=counters.segments,
            segment_bytes=counters.segment_bytes,
            index_bytes=self.index.size(),
            capacity_bytes=self._capacity,
            unscanned=counters.unscanned,
            written_bytes=self._log.written,
            damaged=self._condition.damaged_count,
            errors=self._condition.errors,
            slices=counters.slices,
            oldest=None if ends is None else self._written_at(ends[0]),
            newest=None if ends is None else self._written_at(ends[1]),
            unlinked=len(held),
            held_bytes=sum(held),
        )

    def close(self) -> None:
        """Make the index durable and leave. Never raises; idempotent."""
        if self._closed:
            return
        self._closed = True
        clean = False
        try:
            self._log.seal()
            self.index.sync()
            clean = self._condition.health is not DirectoryHealth.OUT
        except (OSError, StoreError):
            pass
        self._condition.health = DirectoryHealth.OUT
        self._log.room.close()
        self.index.close()
        self.segments.close()
        self._claim.release(clean=clean)

    def _opened(self, limits: DirectoryLimits) -> tuple[Premises, Rebuild]:
        """The index, in agreement with the segments; rebuilt when it is damaged and no other process uses it."""
        claim = self._claim
        try:
            return self._reconciled(limits)
        except IndexHaltedError:
            raise
        except IndexDamagedError as error:
            if not claim.first:
                if not isinstance(error, IndexOutdatedError):
                    claim.condemn(str(error))
                raise
            claim.discard_index(str(error))
        return self._reconciled(limits)

    def _reconciled(self, limits: DirectoryLimits) -> tuple[Premises, Rebuild]:
        claim = self._claim
        limit = limits.index_bytes or max(limits.capacity // 8, 1 << 20)
        index = Index(claim.index_path, limit=limit, files=self._files)
        try:
            if not claim.first and index.counters().epoch != claim.epoch:
                raise CondemnedError(f"{claim.index_path}: other processes still use an index that is no longer here")
            premises = Premises(claim, limits, index, self.segments, self._files, self._worker)
            rebuild = Rebuild(premises)
            rebuild.reconcile()
        except BaseException:
            index.close()
            raise
        return premises, rebuild

    def _try_write(self) -> None:
        path = self._claim.index_path.parent / f"probe-{self._worker}"
        fd = self._files.open_or_create(path)
        try:
            self._files.write(fd, [b"\0" * 4096], 0)
            self._files.sync(fd)
        finally:
            self._files.close(fd)
            self._files.unlink(path)

    def _is_here(self) -> bool:
        """Whether this is still the directory, and the index, that was opened; OUT if it isn't."""
        why = self._claim.absence() or self._claim.condemned
        if not (why or self.index.still_here()):
            why = "its index was removed"
        if why:
            self._condition.out(why)
        return not why

    def _written_at(self, number: int) -> float | None:
        try:
            return self._files.modified(self.segments.path(number))
        except FileNotFoundError:
            return None

    def _fetch(self, found: Found, key: CacheKey, slice_number: int | None) -> StoredRecord:
        try:
            return self._reader.fetch(found, key, slice_number)
        except FileNotFoundError:
            # Records worth keeping are written again before their segment goes.
            current = self.peek(key.digest, slice_number)
            if current is None or current.same_record(found):
                raise
            return self._reader.fetch(current, key, slice_number)
