"""Removing entries on demand: from all workers, and durably, once it is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from shield.changed import ChangedKeys
from shield.errors import ShieldError
from shield.purge_log import PurgeLog
from shield.purge_upkeep import PurgeStatistics, PurgeUpkeep
from shield.regime import InForce
from shield.rules.changes import ChangeKind, lag_of, version_of
from shield.rules.key import CacheKey, key_of_text
from shield.rules.purge_lines import LoggedPurge
from shield.rules.purging import MarkKind, PurgeMark
from shield.rules.vary import MARK as OF_VARIANT
from shield.rules.written import keys_of
from shield.store.entry import Entry
from shield.store.takedowns import record, recorded
from shield.store.tiers import Store

log = logging.getLogger("shield.purge")

_BATCH = 500  # keys at a time: some milliseconds of the event loop

_MOST_NOTED = 4096  # of more keys than this at a time, all count as changed


class Purge:
    """The purges of one worker, for the whole node. Keys that are removed count as changed from just before that on,
    for as long as replicas may lag: the next fetch mustn't bring back what was removed.
    """

    def __init__(
        self,
        in_force: InForce,
        store: Store,
        changes: ChangedKeys,
        *,
        log: PurgeLog,
        clock: Callable[[], float],
        directory: Path | None = None,
    ) -> None:
        """`directory` is the place in which takedowns are kept; None: there is none."""
        self.log = log
        self.carry_out: Callable[[LoggedPurge], Awaitable[None]] | None = None
        """Carries out an order that was interrupted."""
        self._upkeep = PurgeUpkeep(store, log)
        self._redoing: asyncio.Task[None] | None = None
        self._in_force = in_force
        self._store = store
        self._changes = changes
        self._clock = clock
        self._directory = directory
        store.tell_purged(self._fallen)
        self.doubted: Callable[[bytes, str, int], None] = lambda key, origin, sequence: None
        """Told of each entry that is removed since its origin is corrupt: its key's text, the origin, the purge."""

    @property
    def name(self) -> str:
        return "purges"

    async def open(self) -> None:
        """Read which keys are taken down, and the log of purges; carry out those that were interrupted."""
        loop = asyncio.get_running_loop()
        if self._directory is not None:
            await loop.run_in_executor(None, self._changes.load, partial(recorded, self._directory))
        await self._upkeep.load()
        interrupted = await loop.run_in_executor(None, self.log.interrupted)
        if interrupted:
            self._redoing = loop.create_task(self._redo(interrupted))

    async def _redo(self, orders: Sequence[LoggedPurge]) -> None:
        for order in orders:
            if self.carry_out is not None and order.order:
                log.warning("purge %s was interrupted and is carried out again", order.id)
                try:
                    await self.carry_out(order)
                except ShieldError as error:
                    log.error("purge %s was interrupted, and can't be carried out again: %s", order.id, error)

    def tick(self) -> None:
        """Once a second: have misses look up changed keys no longer than needed, and sweep what fell under marks."""
        self._changes.tick(self._clock())
        self._upkeep.tick()

    async def close(self) -> None:
        if self._redoing is not None:
            self._redoing.cancel()
        await self._upkeep.close()

    def statistics(self) -> PurgeStatistics:
        return self._upkeep.statistics()

    async def targets(self, targets: Sequence[bytes]) -> int:
        """Remove the entries of these targets, under all policies, or of keys; returns how many were stored.

        When this returns, no worker serves any of them; a fill that was under way isn't stored. Raises
        RequestError for a target that names nothing.
        """
        await self.check(targets)
        if len(targets) > _MOST_NOTED:
            now = self._clock()
            self._changes.add_all(now, now + self.lag)
        removed = await self._remove_targets(targets, ChangeKind.PURGED if len(targets) <= _MOST_NOTED else None)
        await self._mark_absent(targets)
        return removed

    async def take_down(self, targets: Sequence[bytes]) -> tuple[int, bool]:
        """Remove the entries of these targets, and have only the primary bring them back, until `lift`; returns how
        many were stored, and whether this is kept over a restart.

        Raises RequestError as `targets`, and StoreError if it can't be kept: then it holds until a restart.
        """
        await self.check(targets)
        keys = self._keys(targets)
        self._changes.take_down(keys)
        removed = await self._remove_targets(targets, None)
        await self._mark_absent(targets)
        await self._record(keys, lifted=False)
        return removed, self._directory is not None

    @property
    def keeps_takedowns(self) -> bool:
        """Whether takedowns hold over a restart."""
        return self._directory is not None

    async def lift(self, targets: Sequence[bytes]) -> int:
        """End the takedown of these targets; returns how many keys were taken down. Raises as `take_down`."""
        await self.check(targets)
        keys = [key for key in self._keys(targets) if self._changes.is_taken_down(key)]
        if keys:
            await self._record(keys, lifted=True)
            self._changes.lift(keys)
            await self._remove(keys)  # their absence
        return len(keys)

    async def outdate(self, kind: ChangeKind, targets: Sequence[bytes]) -> int:
        """Make the entries of these targets stale, with their grace (soft purge), and forget absences; returns the
        number of keys. Raises RequestError as `targets`.
        """
        await self.check(targets)
        count, loop = 0, asyncio.get_running_loop()
        for at in range(0, len(targets), _BATCH):
            keys, now = self._keys(targets[at : at + _BATCH]), self._clock()
            self.note(kind, keys)
            waiting = []
            for key in keys:
                done: asyncio.Future[None] = loop.create_future()
                self._store.outdate(key, now, partial(_finish, done))
                waiting.append(done)
            await asyncio.gather(*waiting)
            count += len(keys)
        if kind is ChangeKind.PURGED:
            await self._mark_absent(targets, soft=True)
        return count

    async def _mark_absent(self, targets: Sequence[bytes], *, soft: bool = False) -> None:
        """Have directories that are out, or that can't be written, obey once they are back, though it is another
        process to which they come. Raises StoreError.
        """
        if all(volume.writable for volume in self._store.volumes()):
            return
        for at in range(0, len(targets), _BATCH):
            texts = [key.text for key in self._keys(targets[at : at + _BATCH])]
            add = partial(self.log.add_marks, MarkKind.KEY, texts, soft=soft)
            await asyncio.get_running_loop().run_in_executor(None, add)
        self._store.catch_up()

    async def forget(self, targets: Sequence[bytes]) -> int:
        """Remove the entries of objects that were deleted; returns how many were stored. Raises as `targets`."""
        await self.check(targets)
        return await self._remove_targets(targets, ChangeKind.DELETED)

    @property
    def lag(self) -> float:
        """The seconds for which any replica may lag."""
        return max([lag_of(route.facts) for route in self._in_force.regime.routes], default=0.0)

    async def _record(self, keys: Sequence[CacheKey], *, lifted: bool) -> None:
        if self._directory is not None:
            work = partial(record, self._directory, keys, self._clock(), lifted=lifted)
            await asyncio.get_running_loop().run_in_executor(None, work)

    async def check(self, targets: Sequence[bytes]) -> None:
        """Raise RequestError for a target that names nothing; a million keys are too much to hold."""
        routes = self._in_force.regime.routes
        for at in range(0, len(targets), _BATCH):
            for target in targets[at : at + _BATCH]:
                keys_of(target, routes)
            await asyncio.sleep(0)

    def _keys(self, targets: Sequence[bytes]) -> list[CacheKey]:
        return [key for target in targets for key in keys_of(target, self._in_force.regime.routes)]

    async def _remove_targets(self, targets: Sequence[bytes], kind: ChangeKind | None) -> int:
        """`kind` is the change that is noted; None: it has been."""
        removed = 0
        for at in range(0, len(targets), _BATCH):
            keys = self._keys(targets[at : at + _BATCH])
            if kind is not None:
                self.note(kind, keys)
            removed += await self._remove(keys)
        return removed

    def note(self, kind: ChangeKind, keys: Sequence[CacheKey]) -> None:
        """Have keys count as changed, with the versions of their entries as far as these are at hand."""
        lag, now = self.lag, self._clock()
        if lag > 0.0:
            self._changes.add(kind, [(key, self._version(key)) for key in keys], now, now + lag)

    def _version(self, key: CacheKey) -> int:
        entry = self._store.find(key)
        return version_of(entry.etag, entry.length) if isinstance(entry, Entry) else 0

    async def prefix(self, prefix: tuple[bytes, ...]) -> None:
        """Remove all keys with this prefix, in any of these spellings: see `mark`. Raises StoreError."""
        await self.mark(MarkKind.PREFIX, prefix)

    async def mark(
        self, kind: MarkKind, texts: Sequence[bytes] = (b"",), *, soft: bool = False, after: float = 0.0
    ) -> int:
        """Remove all entries with these tags, prefixes or patterns, or all there are, or with bytes of these origins
        stored at `after` or later, or (`soft`) make them stale; returns the sequence of the purge. The cost doesn't
        depend on their number.

        When this returns it is durable, if there is any place for that, and no worker serves any of them; a fill that
        was under way isn't stored. Raises TooManyGlobsError and StoreError: then nothing is removed.
        """
        if kind is MarkKind.GLOB:
            self.check_globs(texts)
        now, lag = self._clock(), self.lag
        if kind is MarkKind.PREFIX:
            self._changes.add_prefixes(texts, now, now + lag)
        elif kind is MarkKind.ALL:
            self._changes.add_all(now, now + lag)
        add = partial(self.log.add_marks, kind, texts, soft=soft, after=after)
        marks = await asyncio.get_running_loop().run_in_executor(None, add)
        self._store.catch_up()
        return marks[0].sequence

    def check_globs(self, texts: Sequence[bytes]) -> None:
        """Raise TooManyGlobsError if these patterns would be too many, with those that are in force."""
        self._store.catch_up()
        self._store.marks.check_globs(texts)

    def _fallen(self, key: CacheKey, version: int, mark: PurgeMark) -> None:
        """An entry fell under a mark: its key counts as changed since the purge. Others do since then anyway."""
        until, now = mark.at + self.lag, self._clock()
        if mark.kind is MarkKind.ORIGIN:
            self.doubted(key.text.partition(OF_VARIANT)[0], mark.text.decode(), mark.sequence)
        if mark.kind not in (MarkKind.TAG, MarkKind.GLOB, MarkKind.SHARE) or until <= now:
            return
        named = key_of_text(key.text.partition(OF_VARIANT)[0])
        known = self._changes.find(named, now)
        if known is None or known.until < until:
            self._changes.add(ChangeKind.PURGED, [(named, version)], mark.at, until)

    async def _remove(self, keys: Sequence[CacheKey]) -> int:
        stored = sum([self._store.find(key) is not None for key in keys])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        self._store.purge(keys, partial(_finish, done))
        await done
        return stored


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
