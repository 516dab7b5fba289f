"""One accepted connection of the origin: reads requests, plays the steps of their answers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from tests.doubles.handshake import Halting
from tests.doubles.ledger import Ledger, Received
from tests.doubles.plan import Answer, Plan

CORK = 64 * 1024  # bytes of small writes that go out together
AT_ONCE = 4 * 1024  # bytes that the kernel takes whole when nothing else waits to be sent
INBOX = 256 * 1024  # unread request bytes before the socket isn't read any more
ACKED = 120  # where tcp_info has tcpi_bytes_acked (Linux)
LINGER = 1.0  # seconds to let the client's kernel take everything before RST
SERVER_NAMES: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


class Connection(asyncio.Protocol):
    """Lives from accept to close. The wire that steps play on; its task ends when the client leaves."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        *,
        tls: ssl.SSLContext | None,
        bucket: str | None,
        gone: Callable[[Connection], None],
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._tls = tls
        self._prefix = f"/{bucket}" if bucket else ""
        self._gone = gone
        self._transport: asyncio.Transport
        self._socket_transport: asyncio.Transport  # below TLS, if there is TLS
        self._task: asyncio.Task[None]
        self._number = 0
        self._server_name: str | None = None
        # inwards
        self._inbox = bytearray()
        self._arrived = asyncio.Event()
        # outwards
        self._outbox = bytearray()
        self._drained = asyncio.Event()
        self._drained.set()
        self._answered: Received | None = None  # the request whose answer is being sent
        self._over = False
        self.made = False
        self._lost = False
        self.idle = False  # between two requests, or before the first

    # -- as asyncio calls it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._socket_transport = cast(asyncio.Transport, transport)
        self.made = True
        self._transport.set_write_buffer_limits(high=0)
        self._number = self._ledger.opened()
        self._task = asyncio.get_running_loop().create_task(self._live())

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        self._arrived.set()
        if len(self._inbox) > INBOX:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._over = True
        if not self._lost:
            self._ledger.acknowledged_by_closed += self.acknowledged()
            self._lost = True
            self._task.cancel()
            self._gone(self)
            self._ledger.closed()

    def acknowledged(self) -> int:
        """Bytes that the client's kernel has taken so far, heads and TLS included."""
        below = self._socket_transport.get_extra_info("socket")
        try:
            told = b"" if below is None else below.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKED + 8)
        except OSError:
            return 0  # it is closed
        return int(struct.unpack_from("<Q", told, ACKED)[0]) if len(told) >= ACKED + 8 else 0

    # -- as steps see it

    async def send(self, data: bytes) -> None:
        self._outbox += data
        if len(self._outbox) >= CORK:
            await self.flush()

    async def flush(self) -> None:
        if self._over or self._transport.is_closing():
            raise ConnectionResetError("the connection is over")
        if self._outbox:
            if self._answered is not None:  # noted first: a client that has the bytes finds them counted
                self._answered.sent += len(self._outbox)
            self._transport.write(bytes(self._outbox))
            self._outbox.clear()
        await self._drained.wait()

    async def reset(self) -> None:
        await self.flush()
        await self._acknowledged()
        self.abort()

    async def close(self) -> None:
        await self.flush()
        self._over = True
        if self._transport.get_extra_info("ssl_object") is None:
            self._forget_unread()
        self._transport.close()

    async def cut(self) -> None:
        await self.flush()
        self._over = True
        self._forget_unread()
        self._socket().shutdown(socket.SHUT_WR)
        await self._acknowledged()
        self._transport.abort()

    def abort(self) -> None:
        """RST, at once."""
        self._over = True
        if not self._transport.is_closing():
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # -- its life

    async def _live(self) -> None:
        try:
            # Nothing is read before the greeting is over; start_tls would lose what was. Not in connection_made:
            # before Python 3.12, asyncio begins to read after it all the same.
            self._transport.pause_reading()
            await self._greet()
            if self._tls is not None and not self._over:
                await self._handshake(self._tls)
            self._resume_reading()
            while not self._over:
                request = await self._read_request()
                if request is None:
                    return
                await self._answer(request)
        except (ConnectionError, asyncio.CancelledError):
            return  # the client left, or the origin's context ends
        except Exception as error:
            self._ledger.crashed(error)
            self._transport.abort()

    async def _greet(self) -> None:
        steps = self._plan.greeting()
        if steps:
            watch = asyncio.get_running_loop().create_task(self._abort_when_client_leaves())
            try:
                await self._play(steps)
                if not self._over:
                    await self.flush()
            finally:
                watch.cancel()

    async def _abort_when_client_leaves(self) -> None:
        """While nothing is read, asyncio doesn't see the end of the connection."""
        poll = select.poll()
        poll.register(self._socket().fileno(), select.POLLRDHUP)
        while True:
            if poll.poll(0):
                return self._transport.abort()
            await asyncio.sleep(0.002)

    async def _handshake(self, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        after, gate = self._plan.halt
        below = Halting(self._transport, after)
        waiting = loop.create_task(below.release_at(gate)) if gate is not None else None
        plain = cast(asyncio.Transport, below)
        secure = None
        try:
            secure = await loop.start_tls(plain, self, tls, server_side=True, ssl_shutdown_timeout=LINGER)
        except OSError as error:  # ssl.SSLError is one
            raise ConnectionAbortedError("no handshake") from error
        finally:
            if waiting is not None:
                waiting.cancel()
            if secure is None:
                self._ledger.handshake_failed()
                self._give_up()
        if secure is None:
            raise ConnectionAbortedError("gone during the handshake")
        below.release()
        self._transport = secure
        self._transport.set_write_buffer_limits(high=1)  # at 0, TLS pauses even when nothing is left
        self._server_name = SERVER_NAMES.get(secure.get_extra_info("ssl_object"))

    def _give_up(self) -> None:
        """asyncio doesn't tell a protocol of its end when that comes during the handshake."""
        if not self._socket_transport.is_closing():
            self._socket_transport.abort()
        self.connection_lost(None)

    async def _answer(self, request: Received) -> None:
        complete = False
        self._answered = request
        self._ledger.received(request)
        try:
            await self._play(self._plan.answer(request))
            if self._is_sent_by_one_write(request):
                request.sent += len(self._outbox)
                self._end(complete=True)  # before it is, so that a client that has all of it finds it ended
            if not self._over:
                await self.flush()
            complete = True
        finally:
            self._end(complete=complete)

    def _is_sent_by_one_write(self, request: Received) -> bool:
        is_small = not request.sent and 0 < len(self._outbox) <= AT_ONCE
        return is_small and not (self._over or self._transport.is_closing())

    def _end(self, *, complete: bool) -> None:
        """Note the end of the answer that is being sent, once."""
        request, self._answered = self._answered, None
        if request is not None:
            self._ledger.answered(request, complete=complete)

    async def _play(self, steps: Answer) -> None:
        for step in steps:
            if self._over:
                return
            await step.play(self)

    async def _read_request(self) -> Received | None:
        """The next request with its body, or None after something that is none (which got a 400)."""
        while (end := self._inbox.find(b"\r\n\r\n")) < 0:
            self.idle = not self._inbox
            await self._more()
        self.idle = False
        head = bytes(self._inbox[:end])
        del self._inbox[: end + 4]
        request = self._parse(head)
        if request is None:
            self._ledger.misunderstood(head)
            await self.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await self.close()
            return None
        length = int(request.get("content-length") or 0)
        while len(self._inbox) < length:
            self._resume_reading()
            await self._more()
        request.body = bytes(self._inbox[:length])
        del self._inbox[:length]
        if len(self._inbox) <= INBOX:
            self._resume_reading()
        return request

    def _parse(self, head: bytes) -> Received | None:
        first, *rest = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return None
        fields = []
        for line in rest:
            name, colon, value = line.partition(":")
            if not colon:
                return None
            fields.append((name.lower(), value.strip()))
        if any(name == "content-length" and not value.isdecimal() for name, value in fields):
            return None
        path = unquote(words[1].partition("?")[0])
        if self._prefix and path.startswith(self._prefix + "/"):
            path = path[len(self._prefix) :]
        request = Received(0, self._number, words[0], words[1], path, fields)
        request.server_name = self._server_name
        return request

    async def _more(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    def _resume_reading(self) -> None:
        if not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    def _socket(self) -> socket.socket:
        return cast(socket.socket, self._transport.get_extra_info("socket"))

    def _forget_unread(self) -> None:
        """Take request bytes nobody will read off the socket: the kernel would answer them with RST, not FIN."""
        with contextlib.suppress(OSError):
            while os.read(self._socket().fileno(), CORK):
                pass

    async def _acknowledged(self) -> None:
        """Wait until the client's kernel has all that was sent: an RST throws the rest away."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LINGER
        while loop.time() < deadline and not self._transport.is_closing():
            left = fcntl.ioctl(self._socket().fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
            if not struct.unpack("i", left)[0] and not self._socket_transport.get_write_buffer_size():
                return
            await asyncio.sleep(0.001)
