"""The cap on the bytes that an origin sends to a node in a second (`origins.NAME.max_rate`).

All workers share one number, the time at which everything that came or is about to come would have arrived at that
rate. Bytes move it on. A connection whose bytes have moved it too far isn't read for a while, so that TCP holds the
origin back; nothing is kept for it. A fetch that is about to begin takes its place behind them by the usual size of
responses, since small ones arrive whole before they can be held.

Neither is the origin's fault: no time limit runs while a connection isn't read for this reason, its times measure
nothing, bodies that come slowly meanwhile aren't late, and a request that waits isn't sent yet.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from shield.errors import Fault, OriginError
from shield.rate_cells import RateCells
from shield.rules.rate_limit import SECOND, budget_of

BURST_SECONDS = 0.1
"""Bytes of this time may arrive at once: those in transit when an origin is asked after a pause."""

PATIENCE_SECONDS = 5.0
"""How long a fetch waits for its place; then another origin is asked, or its clients get a stale entry or 503."""

LIMITING_SECONDS = 3.0
"""After a pause, for so long all bodies of the origin count as held: they are looked at once a second."""

_LEAST, _MOST = 1 << 10, 1 << 20  # bytes that a fetch takes a place for
_LEAST_PAUSE = 0.001
_WEIGHT = 0.1  # of the latest response in the usual size


class Flow:
    """One worker's part in it. `use` the cells that all workers share."""

    __slots__ = (
        "_budget",
        "_cells",
        "_limited_at",
        "_now",
        "_origin",
        "_prepaid",
        "_rate",
        "_since",
        "_usual",
        "waited",
    )

    def __init__(self, origin: str, rate: int, now: Callable[[], float]) -> None:
        """`rate` is bytes per second; `now` the monotonic clock that all processes share."""
        self._origin = origin
        self._rate = rate
        self._now = now
        self._budget = budget_of(b"flow", origin.encode())
        self._cells = RateCells()
        self._prepaid = 0  # bytes that fetches have taken places for, and that haven't come
        self._usual = 16 * 1024.0  # size of a response
        self._since = 0  # bytes since the last place was taken
        self._limited_at = -math.inf
        self.waited = 0.0
        """Seconds for which fetches and connections of this worker waited."""

    def use(self, cells: RateCells) -> None:
        self._cells = cells

    @property
    def is_limiting(self) -> bool:
        """Whether it holds anything back, or did so lately."""
        return self._now() - self._limited_at < LIMITING_SECONDS

    def take_place(self, most: float) -> tuple[float, int]:
        """The seconds after which a request may be sent, and the bytes reserved for its response.

        Raises OriginError if it would have to wait for longer than `most` seconds.
        """
        self._usual += _WEIGHT * (min(self._since, _MOST) - self._usual)
        self._since = 0
        size = max(_LEAST, int(self._usual))
        ahead = self._add(size) - self._seconds(size) - BURST_SECONDS
        if ahead > most:
            self._add(-size)
            said = f"its max_rate is used up for {ahead:.1f} s"
            self._note(0.0)
            raise OriginError(self._origin, Fault.OVER_LIMIT, said, retry_after=ahead)
        self._prepaid += size
        if ahead <= _LEAST_PAUSE:
            return 0.0, size
        self._note(ahead)
        return ahead, size

    def give_back(self, size: int) -> None:
        """A reserved place isn't used."""
        self._prepaid = max(0, self._prepaid - size)
        self._add(-size)

    def came(self, size: int) -> float:
        """So many bytes have come; the seconds for which the connection mustn't be read."""
        self._since += size
        paid = min(size, self._prepaid)
        self._prepaid -= paid
        if paid == size:
            return 0.0
        wait = self._add(size - paid) - BURST_SECONDS
        if wait <= _LEAST_PAUSE:
            return 0.0
        self._note(wait)
        return wait

    def _add(self, size: int) -> float:
        """Seconds until all bytes would have arrived at the rate, these included."""
        return self._cells.add(self._budget, int(self._now() * SECOND), size * SECOND // self._rate) / SECOND

    def _seconds(self, size: int) -> float:
        return size / self._rate

    def _note(self, seconds: float) -> None:
        self._limited_at = self._now() + seconds
        self.waited += seconds


class Brake:
    """Keeps one connection from being read while the cap has no room; `go_on` is called when it has some again."""

    __slots__ = ("_flow", "_go_on", "_loop", "_timer")

    def __init__(self, flow: Flow, loop: asyncio.AbstractEventLoop, go_on: Callable[[], None]) -> None:
        self._flow = flow
        self._loop = loop
        self._go_on = go_on
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        return self._timer is not None

    def came(self, size: int, *, is_over: bool) -> bool:
        """So many bytes have come; whether to read no more for now. `is_over`: no more will come anyway."""
        wait = self._flow.came(size)
        if wait and self._timer is None and not is_over:
            self._timer = self._loop.call_at(self._loop.time() + wait, self._expire)
        return self._timer is not None

    def release(self) -> None:
        """The exchange is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Call nothing any more, and let go of it: it holds the connection, which is freed at once then."""
        self.release()
        self._go_on = _nothing

    def _expire(self) -> None:
        self._timer = None
        self._go_on()


def _nothing() -> None:
    """The connection is closed."""
