"""Removing entries on demand: from all workers, and durably, once it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shield.regime import InForce
from shield.rules.key import CacheKey
from shield.rules.written import keys_of
from shield.store.directory.directory import CacheDirectory
from shield.store.tiers import Store
from shield.store.upkeep.listing import is_under, keys_under

_BATCH = 500  # keys at a time: some milliseconds of the event loop


class Purge:
    """The purges of one worker, for the whole node."""

    def __init__(self, in_force: InForce, store: Store) -> None:
        self._in_force = in_force
        self._store = store

    async def targets(self, targets: Sequence[bytes]) -> int:
        """Remove the entries of these targets, under all policies, or of keys; returns how many were stored.

        When this returns, no worker serves any of them; a fill that was under way isn't stored. Raises
        RequestError for a target that names nothing.
        """
        routes, removed = self._in_force.regime.routes, 0
        for at in range(0, len(targets), _BATCH):
            for target in targets[at : at + _BATCH]:
                keys_of(target, routes)  # all of them before any is removed; a million keys are too much to hold
            await asyncio.sleep(0)
        for at in range(0, len(targets), _BATCH):
            batch = targets[at : at + _BATCH]
            removed += await self._remove([key for target in batch for key in keys_of(target, routes)])
        return removed

    async def prefix(self, prefix: tuple[bytes, ...]) -> int:
        """Remove all keys with this prefix, in any of these spellings; returns how many there were.

        A path is matched in all key spaces. Takes as long as reading the headers of all records on disk. RAM
        tiers are emptied, since other workers' can't be listed.
        """
        loop, count = asyncio.get_running_loop(), 0
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

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        self._store.purge(keys, finish)
        await done
        return stored


def _keys_under(directory: CacheDirectory, prefix: tuple[bytes, ...]) -> list[CacheKey]:
    return list(keys_under(directory, prefix))
