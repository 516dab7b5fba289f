"""Removing entries on demand: from all workers, and durably, once it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from shield.changed import ChangedKeys
from shield.regime import InForce
from shield.rules.changes import ChangeKind, lag_of, version_of
from shield.rules.key import CacheKey
from shield.rules.written import keys_of
from shield.store.directory.directory import CacheDirectory
from shield.store.entry import Entry
from shield.store.takedowns import record, recorded
from shield.store.tiers import Store
from shield.store.upkeep.listing import is_under, keys_under

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
        clock: Callable[[], float],
        directory: Path | None = None,
    ) -> None:
        """`directory` is the place in which takedowns are kept; None: there is none."""
        self._in_force = in_force
        self._store = store
        self._changes = changes
        self._clock = clock
        self._directory = directory

    @property
    def name(self) -> str:
        return "purges"

    async def open(self) -> None:
        """Read which keys are taken down."""
        if self._directory is not None:
            read = partial(recorded, self._directory)
            await asyncio.get_running_loop().run_in_executor(None, self._changes.load, read)

    def tick(self) -> None:
        """Once a second: have misses look up changed keys no longer than needed."""
        self._changes.tick(self._clock())

    async def close(self) -> None:
        pass

    async def targets(self, targets: Sequence[bytes]) -> int:
        """Remove the entries of these targets, under all policies, or of keys; returns how many were stored.

        When this returns, no worker serves any of them; a fill that was under way isn't stored. Raises
        RequestError for a target that names nothing.
        """
        await self._check(targets)
        if len(targets) > _MOST_NOTED:
            now = self._clock()
            self._changes.add_all(now, now + self.lag)
        return await self._remove_targets(targets, ChangeKind.PURGED if len(targets) <= _MOST_NOTED else None)

    async def take_down(self, targets: Sequence[bytes]) -> tuple[int, bool]:
        """Remove the entries of these targets, and have only the primary bring them back, until `lift`; returns how
        many were stored, and whether this is kept over a restart.

        Raises RequestError as `targets`, and StoreError if it can't be kept: then it holds until a restart.
        """
        await self._check(targets)
        keys = self._keys(targets)
        self._changes.take_down(keys)
        removed = await self._remove_targets(targets, None)
        await self._record(keys, lifted=False)
        return removed, self._directory is not None

    async def lift(self, targets: Sequence[bytes]) -> int:
        """End the takedown of these targets; returns how many keys were taken down. Raises as `take_down`."""
        await self._check(targets)
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
        await self._check(targets)
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
        return count

    async def forget(self, targets: Sequence[bytes]) -> int:
        """Remove the entries of objects that were deleted; returns how many were stored. Raises as `targets`."""
        await self._check(targets)
        return await self._remove_targets(targets, ChangeKind.DELETED)

    @property
    def lag(self) -> float:
        """The seconds for which any replica may lag."""
        return max([lag_of(route.facts) for route in self._in_force.regime.routes], default=0.0)

    async def _record(self, keys: Sequence[CacheKey], *, lifted: bool) -> None:
        if self._directory is not None:
            work = partial(record, self._directory, keys, self._clock(), lifted=lifted)
            await asyncio.get_running_loop().run_in_executor(None, work)

    async def _check(self, targets: Sequence[bytes]) -> None:
        """Raise RequestError before any is removed; a million keys are too much to hold."""
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

    async def prefix(self, prefix: tuple[bytes, ...]) -> int:
        """Remove all keys with this prefix, in any of these spellings; returns how many there were.

        A path is matched in all key spaces. Takes as long as reading the headers of all records on disk. RAM
        tiers are emptied, since other workers' can't be listed.
        """
        loop, count, now = asyncio.get_running_loop(), 0, self._clock()
        self._changes.add_prefixes(prefix, now, now + self.lag)
        in_memory = self._store.keys_in_memory()
        for at in range(0, len(in_memory), _BATCH):
            count += await self._remove_all(
                [key for key in in_memory[at : at + _BATCH] if is_under(key.text, prefix)]
            )
        self._store.forget_memory()
        for directory in self._store.directories():
            found = await loop.run_in_executor(None, _keys_under, directory, prefix)
            count += await self._remove_all(found)
        self._store.forget_memory()
        return count

    async def _remove_all(self, keys: Sequence[CacheKey]) -> int:
        """Remove keys, however many; how many there are."""
        for at in range(0, len(keys), _BATCH):
            await self._remove(keys[at : at + _BATCH])
        await asyncio.sleep(0)
        return len(keys)

    async def _remove(self, keys: Sequence[CacheKey]) -> int:
        stored = sum([self._store.find(key) is not None for key in keys])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        self._store.purge(keys, partial(_finish, done))
        await done
        return stored


def _keys_under(directory: CacheDirectory, prefix: tuple[bytes, ...]) -> list[CacheKey]:
    return list(keys_under(directory, prefix))


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
