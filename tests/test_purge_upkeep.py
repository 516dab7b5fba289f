"""What follows a purge in the background."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shield.purge_log import PurgeLog
from shield.purge_upkeep import PurgeUpkeep
from shield.rules.purging import MarkKind, PurgeMark
from shield.shared import Shared
from shield.store.memory import MemoryTier
from shield.store.notices import marking
from shield.store.tiers import Store
from tests.node import FakeClock
from tests.store.samples import entry
from tests.store.worker_ground import stores, until


def upkeep_of(store: Store) -> PurgeUpkeep:
    shared = Shared(slots=1 << 10)
    return PurgeUpkeep(store, PurgeLog(shared, state=None, marks=store.marks, directories=list, clock=FakeClock()))


def purge(shared: Shared, sequence: int) -> None:
    shared.publish([marking(PurgeMark(sequence, MarkKind.TAG, b"red"))], purge=sequence)


def test_purges_one_after_another_do_not_keep_a_sweep_of_ram_going() -> None:
    async def run() -> None:
        shared = Shared(slots=1 << 10)
        store = Store(MemoryTier(capacity=64 << 20, max_entry=1 << 20), shared)
        for number in range(100):
            store.commit(entry(str(number)))
        purge(shared, 1)
        store.catch_up()
        batches, sweep = 0, store.sweep_memory

        def sweep_while_purging(most: int) -> bool:
            nonlocal batches
            batches += 1
            purge(shared, 1 + batches)
            store.catch_up()
            return batches < 100 and sweep(most)

        store.sweep_memory = sweep_while_purging  # type: ignore[method-assign]
        await upkeep_of(store)._sweep_memory()

        assert batches < 10, "the rest is for the next tick"

    asyncio.run(run())


def test_a_sweep_of_ram_lets_others_have_their_turn_by_the_time_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        store = Store(MemoryTier(capacity=64 << 20, max_entry=1 << 20), Shared(slots=1 << 10))
        purge(store._removals._shared, 1)
        store.catch_up()
        loop, batches, rests = asyncio.get_running_loop(), 0, [0]
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now)

        def sweep(most: int) -> bool:
            nonlocal now, batches
            batches += 1
            now += 0.0004  # entries that fall take longer than others
            return batches < 10

        async def rest(seconds: float) -> None:
            rests.append(batches)

        store.sweep_memory = sweep  # type: ignore[method-assign]
        monkeypatch.setattr(asyncio, "sleep", rest)
        await upkeep_of(store)._sweep_memory()

        assert rests == [0, 3, 6, 9]

    asyncio.run(run())


def test_marks_that_only_a_directory_which_is_out_may_need_are_forgotten(tmp_path: Path) -> None:
    """It brings them from the log when it is back: else they would grow for as long as it is out."""

    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            purge(store._removals._shared, 5)
            store.catch_up()
            volume, upkeep = store.volumes()[0], upkeep_of(store)
            directory, volume.directory = volume.directory, None
            while store.sweep_memory(10):
                pass

            for _ in range(5):
                upkeep.tick()

            await until(lambda: not store.marks.alive)
            volume.directory = directory
            await upkeep.close()

    asyncio.run(run())
