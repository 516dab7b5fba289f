"""Hit ratios of the RAM tier's eviction policy, beside LRU and Belady's optimum, on made-up traffic.

    python -m loadtest.policies [--requests 300000] [--objects 100000]

Drives the real `MemoryTier`. Sizes are like a thumbnail platform's (log-normal, 26 KB in the mean). Three kinds of
traffic: Zipf alone; Zipf with scans, in which keys that nobody else asks for come in long runs; and Zipf with one-hit
wonders, where three requests in ten are for a key that never comes again. Those can't be hit, so the optimum is
lower.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from cachetools import LRUCache

from shield.rules.key import CacheKey
from shield.store.entry import Entry
from shield.store.memory import MemoryTier

SKEWS = (0.7, 0.8, 0.9, 1.0, 1.1)
SHARES = (0.01, 0.1)
SCAN_EVERY, SCAN_LENGTH = 20_000, 5_000
WONDERS = 0.3
MEAN_SIZE = 26_000


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests as object numbers, and each object's size in bytes."""

    requests: Sequence[int]
    sizes: Sequence[int]

    @property
    def footprint(self) -> int:
        """Bytes of all objects that are asked for."""
        return sum(self.sizes[number] for number in set(self.requests))


class Item:
    """What the tier's policy knows of an entry."""

    __slots__ = ("frequency", "key", "size")

    def __init__(self, number: int, size: int) -> None:
        text = b"%d" % number
        self.key = CacheKey(text, text)
        self.size = size
        self.frequency = 0


def trace(kind: str, skew: float, *, requests: int, objects: int) -> Trace:
    """The same traffic each time for the same arguments."""
    dice = random.Random(f"{kind} {skew}")
    weights = list(itertools.accumulate(1 / rank**skew for rank in range(1, objects + 1)))
    numbers = list(range(objects))
    dice.shuffle(numbers)
    asked = dice.choices(numbers, cum_weights=weights, k=requests)
    fresh = itertools.count(objects)
    if kind == "scans":
        asked = list(_with_scans(asked, fresh))
    elif kind == "wonders":
        asked = [next(fresh) if dice.random() < WONDERS else number for number in asked]
    spread = 0.7
    sizes = [int(dice.lognormvariate(0.0, spread) * MEAN_SIZE * 0.78) + 500 for _ in range(max(asked) + 1)]
    return Trace(asked, sizes)


def _with_scans(asked: Sequence[int], fresh: Iterator[int]) -> Iterator[int]:
    for place, number in enumerate(asked, 1):
        yield number
        if place % SCAN_EVERY == 0:
            yield from itertools.islice(fresh, SCAN_LENGTH)


def tier(made: Trace, capacity: int) -> int:
    """Hits of the RAM tier."""
    memory = MemoryTier(capacity=capacity, max_entry=capacity // 8)
    hits = 0
    for number in made.requests:
        if memory.lookup(b"%d" % number) is not None:
            hits += 1
        else:
            memory.commit(cast(Entry, Item(number, made.sizes[number])))
    return hits


def lru(made: Trace, capacity: int) -> int:
    """Hits of least recently used, with sizes."""
    sizes = made.sizes
    cache: LRUCache[int, int] = LRUCache(capacity, getsizeof=lambda number: sizes[number])
    hits = 0
    for number in made.requests:
        if cache.get(number) is not None:
            hits += 1
        elif sizes[number] <= capacity:
            cache[number] = number
    return hits


def belady(made: Trace, capacity: int) -> int:
    """Hits of who knows the future: what is asked for last goes first, and isn't taken if it is the new one.

    Close to the optimum, which for sizes that differ is too hard to compute.
    """
    never = len(made.requests)
    following = [never] * never
    seen: dict[int, int] = {}
    for place in range(never - 1, -1, -1):
        number = made.requests[place]
        following[place] = seen.get(number, never)
        seen[number] = place
    held: dict[int, int] = {}  # number -> place of its next request
    queue: list[tuple[int, int]] = []  # (-next, number), stale ones included
    used = hits = 0
    for place, number in enumerate(made.requests):
        after = following[place]
        if number in held:
            hits += 1
        elif after < never:
            used += made.sizes[number]
        else:
            continue
        held[number] = after
        heapq.heappush(queue, (-after, number))
        while used > capacity:
            later, victim = heapq.heappop(queue)
            if held.get(victim) == -later:
                del held[victim]
                used -= made.sizes[victim]
    return hits


POLICIES: dict[str, Callable[[Trace, int], int]] = {"Shield": tier, "LRU": lru, "Belady": belady}


def main() -> None:
    parser = argparse.ArgumentParser(description="Hit ratios of eviction policies.")
    parser.add_argument("--requests", type=int, default=300_000)
    parser.add_argument("--objects", type=int, default=100_000)
    options = parser.parse_args()
    print("hit ratio in percent; capacity as a share of all bytes asked for\n")
    print(f"{'traffic':18}{'capacity':>9}" + "".join(f"{name:>9}" for name in POLICIES) + f"{'over LRU':>10}")
    for kind in ("Zipf", "scans", "wonders"):
        for skew in SKEWS:
            made = trace(kind, skew, requests=options.requests, objects=options.objects)
            for share in SHARES:
                capacity = int(made.footprint * share)
                ratios = {name: 100 * run(made, capacity) / len(made.requests) for name, run in POLICIES.items()}
                figures = "".join(f"{ratio:9.1f}" for ratio in ratios.values())
                print(f"{kind:8} {skew:<9}{share:9.0%}{figures}{ratios['Shield'] - ratios['LRU']:+10.1f}", flush=True)


if __name__ == "__main__":
    main()
