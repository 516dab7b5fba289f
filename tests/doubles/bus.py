"""A bus in memory, with the faults of engines: it can be away, emptied, replaced, and lose its last entries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from shield.bus.bus import BEGINNING, MOST_ENTRIES, BusEntry, BusError, BusTick, Granted, LeaseClaim, order_of


class MemoryEngine:
    """What all nodes share."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.is_away = False
        self._epochs = 0
        self._serial = 0
        self.empty()

    def empty(self) -> None:
        """As FLUSHALL does, or another engine in its place."""
        self.epoch = ""
        self.streams: dict[str, list[tuple[str, bytes]]] = {}
        self.said: dict[str, tuple[float, bytes]] = {}
        self.due: dict[str, float] = {}

    def roll_back(self, entries: int) -> None:
        """Lose the last entries of each stream, as a replica does that becomes the primary."""
        for stream in self.streams.values():
            del stream[len(stream) - min(entries, len(stream)) :]

    def begun(self) -> str:
        if not self.epoch:
            self._epochs += 1
            self.epoch = f"epoch-{self._epochs}"
        return self.epoch

    def next_position(self) -> str:
        self._serial += 1
        return f"{int(self.clock() * 1000)}-{self._serial}"


class MemoryBus:
    """One node's way to it."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    @property
    def place(self) -> str:
        return "memory"

    async def append(self, stream: str, data: bytes, keep: int = MOST_ENTRIES) -> str:
        engine = self._there()
        position = engine.next_position()
        entries = engine.streams.setdefault(stream, [])
        entries.append((position, data))
        del entries[: max(0, len(entries) - keep)]
        return position

    async def read_from(self, cursors: Mapping[str, str], seconds: float) -> list[BusEntry]:
        for _ in range(int(seconds * 100) + 1):
            engine, found = self._there(), []
            for stream, cursor in cursors.items():
                for position, data in engine.streams.get(stream, ()):
                    if order_of(position) > order_of(cursor):
                        found.append(BusEntry(stream, position, data))
            if found or not seconds:
                break
            await asyncio.sleep(0.01)
        return found

    async def tick(self, node: str, said: bytes, lifetime: float, streams: Sequence[str] = ()) -> BusTick:
        engine = self._there()
        now = engine.clock()
        epoch = engine.begun()
        engine.said[node] = now + lifetime, said
        newest = {}
        for stream in streams:
            entries = engine.streams.get(stream)
            newest[stream] = entries[-1][0] if entries else BEGINNING
        return BusTick(epoch, newest, {name: text for name, (until, text) in engine.said.items() if until > now})

    async def lease(self, claims: Sequence[LeaseClaim]) -> list[Granted]:
        engine, answers = self._there(), []
        now = engine.clock() * 1e6
        for claim in claims:
            due = max(engine.due.get(claim.name, 0.0), now)
            granted = claim.tolerance is None or due - now <= claim.tolerance
            if granted:
                due += claim.cost
                engine.due[claim.name] = due
            answers.append(Granted(granted, round(due - now)))
        return answers

    async def close(self) -> None:
        """There is nothing to release."""

    def _there(self) -> MemoryEngine:
        if self._engine.is_away:
            raise BusError("bus memory: it is away")
        return self._engine
