"""Hit ratios of RAM and disk, beside LRU's, S3-FIFO's and Belady's, on made-up traffic.

    python -m loadtest.policies [--only memory,disk,choices,tiers] [--requests 1000000] [--objects 100000]

Drives the real `S3Fifo`, the real judge of the disk tier, its hit counts and its admission; see
`loadtest.hierarchy` and `loadtest.traces`. Only the second half of the requests counts: in the first the tiers fill.
One-hit wonders and scans can't be hit, so the optimum is lower with them.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from loadtest.hierarchy import Choices, DiskTier, Hierarchy, Policy, Ram, Shield, made_up
from loadtest.traces import Trace, platform_size, trace

KINDS = ("Zipf", "scans", "wonders", "drift")
SKEWS = (0.7, 0.9, 1.1)
MEMORY_SHARES = (0.01, 0.1)
DISK_SHARES = (0.05, 0.2, 0.5)
MEMORY_OF_DISK = 20  # RAM is one part in so many of the disk
WONDERS = 0.6

CHOICES = {
    "plain": Choices(),
    "keeps 3/4": Choices(keep_share=0.75),
    "fades": Choices(fades=True),
    "slots 1/10": Choices(slots=0.1),
    "slots 4": Choices(slots=4.0),
    "repeated": Choices(repeated=True, fades=True),
    "once full": Choices(repeated=True, fades=True, once_full=True),
    "memory 1/10": Choices(repeated=True, fades=True, memory=0.1),
    "memory 10": Choices(repeated=True, fades=True, memory=10.0),
    "probation": Choices(probation=0.1),
    "prob., fades": Choices(probation=0.1, keep_share=0.75, fades=True),
}

Hits = Iterable[bool]


@dataclass(frozen=True, slots=True)
class Score:
    """Hit ratios in percent, of objects and of bytes."""

    objects: float
    bytes: float

    def __str__(self) -> str:
        return f"{self.objects:.1f}/{self.bytes:.1f}"


def score(made: Trace, hits: Hits) -> Score:
    """Of the second half of the requests."""
    half = len(made.requests) // 2
    asked_bytes = hit = hit_bytes = 0
    pairs = zip(made.requests, hits, strict=True)
    for number, is_hit in itertools.islice(pairs, half, None):
        size = made.sizes[number]
        asked_bytes += size
        if is_hit:
            hit += 1
            hit_bytes += size
    return Score(100 * hit / (len(made.requests) - half), 100 * hit_bytes / asked_bytes)


def s3_fifo(made: Trace, capacity: int) -> Iterator[bool]:
    """The RAM tier, as large as all tiers together."""
    memory = Ram(capacity)
    for number in made.requests:
        found = memory.has(number)
        if not found:
            memory.commit(number, made.sizes[number])
        yield found


def lru(made: Trace, capacity: int) -> Iterator[bool]:
    """Least recently used."""
    held: OrderedDict[int, None] = OrderedDict()
    used = 0
    for number in made.requests:
        found = number in held
        yield found
        if found:
            held.move_to_end(number)
            continue
        held[number] = None
        used += made.sizes[number]
        while used > capacity:
            used -= made.sizes[held.popitem(last=False)[0]]


def belady(made: Trace, capacity: int) -> Iterator[bool]:
    """Who knows the future: what is asked for last goes first, and isn't taken if it is the new one.

    Heeds no sizes when it chooses. With sizes the true optimum is too hard to compute; see `bound`.
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
    used = 0
    for place, number in enumerate(made.requests):
        after = following[place]
        found = number in held
        yield found
        if not found:
            if after == never:
                continue
            used += made.sizes[number]
        held[number] = after
        heapq.heappush(queue, (-after, number))
        while used > capacity:
            later, victim = heapq.heappop(queue)
            if held.get(victim) == -later:
                del held[victim]
                used -= made.sizes[victim]


def bound(made: Trace, capacity: int) -> Score:
    """More than any policy can have: the shortest and smallest stays in the cache together fill it on average only.

    PFOO-L of Berger, Beckmann and Harchol-Balter, "Practical bounds on optimal caching with variable object sizes".
    """
    half, last = len(made.requests) // 2, dict[int, int]()
    stays: list[tuple[int, int]] = []  # how long, how large
    for place, number in enumerate(made.requests):
        if place >= half and number in last:
            stays.append((place - max(last[number], half), made.sizes[number]))
        last[number] = place
    room = capacity * (len(made.requests) - half)
    whole = sum(made.sizes[number] for number in made.requests[half:])
    by_space = sorted(stays, key=lambda stay: stay[0] * stay[1])
    taken = len(list(_fitting(by_space, room)))
    taken_bytes = sum(size for _, size in _fitting(sorted(stays), room))
    return Score(100 * taken / (len(made.requests) - half), 100 * taken_bytes / whole)


def _fitting(stays: Iterable[tuple[int, int]], room: int) -> Iterator[tuple[int, int]]:
    for length, size in stays:
        room -= length * size
        if room < 0:
            return
        yield length, size


def hierarchy(made: Trace, tiers: Hierarchy) -> Iterator[bool]:
    """RAM and disks together."""
    return (tiers.ask(number) for number in made.requests)


def shield(made: Trace, memory: int, disks: Sequence[int], *, repeated: bool) -> Hierarchy:
    """The real thing, as far as it can be driven."""
    mean = sum(made.sizes) / len(made.sizes)
    policies: list[Policy] = [Shield(int(disk / mean), repeated=repeated) for disk in disks]
    tiers = [DiskTier(made.sizes, disk, policy) for disk, policy in zip(disks, policies, strict=True)]
    return Hierarchy(made.sizes, memory, tiers)


def show_memory(options: argparse.Namespace) -> None:
    print("\nRAM alone: objects hit, in percent; capacity as a share of all bytes asked for\n")
    policies: dict[str, Callable[[Trace, int], Hits]] = {"Shield": s3_fifo, "LRU": lru, "Belady": belady}
    print(f"{'traffic':18}{'capacity':>9}" + "".join(f"{name:>9}" for name in policies) + f"{'over LRU':>10}")
    for kind in KINDS:
        for skew in SKEWS:
            made = trace(kind, skew, requests=options.requests, objects=options.objects)
            for share in MEMORY_SHARES:
                capacity = int(made.footprint * share)
                ratios = {name: score(made, run(made, capacity)).objects for name, run in policies.items()}
                figures = "".join(f"{ratio:9.1f}" for ratio in ratios.values())
                print(f"{kind:8} {skew:<9}{share:9.0%}{figures}{ratios['Shield'] - ratios['LRU']:+10.1f}", flush=True)


def show_disk(options: argparse.Namespace) -> None:
    print(
        f"\nRAM and disk: objects/bytes hit, in percent; disk as a share of the bytes of all objects that come again,"
        f" RAM 1/{MEMORY_OF_DISK} of it\n"
    )
    names = ("LRU", "S3-FIFO", "Shield all", "repeated", "Belady", "bound")
    print(f"{'traffic':14}{'disk':>5}" + "".join(f"{name:>12}" for name in names) + f"{'over LRU':>14}")
    for made, what, memory, disk in _cases(options):
        whole = memory + disk
        scores = [
            score(made, lru(made, whole)),
            score(made, s3_fifo(made, whole)),
            *(score(made, hierarchy(made, shield(made, memory, [disk], repeated=how))) for how in (False, True)),
            score(made, belady(made, whole)),
            bound(made, whole),
        ]
        over = "".join(f"{scores[at].objects - scores[0].objects:+7.1f}" for at in (2, 3))
        print(what + "".join(f"{one!s:>12}" for one in scores) + over, flush=True)


def show_choices(options: argparse.Namespace) -> None:
    print("\nWhat other choices than the disk's would give: objects hit, in points over LRU (its own in percent)")
    print("and bytes written to disk in percent of those served\n")
    print(f"{'traffic':14}{'disk':>5}{'LRU':>6}" + "".join(f"{name:>13}" for name in CHOICES))
    for made, what, memory, disk in _cases(options):
        base = score(made, lru(made, memory + disk)).objects
        line = f"{what}{base:6.1f}"
        for choices in CHOICES.values():
            tiers = made_up(made.sizes, memory, disk, choices)
            got = score(made, hierarchy(made, tiers)).objects
            written = sum(tier.written for tier in tiers.tiers) / sum(made.sizes[number] for number in made.requests)
            line += f"{f'{got - base:+.1f} {100 * written:3.0f}%':>13}"
        print(line, flush=True)


def show_tiers(options: argparse.Namespace) -> None:
    print("\nRAM, a fast disk, and a disk five times as large: objects/bytes hit, in percent\n")
    names = ("LRU", "one disk", "two disks", "Belady")
    print(f"{'traffic':14}{'disk':>5}" + "".join(f"{name:>12}" for name in names))
    for made, what, memory, disk in _cases(options):
        fast, large = disk // 6, disk - disk // 6
        run = partial(shield, made, memory, repeated=False)
        scores = [
            score(made, lru(made, memory + disk)),
            score(made, hierarchy(made, run([disk]))),
            score(made, hierarchy(made, run([fast, large]))),
            score(made, belady(made, memory + disk)),
        ]
        print(what + "".join(f"{one!s:>12}" for one in scores), flush=True)


def _cases(options: argparse.Namespace) -> Iterator[tuple[Trace, str, int, int]]:
    """Traffic, its name, and bytes of RAM and disk."""
    for kind in KINDS:
        for skew in SKEWS:
            made = trace(
                kind, skew, requests=options.requests, objects=options.objects, wonders=WONDERS, size=platform_size
            )
            for share in DISK_SHARES:
                disk = int(made.population * share)
                yield made, f"{kind:8} {skew:<5}{share:5.0%}", disk // MEMORY_OF_DISK, disk


SHOWN: dict[str, Callable[[argparse.Namespace], None]] = {
    "memory": show_memory,
    "disk": show_disk,
    "choices": show_choices,
    "tiers": show_tiers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Hit ratios of eviction policies.")
    parser.add_argument("--only", default="memory,disk", help="of " + ", ".join(SHOWN))
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--objects", type=int, default=100_000)
    options = parser.parse_args()
    for name in options.only.split(","):
        SHOWN[name](options)


if __name__ == "__main__":
    main()
