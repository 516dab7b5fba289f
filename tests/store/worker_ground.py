"""A worker's store with a real disk tier, for tests without a node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from shield.shared import Shared
from shield.store.directory.files import Files
from shield.store.disk import Disk, Tier
from shield.store.memory import MemoryTier
from shield.store.tiers import Store
from shield.store.volume import Claimant, Volume
from tests.store.ground import SMALL

PATIENCE = 20.0


@asynccontextmanager
async def stores(path: Path, *, workers: int = 1, memory: int = 4 << 20) -> AsyncIterator[list[Store]]:
    """The stores of a node's workers, on one directory. The clock stands at 1000."""
    shared = Shared(workers=workers, slots=1 << 10)
    made: list[Store] = []
    for worker in range(workers):
        disk = Disk(shared, clock=lambda: 1000.0)
        claimant = Claimant("n1", "b1", worker)
        volume = Volume(path, SMALL, holder=claimant, files=Files(), judge=disk.judge(0), screen=disk.screen)
        disk.open([Tier("disk", 0, [volume], [1])])
        ram = MemoryTier(capacity=memory, max_entry=memory)
        made.append(Store(ram, shared, disk=disk, slice_bytes=64 << 10))
    try:
        yield made
    finally:
        for store in made:
            await store.close()
        shared.close()


async def until(holds: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "it never came to be"
        await asyncio.sleep(0.005)


def is_written(store: Store) -> bool:
    """Whether nothing is on its way to the disk."""
    disk = store.statistics().disk
    return disk is not None and not disk.pending and not any(v.backlog_bytes for t in disk.tiers for v in t.volumes)


async def written(store: Store) -> None:
    """Wait for all that is on its way to the disk."""
    await until(lambda: is_written(store))
