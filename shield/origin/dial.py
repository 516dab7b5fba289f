"""Opening a connection: resolve, race the addresses, shake hands, all within one limit. Keeps nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from shield.errors import Fault, OriginError
from shield.origin import tls
from shield.origin.alarm import Alarm
from shield.origin.connection import Connection
from shield.origin.resolver import Address, ResolveError, Resolver

STAGGER = 0.25  # seconds before the next address is tried besides (RFC 8305 §5)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an origin is. `tls` None means plain HTTP; `server_hostname` defaults to the host."""

    name: str  # the origin's, for errors
    host: str  # a name or a literal IP, without brackets
    port: int
    tls: ssl.SSLContext | None = None
    server_hostname: str | None = None


class Dialer:
    """Opens connections to one endpoint."""

    def __init__(self, endpoint: Endpoint, resolver: Resolver, *, stagger: float = STAGGER) -> None:
        self._endpoint = endpoint
        self._resolver = resolver
        self._stagger = stagger
        self._tasks: set[asyncio.Task[Connection]] = set()
        self._closed = False

    async def open(self, make: Callable[[Address], Connection], *, within: float, deadline: float) -> Connection:
        """A connection ready for its first request, `within` seconds and before `deadline` (loop time).

        Raises OriginError. Cancelled, it leaves no socket and no task.
        """
        attempt = _Attempt(self._endpoint)
        if self._closed:
            raise attempt.failure(Fault.CANCELLED, "closing down")
        loop = asyncio.get_running_loop()
        limit = min(loop.time() + within, deadline)
        task = loop.create_task(self._open(attempt, make))
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
        if not task.cancelled():
            return task.result()
        if self._closed:
            raise attempt.failure(Fault.CANCELLED, "closing down")
        if limit == deadline:
            raise attempt.failure(Fault.TOTAL_TIMEOUT, f"deadline reached while {attempt.step}")
        raise attempt.failure(attempt.timeout_fault, f"{attempt.step}: not done within {within:g} s")

    async def close(self) -> None:
        """Fail what is being opened with CANCELLED."""
        self._closed = True
        for task in list(self._tasks):
            await _abolish(task)

    async def _open(self, attempt: _Attempt, make: Callable[[Address], Connection]) -> Connection:
        try:
            addresses = self._resolver.addresses() or await self._resolver.first()
        except ResolveError as error:
            raise attempt.failure(Fault.RESOLVE, str(error)) from None
        attempt.step, attempt.timeout_fault = "connecting", Fault.CONNECT_TIMEOUT
        try:
            sock, address = await race(addresses, stagger=self._stagger)
        except OSError as error:
            raise attempt.failure(Fault.CONNECT, str(error)) from None
        attempt.step = f"TLS handshake with {address}" if self._endpoint.tls else "connecting"
        return await self._start(attempt, sock, make(address))

    async def _start(self, attempt: _Attempt, sock: socket.socket, connection: Connection) -> Connection:
        endpoint = self._endpoint
        hostname = endpoint.server_hostname or endpoint.host
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                sock=sock,
                ssl=endpoint.tls,
                server_hostname=hostname if endpoint.tls else None,
                ssl_handshake_timeout=3600 if endpoint.tls else None,  # ours is the limit that counts
            )
        except BaseException as error:
            connection.close()
            sock.close()
            if not isinstance(error, OSError):
                raise
            if endpoint.tls is None:
                raise attempt.failure(Fault.CONNECT, error.strerror or str(error)) from None
            raise attempt.failure(Fault.TLS, tls.explain(error, hostname)) from None
        return connection


class _Attempt:
    """How far an opening has come, for the error that may end it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.step = f"resolving {endpoint.host}"
        self.timeout_fault = Fault.RESOLVE

    def failure(self, fault: Fault, detail: str) -> OriginError:
        return OriginError(self._endpoint.name, fault, detail)


async def race(addresses: list[Address], *, stagger: float) -> tuple[socket.socket, Address]:
    """Connect to whichever address answers first; the losers' sockets are closed.

    The next one is tried after `stagger` seconds, or as soon as one has failed (RFC 8305 §5). Raises OSError
    with every address and its reason when none answers.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0]), addresses[0]
    waiting = addresses[::-1]
    running: dict[asyncio.Task[socket.socket], Address] = {}
    reasons = []
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop()
                running[asyncio.create_task(_connect(address))] = address
            done, _ = await asyncio.wait(
                running, timeout=stagger if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    return task.result(), running.pop(task)
                del running[task]
                reasons.append(str(error))
    finally:
        for task in running:
            await _abolish(task)
    raise OSError("; ".join(reasons))


async def _connect(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address.place)
    except OSError as error:
        sock.close()
        raise OSError(f"{address}: {error.strerror or error}") from None
    except BaseException:
        sock.close()
        raise
    return sock


async def _abolish(task: asyncio.Task[socket.socket] | asyncio.Task[Connection]) -> None:
    """Cancel, and close what it opened all the same. Nothing of it is left when this returns."""
    task.cancel()
    task.add_done_callback(_close_result)
    await asyncio.wait((task,))


def _close_result(task: asyncio.Task[socket.socket] | asyncio.Task[Connection]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
