"""What follows a purge in the background: RAM and disks are swept of what fell under it, then its mark goes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass

from shield.errors import StoreError
from shield.purge_log import PurgeLog, PurgeLogStatistics
from shield.store.sweeping import Sweeper
from shield.store.tiers import Store

_BATCH = 20  # entries in RAM looked at before the clock: one that falls takes 8 us
_AT_ONCE = 0.001  # seconds of sweeping RAM in one go
_REST = 3.0  # times as long as a batch took: purges one after another don't keep the loop busy
_LONGEST_REST = 0.05
_FORGET_TICKS = 5
_TRIM_TICKS = 60


@dataclass(frozen=True, slots=True)
class PurgeStatistics:
    """`marks`: purges that lookups are compared with; `globs` of them are patterns. `unswept` directories may still
    have entries that fall under one; `swept`: records that sweeps removed or made stale.
    """

    marks: int
    globs: int
    unswept: int
    swept: int
    log: PurgeLogStatistics


class PurgeUpkeep:
    """Of one worker; its event loop only."""

    def __init__(self, store: Store, log: PurgeLog) -> None:
        self._store = store
        self._log = log
        self._ticks = 0
        self._sweepers: Sequence[Sweeper] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping = False  # RAM
        self._loading = False

    async def load(self) -> None:
        """Read the log, once directories are open."""
        self._loading = True
        try:
            marks, newest, _ = await asyncio.get_running_loop().run_in_executor(None, self._log.load)
            swept = self._disks_swept()
            self._store.restore_marks([mark for mark in marks if mark.sequence > swept], newest)
        finally:
            self._loading = False

    def tick(self) -> None:
        """Once a second."""
        store, self._ticks = self._store, self._ticks + 1
        store.catch_up()
        if store.has_lost_marks and not self._loading:
            self._begin(self.load())
        if store.marks.newest > store.memory_swept and not self._sweeping:
            self._begin(self._sweep_memory())
        if not self._sweepers:
            loop, volumes = asyncio.get_running_loop(), [volume for volume in store.volumes() if volume.sweeps]
            self._sweepers = [Sweeper(volume, store.marks, loop=loop, tell=store.tell_fallen) for volume in volumes]
        for sweeper in self._sweepers:
            sweeper.tick()
        if store.marks.alive and self._ticks % _FORGET_TICKS == 0:
            self._forget()
        if self._ticks % _TRIM_TICKS == 0 and self._log.wants_upkeep:
            self._begin(self._trim())

    async def close(self) -> None:
        for sweeper in self._sweepers:
            sweeper.stop()
        for task in list(self._tasks):
            task.cancel()
        for sweeper in self._sweepers:
            await asyncio.get_running_loop().run_in_executor(None, sweeper.join)

    def statistics(self) -> PurgeStatistics:
        marks, newest = self._store.marks, self._store.marks.newest
        unswept = sum(swept < newest for swept in self._all_swept()) if marks.alive else 0
        return PurgeStatistics(
            marks=len(marks),
            globs=len(marks.globs),
            unswept=unswept,
            swept=sum(sweeper.removed for sweeper in self._sweepers),
            log=self._log.statistics(),
        )

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sweep_memory(self) -> None:
        loop, store = asyncio.get_running_loop(), self._store
        self._sweeping = True
        try:
            until, began = store.marks.newest, loop.time()
            while store.memory_swept < until and store.sweep_memory(_BATCH):
                if (took := loop.time() - began) >= _AT_ONCE:
                    await asyncio.sleep(min(took * _REST, _LONGEST_REST))  # others have their turn
                    began = loop.time()
        finally:
            self._sweeping = False

    async def _trim(self) -> None:
        with suppress(StoreError):
            await asyncio.get_running_loop().run_in_executor(None, self._log.trim, self._disks_swept())

    def _forget(self) -> None:
        """Drop the marks that no entry falls under any more. A directory that is out brings those that it missed."""
        until = min(self._store.memory_swept, self._disks_swept(in_use=True))
        if until >= min(mark.sequence for mark in self._store.marks):
            self._store.marks.forget(until)

    def _disks_swept(self, *, in_use: bool = False) -> int:
        """No entry on a disk falls under a mark up to this one; of a directory that is out that isn't known. Or of
        the directories in use only.
        """
        return min(self._all_swept(in_use=in_use), default=self._store.marks.newest)

    def _all_swept(self, *, in_use: bool = False) -> list[int]:
        found = []
        for volume in self._store.volumes():
            swept, directory = 0, volume.directory
            if directory is None and in_use:
                continue
            with suppress(StoreError, OSError):
                swept = 0 if directory is None else directory.swept()
            found.append(swept)
        return found
