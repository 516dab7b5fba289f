"""The way to the bus, for as long as a worker conducts: connections to the engine, what goes over them, and another
engine, or another password, while the node runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from shield.bus.bus import Bus
from shield.spread.limits import ClusterLimits
from shield.spread.line import BusLine, LineState

MakeBus = Callable[[], Bus]
"""Makes the connections to an engine. Raises BusError."""


class BusLink:
    """Of one worker. Without `make` there is no bus, and it does nothing."""

    def __init__(self, make: MakeBus | None, line: Callable[[Bus], BusLine], limits: ClusterLimits | None) -> None:
        """`line` is what orders go over, made of a bus. `limits` need one."""
        self._make = make
        self._make_line = line
        self._limits = limits
        self._is_renewed = False
        self._bus: Bus | None = None
        self._line: BusLine | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def use(self, make: MakeBus) -> None:
        """Have another bus from the next `keep` on. There must have been one before."""
        self._make, self._is_renewed = make, True

    async def keep(self, *, wanted: bool) -> None:
        """Have it work if it is wanted, and end it if it isn't. To be called once a second, or so."""
        if self._tasks and (self._is_renewed or not wanted):
            await self.end()
        if self._is_renewed:
            self._is_renewed = False
            await self._disconnect()
        if not wanted or self._make is None:
            return
        if not self._tasks:
            self._begin(self._make)
        for task in self._tasks:
            if task.done():
                raise RuntimeError("the way to the bus has ended") from task.exception()

    def _begin(self, make: MakeBus) -> None:
        if self._bus is None:
            self._bus = make()
        self._line = self._make_line(self._bus)
        work = [self._line.run()] if self._limits is None else [self._line.run(), self._limits.run(self._bus)]
        self._tasks = [asyncio.get_running_loop().create_task(each) for each in work]

    async def end(self) -> None:
        """Go on no longer; connections are kept."""
        tasks, self._tasks, self._line = self._tasks, [], None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """After `end`."""
        await self._disconnect()

    async def _disconnect(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None:
            await bus.close()

    # knowledge of it

    @property
    def is_up(self) -> bool:
        """Whether the engine answers."""
        return self._line is not None and self._line.state.is_up

    @property
    def state(self) -> LineState | None:
        """None without a bus."""
        if self._line is not None:
            return self._line.state
        return None if self._make is None else LineState()

    @property
    def said(self) -> Mapping[str, Mapping[str, Any]]:
        """What other nodes said last through it."""
        return {} if self._line is None else self._line.state.said

    def trouble(self, now: float) -> tuple[float, str] | None:
        """For how many seconds the engine hasn't answered, and why; None while it does."""
        if self._line is None or self._line.state.is_up:
            return None
        return now - self._line.state.since, self._line.state.why

    async def caught_up(self) -> None:
        """Wait until all that was in the engine is carried out; not at all without one."""
        if self._line is not None:
            await self._line.caught_up.wait()

    # news

    def ring(self) -> None:
        """There are new orders of this node."""
        if self._line is not None:
            self._line.ring()

    def speak(self) -> bool:
        """There is something new to say; whether it goes to all by the bus."""
        if self._line is None or not self.is_up:
            return False
        self._line.speak()
        return True
