"""What was removed isn't found by any worker: not in RAM, not on its way to a disk, not on the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

from shield.shared import Shared
from shield.store.memory import MemoryTier
from shield.store.removals import Removals
from shield.store.variants import Variants
from tests.store.samples import entry
from tests.store.worker_ground import stores, until, written


class Worker:
    """One without a disk."""

    def __init__(self, shared: Shared) -> None:
        self.memory, self.variants = MemoryTier(capacity=1 << 20, max_entry=1 << 20), Variants()
        self.removals = Removals(shared, self.memory, self.variants, disk=None, pending=None)
        for name in ("a", "b"):
            self.memory.commit(entry(name))

    def has(self, name: str) -> bool:
        if self.removals.seen != self.removals.node_sequence[0]:
            self.removals.catch_up()
        return self.memory.lookup(entry(name).key.text) is not None


def remove(removals: Removals, *names: str) -> bool:
    """Whether it was done at once, as it is without a disk."""
    done: list[bool] = []
    removals.remove([entry(name).key for name in names], lambda: done.append(True))
    return bool(done)


def test_a_removal_takes_the_key_from_all_workers_and_leaves_others() -> None:
    shared = Shared(slots=1 << 10)
    one, two = Worker(shared), Worker(shared)

    assert remove(one.removals, "a")

    assert [worker.has("a") for worker in (one, two)] == [False, False]
    assert [worker.has("b") for worker in (one, two)] == [True, True]


def test_two_workers_that_remove_in_turns_learn_of_each_others_removals() -> None:
    shared = Shared(slots=1 << 10)
    one, two = Worker(shared), Worker(shared)

    remove(one.removals, "a")
    remove(two.removals, "b")

    assert [worker.has(name) for worker in (one, two) for name in ("a", "b")] == [False] * 4


def test_a_removal_tells_what_set_out_before_it_from_what_set_out_after() -> None:
    worker = Worker(Shared(slots=1 << 10))
    text = entry("a").key.text
    before = worker.removals.node_sequence[0]

    remove(worker.removals, "a")

    after = worker.removals.node_sequence[0]
    assert worker.removals.since(text, before, b"")
    assert not worker.removals.since(text, after, b"")
    assert not worker.removals.since(entry("b").key.text, before, b"")


def test_a_worker_too_far_behind_loses_all_that_it_has_in_ram() -> None:
    shared = Shared(slots=1 << 10, log_bytes=1 << 10)
    one, two = Worker(shared), Worker(shared)
    before = two.removals.node_sequence[0]

    for number in range(100):
        remove(one.removals, f"other-{number}")

    assert one.has("a")
    assert not two.has("a")
    assert two.removals.since(entry("a").key.text, before, b"")


def test_what_a_disk_is_still_forgetting_is_not_found_on_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, memory=0) as (store,):
            kept, gone = entry("kept", b"k" * 500), entry("gone", b"g" * 500)
            for each in (kept, gone):
                assert store.commit(each)
            await written(store)
            assert store.find(gone.key) is not None
            done: list[bool] = []

            store.purge([gone.key, gone.key], lambda: done.append(True))

            assert store.find(gone.key) is None  # the disk's writer hasn't begun
            assert store.find(kept.key) is not None
            await until(lambda: bool(done))
            assert store.find(gone.key) is None
            assert store.commit(gone)  # a new one isn't hidden by the old removal
            await written(store)
            assert store.find(gone.key) is not None

    asyncio.run(run())


def test_what_is_on_its_way_to_a_disk_is_removed_too_in_all_workers(tmp_path: Path) -> None:
    async def run() -> None:
        async with stores(tmp_path, workers=2) as (one, two):
            stored = entry("a", b"x" * 500)
            assert one.commit(stored)
            done: list[bool] = []

            one.purge([stored.key], lambda: done.append(True))

            assert one.find(stored.key) is None
            await until(lambda: bool(done))
            await written(one)
            assert [store.find(stored.key) for store in (one, two)] == [None, None]

    asyncio.run(run())
