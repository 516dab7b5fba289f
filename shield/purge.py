"""Removing entries on demand: gone for all workers, and for good, when it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shield.rules.routes import Routes
from shield.store.tiers import Store


class Purge:
    """Of one worker, for the whole node."""

    def __init__(self, routes: Routes, store: Store) -> None:
        self._routes = routes
        self._store = store

    async def targets(self, targets: Sequence[bytes]) -> int:
        """Remove what these targets name, as clients ask for it; how many of them were stored.

        When this returns, no worker answers with any of it; a fill that was under way isn't stored. Raises
        RequestError for a target that names nothing.
        """
        keys = [self._routes.resolve(target).key for target in targets]
        stored = sum([self._store.find(key) is not None for key in keys])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        self._store.purge(keys, finish)
        await done
        return stored
