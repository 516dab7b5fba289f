"""A made-up day of an image platform: minute by minute, what the CDN requests of its shield.

Popularity is Zipf's, and drifts: all day long new images take over the popularity of old ones. The evening is
busier than the night. In the night crawlers read the archive, each object once. Some requests are HEAD, and some are
for images that don't exist.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from loadtest.traces import platform_size

MINUTES = 1440
FLOOD_SIZE = 1_000_000
CRAWL = range(2 * 60, 5 * 60)
_CRAWLED = 0.3  # of the requests in that time
_HEADS, _ABSENT = 0.02, 0.01
_DRIFT = 0.3  # of the images are replaced in a day
_SKEW = 0.9


@dataclass(frozen=True, slots=True)
class MadeRequest:
    method: str
    target: str
    size: int  # of the object; -1: there is none


class MadeDay:
    """Traffic of so many requests for so many images; the same each time."""

    def __init__(self, requests: int, images: int, *, seed: int = 1) -> None:
        self._dice = random.Random(seed)
        self._weights = list(itertools.accumulate(1 / rank**_SKEW for rank in range(1, images + 1)))
        self._fresh = itertools.count(images)
        self._crawled = itertools.count()
        self._ranked = list(range(images))
        self._dice.shuffle(self._ranked)
        self._sizes: dict[int, int] = {}
        shape = [_busyness(minute) for minute in range(MINUTES)]
        self._rates = [requests * each / sum(shape) for each in shape]
        self._left = 0.0

    def minute(self, number: int) -> list[MadeRequest]:
        """The requests of a minute of the day; to be called for one after the other."""
        self._left += self._rates[number % MINUTES]
        count = int(self._left)
        self._left -= count
        for rank in self._dice.sample(range(len(self._ranked)), self._replaced(number)):
            self._ranked[rank] = next(self._fresh)
        return [self._one(number) for _ in range(count)]

    def _replaced(self, number: int) -> int:
        each = _DRIFT * len(self._ranked) / MINUTES
        return int(each * (number + 1)) - int(each * number)

    def _one(self, minute: int) -> MadeRequest:
        dice = self._dice
        kind = dice.random()
        if kind < _ABSENT:
            return MadeRequest("GET", f"/images/absent/{dice.randrange(200)}.webp", -1)
        if minute in CRAWL and dice.random() < _CRAWLED:
            name, number = "archive/", next(self._crawled) + 10_000_000
        else:
            name, number = "p/", dice.choices(self._ranked, cum_weights=self._weights)[0]
        size = self._size(number)
        method = "HEAD" if kind < _ABSENT + _HEADS else "GET"
        return MadeRequest(method, f"/images/{name}{number % 50}/{number}-{size}.webp", size)

    def _size(self, number: int) -> int:
        found = self._sizes.get(number)
        if found is None:
            found = self._sizes[number] = platform_size(self._dice)
        return found


def flood(minute: int, number: int) -> Iterator[MadeRequest]:
    """A minute of somebody's requests for one object under queries that never come again."""
    for each in range(number):
        yield MadeRequest("GET", f"/raw/poster-{FLOOD_SIZE}.webp?cb={minute}-{each}", FLOOD_SIZE)


def _busyness(minute: int) -> float:
    """From 0.3 at four in the morning to 1.7 in the evening."""
    return 1.0 + 0.7 * math.sin((minute / MINUTES - 0.42) * 2 * math.pi)
