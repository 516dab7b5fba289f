"""Made-up traffic of a thumbnail platform: which object each request is for, and how large each object is.

Popularity is Zipf's. On top of it, as `kind` says:

- `scans`: keys that nobody else asks for come in long runs, as crawlers ask
- `wonders`: a share of all requests is for a key that never comes again
- `drift`: what is popular changes: all along, new objects take over the popularity of old ones
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

SCAN_EVERY, SCAN_LENGTH = 20_000, 5_000
DRIFT_SHARE = 0.5  # of the objects that are replaced over the whole trace

MEAN_SIZE = 26_000
LARGE_SHARE = 0.02  # of the objects are no thumbnails
SMALLEST, LARGEST = 8_000, 60_000
LARGE_SMALLEST, LARGE_LARGEST = 200_000, 2_000_000


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests as object numbers, each object's size in bytes, and the bytes of the objects that may come again."""

    requests: Sequence[int]
    sizes: Sequence[int]
    population: int

    @property
    def footprint(self) -> int:
        """Bytes of all objects that are asked for."""
        return sum(self.sizes[number] for number in set(self.requests))


def trace(
    kind: str,
    skew: float,
    *,
    requests: int,
    objects: int,
    wonders: float = 0.3,
    size: Callable[[random.Random], int] | None = None,
) -> Trace:
    """The same traffic each time for the same arguments. `wonders`: their share; `size`: of an object, of dice."""
    dice = random.Random(f"{kind} {skew}")
    weights = list(itertools.accumulate(1 / rank**skew for rank in range(1, objects + 1)))
    numbers = list(range(objects))
    dice.shuffle(numbers)
    fresh = itertools.count(objects)
    if kind == "drift":
        asked = list(_drifting(numbers, weights, requests, fresh, dice))
    else:
        asked = dice.choices(numbers, cum_weights=weights, k=requests)
    if kind == "scans":
        asked = list(_with_scans(asked, fresh))
    elif kind == "wonders":
        asked = [next(fresh) if dice.random() < wonders else number for number in asked]
    size = size or any_size
    sizes = [size(dice) for _ in range(max(asked) + 1)]
    return Trace(asked, sizes, sum(sizes[:objects]))


def any_size(dice: random.Random) -> int:
    """Log-normal, 26 KB in the mean, without bounds."""
    return int(dice.lognormvariate(0.0, 0.7) * MEAN_SIZE * 0.78) + 500


def platform_size(dice: random.Random) -> int:
    """Log-normal between 8 and 60 KB; a few are of 200 KB to 2 MB, small ones of these more often than large."""
    if dice.random() < LARGE_SHARE:
        return int(LARGE_SMALLEST * (LARGE_LARGEST / LARGE_SMALLEST) ** dice.random())
    return min(LARGEST, max(SMALLEST, any_size(dice)))


def _with_scans(asked: Sequence[int], fresh: Iterator[int]) -> Iterator[int]:
    for place, number in enumerate(asked, 1):
        yield number
        if place % SCAN_EVERY == 0:
            yield from itertools.islice(fresh, SCAN_LENGTH)


def _drifting(
    numbers: list[int], weights: Sequence[float], requests: int, fresh: Iterator[int], dice: random.Random
) -> Iterator[int]:
    """Popularity ranks change hands evenly over the trace."""
    steps = 200
    replaced = max(1, int(len(numbers) * DRIFT_SHARE / steps))
    for _ in range(steps):
        yield from dice.choices(numbers, cum_weights=weights, k=requests // steps)
        for rank in dice.sample(range(len(numbers)), replaced):
            numbers[rank] = next(fresh)
