"""Opening a connection: resolve, race the addresses, shake hands, all within one limit.

Keeps no connection, only the failing addresses, which are tried last for a while.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import cast

from shield.errors import Fault, OriginError
from shield.origin import tls
from shield.origin.alarm import Alarm
from shield.origin.connection import Connection
from shield.origin.health import Health
from shield.origin.resolver import Address, ResolveError, Resolver

STAGGER = 0.25  # seconds before the next address is tried in parallel (RFC 8305 §5)

HANDSHAKES = 3
"""Addresses with which one opening shakes hands at most, one after the other: more would tell no more."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The location of an origin. `tls` None means plain HTTP; `server_hostname` defaults to the host."""

    name: str  # the origin's, for errors
    host: str  # a name, a literal IP without brackets, or the path of a unix socket
    port: int
    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None


class Dialer:
    """Opens connections to one endpoint. Raises ConfigError when TLS can't verify such a host name."""

    def __init__(self, endpoint: Endpoint, resolver: Resolver, *, stagger: float = STAGGER) -> None:
        self._endpoint = endpoint
        self._hostname = endpoint.server_hostname or endpoint.host
        if endpoint.tls is not None:
            tls.check_hostname(endpoint.tls, self._hostname)
        self._resolver = resolver
        self._stagger = stagger
        self._health = Health()
        self.ill: Collection[Address] = self._health.ill
        """The addresses that are ill; while there are none, `note_well` isn't worth a call."""
        self._tasks: set[asyncio.Task[Connection]] = set()
        self._closed = False

    def note_well(self, address: Address) -> None:
        """It answered."""
        self._health.note_well(address)

    def note_ill(self, address: Address) -> bool:
        """It was reset or silent instead of responding; True if there is another address to try."""
        self._health.note_ill(address, asyncio.get_running_loop().time())
        return self._resolver.has_several

    async def open(self, make: Callable[[Address], Connection], *, within: float, deadline: float) -> Connection:
        """A connection ready for its first request, `within` seconds and before `deadline` (loop time).

        Raises OriginError. Leaves no socket and no task when cancelled.
        """
        loop = asyncio.get_running_loop()
        limit = min(loop.time() + within, deadline)
        for left in range(HANDSHAKES - 1, -1, -1):
            attempt = _Attempt(self._endpoint)
            task = await self._attempted(attempt, make, limit)
            if self._closed:
                raise attempt.failure(Fault.CANCELLED, "closing down")
            if task.cancelled():
                if attempt.address is not None:
                    self._health.note_ill(attempt.address, loop.time())
                if limit == deadline:
                    raise attempt.failure(attempt.timeout_fault, f"deadline reached while {attempt.step}")
                raise attempt.failure(attempt.timeout_fault, f"{attempt.step}: not done within {within:g} s")
            try:
                connection = task.result()
            finally:
                del task  # its error refers to this frame
            if not connection.closed:
                return connection
            if not self.note_ill(connection.address) or not left:
                raise attempt.failure(Fault.CONNECT, f"{connection.address} closed it before the first request")
        raise AssertionError("unreachable: the last round returns or raises")

    async def _attempted(
        self, attempt: _Attempt, make: Callable[[Address], Connection], limit: float
    ) -> asyncio.Task[Connection]:
        """One opening, finished or cancelled at its limit."""
        if self._closed:
            raise attempt.failure(Fault.CANCELLED, "closing down")
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._open(attempt, make, limit))
        self._tasks.add(task)
        alarm = Alarm(loop, lambda: limit, task.cancel)
        alarm.arm(limit)
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            await _abolish(task)
            raise
        finally:
            alarm.cancel()
            self._tasks.discard(task)
        return task

    async def close(self) -> None:
        """Fail openings under way with CANCELLED."""
        self._closed = True
        await _abolish(*self._tasks)

    async def _open(self, attempt: _Attempt, make: Callable[[Address], Connection], limit: float) -> Connection:
        try:
            addresses = self._resolver.addresses() or await self._resolver.first()
        except ResolveError as error:
            raise attempt.failure(Fault.RESOLVE, str(error)) from None
        now = asyncio.get_running_loop().time
        untried = self._health.order(addresses, now())
        for left in range(HANDSHAKES - 1, -1, -1):
            attempt.step, attempt.timeout_fault, attempt.address = "connecting", Fault.CONNECT_TIMEOUT, None
            try:
                sock, address = await race(untried, stagger=self._stagger)
            except OSError as error:
                self._note_ill(untried, now())
                raise attempt.failure(Fault.CONNECT, str(error)) from None
            place = untried.index(address)
            passed = untried[:place]  # failed, or too slow for their head start
            self._note_ill(passed, now())
            untried = untried[place + 1 :] + passed
            attempt.step = f"TLS handshake with {address}" if self._endpoint.tls else "connecting"
            attempt.address = address
            is_last = not left or not untried
            seconds = _UNLIMITED if is_last else (limit - now()) / 2  # the rest is for the others
            try:
                return await self._start(attempt, sock, make(address), seconds)
            except OriginError:
                self._note_ill([address], now())
                if is_last:
                    raise
        raise AssertionError("unreachable: the last address is returned or raises")

    def _note_ill(self, addresses: Iterable[Address], now: float) -> None:
        for address in addresses:
            self._health.note_ill(address, now)

    async def _start(
        self, attempt: _Attempt, sock: socket.socket, connection: Connection, handshake: float
    ) -> Connection:
        """Shake hands within `within` seconds. Raises OriginError."""
        endpoint = self._endpoint
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: cast(asyncio.Protocol, connection),  # it has no base class, so that it can be compiled
                sock=sock,
                ssl=endpoint.tls,
                server_hostname=self._hostname if endpoint.tls else None,
                ssl_handshake_timeout=handshake if endpoint.tls else None,
            )
        except BaseException as error:
            connection.discard()
            sock.close()
            if not isinstance(error, OSError):
                raise
            if endpoint.tls is None:
                raise attempt.failure(Fault.CONNECT, f"{connection.address}: {error}") from None
            raise attempt.failure(Fault.TLS, tls.explain(error, self._hostname)) from None
        return connection


_UNLIMITED = 3600.0  # seconds: the limit of the whole opening is the one that counts


class _Attempt:
    """The progress of an opening, for the error that may end it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.step = f"resolving {endpoint.host}"
        self.timeout_fault = Fault.RESOLVE
        self.address: Address | None = None  # of the handshake

    def failure(self, fault: Fault, detail: str) -> OriginError:
        return OriginError(self._endpoint.name, fault, detail)


async def race(addresses: list[Address], *, stagger: float) -> tuple[socket.socket, Address]:
    """Connect to the address that answers first; the losers' sockets are closed.

    The next one is tried after `stagger` seconds, or as soon as one has failed (RFC 8305 §5). Raises OSError
    with every address and its reason when none answers.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0]), addresses[0]
    waiting = addresses[::-1]
    running: dict[asyncio.Task[socket.socket], Address] = {}
    reasons = []
    while waiting or running:
        if waiting:
            address = waiting.pop()
            running[asyncio.create_task(_connect(address))] = address
        try:
            done, _ = await asyncio.wait(
                running, timeout=stagger if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            await _abolish(*running)
            raise
        for task in done:
            address = running.pop(task)
            error = task.exception()
            if error is None:
                _cancel(running)  # not waited for: a cancellation here would lose the winner
                return task.result(), address
            reasons.append(str(error))
    raise OSError("; ".join(reasons))


async def _connect(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address.place)
    except OSError as error:
        sock.close()
        why = os.strerror(error.errno) if error.errno else error  # asyncio's own text names the address again
        raise OSError(f"{address}: {why}") from None
    except BaseException:
        sock.close()
        raise
    return sock


Opening = asyncio.Task[socket.socket] | asyncio.Task[Connection]


async def _abolish(*tasks: Opening) -> None:
    """As `_cancel`, but waits until nothing of them is left."""
    _cancel(tasks)
    if tasks:
        await asyncio.wait(tasks)


def _cancel(tasks: Iterable[Opening]) -> None:
    """Cancel, and close sockets that they open nevertheless."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(_close_result)


def _close_result(task: Opening) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
