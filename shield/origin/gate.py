"""The gate in front of an origin: no more of a worker's requests are there at once than its lease allows.

An ordinary fetch only compares two numbers. All else is here: the misses that wait for a place, those that waited too
long, and refusals by the origin, from which its limit is learned (`rules.throttling`, `origin.limiting`).
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

from shield.errors import Fault, OriginError
from shield.leases import GateReport, Leases
from shield.origin.want import Want
from shield.rules.attempts import MIN_ATTEMPT_SECONDS
from shield.rules.throttling import HOLD_SECONDS, PATIENCE_SECONDS, MissQueue, pause, retry_after
from shield.rules.warming import MARK

TICK_SECONDS = 0.1
"""Between two looks at the misses that wait."""

_BEGUN = 1 << 20  # clients more than any miss has


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """An origin's limit, and this worker's use of it."""

    limit: int | None  # for the node; None: it has none
    lease: int | None  # the part of it that this worker may use
    in_flight: int  # requests without a response's head
    waiting: int  # misses that wait for a place
    waited_total: int
    refused_total: int  # misses that got none in time
    closed_seconds: float  # for how long the origin wants to be left alone


class Gate:
    """The gate of one worker in front of one origin. Made and used within one event loop.

    A fetch takes a place before it sends its request, and returns it once the head of a response has arrived: a body
    that a client reads slowly is no load on the origin.
    """

    __slots__ = (
        "_before",
        "_busiest",
        "_closed_until",
        "_held",
        "_leases",
        "_loop",
        "_now",
        "_origin",
        "_queue",
        "_refused",
        "_refused_total",
        "_ticks",
        "_waited_total",
        "room",
        "used",
        "waiting",
    )

    def __init__(self, origin: str, loop: asyncio.AbstractEventLoop) -> None:
        self._origin = origin
        self._loop = loop
        self._now: Callable[[], float] = self._loop.time
        self.used = 0
        """Places taken: requests without a response's head, and for a while those that were refused."""
        self.room = sys.maxsize
        """The places that this worker may take."""
        self.waiting = 0
        self._held = 0  # places of refused requests
        self._busiest = 0  # requests at once, since the last look
        self._before = 0  # the same, before that
        self._refused = 0  # by the origin
        self._closed_until = -math.inf
        self._leases: Leases | None = None
        self._queue = MissQueue()
        self._ticks: asyncio.TimerHandle | None = None
        self._waited_total = self._refused_total = 0

    @property
    def in_flight(self) -> int:
        return self.used - self._held

    def attach(self, leases: Leases | None) -> None:
        """Use these leases from now on; None: no limit is learned."""
        self._leases = leases

    # fetches

    async def wait(self, want: Want, deadline: float) -> None:
        """Wait for a place, which is free when this returns: take it at once.

        Raises OriginError if there was none in time. Leaves nothing behind when cancelled.
        """
        if want.is_probe:
            return
        now = self._now()
        if not self.room and self._closed_until <= now:
            self._adopt(now)
            self.admit()
            if self.used < self.room:
                return
        self._busiest = max(self._busiest, self.in_flight)
        want.waits_since = want.waits_since or now
        until = min(want.waits_since + PATIENCE_SECONDS, deadline - MIN_ATTEMPT_SECONDS)
        if until <= max(now, self._closed_until):
            raise self._refusal()
        waiter = _QueuedFetch(want, self._loop.create_future())
        turned_away = self._queue.offer(waiter, waiter.clients, want.waits_since, until)
        if turned_away is waiter:
            raise self._refusal()
        if isinstance(turned_away, _QueuedFetch):
            turned_away.tell(has_place=False)
        self._waited_total += 1
        self.waiting = len(self._queue)
        if self._ticks is None:
            self._ticks = self._loop.call_at(self._now() + TICK_SECONDS, self._tick)
        try:
            has_place = await waiter.place
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise
        if not has_place:
            raise self._refusal()
        self.used -= 1  # it was kept for this one

    def admit(self) -> None:
        """Give free places to those that wait."""
        queue = self._queue
        while self.used < self.room and isinstance(waiter := queue.take(), _QueuedFetch):
            if waiter.tell(has_place=True):
                self.used += 1
        self.waiting = len(queue)

    def refused(self, want: Want, retry_after: float | None) -> None:
        """The origin has refused a request as too many. Its place stays taken for a while."""
        now = self._now()
        self._refused += 1
        self._busiest = max(self._busiest, self.in_flight)
        self._held += 1
        self._loop.call_at(now + HOLD_SECONDS, self._let_go)
        want.waits_since = want.waits_since or now
        if retry_after:
            self._closed_until = max(self._closed_until, now + pause(retry_after))
            self.room = 0
        self._report()

    def _let_go(self) -> None:
        self._held -= 1
        self.used -= 1
        if self.waiting:
            self.admit()

    def _withdraw(self, waiter: _QueuedFetch) -> None:
        if self._queue.withdraw(waiter):
            self.waiting = len(self._queue)
        elif not waiter.place.cancelled() and waiter.place.result():
            self.used -= 1
            self.admit()

    def _tick(self) -> None:
        """While misses wait: turn away those whose time is over, and count the clients of the others."""
        self._ticks = None
        queue, now = self._queue, self._now()
        if self.room == 0 and self._closed_until <= now:
            self._adopt(now)
        for waiter in queue.expire(max(now, self._closed_until)):
            assert isinstance(waiter, _QueuedFetch)
            waiter.tell(has_place=False)
        for waiter in queue:
            assert isinstance(waiter, _QueuedFetch)
            if waiter.counted != (clients := waiter.clients):
                waiter.counted = clients
                queue.set_clients(waiter, clients)
        self.admit()
        if self.waiting:
            self._ticks = self._loop.call_at(self._now() + TICK_SECONDS, self._tick)

    def _refusal(self) -> OriginError:
        self._refused_total += 1
        now = self._now()
        if self._closed_until > now:
            again = self._closed_until - now
            said = f"it asked to be left alone for {again:.0f} s more"
        else:
            again = retry_after(self.waiting, self.room, None if self._leases is None else self._leases.p95)
            said = f"no place became free in time, with {self.used} of {self.room} taken and {self.waiting} waiting"
        return OriginError(self._origin, Fault.OVER_LIMIT, said, retry_after=again)

    # four times a second

    def look(self, now: float) -> None:
        """Take over the lease that the conductor has granted, and report its use."""
        self._before, self._busiest = self._busiest, 0
        self.take_over(now)

    def take_over(self, now: float) -> None:
        """The same in between, by the conductor itself."""
        if self._leases is None:
            return
        self._adopt(now)
        if self.waiting:
            self.admit()
        self._report()

    def _report(self) -> None:
        if self._leases is not None:
            busiest = max(self._before, self._busiest, self.in_flight)
            used = max(self.used, 0 if self.room == sys.maxsize else self.room)
            wanted = self.used + self.waiting
            self._leases.report(GateReport(used, wanted, busiest, self._refused, self._closed_until))

    def _adopt(self, now: float) -> None:
        leases = self._leases
        if leases is None:
            self.room = sys.maxsize if self._closed_until <= now else 0
            return
        self._closed_until = max(self._closed_until, leases.closed_until)
        granted = leases.granted
        if self._closed_until > now:
            self.room = 0
        elif granted is not None:
            self.room = granted
        elif self.room == sys.maxsize:
            self.room = leases.first

    def statistics(self) -> GateStatistics:
        leases = self._leases
        has_limit = leases is not None and self.room != sys.maxsize
        return GateStatistics(
            limit=int(leases.limit.limit) if leases is not None and has_limit else None,
            lease=self.room if has_limit else None,
            in_flight=self.in_flight,
            waiting=self.waiting,
            waited_total=self._waited_total,
            refused_total=self._refused_total,
            closed_seconds=round(max(0.0, self._closed_until - self._now()), 1),
        )


class _QueuedFetch:
    """A miss that waits for a place; `place` becomes whether it has got one."""

    __slots__ = ("counted", "place", "want")

    def __init__(self, want: Want, place: asyncio.Future[bool]) -> None:
        self.want = want
        self.place = place
        self.counted = self.clients

    def tell(self, *, has_place: bool) -> bool:
        """End the wait. Returns whether it was there: it may just have been cancelled."""
        if self.place.done():
            return False
        self.place.set_result(has_place)
        return True

    @property
    def clients(self) -> int:
        """Its clients now, 0 if it is for warming. One whose body has begun comes first: it can't get an error any
        more.
        """
        want = self.want
        if want.readers is not None:
            count = want.readers.clients
        else:
            count = 1 if want.request is None or MARK not in want.request.notable else 0
        return count + _BEGUN if count and want.span is not None and want.etag is not None else count
