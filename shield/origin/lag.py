"""Measures the replication lag of copies: objects that a fetch has shown to be missing or older there are looked for
until they arrive.

A few at a time, with HEAD, at growing intervals. The oldest object on its way is noted for all workers, so that the
conductor can flag an origin that lags for longer than its `max_lag`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from shield.errors import OriginError
from shield.messages import ResponseHead
from shield.origin.origin import Origin
from shield.origin.want import Absent, Fetched, Want
from shield.rules.egress import FetchReason
from shield.rules.health import HELD_BACK, Flag
from shield.rules.lag import BOUNDS, MOST_SOUGHT, Sought, lags, sought

log = logging.getLogger("shield.origin")

_LOOK_SECONDS = 5.0  # time for one look
_AGAIN_SECONDS = 10.0  # until the next one, after none was made


@dataclass(frozen=True, slots=True)
class LagStatistics:
    """`behind_seconds`: for how long the oldest object known to be missing or older there has been on its way.
    `arrived` are counts of objects by the bounds of the histogram, the last without one.
    """

    behind_seconds: float
    sought: int
    arrived: tuple[int, ...]
    arrived_seconds: float


class _Lacking:
    """Of one origin that is a copy: objects sought there, and the measurements."""

    __slots__ = ("arrived", "is_late", "objects", "seconds")

    def __init__(self) -> None:
        self.objects: list[Sought] = []
        self.arrived = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.is_late = False  # by this worker's objects; it was logged


class LagWatch:
    """Of one worker; its event loop only. `tick` it once a second, `close` it before the origins."""

    def __init__(
        self, origins: Callable[[], Iterable[Origin]], *, clock: Callable[[], float], now: Callable[[], float]
    ) -> None:
        """`clock` tells epoch seconds, `now` the time of deadlines."""
        self._origins = origins
        self._clock = clock
        self._now = now
        self._copies: dict[str, _Lacking] = {}
        self._task: asyncio.Task[None] | None = None

    def sighted(
        self,
        want: Want,
        fetched: Fetched,
        *,
        since: float | None = None,
        among: Collection[str] | None = None,
        lacking: Collection[str] | None = None,
    ) -> None:
        """An origin has sent an object. If it is the primary, the object is sought at its copies: those `among` the
        origins of the object's route, or those that are known to be `lacking` it. `since`: when it was announced.
        """
        head, path, query, origin = fetched.response.head, want.path, want.query, fetched.origin
        if head.status not in (200, 206):
            return
        now, places = self._clock(), among if lacking is None else lacking
        for each in self._origins():
            facts = each.facts
            if facts.copy_of != origin or not facts.holds_all or (places is not None and each.name not in places):
                continue
            copy = self._copies.setdefault(each.name, _Lacking())
            if len(copy.objects) < MOST_SOUGHT and all(known.path != path for known in copy.objects):
                copy.objects.append(sought(path, query, head, since, now, is_missing=lacking is not None))
                self._publish(each, copy, now)

    def tick(self) -> None:
        """Look for the objects that are due."""
        now, names = self._clock(), {origin.name for origin in self._origins()}
        for gone in [name for name in self._copies if name not in names]:
            del self._copies[gone]
        is_due = any(each.due <= now for copy in self._copies.values() for each in copy.objects)
        if is_due and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._look(now))

    def late(self) -> Collection[str]:
        """Copies that lag for longer than they may, by all workers."""
        return [each.name for each in self._origins() if each.seen.record().flags & Flag.LAGGING]

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def statistics(self) -> list[tuple[str, LagStatistics]]:
        """Of all copies by name."""
        found, now = [], self._clock()
        for origin in self._origins():
            if origin.facts.copy_of is None:
                continue
            copy, since = self._copies.get(origin.name) or _Lacking(), missing_since(origin)
            behind = round(max(0.0, now - since), 1) if since else 0.0
            figures = LagStatistics(behind, len(copy.objects), tuple(copy.arrived), round(copy.seconds, 1))
            found.append((origin.name, figures))
        return found

    async def _look(self, now: float) -> None:
        origins = {origin.name: origin for origin in self._origins()}
        for name, copy in list(self._copies.items()):
            origin = origins.get(name)
            for each in [each for each in copy.objects if each.due <= now]:
                if origin is None or not _may_ask(origin):
                    each.due = now + _AGAIN_SECONDS  # it says nothing now, or is drained
                    continue
                await self._look_for(each, origin, copy, origins)
                self._publish(origin, copy, self._clock())

    async def _look_for(self, each: Sought, origin: Origin, copy: _Lacking, origins: Mapping[str, Origin]) -> None:
        head, now = await self._head(origin, each), self._clock()
        if head is None:
            if not each.postponed(now, _AGAIN_SECONDS):
                copy.objects.remove(each)
            return
        if isinstance(head, ResponseHead) and each.has_come(head):
            copy.objects.remove(each)
            took = max(0.0, now - each.since)
            copy.seconds += took
            copy.arrived[sum(took > bound for bound in BOUNDS)] += 1
            return
        is_sought = each.missed(now)
        if is_sought and lags(origin.facts, now - each.since):
            # It is late, unless the primary doesn't have this version any more either.
            primary = origins.get(origin.facts.copy_of or "")
            there = None if primary is None else await self._head(primary, each)
            is_sought = there is None or (isinstance(there, ResponseHead) and each.is_of(there))
        if not is_sought:
            copy.objects.remove(each)

    async def _head(self, origin: Origin, each: Sought) -> ResponseHead | Absent | None:
        """The head of an object at an origin; None if the origin can't tell now."""
        deadline = self._now() + _LOOK_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                want = Want(b"HEAD", each.path, each.query, purpose=FetchReason.PROBE)
                result = await origin.fetch(want, deadline=deadline, clock=self._clock)
        except (OriginError, TimeoutError):
            return None
        if isinstance(result, Absent):
            return result
        result.response.close()
        return result.response.head

    def _publish(self, origin: Origin, copy: _Lacking, now: float) -> None:
        """Note the oldest object that is known to be missing, for all workers."""
        missing = [each for each in copy.objects if each.looks]
        since = min([each.since for each in missing], default=0.0)
        own, _ = origin.seen.missing
        own[0] = since
        was_late, copy.is_late = copy.is_late, bool(since) and lags(origin.facts, now - since)
        if copy.is_late and not was_late:
            oldest = min(missing, key=lambda each: each.since)
            log.error(
                "origin %s: lags: %s has been at the primary for %.0f s and isn't here; see origins.%s.max_lag",
                origin.name,
                oldest.path.decode("ascii", "replace"),
                now - since,
                origin.name,
            )
        elif was_late and not copy.is_late:
            log.warning("origin %s: doesn't lag any more", origin.name)


def missing_since(origin: Origin) -> float:
    """The epoch time since which an object has been on its way to this copy, by all workers; 0.0: none is known."""
    _, of_all = origin.seen.missing
    return min([each[0] for each in of_all if each[0]], default=0.0)


def _may_ask(origin: Origin) -> bool:
    record = origin.seen.treated()
    return record.is_good and not record.flags & HELD_BACK
