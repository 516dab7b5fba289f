"""A time limit that costs next to nothing until it is reached, and that a blocked loop doesn't trigger."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

SECOND_LOOK = 0.02  # seconds


class Alarm:
    """One limit that may move, watched by at most one timer.

    `limit()` returns the moment (loop time) that must not pass, or None when there is no limit; once it
    has passed, `expired()` is called once. Moving the limit later needs no call: the timer checks again when
    it fires. Moving it earlier, or setting one where there was none, needs `arm`.

    A passed limit is checked twice. The loop may have been blocked while the response was waiting in
    the kernel, and timers run before sockets: so the second check is delayed by as much as the first was late
    (compared to when it was due: a limit that had passed when it was set isn't extended).
    """

    __slots__ = ("_expired", "_limit", "_loop", "_suspect", "_timer", "at")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: Callable[[], float | None],
        expired: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._expired = expired
        self._timer: asyncio.TimerHandle | None = None
        self.at = math.inf
        """When it checks next: a limit from then on needs no `arm`."""
        self._suspect: float | None = None

    def arm(self, at: float) -> None:
        """Check no later than `at`."""
        if self._timer is not None:
            if self.at <= at:
                return
            self._timer.cancel()
        self.at = max(at, self._loop.time())
        self._timer = self._loop.call_at(self.at, self._look)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self.at = None, math.inf

    def end(self) -> None:
        """Never check again, and let go of the callables: they hold its owner, which is freed at once then."""
        self.cancel()
        self._limit = self._expired = _nothing

    def _look(self) -> None:
        at, self._timer, self.at = self.at, None, math.inf
        limit = self._limit()
        if limit is None:
            return
        now = self._loop.time()
        if limit > now:
            self.arm(limit)
        elif self._suspect != limit:
            self._suspect = limit
            self.arm(now + max(SECOND_LOOK, now - max(limit, at)))
        else:
            self._expired()


def _nothing() -> None:
    """No limit, and nothing to do."""
