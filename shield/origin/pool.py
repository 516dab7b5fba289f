"""Connections to one origin: kept, lent to one fetch at a time, limited in number. Doesn't interpret responses.

A place is the right to have one connection. `_lent` counts the places held by fetches (opening, waiting, or
reading a body); idle connections hold the others. A released place passes straight to the longest waiting
fetch.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from shield.errors import Fault, OriginError
from shield.histograms import Histogram
from shield.origin.alarm import Alarm
from shield.origin.asked import Asked
from shield.origin.conduct import Conduct, Keep
from shield.origin.connection import Connection
from shield.origin.dial import Dialer, Endpoint
from shield.origin.flow import Flow
from shield.origin.inflow import read_buffer
from shield.origin.resolver import Address, Resolver
from shield.origin.response import Asker, Response
from shield.origin.terms import PoolLimits, Terms, Timeouts
from shield.rules import attempts

log = logging.getLogger("shield.origin")

PATIENCE_SECONDS = 5.0
"""How long a reader may hold up a connection while all are in use and others wait."""

RELIEF_SECONDS = 0.25
"""Between two checks for such a reader."""

_ADDRESSES = 3  # that one fetch tries at most, while they fail
_SILENCE_SECONDS = 1.0  # a timeout after less than this, for a near deadline, isn't held against the address


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Connections now, and totals since the start."""

    idle: int
    busy: int  # lent to fetches, including those being opened
    waiting: int  # fetches without a connection
    opened_total: int
    reused_total: int  # fetches that began on a kept connection
    stale_retries_total: int  # those that found it closed and were sent again
    fields_dropped_total: int  # malformed field lines of responses


class Pool:
    """Fetches from one origin. Made and used within one event loop; `close` it."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeouts: Timeouts | None = None,
        limits: PoolLimits | None = None,
        resolver: Resolver | None = None,
        flow: Flow | None = None,
    ) -> None:
        self._name = endpoint.name
        self.flow = flow
        """The cap on its bytes; None: there is none."""
        self._timeouts = timeouts or Timeouts()
        self._limits = limits or PoolLimits()
        self._terms = Terms(endpoint.name, self._timeouts, self._limits.message, flow)
        self._loop = asyncio.get_running_loop()
        self._resolver = resolver or Resolver(endpoint.host, endpoint.port)
        self._resolver.watch(self._drain)
        self._dialer = Dialer(endpoint, self._resolver)
        self.ill = self._dialer.ill
        """Addresses that failed lately: responses of others are to be noted, too."""
        self._connections: set[Connection] = set()  # every open socket
        self.idle: list[Connection] = []
        """Kept connections that seem to be free, the last used at the end."""
        self._idle_timer: asyncio.TimerHandle | None = None
        self._lent = 0
        # each gets an idle connection, or None: the place to open one
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._relief: asyncio.TimerHandle | None = None
        self._conduct = Conduct()
        if not self._limits.watch:
            self._conduct.saw_silence()
        self._watched: Connection | None = None  # holds no place; observed until it stays silent long enough
        self._watch_timer: asyncio.TimerHandle | None = None
        self.whole_at = 0.0
        self.exchanges = Histogram()
        self.read_buffer = read_buffer()
        self.note_break: Callable[[Connection, Fault], None] | None = None
        """Told of each body that breaks off."""
        self._closing: asyncio.Future[None] | None = None
        self._opened_total = self._reused_total = self._stale_retries_total = self._fields_dropped_total = 0

    async def fetch(self, asked: Asked) -> Response:
        """Send a request, and wait for the head of the response.

        A kept connection that turns out closed before the first byte, or that delivers only the rest of the last
        response, is replaced by a new one, once.
        A request that is reset, or gets no response at all, at a bad address goes to another while there is time.
        Raises OriginError; leaves nothing behind when cancelled.
        """
        connection = self._take_idle() or await self._lend(asked.deadline)
        if asked.fresh and connection.served:
            connection = await self._renewed(connection, asked)
        if connection.served:
            self._reused_total += 1
        return await self.await_head(connection, connection.ask(asked), asked)

    def ask(self, asked: Asked, asker: Asker) -> tuple[Connection, Response] | None:
        """The same as far as it needs no waiting: the request is sent on a kept connection, and `asker` is told of
        the response later; unless that has a head, and no address is `ill`, `await_head` goes on. None if no
        connection is free.
        """
        connection = self._take_idle()
        if connection is None:
            return None
        if connection.served:
            self._reused_total += 1
        return connection, connection.ask(asked, asker)

    async def await_head(self, connection: Connection, response: Response, asked: Asked) -> Response:
        """The response to a request that was sent, or is sent again, as `fetch`."""
        try:
            await response.arrived()
        except asyncio.CancelledError:
            self.give_up(connection, response)
            raise
        if response.answered and not self.ill:
            return response
        return await self._go_on(connection, response, asked)

    def give_up(self, connection: Connection, response: Response) -> None:
        """Nobody waits for the head of a response any more."""
        self._note_silence(connection)
        response.close()

    async def _renewed(self, connection: Connection, asked: Asked) -> Connection:
        """A new connection in the place of a kept one."""
        connection.close()
        return await self._open(asked.deadline)

    async def _go_on(self, connection: Connection, response: Response, asked: Asked) -> Response:
        """Continue after a request without a response: on a new connection, or at another address."""
        for left in range(_ADDRESSES - 1, -1, -1):
            if response.stale:
                self._stale_retries_total += 1
                connection = await self._open(asked.deadline)
                response = await _answer(connection, asked)
            if response.answered:
                if self.ill:
                    self._dialer.note_well(connection.address)
                return response
            if not self._may_ask_elsewhere(connection, response, asked.deadline) or not left:
                break
            connection = self._take_idle() or await self._lend(asked.deadline)
            if asked.fresh and connection.served:
                connection = await self._renewed(connection, asked)
            if connection.served:
                self._reused_total += 1
            response = await _answer(connection, asked)
        raise response.taken_error()

    def _may_ask_elsewhere(self, connection: Connection, response: Response, deadline: float) -> bool:
        """Whether the address failed and another can be tried: it reset its first request, or has been silent to
        all requests since."""
        fault = cast(OriginError, response.error).fault
        if fault is Fault.RESET:
            is_ill = not connection.served
        else:
            waited = self._loop.time() - connection.asked_at
            is_late = waited >= min(self._timeouts.first_byte, _SILENCE_SECONDS)
            is_ill = fault is Fault.FIRST_BYTE_TIMEOUT and is_late and self._is_silent(connection)
        return is_ill and self._dialer.note_ill(connection.address) and self._loop.time() < deadline

    def _note_silence(self, connection: Connection) -> None:
        """A request is given up before its response: another origin was faster. Perhaps its address is why."""
        waited = self._loop.time() - connection.asked_at
        if waited >= attempts.PATIENCE_SECONDS and self._is_silent(connection):
            self._dialer.note_ill(connection.address)

    def _is_silent(self, connection: Connection) -> bool:
        since = connection.asked_at
        return not any(
            other.address == connection.address and other.served and other.last_read > since
            for other in self._connections
        )

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(
            idle=len(self.idle),
            busy=self._lent,
            waiting=len(self._waiters),
            opened_total=self._opened_total,
            reused_total=self._reused_total,
            stale_retries_total=self._stale_retries_total,
            fields_dropped_total=self._fields_dropped_total,
        )

    @property
    def first_byte_seconds(self) -> float:
        """The time limit for the head of a response."""
        return self._timeouts.first_byte

    @property
    def opens(self) -> bool:
        """Whether a fetch that begins now opens a connection, rather than have one or wait for a place."""
        return not self.idle and self._lent < self._limits.connections

    @property
    def in_use(self) -> bool:
        """Whether any fetch has a connection, or waits for one."""
        return self._lent > 0 or any(not waiter.done() for waiter in self._waiters)

    def use(self, timeouts: Timeouts) -> None:
        """Hold fetches to these from now on; connections that were made for others aren't used again."""
        if timeouts == self._timeouts:
            return
        self._timeouts = timeouts
        self._terms = Terms(self._name, timeouts, self._limits.message)
        for connection in self._connections:
            connection.retired = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close every connection that is not in use."""
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()

    def break_off(self, detail: str) -> None:
        """End all exchanges, as if they had been cut off."""
        self.close_idle()
        for connection in list(self._connections):
            connection.fail(Fault.RESET, detail)

    async def close(self) -> None:
        """End all fetches with CANCELLED and wait until every socket is closed. Can't be used afterwards."""
        if self._closing is None:
            self._closing = self._loop.create_future()
            for timer in (self._idle_timer, self._relief, self._watch_timer):
                if timer is not None:
                    timer.cancel()
            self.close_idle()
            while self._waiters:
                self._waiters.popleft().cancel()
            for connection in list(self._connections):
                connection.fail(Fault.CANCELLED, "closing down")
        await self._dialer.close()
        await self._resolver.close()
        self._settle_closing()
        await asyncio.shield(self._closing)

    # called by connections

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._opened_total += 1

    def release(self, connection: Connection) -> None:
        """Its exchange is over: it goes to the next in line, or its place does."""
        now = connection.last_read
        is_spent = connection.closed or connection.retired or now > connection.opened_at + self._limits.age
        if is_spent or connection.bodiless or self._waiters or self._closing is not None:
            self._release_unusual(connection, now, is_spent=is_spent)
        else:
            self._lent -= 1
            self._put_aside(connection)

    def _release_unusual(self, connection: Connection, now: float, *, is_spent: bool) -> None:
        """It can't be reused, goes to a waiter, or has to be watched."""
        if is_spent or self._closing is not None:
            connection.close()
            self._return_place()
            return
        if connection.bodiless:
            keep = self._conduct.judge(stated=connection.stated, now=now)
            if keep is not Keep.YES:
                self._watch(connection, keep)
                self._return_place()
                return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
            return
        self._lent -= 1
        self._put_aside(connection)

    def dropped_field(self, line: bytes) -> None:
        if not self._fields_dropped_total:
            log.warning(
                "origin %s: a field line of its answer is malformed and omitted, as all such lines are: %r",
                self._name,
                line[:60],
            )
        self._fields_dropped_total += 1

    def spoke_unasked(self, connection: Connection) -> None:
        if connection.bodiless:
            self._conduct.saw_body(self._loop.time())

    def broke(self, connection: Connection, fault: Fault) -> None:
        if self.note_break is not None:
            self.note_break(connection, fault)

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        self._settle_closing()

    # places

    def _take_idle(self) -> Connection | None:
        idle = self.idle
        if idle and not idle[-1].closed and not idle[-1].bodiless:
            self._lent += 1
            return idle.pop()
        return self._search_idle(idle) if idle else None

    def _search_idle(self, idle: list[Connection]) -> Connection | None:
        for place in range(len(idle) - 1, -1, -1):
            connection = idle[place]
            if not connection.closed and connection.bodiless and connection.unasked():
                continue  # it is about to read unexpected bytes and close
            del idle[place]
            if not connection.closed:
                self._lent += 1
                return connection
        return None

    def _put_aside(self, connection: Connection) -> None:
        self.idle.append(connection)
        if self._idle_timer is None:
            expires = connection.last_read + self._limits.idle
            self._idle_timer = self._loop.call_at(expires, self._close_expired)

    def _watch(self, connection: Connection, keep: Keep) -> None:
        """It carries no further exchange. One at a time stays open, to see whether a body follows its response."""
        if keep is Keep.NO or self._watched is not None:
            connection.close()
            return
        self._watched = connection
        self._watch_timer = self._loop.call_later(self._limits.watch, self._end_watch)

    def _end_watch(self) -> None:
        connection, self._watched = self._watched, None
        assert connection is not None
        if connection.closed:
            return
        if connection.unasked():
            self._put_aside(connection)  # the loop was late: it is about to read the bytes
            return
        self._conduct.saw_silence()
        connection.close()

    async def _lend(self, deadline: float) -> Connection:
        """A connection with its place; waits for a place when all are in use."""
        if self._closing is not None:
            raise self._closed_error()
        if self._lent >= self._limits.connections:
            connection = await self._wait(deadline)
            if connection is not None and not connection.closed:
                if not (connection.bodiless and connection.unasked()):
                    return connection
                self._put_aside(connection)  # it is about to read unexpected bytes and close
        else:
            self._lent += 1
        return await self._open(deadline)

    async def _wait(self, deadline: float) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        alarm = Alarm(self._loop, lambda: deadline, waiter.cancel)
        alarm.arm(deadline)
        self._waiters.append(waiter)
        if self._relief is None:
            self._relief = self._loop.call_later(RELIEF_SECONDS, self._relieve)
        try:
            await asyncio.wait((waiter,))
        except asyncio.CancelledError:
            if not waiter.cancel() and not waiter.cancelled():
                self._give_back(waiter.result())
            raise
        finally:
            alarm.cancel()
            if waiter.cancelled():
                with suppress(ValueError):
                    self._waiters.remove(waiter)
        if not waiter.cancelled():
            return waiter.result()
        if self._closing is not None:
            raise self._closed_error()
        taken = f"all {self._limits.connections} connections stayed in use until the deadline"
        raise OriginError(self._name, Fault.POOL_TIMEOUT, taken)

    async def _open(self, deadline: float) -> Connection:
        """A new connection for a place already held; on failure the place is released."""
        try:
            return await self._dialer.open(self._make, within=self._timeouts.connect, deadline=deadline)
        except BaseException:
            self._return_place()
            raise

    def _make(self, address: Address) -> Connection:
        return Connection(self, self._terms, address=address, loop=self._loop)

    def _return_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is None:
            self._lent -= 1
        else:
            waiter.set_result(None)

    def _give_back(self, connection: Connection | None) -> None:
        """Return a connection or place that a waiter received but can no longer use."""
        if connection is None:
            self._return_place()
        else:
            self.release(connection)

    def _relieve(self) -> None:
        """While others wait, end the connection that its reader has held up longest: only that request fails."""
        self._relief = None
        if not any(not waiter.done() for waiter in self._waiters) or self._closing is not None:
            return
        now = self._loop.time()
        slowest = max(self._connections, key=lambda connection: connection.held_up(now), default=None)
        if slowest is not None and slowest.held_up(now) >= PATIENCE_SECONDS:
            slowest.fail(Fault.CANCELLED, "its reader has stalled, and others wait for a connection")
        self._relief = self._loop.call_later(RELIEF_SECONDS, self._relieve)

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    # closing

    def _close_expired(self) -> None:
        self._idle_timer = None
        now = self._loop.time()
        for connection in self.idle[:]:
            expires = connection.last_read + self._limits.idle
            if expires > now:
                self._idle_timer = self._loop.call_at(expires, self._close_expired)
                return
            self.idle.remove(connection)
            connection.close()

    def _drain(self, addresses: frozenset[Address]) -> None:
        """The origin has left some addresses: their connections are closed when idle."""
        for connection in list(self._connections):
            connection.retired = connection.address not in addresses
        for connection in [connection for connection in self.idle if connection.retired]:
            self.idle.remove(connection)
            connection.close()

    def _closed_error(self) -> OriginError:
        return OriginError(self._name, Fault.CANCELLED, "closing down")

    def _settle_closing(self) -> None:
        if self._closing is not None and not self._connections and not self._closing.done():
            self._closing.set_result(None)


async def _answer(connection: Connection, asked: Asked) -> Response:
    """The response on a connection that is free; unanswered if it isn't `answered`."""
    response = connection.ask(asked)
    try:
        await response.arrived()
    except asyncio.CancelledError:
        response.close()
        raise
    return response
