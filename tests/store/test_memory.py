"""The RAM tier: bound in bytes, resistant to scans."""

from __future__ import annotations

import random

from shield.store.memory import MemoryTier
from tests.store.samples import entry

SIZE = entry("0000", b"x" * 1000).size


def tier(entries: int) -> MemoryTier:
    return MemoryTier(capacity=SIZE * entries, max_entry=SIZE * entries)


def put(memory: MemoryTier, name: str) -> None:
    memory.commit(entry(name, b"x" * 1000))


def has(memory: MemoryTier, name: str) -> bool:
    return memory.lookup(b":/" + name.encode()) is not None


def test_what_was_committed_is_found_until_it_is_removed() -> None:
    memory = tier(10)
    stored = entry("a", b"body")

    assert memory.lookup(stored.key.text) is None
    assert memory.commit(stored)
    assert memory.holds(stored)
    found = memory.lookup(stored.key.text)
    assert found is not None and (found.key, found.head, found.freshness) == (
        stored.key,
        stored.head,
        stored.freshness,
    )
    assert b"".join(found.blocks) == b"body"
    assert memory.remove(stored.key.text)
    assert not memory.remove(stored.key.text)
    assert memory.lookup(stored.key.text) is None


def test_the_capacity_holds_whatever_is_committed() -> None:
    memory = tier(50)

    for number in range(500):
        put(memory, f"{number:04}")
        assert memory.statistics().used_bytes <= memory.statistics().capacity_bytes

    assert memory.statistics().entries == 50
    assert memory.statistics().evictions == 450


def test_an_entry_larger_than_allowed_is_refused_and_what_it_would_replace_goes() -> None:
    memory = MemoryTier(capacity=100_000, max_entry=10_000)
    memory.commit(entry("a", b"old"))

    assert not memory.commit(entry("a", b"x" * 20_000))

    assert not has(memory, "a")
    assert memory.statistics().refused == 1


def test_a_scan_of_one_hit_wonders_leaves_the_hot_set_alone() -> None:
    memory = tier(100)
    hot = [f"hot{number}" for number in range(50)]
    for name in hot:
        put(memory, name)
        has(memory, name)

    for number in range(2000):
        put(memory, f"scan{number}")

    assert sum(has(memory, name) for name in hot) == len(hot)


def test_a_key_that_returns_soon_after_its_eviction_goes_to_the_main_queue() -> None:
    memory = tier(20)
    for number in range(25):
        put(memory, f"first{number}")
    gone = next(f"first{number}" for number in range(25) if not has(memory, f"first{number}"))

    put(memory, gone)
    for number in range(15):
        put(memory, f"later{number}")

    assert has(memory, gone)


def test_it_keeps_more_of_a_skewed_load_than_lru_would() -> None:
    chance = random.Random(7)
    requests = [int(chance.paretovariate(0.8)) % 5000 for _ in range(30_000)]
    requests = [n if chance.random() < 0.7 else 10_000 + i for i, n in enumerate(requests)]

    def hits_of_s3fifo() -> int:
        memory, hits = tier(100), 0
        for number in requests:
            if has(memory, str(number)):
                hits += 1
            else:
                put(memory, str(number))
        return hits

    def hits_of_lru() -> int:
        recent: dict[int, None] = {}
        hits = 0
        for number in requests:
            if number in recent:
                hits += 1
                del recent[number]
            elif len(recent) >= 100:
                del recent[next(iter(recent))]
            recent[number] = None
        return hits

    assert hits_of_s3fifo() > hits_of_lru() * 1.05


def test_copies_beside_entries_have_bounded_room_each_second() -> None:
    memory = tier(10)
    kept = sum(memory.has_room_beside(64 << 10) for _ in range(1000))

    assert kept == 128
    memory.tick()
    assert memory.has_room_beside(64 << 10)
