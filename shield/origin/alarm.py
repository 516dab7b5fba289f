"""A time limit that costs next to nothing while it isn't reached, and that a blocked loop doesn't trip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SECOND_LOOK = 0.02  # seconds


class Alarm:
    """One limit that may move, watched by at most one timer.

    `limit()` gives the moment (loop time) that must not pass, or None when nothing is to be watched; when it
    has passed `expired()` is called once. Moving the limit later needs no call: the timer looks again when
    it fires. Moving it earlier, or setting one where there was none, needs `arm`.

    A limit that has passed is looked at twice. The loop may have been blocked while the answer was waiting in
    the kernel, and timers run before sockets: so the second look comes as much later as the first was late
    (against when it was due: a limit that had passed when it was set isn't extended by how long ago).
    """

    __slots__ = ("_at", "_expired", "_limit", "_loop", "_suspect", "_timer")

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
        self._at = 0.0
        self._suspect: float | None = None

    def arm(self, at: float) -> None:
        """Look no later than `at`."""
        if self._timer is not None:
            if self._at <= at:
                return
            self._timer.cancel()
        self._at = max(at, self._loop.time())
        self._timer = self._loop.call_at(self._at, self._look)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        limit = self._limit()
        if limit is None:
            return
        now = self._loop.time()
        if limit > now:
            self.arm(limit)
        elif self._suspect != limit:
            self._suspect = limit
            self.arm(now + max(SECOND_LOOK, now - max(limit, self._at)))
        else:
            self._expired()
