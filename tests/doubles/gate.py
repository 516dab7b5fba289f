"""How tests steer time without sleeping: waiting for a condition from any thread or event loop, and gates.

A gate is a place in a script where the origin waits for the test, and the test can wait for the origin.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

PATIENCE = 45.0  # seconds a test waits for something that should happen at once; a busy machine may take them


class Watch:
    """A condition that threads and coroutines of any event loop can wait on; `lock` guards what it's about."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self._sleepers: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def changed(self) -> None:
        """Let everyone who waits look again."""
        with self.lock:
            self.lock.notify_all()
            for loop, event in self._sleepers:
                # A loop that was closed with a waiter in it has nobody left to wake.
                if not loop.is_closed():
                    loop.call_soon_threadsafe(event.set)

    def wait(self, predicate: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Block this thread until the predicate holds; TimeoutError otherwise. It's called under the lock."""
        with self.lock:
            if not self.lock.wait_for(predicate, timeout):
                raise TimeoutError(f"not so within {timeout} s")

    async def wait_async(self, predicate: Callable[[], object], timeout: float | None = PATIENCE) -> None:
        """As `wait`, without blocking the running event loop; None waits for ever."""
        event = asyncio.Event()
        sleeper = (asyncio.get_running_loop(), event)
        with self.lock:
            self._sleepers.add(sleeper)
        try:
            async with asyncio.timeout(timeout):
                while not self._holds(predicate):
                    await event.wait()
                    event.clear()
        except TimeoutError:
            raise TimeoutError(f"not so within {timeout} s") from None
        finally:
            with self.lock:
                self._sleepers.discard(sleeper)

    def _holds(self, predicate: Callable[[], object]) -> bool:
        with self.lock:
            return bool(predicate())


class Gate:
    """A closed gate in a script. Any thread may open it; any number of connections may wait at it."""

    def __init__(self) -> None:
        self._watch = Watch()
        self._open = False
        self._permits = 0
        self._arrivals = 0

    @property
    def arrivals(self) -> int:
        """How often the origin has come to this gate, open or not."""
        return self._arrivals

    def reached(self, *, times: int = 1, timeout: float = PATIENCE) -> None:
        """Block until the origin has come here so many times in all; TimeoutError if it doesn't."""
        self._watch.wait(lambda: self._arrivals >= times, timeout)

    async def reached_async(self, *, times: int = 1, timeout: float = PATIENCE) -> None:
        """As `reached`, for a test with an event loop of its own."""
        await self._watch.wait_async(lambda: self._arrivals >= times, timeout)

    def open(self) -> None:
        """Let everyone through, from now on."""
        self._open = True
        self._watch.changed()

    def let(self, count: int = 1) -> None:
        """Let so many through, whether they wait already or come later."""
        with self._watch.lock:
            self._permits += count
        self._watch.changed()

    async def passed(self) -> None:
        """Arrive, and wait to be let through. This is the origin's side."""
        with self._watch.lock:
            self._arrivals += 1
        self._watch.changed()
        await self._watch.wait_async(self._may_pass, None)

    def _may_pass(self) -> bool:
        if self._open:
            return True
        if self._permits:
            self._permits -= 1
            return True
        return False
