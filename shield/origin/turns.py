"""Turns of fetches whose origins are all bad: a few at a time, so that not all misses wait at a dead origin."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

PACED_FETCHES = 4
"""Fetches of a node at once while all their origins are bad: enough to notice that one has recovered."""

LOOK_SECONDS = 0.25
"""Between two looks of a waiting fetch at its origins, whose health is judged as often."""


class Turns:
    """The turns of one worker; `most` fetches have theirs at a time. Made and used within one event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.used = 0

    async def take(self, is_needed: Callable[[], bool], until: float) -> bool | None:
        """Wait for a turn until then (loop time); `give_back` it afterwards.

        False: none is needed any more, since an origin has recovered. None: there was none in time. Leaves nothing
        behind when cancelled.
        """
        while is_needed():
            if self.used < self._most:
                self.used += 1
                return True
            left = until - self._loop.time()
            if left <= 0.0:
                return None
            if await self._is_called(min(left, LOOK_SECONDS)):
                return True
        return False

    async def _is_called(self, within: float) -> bool:
        """Wait in line for so long; whether it is this one's turn."""
        place: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(place)
        try:
            await asyncio.wait((place,), timeout=within)
        except asyncio.CancelledError:
            if place.done():
                self.give_back()
            raise
        finally:
            if not place.done():
                self._waiting.remove(place)
        return place.done()

    def give_back(self) -> None:
        """A turn is over: the next one in line has it."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.used -= 1
