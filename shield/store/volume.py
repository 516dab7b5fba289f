"""One cache directory through its life: opened, written by its own thread, taken out of use when it fails, retried.

Threads: the event loop looks up and submits, the volume's writer makes all changes. Between the two is one queue,
bounded in bytes: when a disk can't keep up, writes are skipped, and nobody waits.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shield.errors import StoreError
from shield.rules.key import CacheKey
from shield.shared import Shared
from shield.store.backlog import BACKLOG, Backlog, Completion, DirectoryChange, Write, WriterTask
from shield.store.directory.claim import Claim, InUseError
from shield.store.directory.directory import CacheDirectory, DirectoryHealth, DirectoryStatistics, DirectoryWork
from shield.store.directory.files import Files
from shield.store.directory.log import Draft, Screen, admit_none
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.reclaim import Judge
from shield.store.directory.record import RecordKind

log = logging.getLogger("shield.store")

_TEND_TICKS = 5
_RETRY_TICKS = 10
_SETTLED_TICKS = 60
_MISSED = 100_000  # removed keys remembered while a directory is out


Joining = Callable[[CacheDirectory], Callable[[], None]]
"""What a directory must go through before it is used, in the thread that opens it; what that returns is called on the
loop. Raises StoreError: then the directory isn't used.
"""


def _nothing() -> None:
    """There is nothing to do."""


def _as_it_is(directory: CacheDirectory) -> Callable[[], None]:
    return _nothing


def boot_id() -> str:
    """Identifies this run of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return secrets.token_hex(16)  # not known: no index is trusted after an unclean end


@dataclass(frozen=True, slots=True)
class Claimant:
    """The identity under which a directory is claimed. `boot_id` tells one run of the machine from the next.

    `worker` is the number under which this process writes. `shared` is the node's memory of where its directories
    belong. `rebuilds`: it is the one that rebuilds an index.
    """

    node: str
    boot_id: str
    worker: int = 0
    shared: Shared | None = None
    rebuilds: bool = True


@dataclass(frozen=True, slots=True)
class VolumeStatistics:
    path: str
    health: str
    reason: str  # why it isn't well; empty if it is
    backlog_bytes: int
    skipped: int  # records not written because the writer was behind
    work: DirectoryWork  # since the node's start, however often it was opened: never falls
    directory: DirectoryStatistics | None  # None while it is out


class Volume:
    """`directory` is None while it is out of use. Made on the event loop; call `open`, `tick` and `close`."""

    def __init__(
        self,
        path: Path,
        limits: DirectoryLimits,
        *,
        holder: Claimant,
        files: Files,
        judge: Judge,
        screen: Screen = admit_none,
        joining: Joining = _as_it_is,
    ) -> None:
        """`joining` is called with a directory that was opened, before anything there is found: see `Joining`."""
        self.path = path
        self.directory: CacheDirectory | None = None
        self.skipped = 0
        self._limits = limits
        self._holder = holder
        self._files = files
        self._judge = judge
        self._screen = screen
        self._join = joining
        self._loop = asyncio.get_running_loop()

        self._backlog = Backlog()
        self._thread: threading.Thread | None = None
        self._warmer: threading.Thread | None = None

        # used by the loop
        self._ticks = 0
        self._up_ticks = 0
        self._reported = (DirectoryHealth.WELL, "")
        self._ill_ticks = 0  # when it wasn't well any more
        self._busy = False  # opening or probing
        self._joining: CacheDirectory | None = None  # opened, but missed removals aren't applied yet
        self._worked = DirectoryWork()  # in the openings before this one
        self._missed: dict[bytes, CacheKey] | None = {}  # keys removed while it was out; None: too many

        # used by the writer
        self._rebuilding = False
        self._failure = ""  # why the directory couldn't be opened last time

    # methods for the loop's thread

    def open(self) -> None:
        """Open the directory and start the writer. Raises InUseError; any other fault takes it out of use for now."""
        try:
            self._attach(*self._opened())
        except InUseError:
            raise
        except StoreError as error:
            self._failure = str(error)
            self._report()
        self._thread = threading.Thread(target=self._run, name=f"shield-writer-{self.path.name}", daemon=True)
        self._thread.start()

    @property
    def writable(self) -> bool:
        return self.directory is not None and self.directory.health is DirectoryHealth.WELL

    def generation(self) -> int | None:
        """The directory's. Take it before reading the entry that is to be written."""
        directory = self.directory
        with suppress(StoreError, OSError):
            return None if directory is None else directory.generation()
        return None

    def write(self, draft: Draft, size: int, done: Completion | None = None) -> bool:
        """Queue a record of about `size` bytes; False, and `done` is never called, when it can't be taken now.

        `done` is called on the loop with whether it is stored. A size of 0 is always taken while the directory is
        writable: its bytes are bounded by the caller. Any thread.
        """
        return self._submit_write(Write(draft, size, False, done))

    def move_here(self, draft: Draft, size: int, *, wait: Callable[[], bool]) -> bool:
        """As `write`, for a record that leaves another tier. Waits for room while `wait` allows. Any thread."""
        move = Write(draft, size, True, None)
        while not self._submit_write(move):
            if not self.writable or self._backlog.stopped or not wait():
                return False
            self._backlog.wait_for_room(0.05)
        return True

    def change(self, change: DirectoryChange, done: Completion | None = None) -> None:
        """Queue another change for the writer; `done` is called with whether it succeeded."""
        self._backlog.work(WriterTask(change, done))

    def remove(self, keys: Sequence[CacheKey], done: Completion | None = None) -> None:
        """Forget keys with all slices, durably; a directory that is out forgets them when it is back."""
        directory = self.directory
        if directory is None or directory.health is DirectoryHealth.OUT:
            self.miss(keys)
            if done is not None:
                self._loop.call_soon(done, True)
            return

        def finished(well: bool) -> None:
            if not well:
                self.miss(keys)
            if done is not None:
                done(well)

        self.change(lambda directory: directory.remove(keys), finished)

    def miss(self, keys: Iterable[CacheKey]) -> None:
        """Note keys whose entries here, if any, mustn't be found when the directory is back."""
        if self._missed is not None:
            self._missed.update((key.text, key) for key in keys)
            if len(self._missed) > _MISSED:
                self._missed = None

    @property
    def is_behind(self) -> bool:
        return self._backlog.bytes > BACKLOG // 2

    def tick(self) -> None:
        """Call once a second: looks after the directory, and retries one that is out of use."""
        self._ticks += 1
        if self._backlog.stopped:
            return  # it is closed, and isn't missed
        directory = self.directory
        health = DirectoryHealth.OUT if directory is None else directory.health
        self._report()
        if health is DirectoryHealth.WELL:
            self._up_ticks += 1
            if self._ticks % _TEND_TICKS == 0:
                self.change(lambda directory: directory.tend())
            if self._up_ticks == _SETTLED_TICKS:
                self.change(lambda directory: directory.settled())
            return
        self._up_ticks = 0
        if self._ticks % _RETRY_TICKS == 0 and not (self._busy or self._joining or self._backlog.stopped):
            self._busy = True
            if health is DirectoryHealth.FAILING:
                self.change(lambda directory: directory.probe(), self._tried)
            else:
                self._backlog.work(WriterTask(None, self._tried))

    @property
    def sweeps(self) -> bool:
        """Whether this process is the one that sweeps the directory, as it rebuilds its index."""
        return self._holder.rebuilds

    def statistics(self) -> VolumeStatistics:
        directory = self.directory
        health, reason = self._state()
        known = None
        if directory is not None and health is not DirectoryHealth.OUT:
            with suppress(StoreError, OSError):
                known = directory.statistics()
        work = self._worked if directory is None else self._worked.plus(directory.work())
        return VolumeStatistics(str(self.path), health.value, reason, self._backlog.bytes, self.skipped, work, known)

    async def close(self) -> None:
        """Write the records that wait, and leave the directory."""
        self._backlog.stop()
        for thread in (self._warmer, self._thread):
            if thread is not None:
                await self._loop.run_in_executor(None, thread.join)
        for directory in (self.directory, self._joining):
            if directory is not None:
                directory.close()
        self.directory = self._joining = None

    def _attach(self, directory: CacheDirectory, joined: Callable[[], None] = _nothing) -> None:
        """Use a directory, once the removals that it missed are applied."""
        joined()
        missed, self._missed = self._missed, {}
        self._joining = directory if missed != {} else None
        if self._joining is None:
            self.directory = directory
            self._warmer = threading.Thread(target=self._warm, args=(directory,), daemon=True)
            self._warmer.start()
            self._rebuilding = True
            self._backlog.wake()
            if directory.reason:
                log.warning("cache directory %s: %s; its index is being rebuilt", self.path, directory.reason)
            self._report()
            return

        def rejoin(well: bool) -> None:
            if well:
                self._attach(directory, joined)  # again, for what was forgotten since
            else:
                self._missed = None  # it is emptied when it is well again
                self._joining = None
                self._backlog.work(WriterTask(CacheDirectory.close, None, directory))

        if missed is None:
            log.warning("cache directory %s: too much was removed while it was out: it is emptied", self.path)
            self._backlog.work(WriterTask(CacheDirectory.clear, rejoin, directory))
        else:
            keys = list(missed.values())
            self._backlog.work(WriterTask(lambda directory: directory.remove(keys), rejoin, directory))

    def _detach(self, gone: threading.Event) -> None:
        if self.directory is not None:
            self._worked = self._worked.plus(self.directory.work())
        self.directory = None
        gone.set()

    def _tried(self, well: bool) -> None:
        self._busy = False
        self._report()

    def _state(self) -> tuple[DirectoryHealth, str]:
        """With the reason, if it isn't well."""
        directory = self.directory
        return (DirectoryHealth.OUT, self._failure) if directory is None else (directory.health, directory.why)

    def _report(self) -> None:
        """Log a change of state, once. A tick is a second."""
        before, self._reported = self._reported, self._state()
        if self._reported == before:
            return
        health, why = self._reported
        if before[0] is DirectoryHealth.WELL:
            self._ill_ticks = self._ticks
        if health is DirectoryHealth.WELL:
            log.warning("cache directory %s is well again, after %d s", self.path, self._ticks - self._ill_ticks)
        elif health is DirectoryHealth.FAILING:
            log.error("cache directory %s can't be written; its entries are still served: %s", self.path, why)
        else:
            log.error(
                "cache directory %s is out of use; it is tried again every %d s: %s", self.path, _RETRY_TICKS, why
            )

    # methods for any thread

    def _warm(self, directory: CacheDirectory) -> None:
        """Bring the index into memory for lookups."""
        directory.warm(lambda: self._backlog.stopped or self.directory is not directory)

    def _submit_write(self, write: Write) -> bool:
        is_taken = self.writable and self._backlog.write(write)
        if not (is_taken or write.moved):
            self.skipped += 1
        return is_taken

    # methods for the writer's thread

    def _run(self) -> None:
        backlog = self._backlog
        while True:
            jobs = backlog.take(lambda: not self._rebuilding)
            if jobs:
                self._do(jobs)
            elif backlog.stopped:
                return
            if self._rebuilding and not backlog.stopped:
                self._rebuild()

    def _do(self, jobs: list[Write | WriterTask]) -> None:
        first = jobs[0]
        if isinstance(first, WriterTask):
            outcomes = [self._work(first)]
            self._deliver([(first.done, outcomes[0])])
            return
        writes = [job for job in jobs if isinstance(job, Write)]
        outcomes = self._write(writes)
        self._backlog.written(writes)
        self._deliver([(write.done, well) for write, well in zip(writes, outcomes, strict=True)])

    def _work(self, work: WriterTask) -> bool:
        directory = work.directory or self.directory
        try:
            if work.change is None:
                self._reopen()
            elif directory is None:
                return False
            else:
                work.change(directory)
        except (StoreError, OSError) as error:
            if work.change is None:
                self._failure = str(error)
            log.debug("cache directory %s: %s", self.path, error)
            return False
        return True

    def _write(self, writes: list[Write]) -> list[bool]:
        directory = self.directory
        if directory is None:
            return [False] * len(writes)
        wanted = [not (write.moved and _is_there(directory, write.draft)) for write in writes]
        drafts = [write.draft for write, is_wanted in zip(writes, wanted, strict=True) if is_wanted]
        try:
            founds = iter(directory.commit(drafts) if drafts else ())
        except (StoreError, OSError) as error:
            log.debug("cache directory %s: %s", self.path, error)
            return [False] * len(writes)
        return [next(founds) is not None if is_wanted else True for is_wanted in wanted]

    def _rebuild(self) -> None:
        directory = self.directory
        if directory is None or not self._holder.rebuilds:
            self._rebuilding = False
            return
        try:
            self._rebuilding = directory.rebuild_step()
        except (StoreError, OSError) as error:
            self._rebuilding = False
            log.warning("cache directory %s: rebuilding its index: %s", self.path, error)

    def _reopen(self) -> None:
        """Open the directory anew. The old one is closed once the loop has let go of it."""
        old = self.directory
        if old is not None:
            self._failure = old.why
            gone = threading.Event()
            self._loop.call_soon_threadsafe(self._detach, gone)
            gone.wait()
            old.close()
        self._loop.call_soon_threadsafe(self._attach, *self._opened())

    def _opened(self) -> tuple[CacheDirectory, Callable[[], None]]:
        holder = self._holder
        claim = Claim(self.path, node=holder.node, boot_id=holder.boot_id, files=self._files, shared=holder.shared)
        try:
            directory = CacheDirectory(
                claim,
                self._limits,
                worker=holder.worker,
                files=self._files,
                judge=self._judge,
                screen=self._screen,
            )
        except BaseException:
            claim.release(clean=False)
            raise
        try:
            return directory, self._join(directory)
        except BaseException:
            directory.close()
            raise

    def _deliver(self, results: list[tuple[Completion | None, bool]]) -> None:
        if any(done is not None for done, _ in results):
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(_tell, results)


def _tell(results: list[tuple[Completion | None, bool]]) -> None:
    for done, well in results:
        if done is not None:
            done(well)


def _is_there(directory: CacheDirectory, draft: Draft) -> bool:
    """Whether the same bytes are stored already, under a head that is no older."""
    record = draft.record
    found = directory.lookup(record.key.digest, record.slice if record.kind is RecordKind.SLICE else None)
    return found is not None and found.identity == record.identity and found.born >= record.freshness.born
