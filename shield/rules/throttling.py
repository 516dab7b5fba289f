"""The number of fetches that an origin gets at once, learned from its refusals, and the misses that wait. Pure.

The limit of an origin holds for the whole node. It grows while nothing is refused, twofold each second before the
first refusal and by one after it, and a refusal (429, 503 SlowDown and their like) makes it 0.7 of itself: additive
increase, multiplicative decrease. Response times don't count: a first byte depends on the object, its size and how
cold it is, and others read from the same bucket. Workers hold shares of the limit (`shares`), so that each decides by
itself; misses beyond its share wait in its `MissQueue`.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

START = 64.0
"""Fetches at once of an origin of which nothing is known: what a small one bears."""

FLOOR = 4.0
"""An origin that refuses nearly everything still gets so many, by which its recovery is seen."""

SHRINK = 0.7
"""Half, as TCP does, would leave much unused: S3 refuses only what is beyond its rate."""

LEAST_CUT_SECONDS = 0.05
"""Between two cuts at least, or the median first byte: what is refused by then was sent before the last one."""

GROW_SECONDS = 1.0
"""Between two steps up."""

LONGEST_PAUSE = 300.0
"""Seconds that a Retry-After is heeded at most: a mistake of the origin mustn't take it out for a day."""

QUEUED = 1000
"""Misses that wait in a worker; beyond, the one with the fewest clients is refused."""

PATIENCE_SECONDS = 5.0
"""How long a miss waits before its clients get a stale entry or 503."""

LONGEST_RETRY_AFTER = 60.0
"""Seconds after which refused clients are asked to return, at most: as long as a long queue takes."""


@dataclass(frozen=True, slots=True)
class LimitEvidence:
    """What all workers saw of an origin since the last step.

    `in_flight` is the greatest number of its fetches at once, `retry_after` the longest pause that it asked for,
    `p50` its median first byte; None: not known.
    """

    in_flight: int = 0
    throttled: int = 0
    retry_after: float | None = None
    p50: float | None = None


@dataclass(frozen=True, slots=True)
class FetchLimit:
    """The limit of one origin. Times are those of the clock of `now`."""

    limit: float = START
    was_refused: bool = False  # ever: from then on it grows by one
    cut_at: float = -math.inf
    grown_at: float = -math.inf
    closed_until: float = -math.inf  # it asked to be left alone until then

    def room(self, now: float) -> int:
        """How many fetches may be in flight now."""
        return 0 if now < self.closed_until else int(self.limit)

    def after(self, seen: LimitEvidence, now: float, *, most: int) -> FetchLimit:
        """The limit that follows; `most` are the connections that the origin may have."""
        found = self
        if seen.retry_after is not None and seen.throttled:
            until = now + min(max(0.0, seen.retry_after), LONGEST_PAUSE)
            found = replace(found, closed_until=max(found.closed_until, until))
        if seen.throttled:
            return found._cut(seen, now)
        if now - max(found.grown_at, found.cut_at) < GROW_SECONDS or 2 * seen.in_flight < found.limit:
            return found if found.limit <= most else replace(found, limit=float(most))
        grown = found.limit + 1.0 if found.was_refused else found.limit * 2.0
        return replace(found, limit=min(grown, float(most)), grown_at=now)

    def _cut(self, seen: LimitEvidence, now: float) -> FetchLimit:
        if now - self.cut_at < max(LEAST_CUT_SECONDS, seen.p50 or 0.0):
            return replace(self, was_refused=True)
        # Of what was in flight: a limit far above would have to be cut many times before it holds.
        held = min(self.limit, max(float(seen.in_flight), FLOOR))
        return replace(self, limit=max(FLOOR, held * SHRINK), was_refused=True, cut_at=now)


def shares(room: int, demands: Sequence[int | None], *, turn: int) -> tuple[int, ...]:
    """The shares of an origin's room that workers may use until the next step: together exactly the room.

    `demands` are the fetches that each has in flight or waiting, None: it is gone. None gets more than it needs while
    another gets less; what is left is spread, so that a miss needn't wait for the next step. `turn` counts the steps,
    so that where there is less room than workers each has its turn.
    """
    found = [0] * len(demands)
    alive = [at for at, demand in enumerate(demands) if demand is not None]
    if not alive:
        return tuple(found)
    begin = turn % len(alive)
    alive = alive[begin:] + alive[:begin]
    left = room
    needy = [(demands[at] or 0, place, at) for place, at in enumerate(alive) if demands[at]]
    needy.sort()  # by demand: whoever needs less than an even share leaves the rest to the others
    for done, (demand, _, at) in enumerate(needy):
        even = -(-left // (len(needy) - done)) if demand * (len(needy) - done) > left else demand
        found[at] = min(demand, even, left)
        left -= found[at]
    for place, at in enumerate(alive):
        found[at] += left // len(alive) + (place < left % len(alive))
    return tuple(found)


class MissQueue:
    """Misses of one worker that wait for their turn at an origin: those with the most clients first, then the oldest.

    Bounded: whichever is wanted least has to go. It must then be answered with a stale entry, or 503.
    """

    __slots__ = ("_most", "_number", "_order", "_places")

    def __init__(self, most: int = QUEUED) -> None:
        self._most = most
        self._number = 0
        self._places: dict[Hashable, _QueuedMiss] = {}
        self._order: list[_QueuedMiss] = []  # sorted: the next one first

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, miss: Hashable) -> bool:
        return miss in self._places

    def offer(self, miss: Hashable, clients: int, now: float) -> Hashable | None:
        """Let it wait; returns the miss that has to go for it, maybe itself. None: there is room."""
        assert miss not in self._places, "it waits already"
        self._number += 1
        place = (-clients, now, self._number, miss)
        if len(self._order) >= self._most:
            if not self._order or place > self._order[-1]:
                return miss
            refused = self._order.pop()[3]
            del self._places[refused]
        else:
            refused = None
        self._insert(place)
        return refused

    def set_clients(self, miss: Hashable, clients: int) -> None:
        """More or fewer clients wait for it now. No effect if it doesn't wait here."""
        place = self._places.get(miss)
        if place is not None:
            self._remove(place)
            self._insert((-clients, *place[1:]))

    def take(self) -> Hashable | None:
        """The next one, which doesn't wait any more; None if none does."""
        if not self._order:
            return None
        place = self._order[0]
        self._remove(place)
        return place[3]

    def withdraw(self, miss: Hashable) -> bool:
        """Nobody wants it any more. Returns whether it waited."""
        place = self._places.get(miss)
        if place is not None:
            self._remove(place)
        return place is not None

    def expire(self, now: float, patience: float = PATIENCE_SECONDS) -> list[Hashable]:
        """Those that have waited for too long, which don't wait any more."""
        late = [place for place in self._order if now - place[1] >= patience]
        for place in late:
            self._remove(place)
        return [place[3] for place in late]

    def _insert(self, place: _QueuedMiss) -> None:
        insort(self._order, place)
        self._places[place[3]] = place

    def _remove(self, place: _QueuedMiss) -> None:
        del self._order[bisect_left(self._order, place)]
        del self._places[place[3]]


_QueuedMiss = tuple[int, float, int, Hashable]
"""Clients (negative), time, number, miss. Numbers differ, so that misses are never compared."""


def retry_after(waiting: int, room: int, p50: float | None) -> float:
    """Seconds after which a refused client may return: when the queue that is there now will be done with."""
    rate = max(1, room) / max(0.01, p50 or 0.1)
    return min(LONGEST_RETRY_AFTER, max(1.0, math.ceil(waiting / rate)))
