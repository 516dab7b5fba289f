"""Requests at given times, whether or not those before them were answered: latency counts from the time at which a
request was to be sent, so that a server that stalls can't hide it. Every answer that isn't good is kept.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop

from loadtest.client import HEADERS

TICK_SECONDS = 0.001
LEAST_KEPT = 2000
"""Bytes of an answer that isn't good: its head, and some of its body."""

_MOST_KEPT = 1000
_PATIENCE_SECONDS = 5.0  # for one answer, once its request is sent
_LAST_SECONDS = 15.0  # for answers after the last request


@dataclass(frozen=True, slots=True)
class Bad:
    """An answer that isn't a whole 200, or none: its connection ended. Times in seconds from the beginning."""

    path: str
    due: float
    ended: float
    why: str
    answer: str


@dataclass(slots=True)
class Played:
    """One kind of requests: latencies in seconds, of good answers; those that weren't good; and their number.

    `unsent` are requests for which no connection was free until the end, or only shortly before it: the server, or
    the clients, had too little time for all.
    """

    latencies: list[float] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    bad_count: int = 0
    unsent: int = 0

    @property
    def answers(self) -> int:
        return len(self.latencies) + self.bad_count

    def percentile(self, share: float) -> float:
        """Seconds, by the nearest rank; nan without answers."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] if ordered else float("nan")


@dataclass(frozen=True, slots=True)
class Flow:
    """Requests of one kind: so many a second, at random times, each for the next of these paths."""

    name: str
    rate: float
    paths: Callable[[], str]
    connections: int = 64


def play(port: int, flows: Sequence[Flow], seconds: float, *, seed: int = 1) -> dict[str, Played]:
    """Send all flows beside each other to 127.0.0.1, and wait for the answers."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_play(port, flows, seconds, seed))


async def _play(port: int, flows: Sequence[Flow], seconds: float, seed: int) -> dict[str, Played]:
    loop, began = asyncio.get_running_loop(), time.perf_counter() + 0.2
    lines = [_Line(port, flow, began, random.Random(seed + number)) for number, flow in enumerate(flows)]
    for line in lines:
        await line.connect()
    end = asyncio.Event()

    def tick() -> None:
        now = time.perf_counter()
        for line in lines:
            line.send_due(now, seconds)
        is_over = now > began + seconds and not any(line.under_way for line in lines)
        if is_over or now > began + seconds + _LAST_SECONDS:
            end.set()
        else:
            loop.call_later(TICK_SECONDS, tick)

    tick()
    await end.wait()
    for line in lines:
        line.close()
    return {line.flow.name: line.played for line in lines}


def arrivals(rate: float, chance: random.Random) -> Iterator[float]:
    """Seconds at which requests are due: a Poisson process, whose requests see a server as it is at any time."""
    due = 0.0
    while True:
        due += chance.expovariate(rate)
        yield due


class _Line:
    """The requests of a flow, and its connections."""

    def __init__(self, port: int, flow: Flow, began: float, chance: random.Random) -> None:
        self.flow = flow
        self.played = Played()
        self.began = began
        self._port = port
        self._arrivals = arrivals(flow.rate, chance)
        self._next = next(self._arrivals)
        self._waiting: deque[tuple[float, str]] = deque()
        self.idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        fields = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        self._rest = f" HTTP/1.1\r\n{fields}\r\n".encode()

    @property
    def under_way(self) -> int:
        return len(self._waiting) + sum(connection.path is not None for connection in self._all)

    async def connect(self) -> None:
        for _ in range(self.flow.connections):
            await self._connect()

    async def _connect(self) -> None:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self), "127.0.0.1", self._port
        )
        self._all.add(connection)
        self.idle.append(connection)

    def send_due(self, now: float, seconds: float) -> None:
        while self._next <= min(now - self.began, seconds):
            self._waiting.append((self._next, self.flow.paths()))
            self._next = next(self._arrivals)
        self.send_waiting()

    def send_waiting(self) -> None:
        while self._waiting and self.idle:
            self.idle.pop().ask(*self._waiting.popleft(), self._rest)

    def note(self, path: str, due: float, why: str, answer: bytes) -> None:
        now = time.perf_counter() - self.began
        if not why:
            self.played.latencies.append(now - due)
            return
        self.played.bad_count += 1
        if len(self.played.bad) < _MOST_KEPT:
            self.played.bad.append(Bad(path, due, now, why, answer[:LEAST_KEPT].decode("latin-1")))

    def lost(self, connection: _Connection) -> None:
        self._all.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        task = asyncio.get_running_loop().create_task(self._connect())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def close(self) -> None:
        """What hasn't been answered by now never will be."""
        self.played.unsent = len(self._waiting)
        self._waiting.clear()
        for connection in list(self._all):
            connection.end()


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._transport: asyncio.Transport
        self.path: str | None = None
        self._due = 0.0
        self._sent = 0.0
        self._got = b""
        self._length = -1
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, due: float, path: str, rest: bytes) -> None:
        self.path, self._due, self._got, self._length = path, due, b"", -1
        self._sent = time.perf_counter()
        self._transport.write(b"GET " + path.encode() + rest)

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._length < 0:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._got[:end].lower()
            at = head.find(b"\r\ncontent-length:")
            self._length = end + 4 + (int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
        if len(self._got) >= self._length:
            self._end("" if self._got.startswith(b"HTTP/1.1 200 ") else "another status")

    def _end(self, why: str) -> None:
        path, self.path = self.path, None
        if path is not None:
            self._line.note(path, self._due, why, self._got)
        if not self._is_over:
            self._line.idle.append(self)
            self._line.send_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self.path is not None:
            self._end("the connection ended" + (f": {exc}" if exc else ""))
        self._line.lost(self)

    def end(self) -> None:
        """No answer counts any more."""
        self._is_over = True
        if self.path is not None and time.perf_counter() - self._sent < _PATIENCE_SECONDS:
            self.path = None
            self._line.played.unsent += 1
        elif self.path is not None:
            self._end("no answer in time")
        self._transport.abort()
