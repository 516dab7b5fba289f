"""The number of fetches that an origin gets at once, learned from its refusals, and the misses that wait. Pure.

The limit of an origin holds for the whole node. It grows while nothing is refused, twofold each second before the
first refusal and by one or a twentieth after it, and a refusal (429, 503 SlowDown and their like) makes it 0.7 of
itself: additive increase, multiplicative decrease. Response times don't count: a first byte depends on the object,
its size and how cold it is, and others read from the same bucket. Each worker has a lease on a share of the limit
(`shares`, `leases`), so that it decides by itself; misses beyond go to another origin (`with_room`), or wait in its
`MissQueue`.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

START = 64.0
"""Concurrent fetches from an origin of which nothing is known: the capacity of a small one."""

FLOOR = 4.0
"""An origin that refuses nearly everything still gets so many, by which its recovery is seen."""

SHRINK = 0.7
"""Half, as TCP does, would leave much unused: S3 refuses only requests beyond its rate."""

LEAST_REFUSED_SHARE = 0.05
"""Of the fetches of ten seconds. Fewer refusals don't show the origin's capacity: S3 refuses some at any time, while
it divides a bucket."""

LEAST_CUT_SECONDS = 0.3
"""Between two cuts at least, or the 95th percentile of first bytes: what is refused by then was sent before the last
one, of which workers learn at their next look."""

GROW_SECONDS = 1.0
"""Between two steps up."""

GROWTH = 0.05
"""A step up as a share of a large limit: a limit of hundreds that has been cut is back in a minute."""

HOLD_SECONDS = 1.0
"""For which the place of a refused request stays taken: refusals come faster than responses, and would attract more
requests."""

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
    """The observations of an origin by all workers since the last step; if it is settling and refuses, since the cut.

    `in_flight` is the greatest number of its fetches at once, `share` the refused ones' of those of ten seconds,
    `closed_until` the end of the pause that it asked for, `p95` the 95th percentile of its first bytes; None: not
    known.
    `is_answering`: there was a success in that time.
    """

    in_flight: int = 0
    throttled: int = 0
    share: float = 1.0
    closed_until: float = -math.inf
    p95: float | None = None
    is_answering: bool = True


@dataclass(frozen=True, slots=True)
class FetchLimit:
    """The limit of one origin. Times are those of the clock of `now`."""

    limit: float = START
    was_refused: bool = False  # ever: from then on it grows slowly
    cut_at: float = -math.inf
    grown_at: float = -math.inf
    closed_until: float = -math.inf  # it asked to be left alone until then

    def room(self, now: float) -> int:
        """How many fetches may be in flight now."""
        return 0 if now < self.closed_until else int(self.limit)

    def after(self, seen: LimitEvidence, now: float, *, most: int) -> FetchLimit:
        """The limit that follows; `most` are the connections that the origin may have."""
        found = self
        if seen.closed_until > self.closed_until:
            found = replace(found, closed_until=min(seen.closed_until, now + LONGEST_PAUSE))
        if seen.throttled:
            return found._cut(seen, now, most)
        if found.limit >= most:
            return found if found.limit == most else replace(found, limit=float(most))
        if now - max(found.grown_at, found.cut_at) < GROW_SECONDS:
            return found
        if 2 * seen.in_flight < found.limit or not seen.is_answering:
            return found
        step = max(1.0, GROWTH * found.limit) if found.was_refused else found.limit
        return replace(found, limit=min(found.limit + step, float(most)), grown_at=now)

    def _cut(self, seen: LimitEvidence, now: float, most: int) -> FetchLimit:
        is_known = seen.share >= LEAST_REFUSED_SHARE
        # The origin has borne the rest.
        borne = float(seen.in_flight - seen.throttled) if is_known else self.limit
        if self.is_settling(seen.p95, now):
            limit = min(max(FLOOR, borne), self.limit)
            return replace(self, limit=limit, was_refused=True)
        # Of what was in flight: a limit far above would have to be cut many times before it holds.
        limit = min(self.limit, seen.in_flight if is_known else math.inf) * SHRINK
        limit = min(max(FLOOR, min(limit, borne)), float(most), self.limit)
        return replace(self, limit=limit, was_refused=True, cut_at=now)

    def is_settling(self, p95: float | None, now: float) -> bool:
        """Whether refusals may still be of requests that were sent before the last cut held."""
        return now - self.cut_at < max(LEAST_CUT_SECONDS, p95 or 0.0)


def pause(retry_after: float) -> float:
    """Seconds for which an origin is left alone that asked for so many."""
    return min(max(0.0, retry_after), LONGEST_PAUSE)


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


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's part of a limit: `granted` at the last step, and `used` as it reported since, places that it has
    taken or may take.

    `wanted` are the fetches that it has in flight or waiting; None: it is gone, and has returned its lease.
    """

    granted: int = 0
    used: int = 0
    wanted: int | None = 0


def leases(room: int, held: Sequence[Lease], *, turn: int) -> tuple[int, ...]:
    """The places that each worker may take from now on: its share, as far as others have returned theirs.

    So there are never more in use than the room, however late a worker learns of its lease; after a cut, not more
    than before. `turn` changes from time to time: where there are fewer places than workers, others get them.
    """
    # At least one for each: the next miss of an idle worker needn't wait until others have returned theirs.
    demands = [None if each.wanted is None else max(1, each.wanted) for each in held]
    living = len(held) - demands.count(None)
    wanted = shares(room, demands, turn=turn * room if room < living else 0)
    alive = [each if each.wanted is not None else Lease(wanted=None) for each in held]
    found = [min(each.granted, share) for each, share in zip(alive, wanted, strict=True)]
    bound = [max(kept, each.used) for kept, each in zip(found, alive, strict=True)]
    left = max(0, room - sum(bound))
    for at, share in enumerate(wanted):
        more = min(share, bound[at] + left)
        if more > found[at]:
            left -= max(0, more - bound[at])
            found[at] = more
    return tuple(found)


def with_room(order: Sequence[str], has_room: Callable[[str], bool]) -> Sequence[str]:
    """The order in which origins are tried while the first has no place: the next one that has comes before it."""
    spare = next((name for name in order[1:] if has_room(name)), None)
    return order if spare is None else (spare, *[name for name in order if name != spare])


class MissQueue:
    """Misses of one worker that wait for their turn at an origin: those with the most clients first, then the oldest.

    Bounded: whichever is wanted least has to go. It must then be answered with a stale entry, or 503.
    """

    __slots__ = ("_ends", "_most", "_number", "_order", "_places")

    def __init__(self, most: int = QUEUED) -> None:
        self._most = most
        self._number = 0
        self._places: dict[Hashable, _QueuedMiss] = {}
        self._ends: dict[Hashable, float] = {}
        self._order: list[_QueuedMiss] = []  # sorted: the next one first

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, miss: Hashable) -> bool:
        return miss in self._places

    def offer(self, miss: Hashable, clients: int, since: float, until: float) -> Hashable | None:
        """Let it wait until then, as old as it is. Returns the miss that has to go for it, maybe itself; None: there
        is room.
        """
        assert miss not in self._places, "it waits already"
        self._number += 1
        place = (-clients, since, self._number, miss)
        refused = None
        if len(self._order) >= self._most:
            if not self._order or place > self._order[-1]:
                return miss
            refused = self._order[-1][3]
            self.withdraw(refused)
        self._insert(place)
        self._ends[miss] = until
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
        miss = self._order[0][3]
        self.withdraw(miss)
        return miss

    def withdraw(self, miss: Hashable) -> bool:
        """It doesn't wait any more. Returns whether it did."""
        place = self._places.get(miss)
        if place is not None:
            self._remove(place)
            del self._ends[miss]
        return place is not None

    def expire(self, now: float) -> list[Hashable]:
        """Those whose time is over, the next one first; they don't wait any more."""
        late = [place[3] for place in self._order if self._ends[place[3]] <= now]
        for miss in late:
            self.withdraw(miss)
        return late

    def __iter__(self) -> Iterator[Hashable]:
        """Those that wait, the next one first; they may be changed meanwhile."""
        return iter([place[3] for place in self._order])

    def _insert(self, place: _QueuedMiss) -> None:
        insort(self._order, place)
        self._places[place[3]] = place

    def _remove(self, place: _QueuedMiss) -> None:
        del self._order[bisect_left(self._order, place)]
        del self._places[place[3]]


_QueuedMiss = tuple[int, float, int, Hashable]
"""Clients (negative), time, number, miss. Numbers differ, so that misses are never compared."""


def retry_after(waiting: int, room: int, p95: float | None) -> float:
    """Seconds after which a refused client may return: when the queue that is there now will be done with."""
    rate = max(1, room) / max(0.01, p95 or 0.1)
    return min(LONGEST_RETRY_AFTER, max(1.0, math.ceil(waiting / rate)))
