"""Removing entries on demand: gone for all workers, and for good, when it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shield.regime import InForce
from shield.rules.key import CacheKey
from shield.store.directory.directory import CacheDirectory
from shield.store.tiers import Store
from shield.store.upkeep.listing import is_under, keys_under

_BATCH = 1000


class Purge:
    """Of one worker, for the whole node."""

    def __init__(self, in_force: InForce, store: Store) -> None:
        self._in_force = in_force
        self._store = store

    async def targets(self, targets: Sequence[bytes]) -> int:
        """Remove what these targets name, as clients ask for it, under all policies; how many entries were stored.

        When this returns, no worker answers with any of it; a fill that was under way isn't stored. Raises
        RequestError for a target that names nothing.
        """
        routes = self._in_force.regime.routes
        return await self._remove([key for target in targets for key in routes.keys(target)])

    async def prefix(self, prefix: bytes) -> int:
        """Remove all keys whose text begins so; how many there were.

        A path is meant in all key spaces. Takes as long as it takes to read the headers of all that is on disk. RAM
        tiers are emptied: other workers' can't be asked what they have.
        """
        loop = asyncio.get_running_loop()
        keys = {key.text: key for key in self._store.keys_in_memory() if is_under(key.text, prefix)}
        self._store.forget_memory()
        for directory in self._store.directories():
            found = await loop.run_in_executor(None, _keys_under, directory, prefix)
            keys.update((key.text, key) for key in found)
        every = list(keys.values())
        for at in range(0, len(every), _BATCH):
            await self._remove(every[at : at + _BATCH])
        self._store.forget_memory()
        return len(every)

    async def _remove(self, keys: Sequence[CacheKey]) -> int:
        stored = sum([self._store.find(key) is not None for key in keys])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        self._store.purge(keys, finish)
        await done
        return stored


def _keys_under(directory: CacheDirectory, prefix: bytes) -> list[CacheKey]:
    return list(keys_under(directory, prefix))
