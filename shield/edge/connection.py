"""The HTTP/1.1 front: one client connection. uvicorn listens, terminates TLS and stops; the protocol is ours.

A hit is answered inside the parser's callback: no task, no await, no timer. Everything else is a `Transfer` that
calls back; requests that come meanwhile (pipelining) wait their turn, and reading pauses. Timeouts are counted by
`sweep`, which the worker calls on every connection once a second, so that a request arms no timer of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import httptools

from shield.errors import RequestError
from shield.messages import NOTABLE, Field, Request
from shield.observe.access import AccessLog
from shield.outcome import Outcome
from shield.proxy import Proxy
from shield.reply import Part, Reply
from shield.transfer import Transfer

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_END = b"\r\n"
_CLOSE = b"connection: close\r\n\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
_JOIN_BELOW = 16 * 1024  # small bodies are copied behind their head: one buffer is cheaper to send than three
_LINGER_SWEEPS = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may use. Seconds are counted in whole sweeps of one second."""

    keep_alive_seconds: int = 650
    head_seconds: int = 10
    send_seconds: int = 60
    max_connections: int = 10_000
    max_pipelined: int = 64
    max_head_bytes: int = 32 * 1024
    max_target_bytes: int = 8 * 1024
    max_fields: int = 100


class Front:
    """What all connections of a listener share."""

    def __init__(self, proxy: Proxy, limits: Limits, *, access: AccessLog | None, clock: Callable[[], float]) -> None:
        self.proxy = proxy
        self.limits = limits
        self.access = access
        self.clock = clock

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> ClientConnection:
        """uvicorn's `http=` factory."""
        return ClientConnection(self, server_state)


@dataclass(slots=True)
class _Turn:
    """A request whose head is complete, and how its connection goes on."""

    request: Request
    keep_alive: bool
    http10: bool
    began: float


class ClientConnection(asyncio.Protocol):
    """Parses requests, answers them in order. Implements `Client` for the transfer under way."""

    def __init__(self, front: Front, server_state: ServerState) -> None:
        self._front = front
        self._proxy = front.proxy
        self._connections: set[Any] = server_state.connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self._peer = ""

        # per connection
        self.ready = True
        self._turns: deque[_Turn] = deque()
        self._turn: _Turn | None = None
        self._transfer: Transfer | None = None
        self._stopping = False  # finish what runs, then close
        self._closing = False  # nothing that comes is looked at any more
        self._now = 0.0
        self._quiet_sweeps = 0
        self._heard = False
        self._unsent = 0
        self._partial_bytes = 0

        # per request being parsed
        self._target = b""
        self._fields: list[Field] = []
        self._notable: dict[bytes, bytes] = {}
        self._in_head = False

        # per streamed answer
        self._chunked = False
        self._status = 0
        self._sent = 0
        self._outcome: Outcome | None = None

    # transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._connections) >= self._front.limits.max_connections:
            self._closing = True
            self._transport.abort()
            return
        self._connections.add(self)
        if self._front.access is not None:
            peer = transport.get_extra_info("peername")
            self._peer = peer[0] if isinstance(peer, tuple) else "unix"

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._closing = True
        self._turns.clear()
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            transfer.abandon()
            self._log(499)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._heard = True
        self._now = self._front.clock()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # the request was answered as if it asked for no upgrade (RFC 9110 §7.8); then we close
        except httptools.HttpParserError:
            if not self._closing:
                self._refuse(RequestError(400, "malformed request"))
            return
        if self._in_head:
            self._partial_bytes += len(data)
            if self._partial_bytes > self._front.limits.max_head_bytes:
                self._refuse(RequestError(431, "request head too large"))

    def pause_writing(self) -> None:
        self.ready = False

    def resume_writing(self) -> None:
        self.ready = True
        if self._transfer is not None:
            self._transfer.advance()
        else:
            self._go_on()

    # parser

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields = []
        self._notable = {}
        self._in_head = True
        self._partial_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._fields.append((name, value))
        if name in NOTABLE:
            notable = self._notable
            notable[name] = notable[name] + b", " + value if name in notable else value

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._closing:
            return
        parser, notable = self._parser, self._notable
        method = parser.get_method()
        keep_alive = parser.should_keep_alive() and not self._stopping
        if keep_alive and b"connection" not in notable:
            http10 = False
        else:
            http10 = parser.get_http_version() == "1.0"
            keep_alive = keep_alive and not http10 and b"upgrade" not in notable
            # What was asked of the connection doesn't concern the answer.
            notable.pop(b"connection", None)
            notable.pop(b"upgrade", None)
        request = Request(method, self._target, self._fields, notable)
        limits = self._front.limits
        if len(self._target) > limits.max_target_bytes:
            self._refuse(RequestError(414, "request target too long"))
        elif len(self._fields) > limits.max_fields:
            self._refuse(RequestError(431, "too many request fields"))
        elif self._transfer is None and self.ready and not self._turns:
            reply = self._proxy.try_hit(request, self._now)
            if reply is None:
                self._open(_Turn(request, keep_alive, http10, self._now))
            else:
                self._send(reply, keep_alive)
                if self._front.access is not None:
                    self._log_reply(request, reply, self._now)
        elif len(self._turns) < limits.max_pipelined:
            self._turns.append(_Turn(request, keep_alive, http10, self._now))
            self._transport.pause_reading()
        else:
            # Unanswered requests may be sent again on another connection (RFC 9112 §9.3.2).
            self._turns[-1].keep_alive = False
            self._closing = True

    # answering, one request at a time

    def _go_on(self) -> None:
        """Answer what waited while another answer was under way."""
        while self._turns and self._transfer is None and self.ready:
            turn = self._turns.popleft()
            reply = self._proxy.try_hit(turn.request, self._front.clock())
            if reply is None:
                self._open(turn)
            else:
                self._send(reply, turn.keep_alive and not self._stopping)
                self._log_reply(turn.request, reply, turn.began)
        if not self._turns and not self._transport.is_closing():
            self._transport.resume_reading()

    def _open(self, turn: _Turn) -> None:
        self._turn = turn
        transfer = self._proxy.open(turn.request, self)
        if not transfer.over:
            self._transfer = transfer

    def _send(self, reply: Reply, keep_alive: bool) -> None:
        transport = self._transport
        self._proxy.counters.sent_bytes += reply.length
        if keep_alive and not reply.close:
            if reply.length <= _JOIN_BELOW:
                transport.write(b"".join((reply.head, _END, *reply.parts)))
            else:
                transport.writelines((reply.head, _END, *reply.parts))
            return
        transport.writelines((reply.head, _CLOSE, *reply.parts))
        self._close()

    def _refuse(self, error: RequestError) -> None:
        """Answer what can't be understood, after what came before it; then close."""
        request = Request(b"GET", self._target, [], {})
        if self._transfer is not None or self._turns or not self.ready:
            self._closing = True
            (self._turns[-1] if self._turns else self._turn or _Turn(request, False, False, 0.0)).keep_alive = False
            return
        reply = self._proxy.refuse(error, request, self._now)
        self._send(reply, keep_alive=False)
        self._log_reply(request, reply, self._now)

    def _close(self) -> None:
        """Close after what is written has gone out. What the client still sends is read and dropped for a while:
        unread bytes would make the kernel reset the connection under the answer (RFC 9112 §9.6)."""
        self._closing = True
        self._turns.clear()
        self._quiet_sweeps = 0
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()

    # Client

    def reply(self, reply: Reply) -> None:
        turn = self._finish_turn()
        self._send(reply, turn.keep_alive and not self._stopping)
        self._log_reply(turn.request, reply, turn.began)
        self._go_on()

    def begin(self, status: int, head: bytes, length: int | None, outcome: Outcome) -> None:
        turn = self._turn
        assert turn is not None
        self._status, self._outcome, self._sent = status, outcome, 0
        self._chunked = length is None and not turn.http10
        if self._stopping or (length is None and turn.http10):
            turn.keep_alive = False
        chunked = _CHUNKED if self._chunked else b""
        self._transport.write(b"".join((head, chunked, _END if turn.keep_alive else _CLOSE)))

    def write(self, data: Part) -> None:
        self._sent += len(data)
        if self._chunked:
            self._transport.writelines((b"%x\r\n" % len(data), data, _END))
        else:
            self._transport.write(data)

    def finish(self, *, clean: bool) -> None:
        self._proxy.counters.sent_bytes += self._sent
        self._log(self._status, clean=clean)
        turn = self._finish_turn()
        if not clean:
            self._closing = True
            self._transport.abort()
            return
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        if not turn.keep_alive or self._stopping:
            self._close()
            return
        self._go_on()

    def _finish_turn(self) -> _Turn:
        turn = self._turn
        assert turn is not None
        self._turn = self._transfer = None
        return turn

    # the worker

    def shutdown(self) -> None:
        """uvicorn stops: end when what runs is answered."""
        self._stopping = True
        if self._turn is None and not self._turns and not self._in_head:
            self._transport.close()

    def abort(self) -> None:
        """The time to drain is over."""
        self._transport.abort()

    def sweep(self) -> None:
        """Once a second: end what has taken too long."""
        limits = self._front.limits
        self._quiet_sweeps += 1
        if self._closing:
            if self._quiet_sweeps > (_LINGER_SWEEPS if self.ready else limits.send_seconds):
                self._transport.abort()
        elif not self.ready:
            unsent = self._transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._quiet_sweeps = unsent, 0
            elif self._quiet_sweeps > limits.send_seconds:
                self._transport.abort()
        elif self._in_head:
            if self._quiet_sweeps > limits.head_seconds:
                self._refuse(RequestError(408, "request head took too long"))
        elif self._turn is not None or self._heard:
            self._heard, self._quiet_sweeps = False, 0
        elif self._quiet_sweeps > limits.keep_alive_seconds:
            self._transport.close()

    # the access log

    def _log_reply(self, request: Request, reply: Reply, began: float) -> None:
        access = self._front.access
        if access is not None:
            seconds = self._front.clock() - began
            access.write(
                request, reply.outcome, peer=self._peer, status=reply.status, sent=reply.length, seconds=seconds
            )

    def _log(self, status: int, *, clean: bool = False) -> None:
        access, turn = self._front.access, self._turn
        if access is not None and turn is not None:
            seconds = self._front.clock() - turn.began
            outcome = self._outcome or Outcome()
            access.write(
                turn.request, outcome, peer=self._peer, status=status, sent=self._sent, seconds=seconds, clean=clean
            )
