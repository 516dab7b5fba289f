"""The fetches that wait for one origin, and until when they do so: one timer for all, hardly ever set anew."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Protocol

_EARLY = 0.001  # seconds: the resolution of timers


class Waiter(Protocol):
    """A fetch that waits for an origin, and may go on elsewhere."""

    def suspect(self, origin: str) -> None:
        """Don't wait for this origin alone any more."""


class PatientWaiter(Waiter, Protocol):
    """One that waits for it alone for a while."""

    def be_late(self) -> None:
        """It has waited for as long as it wanted to, and isn't here any more. Must not raise."""


class Waiting:
    """Those of one origin. They leave by themselves, however they end."""

    __slots__ = ("_at", "_loop", "_others", "_timer", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._others: set[Waiter] = set()
        self._until: dict[PatientWaiter, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf  # when it fires: the times of nearly all that come later are later, too

    def add(self, fetch: Waiter) -> None:
        """One that knows itself when it is late."""
        self._others.add(fetch)

    def discard(self, fetch: Waiter) -> None:
        self._others.discard(fetch)

    def begin(self, fetch: PatientWaiter, until: float) -> None:
        """One that is to be told when it is late (loop time)."""
        self._until[fetch] = until
        if until < self._at:
            self._set_timer(until)

    def end(self, fetch: PatientWaiter) -> None:
        self._until.pop(fetch, None)

    def __iter__(self) -> Iterator[Waiter]:
        """All that are here now, whatever becomes of them meanwhile."""
        return iter([*self._others, *self._until])

    def __len__(self) -> int:
        return len(self._others) + len(self._until)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = self._loop.call_at(at, self._look), at

    def _look(self) -> None:
        self._timer, self._at = None, math.inf
        now = self._loop.time() + _EARLY
        for fetch in [fetch for fetch, until in self._until.items() if until <= now]:
            if self._until.pop(fetch, None) is not None:  # none before it has ended it
                fetch.be_late()
        if self._until:
            next_at = min(self._until.values())
            if next_at < self._at:
                self._set_timer(next_at)
