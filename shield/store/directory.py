"""One cache directory: segments, their index, and the claim on both.

Threads: `lookup`, `fetch_nowait` and `read_nowait` belong to one thread, the event loop's, and never wait for the
disk. All that changes something (`commit`, `freshen`, `remove`, `reclaim_step`, `rebuild_step`, `tend`, `probe`)
belongs to one other thread, the process's writer. `fetch` and `read` may be called from any. `close` is called when
no other call is under way. Several processes of one node may have it open, each with a worker number of its own.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from shield.errors import StoreError
from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey
from shield.store.claim import Claim
from shield.store.files import Files, failed
from shield.store.index import Found, Index, IndexDamagedError, State
from shield.store.log import Draft, Limits, Log
from shield.store.reading import GoneError, Reader, Stored
from shield.store.rebuild import Rebuild
from shield.store.reclaim import Judge, drop_all
from shield.store.record import DamagedError
from shield.store.segments import Segments

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
_READ_ERRORS = 8  # in a row, that take a directory out
_REBUILD_STEP = 16 << 20


class Health(Enum):
    WELL = "well"
    FAILING = "failing"  # refuses to be written: what it has is served, nothing comes in
    OUT = "out"  # nothing is asked of it until `probe` or a new opening finds it well


@dataclass(frozen=True, slots=True)
class DirectoryStatistics:
    health: Health
    entries: int
    entry_bytes: int
    segments: int
    segment_bytes: int  # with what active segments may still grow by
    index_bytes: int
    capacity_bytes: int
    unscanned: int  # segments that a lost index hasn't taken back yet
    written_bytes: int  # by this process since it opened
    damaged: int  # records found damaged
    errors: int  # calls that the system refused


class CacheDirectory:
    """See the module. `reason` says why the index was made anew at opening; empty if it wasn't."""

    def __init__(
        self, claim: Claim, limits: Limits, *, worker: int = 0, files: Files, judge: Judge = drop_all
    ) -> None:
        """Open, or begin to rebuild. `judge` decides on what is in a segment that must go. Raises StoreError."""
        self._claim = claim
        self._files = files
        self._worker = worker
        self._capacity = limits.capacity

        self._health = Health.WELL
        self._read_errors = 0
        self._errors = 0
        self._damaged: deque[tuple[CacheKey, int | None, Found]] = deque(maxlen=1024)
        self._damaged_count = 0

        self.segments = Segments(files, claim.segments_path, max_open=limits.max_open)
        self._reader = Reader(files, self.segments)
        try:
            self.index = self._open_index(limits.index_bytes or max(limits.capacity // 8, 1 << 20))
        except OSError as error:
            raise failed("opening", claim.index_path, error) from error
        self._log = Log(claim, limits, self.index, self.segments, files=files, worker=worker, judge=judge)
        self._rebuild = Rebuild(claim, self.index, self.segments, files=files, worker=worker)
        try:
            self._rebuild.reconcile()
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
        cls, path: Path, limits: Limits, *, node: str, boot_id: str, files: Files | None = None
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
        if self._health is Health.OUT:
            return None
        try:
            return self.index.lookup(digest, slice_number)
        except IndexDamagedError:
            self._health = Health.OUT
            return None

    def fetch_nowait(self, found: Found, key: CacheKey, slice_number: int | None = None) -> Stored | None:
        """The record, with all of a small body; None when it isn't in memory. Raises GoneError for a miss."""
        try:
            return self._reader.fetch_nowait(found, key, slice_number)
        except (DamagedError, OSError) as error:
            raise self._gone(error, found, key, slice_number) from error

    def read_nowait(self, stored: Stored, start: int, stop: int) -> bytearray | None:
        """Checked bytes of the body; None when they aren't in memory. Raises GoneError when they can't be had."""
        try:
            return self._reader.read_nowait(stored, start, stop)
        except (DamagedError, OSError) as error:
            raise self._gone(error, stored.found, stored.key, stored.slice) from error

    # any thread

    def fetch(self, found: Found, key: CacheKey, slice_number: int | None = None) -> Stored:
        """As `fetch_nowait`, waiting for the disk."""
        try:
            stored = self._reader.fetch(found, key, slice_number)
        except (DamagedError, OSError) as error:
            raise self._gone(error, found, key, slice_number) from error
        self._read_errors = 0
        return stored

    def read(self, stored: Stored, start: int, stop: int) -> bytearray:
        """As `read_nowait`, waiting for the disk."""
        try:
            return self._reader.read(stored, start, stop)
        except (DamagedError, OSError) as error:
            raise self._gone(error, stored.found, stored.key, stored.slice) from error

    # the writer's thread

    def commit(self, drafts: Sequence[Draft]) -> list[Found | None]:
        """Append, then index, in runs; None for a draft that a later one has overtaken.

        Raises StoreError when the system refuses or there is no room: then nothing of the failed run is visible.
        """
        with self._changing("writing to"):
            return self._log.commit(drafts)

    def freshen(self, key: CacheKey, found: Found, head: bytes, freshness: Freshness) -> Found | None:
        """Give a whole entry a later head (a 304's) without writing its body again; None if it has gone meanwhile."""
        with self._changing("writing to"):
            return self._log.freshen(key, found, head, freshness)

    def remove(self, keys: Sequence[CacheKey]) -> int:
        """Forget entries and all their slices, in all processes at once, and durably; how many records that were."""
        # Also while nothing can be written: better out of use than serving what was removed.
        if self._health is Health.OUT:
            raise StoreError(f"removing from {self._claim.segments_path}: it is out")
        try:
            removed = self._log.forget(keys)
        except (OSError, StoreError) as error:
            self._health = Health.OUT
            self._errors += 1
            raise StoreError(f"removing from {self._claim.segments_path}: {error}") from error
        with self._changing("removing from"):
            self._log.bury(keys)
        return removed

    def reclaim_step(self) -> bool:
        """Give up the oldest complete segment; False when there is none."""
        with self._changing("reclaiming"):
            return self._log.reclaim()

    def rebuild_step(self, step: int = _REBUILD_STEP) -> bool:
        """Take back some of what a lost index knew, newest first; False when all is known again."""
        with self._changing("rebuilding"):
            return self._rebuild.step(step)

    def tend(self) -> None:
        """Now and then: forget what readers found damaged, let go of files that other processes removed."""
        with self._changing("tending"):
            self.segments.close_removed()
            if self._damaged:
                with self.index.write() as change:
                    while self._damaged:
                        key, slice_number, found = self._damaged.popleft()
                        change.delete(key.digest, slice_number, found)

    def probe(self) -> Health:
        """Try whether it can be written again. Stays OUT when it is another directory now: then open anew."""
        path = self._claim.index_path.parent / f"probe-{self._worker}"
        if not self._claim.still_here():
            self._health = Health.OUT
            return self._health
        try:
            fd = self._files.open_or_create(path)
            try:
                self._files.write(fd, [b"\0" * 4096], 0)
                self._files.sync(fd)
            finally:
                self._files.close(fd)
            self._files.unlink(path)
            self.index.counters()
        except (OSError, StoreError):
            return self._health
        self._health, self._read_errors = Health.WELL, 0
        return self._health

    @property
    def health(self) -> Health:
        return self._health

    def statistics(self) -> DirectoryStatistics:
        counters, rows = self.index.counters(), self.index.rows()
        return DirectoryStatistics(
            health=self._health,
            entries=counters.entries,
            entry_bytes=counters.entry_bytes,
            segments=len(rows),
            segment_bytes=counters.segment_bytes,
            index_bytes=self.index.size(),
            capacity_bytes=self._capacity,
            unscanned=sum(row.state == State.UNSCANNED for _, row in rows),
            written_bytes=self._log.written,
            damaged=self._damaged_count,
            errors=self._errors,
        )

    def close(self) -> None:
        """Make the index durable and leave. Never raises."""
        clean = False
        try:
            self._log.seal()
            self.index.sync()
            clean = self._health is not Health.OUT
        except (OSError, StoreError):
            pass
        self.index.close()
        self.segments.close()
        self._claim.release(clean=clean)

    # opening

    def _open_index(self, limit: int) -> Index:
        path = self._claim.index_path
        try:
            return Index(path, limit=limit, files=self._files)
        except IndexDamagedError as error:
            if not self._claim.first:
                raise
            self._claim.discard_index(str(error))
        return Index(path, limit=limit, files=self._files)

    # changing

    @contextmanager
    def _changing(self, doing: str) -> Iterator[None]:
        """The border of the store: errors of the system become ours, and count."""
        if self._health is not Health.WELL:
            raise StoreError(f"{doing} {self._claim.segments_path}: it is {self._health.value}")
        try:
            yield
        except IndexDamagedError:
            self._health = Health.OUT
            raise
        except OSError as error:
            self._errors += 1
            if error.errno not in _PASSING:
                self._health = Health.FAILING
            raise failed(doing, self._claim.segments_path, error) from error

    # reading

    def _gone(
        self, error: DamagedError | OSError, found: Found, key: CacheKey, slice_number: int | None
    ) -> GoneError:
        """Note what a failed read says of the record and of the disk."""
        if isinstance(error, OSError) and error.errno in _PASSING:
            self._errors += 1
            return GoneError(f"not to be read now: {error}")
        self._damaged.append((key, slice_number, found))
        if isinstance(error, FileNotFoundError):
            return GoneError("its segment was reclaimed")
        if isinstance(error, OSError):
            self._errors += 1
            self._read_errors += 1
            if self._read_errors >= _READ_ERRORS:
                self._health = Health.OUT
        else:
            self._damaged_count += 1
        return GoneError(f"{self._claim.segments_path}: {error}")
