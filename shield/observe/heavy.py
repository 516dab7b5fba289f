"""Heavy hitters: the names with the largest sums of a stream, in bounded memory.

Space-Saving (Metwally, Agrawal, El Abbadi 2005): a table of so many names; a new one takes the place of the one with
the smallest sum, and inherits that as its error. So every sum is known to within its error, and no name whose share
is larger than one in `capacity` is missed. Sums decay exponentially with time: amounts are scaled up as time goes by
instead, which leaves their order alone.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MOST_TIMES = 20.0  # multiples of `seconds` after which amounts are scaled anew, far below the range of floats


@dataclass(frozen=True, slots=True)
class Hitter:
    """A name with its sums, as they are now. The first is at most too small by `error`; others may miss as much of
    their part as that. `example` is the latest.
    """

    name: str
    example: str
    sums: Sequence[float]
    error: float


class _HeldName:
    __slots__ = ("error", "example", "name", "sums", "weight")

    def __init__(self, name: str, error: float, size: int) -> None:
        self.name = name
        self.example = ""
        self.weight = self.error = error  # the weight is the greatest that its sum may be
        self.sums = [0.0] * size


class HeavyHitters:
    """Sums over about the last `seconds`, those of `size` amounts for each name; names rank by amount number `by`."""

    def __init__(self, *, by: int, size: int, capacity: int, seconds: float) -> None:
        self.seconds = seconds
        self._by = by
        self._size = size
        self._capacity = capacity
        self._began: float | None = None
        self._start = 0.0  # when amounts were worth themselves
        self._places: dict[str, _HeldName] = {}
        self._heap: list[tuple[float, str]] = []  # one for each name, with a weight that it had

    def __len__(self) -> int:
        return len(self._places)

    def add(self, name: str, example: str, amounts: Sequence[float], now: float) -> None:
        """Add amounts, none negative. A name that isn't there yet gets a place only if it has some of number `by`."""
        amount = amounts[self._by]
        place = self._places.get(name)
        if place is None:
            if amount <= 0.0:
                return
            place = self._placed(name)
        scale = self._scale(now)
        place.example = example
        place.weight += amount * scale
        sums = place.sums
        for number, each in enumerate(amounts):
            sums[number] += each * scale

    def top(self, count: int, now: float) -> list[Hitter]:
        """Those with the largest sums, the largest first."""
        down = 1.0 / self._scale(now)
        best = heapq.nlargest(count, self._places.values(), key=lambda place: place.sums[self._by])
        return [
            Hitter(each.name, each.example, [value * down for value in each.sums], each.error * down) for each in best
        ]

    def covered(self, now: float) -> float:
        """Seconds by which sums are to be divided for rates: `seconds`, or less soon after the start."""
        if self._began is None:
            return self.seconds
        return self.seconds * (1.0 - math.exp(-max(1.0, now - self._began) / self.seconds))

    def _placed(self, name: str) -> _HeldName:
        error = self._give_up() if len(self._places) >= self._capacity else 0.0
        place = self._places[name] = _HeldName(name, error, self._size)
        heapq.heappush(self._heap, (place.weight, name))
        return place

    def _give_up(self) -> float:
        """Remove the name with the smallest weight, and return that."""
        heap, places = self._heap, self._places
        while True:
            weight, name = heap[0]
            place = places[name]
            if place.weight <= weight:
                heapq.heappop(heap)
                del places[name]
                return place.weight
            heapq.heapreplace(heap, (place.weight, name))

    def _scale(self, now: float) -> float:
        """The present weight of an amount, relative to one at the start."""
        if self._began is None:
            self._began = self._start = now
        age = (now - self._start) / self.seconds
        if age > _MOST_TIMES:
            self._start, down = now, math.exp(-age)
            for place in self._places.values():
                place.weight *= down
                place.error *= down
                place.sums = [value * down for value in place.sums]
            self._heap = [(place.weight, place.name) for place in self._places.values()]
            heapq.heapify(self._heap)
            return 1.0
        return math.exp(max(0.0, age))


def merged(tops: Iterable[Iterable[Hitter]], *, by: int, count: int) -> list[Hitter]:
    """The top of several workers together."""
    found: dict[str, Hitter] = {}
    for top in tops:
        for each in top:
            known = found.get(each.name)
            if known is None:
                found[each.name] = each
                continue
            sums = [one + other for one, other in zip(known.sums, each.sums, strict=True)]
            found[each.name] = Hitter(each.name, each.example, sums, known.error + each.error)
    return heapq.nlargest(count, found.values(), key=lambda each: each.sums[by])
