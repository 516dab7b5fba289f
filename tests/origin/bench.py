"""The connection fed by hand: a transport that records, a loop whose clock is set by the test."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any, cast

from shield.errors import Fault
from shield.histograms import Histogram
from shield.origin.asked import Asked
from shield.origin.connection import Connection
from shield.origin.flow import Flow
from shield.origin.resolver import Address
from shield.origin.response import Response
from shield.origin.terms import MessageLimits, Terms, Timeouts
from tests.origin.leg import Taker

TIMEOUTS = Timeouts(connect=3, first_byte=10, between_bytes=5, total=60)


class ManualLoop:
    """Time and timers of an event loop, moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, int, ManualTimer]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast(asyncio.AbstractEventLoop, self))

    def call_soon(self, *_: object, **__: object) -> None:
        """Nobody awaits these futures."""

    def get_debug(self) -> bool:
        return False

    def call_at(self, when: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(callback)
        heapq.heappush(self.timers, (when, next(self._numbers), timer))
        return timer

    @property
    def armed(self) -> int:
        return sum(not timer.cancelled for _, _, timer in self.timers)

    def passes(self, seconds: float) -> None:
        """Timers run on time."""
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now = max(self.now, self.timers[0][0])
            self._fire_due()
        self.now = end

    def blocks(self, seconds: float) -> None:
        """Nothing runs for so long; then what is due does, once."""
        self.now += seconds
        self._fire_due()

    def _fire_due(self) -> None:
        due = []
        while self.timers and self.timers[0][0] <= self.now:
            due.append(heapq.heappop(self.timers)[2])
        for timer in due:
            if not timer.cancelled:
                timer.callback()


class ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualTransport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = True
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def get_extra_info(self, name: str) -> None:
        return None


class Bench:
    """A connection, and the owner that counts what comes back."""

    def __init__(self, limits: MessageLimits | None = None, *, rate: int = 0, buffered: bool = False) -> None:
        """`buffered`: it gets its bytes as from uvloop, not as from asyncio."""
        self._buffered = buffered
        self.loop = ManualLoop()
        self.flow = Flow("fra", rate, self.loop.time) if rate else None
        self.transport = ManualTransport()
        self.released = 0
        self.whole_at = 0.0
        self.exchanges = Histogram()
        self.read_buffer = bytearray(64 * 1024)
        self.breaks: list[Fault] = []
        self.was_held = False
        self.connection = Connection(
            self,
            Terms("fra", TIMEOUTS, limits or MessageLimits(), self.flow),
            address=Address(2, ("127.0.0.1", 1)),
            loop=cast(asyncio.AbstractEventLoop, self.loop),
        )
        self.connection.connection_made(cast(asyncio.Transport, self.transport))

    def opened(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...

    def dropped_field(self, line: bytes) -> None: ...

    def spoke_unasked(self, connection: Connection) -> None: ...

    def broke(self, connection: Connection, fault: Fault) -> None:
        self.breaks.append(fault)
        self.was_held = connection.was_held

    def release(self, connection: Connection) -> None:
        self.released += 1

    @property
    def reusable(self) -> bool:
        return self.released > 0 and not self.connection.closed

    def ask(self, method: bytes = b"GET", patience: float = 100.0) -> Response:
        return self.connection.ask(Asked(b"request", method, self.loop.now + patience))

    def says(self, *segments: bytes) -> None:
        for segment in segments:
            if segment and not self.connection.closed and not self._buffered:
                self.connection.data_received(segment)
            place = 0
            while self._buffered and place < len(segment) and not self.connection.closed:
                buffer = self.connection.get_buffer(-1)
                part = segment[place : place + len(buffer)]
                buffer[: len(part)] = part
                self.connection.buffer_updated(len(part))
                buffer[: len(part)] = b"!" * len(part)  # other connections use it
                place += len(part)

    def ends(self, error: Exception | None = None) -> None:
        if error is None and not self.connection.closed:
            self.connection.eof_received()
        self.connection.connection_lost(error)


def taken(response: Response) -> Taker:
    taker = Taker()
    response.start(taker)
    return taker


def fault_of(response: Response) -> Fault | None:
    return response.error.fault if response.error else None


OK5 = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

INTERIMS = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"]


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(wire), *[place % (len(wire) + 1) for place in places]})
    return [wire[start:stop] for start, stop in itertools.pairwise(edges)]
