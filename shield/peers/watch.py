"""Waits for other workers as long as they live: a hung one keeps its connections, and sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.25


class Watch:
    """Ends waits for workers that have gone silent. One timer for all of them; none while nothing waits.

    Made and used within one event loop.
    """

    def __init__(self, is_silent: Callable[[int], bool]) -> None:
        self._is_silent = is_silent
        self._loop = asyncio.get_running_loop()
        self._waits: dict[asyncio.Timeout, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, worker: int, work: Awaitable[T]) -> T:
        """The result of `work`. Raises TimeoutError, and cancels it, once the worker has been silent for too long."""
        async with asyncio.timeout(None) as scope:
            self._waits[scope] = worker
            if self._timer is None:
                self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)
            try:
                return await work
            finally:
                self._waits.pop(scope, None)

    def _look(self) -> None:
        self._timer = None
        for scope, worker in list(self._waits.items()):
            if self._is_silent(worker):
                del self._waits[scope]
                scope.reschedule(self._loop.time())
        if self._waits:
            self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
