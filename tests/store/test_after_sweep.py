"""What was no part of a purge fares after it as before: it is kept, promoted and moved down."""

from __future__ import annotations

import asyncio
from pathlib import Path

from shield.rules.purging import MarkKind, PurgeMark
from shield.shared import Shared
from shield.store.directory.files import Files
from shield.store.disk import Disk, Tier
from shield.store.memory import MemoryTier
from shield.store.sweeping import Sweeper
from shield.store.tiers import Store
from shield.store.volume import Claimant, Volume
from tests.store.ground import SMALL, draft
from tests.store.test_marks import find, publish, tagged
from tests.store.worker_ground import until, written

PURGE = PurgeMark(5, MarkKind.TAG, b"red", at=1000.0)


class TwoTiers:
    """A store of two tiers without RAM. The clock stands at 1000."""

    def __init__(self, path: Path) -> None:
        self.shared = Shared(slots=1 << 10)
        self.disk = Disk(self.shared, clock=lambda: 1000.0)
        volumes = [
            Volume(
                path / name,
                SMALL,
                holder=Claimant("n1", "b1"),
                files=Files(),
                judge=self.disk.judge(level),
                screen=self.disk.screen,
            )
            for level, name in enumerate(("fast", "slow"))
        ]
        self.fast, self.slow = volumes
        self.disk.open([Tier(each.path.name, at, [each], [1]) for at, each in enumerate(volumes)])
        self.store = Store(MemoryTier(capacity=0, max_entry=0), self.shared, disk=self.disk, slice_bytes=64 << 10)

    async def purge_and_sweep(self) -> None:
        """A purge of others is swept to its end, and forgotten."""
        publish(self.store, PURGE)
        loop = asyncio.get_running_loop()
        for volume in (self.fast, self.slow):
            sweeper = Sweeper(volume, self.store.marks, loop=loop, tell=self.store.tell_fallen, rest=0.0)
            sweeper.tick()
            await asyncio.to_thread(sweeper.join)
        while self.store.sweep_memory(10):
            pass
        self.store.marks.forget(5)

    def _reclaim(self) -> None:
        """Give up the first tier's segment."""
        assert self.fast.directory is not None
        self.fast.directory._log.seal()
        assert self.fast.directory.reclaim_step()

    async def reclaim(self) -> None:
        await asyncio.to_thread(self._reclaim)


def is_in(volume: Volume, name: str) -> bool:
    assert volume.directory is not None
    return volume.directory.lookup(tagged(name).key.digest) is not None


def put(volume: Volume, name: str) -> None:
    made = draft(name, 10)
    made.record.tags = b"cats"
    volume.change(lambda directory: directory.commit([made]))


def test_an_entry_that_a_purge_spared_is_still_promoted(tmp_path: Path) -> None:
    async def run() -> None:
        two = TwoTiers(tmp_path)
        put(two.slow, "a")
        await until(lambda: is_in(two.slow, "a"))
        await two.purge_and_sweep()

        for _ in range(3):
            assert await find(two.store, tagged("a")) is not None

        await until(lambda: two.disk.promoted > 0)
        assert is_in(two.fast, "a")
        await two.store.close()

    asyncio.run(run())


def test_an_entry_that_a_purge_spared_is_still_moved_down(tmp_path: Path) -> None:
    async def run() -> None:
        two = TwoTiers(tmp_path)
        two.store.commit(tagged("a", b"cats"))
        await written(two.store)
        await two.purge_and_sweep()

        await two.reclaim()

        await until(lambda: is_in(two.slow, "a"))
        await two.store.close()

    asyncio.run(run())


def test_an_entry_that_a_purge_spared_still_stays_when_it_is_hot(tmp_path: Path) -> None:
    async def run() -> None:
        two = TwoTiers(tmp_path)
        two.store.commit(tagged("a", b"cats"))
        await written(two.store)
        await two.purge_and_sweep()

        two.shared.hit(tagged("a").key.digest)
        await two.reclaim()

        assert is_in(two.fast, "a") and not is_in(two.slow, "a")
        await two.store.close()

    asyncio.run(run())
