"""The HTTP/1.1 front: one client connection. uvicorn listens, terminates TLS and stops; the protocol is ours.

A hit is answered inside the parser's callback: no task, no await, no timer. Everything else is a `Transfer` that
calls back; requests that come meanwhile (pipelining) wait their turn, and reading pauses. Timeouts are counted by
`sweep`, which the worker calls on every connection once a second, so that a request arms no timer of its own.

llhttp refuses what is ambiguous (Content-Length with Transfer-Encoding or twice, folded lines, bare CR or LF, space
before a colon); what it leaves to us `examined` looks at, which plain requests
don't come by.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import httptools

from shield.edge.turn import Limits as Limits
from shield.edge.turn import Turn, examined, refusal_of
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

log = logging.getLogger("shield.edge")

_END = b"\r\n"
_BLANK_LINE = b"\r\n\r\n"
_CLOSE = b"connection: close\r\n\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
_JOIN_BELOW = 16 * 1024  # small bodies are copied behind their head: one buffer is cheaper to send than three
_LINGER_SWEEPS = 2
_WATCHED = NOTABLE | {b"host", b"proxy-connection"}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, for no time


class Front:
    """What all connections of a listener share."""

    def __init__(self, proxy: Proxy, limits: Limits, *, access: AccessLog | None, clock: Callable[[], float]) -> None:
        self.proxy = proxy
        self.limits = limits
        self.access = access
        self.clock = clock
        self.loop = asyncio.get_running_loop()

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> ClientConnection:
        """uvicorn's `http=` factory."""
        return ClientConnection(self, server_state)


class ClientConnection(asyncio.Protocol):
    """Parses requests, answers them in order. Implements `Client` for the transfer under way."""

    _transport: asyncio.Transport  # set by connection_made

    def __init__(self, front: Front, server_state: ServerState) -> None:
        self._proxy = front.proxy
        self._access = front.access
        self._clock = front.clock
        self._limits = front.limits
        self._max_fields = front.limits.max_fields
        self._bulky_above = min(front.limits.max_target_bytes, front.limits.max_head_bytes)
        self._loop = front.loop
        self._connections: set[Any] = server_state.connections
        self._parser = httptools.HttpRequestParser(self)
        self._peer = ""

        # per connection
        self.ready = True
        self._turns: deque[Turn] = deque()  # that wait
        self._turn: Turn | None = None  # under way
        self._transfer: Transfer | None = None
        self._stopping = False  # finish what runs, then close
        self._deaf = False  # nothing that comes is looked at any more
        self._closing = False  # all is written; what isn't sent yet goes out
        self._paused = False  # not reading
        self._at_end = False  # the client will send nothing more
        self._now = 0.0

        # between sweeps
        self._heard = False
        self._quiet_sweeps = 0
        self._unsent = 0
        self._slow_head: object = None

        # per request being parsed
        self._target = b""
        self._fields: list[Field] = []
        self._notable: dict[bytes, bytes] = {}
        self._hosts = 0
        self._in_head = False
        self._head_bytes = 0
        self._bulky = False  # so much came that limits may be exceeded

        # per streamed answer
        self._chunked = False
        self._until_close = False
        self._status = 0
        self._sent = 0
        self._outcome: Outcome | None = None

    # transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._connections) >= self._limits.max_connections:
            self._deaf = True
            self._transport.abort()
            return
        self._connections.add(self)
        if self._access is not None:
            peer = transport.get_extra_info("peername")
            self._peer = peer[0] if isinstance(peer, tuple) else "unix"

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._deaf = True
        self._turns.clear()
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            transfer.abandon()
            self._proxy.counters.sent_bytes += self._sent
            self._log(499)

    def eof_received(self) -> bool:
        """The client has said all it will. What it asked for is still answered; an incomplete head is dropped."""
        self._at_end = self._deaf = True
        last = self._last_turn()
        if last is None or not self._transport.can_write_eof():  # TLS has no half-closed connections
            self._closing = True
            return False
        last.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._heard = True
        self._now = self._clock()
        fields = self._fields
        self._bulky = self._in_head or len(data) > self._bulky_above
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._end_after_last()  # it was answered as if it asked for no upgrade (RFC 9110 §7.8)
        except httptools.HttpParserError as error:
            if isinstance(error, httptools.HttpParserCallbackError):
                log.error("a request failed", exc_info=error.__context__ or error)
            self._refuse(refusal_of(error, data))
        if self._in_head:
            if self._fields is fields:
                self._head_bytes += len(data)
            else:  # it began in `data`, behind the last head that ended there
                before = data.rfind(_BLANK_LINE)
                self._head_bytes = len(data) if before < 0 else len(data) - before - len(_BLANK_LINE)
            if self._head_bytes > self._limits.max_head_bytes:
                self._refuse(RequestError(431, "head-too-large"))

    def pause_writing(self) -> None:
        self.ready = False

    def resume_writing(self) -> None:
        self.ready = True
        if self._transfer is not None:
            self._transfer.advance()
        elif self._turns:
            self._go_on()

    # parser

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields = []
        self._notable = {}
        self._hosts = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._fields.append((name, value))
        if name in _WATCHED:
            if name == b"host":
                self._hosts += 1
                return
            if name == b"proxy-connection":  # llhttp takes it for Connection
                name = b"connection"
            notable = self._notable
            notable[name] = notable[name] + b", " + value if name in notable else value

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deaf:
            return
        parser, target, fields, notable = self._parser, self._target, self._fields, self._notable
        request = Request(parser.get_method(), target, fields, notable)
        if (
            self._hosts != 1
            or self._bulky
            or target[0] != 0x2F  # not "/": absolute-form, or wrong
            or len(fields) > self._max_fields
            or b"connection" in notable
            or self._stopping
            or not parser.should_keep_alive()
        ):
            self._take(examined(request, parser, self._hosts, self._limits, now=self._now))
        elif self._transfer is None and self.ready and not self._turns:
            reply = self._proxy.try_hit(request, self._now)
            if reply is None:
                self._open(Turn(request, True, False, self._now))
            else:
                self._send(reply, True)
                if self._access is not None:
                    self._log_reply(request, reply, self._now)
        else:
            self._take(Turn(request, True, False, self._now))

    # answering, one request at a time

    def _take(self, turn: Turn) -> None:
        """Answer a request now, or when its turn comes."""
        if self._transfer is None and self.ready and not self._turns:
            self._answer(turn)
        elif len(self._turns) < self._limits.max_pipelined:
            self._turns.append(turn)
            if not self._paused:
                self._paused = True
                self._transport.pause_reading()
        else:
            # Unanswered requests may be sent again on another connection (RFC 9112 §9.3.2).
            self._end_after_last()

    def _answer(self, turn: Turn) -> None:
        if turn.error is None:
            reply = self._proxy.try_hit(turn.request, self._now)
        else:
            reply = self._proxy.refuse(turn.error, turn.request, self._now)
        if reply is None:
            self._open(turn)
        else:
            self._send(reply, turn.keep_alive and not self._stopping)
            self._log_reply(turn.request, reply, turn.began)

    def _go_on(self) -> None:
        """Answer what waited while another answer was under way."""
        self._now = self._clock()
        while self._turns and self._transfer is None and self.ready:
            self._answer(self._turns.popleft())
        if not self._turns:
            self._listen()

    def _open(self, turn: Turn) -> None:
        self._turn, self._outcome, self._sent = turn, None, 0
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
        self._in_head = False
        if not self._deaf:
            self._take(Turn(Request(b"GET", self._target, [], {}), False, False, self._now, error))
            self._deaf = True

    def _last_turn(self) -> Turn | None:
        return self._turns[-1] if self._turns else self._turn

    def _end_after_last(self) -> None:
        """Close once what has been taken so far is answered."""
        self._deaf = True
        last = self._last_turn()
        if last is not None:
            last.keep_alive = False
        elif not self._closing:
            self._close()

    def _close(self) -> None:
        """Close after what is written has gone out. What the client still sends is read and dropped for a while:
        unread bytes would make the kernel reset the connection under the answer (RFC 9112 §9.6)."""
        self._deaf = self._closing = True
        self._turns.clear()
        self._quiet_sweeps = 0
        if self._at_end or not self._transport.can_write_eof():
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write_eof()
            self._listen()

    def _close_idle(self) -> None:
        self._deaf = self._closing = True
        self._quiet_sweeps = 0
        self._transport.close()

    def _cut(self) -> None:
        """End at once. A body that ends with its connection would look whole, unless that is reset."""
        self._deaf = True
        if self._until_close:
            connected = self._transport.get_extra_info("socket")
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    def _listen(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # Client

    def reply(self, reply: Reply) -> None:
        turn = self._finish_turn()
        self._send(reply, turn.keep_alive and not self._stopping)
        self._log_reply(turn.request, reply, turn.began)

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        turn = self._turn
        assert turn is not None
        self._status, self._outcome = status, outcome
        self._chunked = length is None and not turn.http10
        self._until_close = length is None and turn.http10
        if self._stopping:
            turn.keep_alive = False
        end = _END if turn.keep_alive else _CLOSE
        if self._chunked:
            self._transport.write(b"".join((head, _CHUNKED, end)))
            if data is not None:
                self.write(data)
        elif data is None:
            self._transport.write(head + end)
        else:
            self._sent += len(data)
            if len(data) <= _JOIN_BELOW:
                self._transport.write(b"".join((head, end, data)))
            else:
                self._transport.writelines((head, end, data))

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
            self._cut()
            return
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        if not turn.keep_alive or self._stopping:
            self._close()

    def _finish_turn(self) -> Turn:
        turn = self._turn
        assert turn is not None
        self._turn = self._transfer = None
        if self._turns:
            # Not here: the fill that calls has others to tell.
            self._loop.call_soon(self._go_on)
        return turn

    # the worker

    def shutdown(self) -> None:
        """uvicorn stops: end when what runs is answered."""
        self._stopping = True
        if self._last_turn() is None and not self._in_head and not self._closing:
            self._close_idle()

    def abort(self) -> None:
        """The time to drain is over."""
        self._cut()

    def sweep(self) -> None:
        """Once a second: end what has taken too long."""
        limits = self._limits
        heard, self._heard = self._heard, False
        self._quiet_sweeps += 1
        if self._closing or not self.ready:
            unsent = self._transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._quiet_sweeps = unsent, 0
            elif self._quiet_sweeps > (limits.send_seconds if unsent else _LINGER_SWEEPS):
                self._cut()
        elif self._last_turn() is not None:
            self._quiet_sweeps = 0  # the origins' timeouts hold
        elif self._in_head:
            if self._slow_head is not self._fields:  # the first sweep that finds this head incomplete
                self._slow_head, self._quiet_sweeps = self._fields, 0
            elif self._quiet_sweeps > limits.head_seconds:
                self._refuse(RequestError(408, "head-too-slow"))
        elif heard:
            self._quiet_sweeps = 0
        elif self._quiet_sweeps > (limits.keep_alive_seconds if self._target else limits.head_seconds):
            self._close_idle()

    # the access log

    def _log_reply(self, request: Request, reply: Reply, began: float) -> None:
        access = self._access
        if access is not None:
            seconds = self._clock() - began
            access.write(
                request, reply.outcome, peer=self._peer, status=reply.status, sent=reply.length, seconds=seconds
            )

    def _log(self, status: int, *, clean: bool = False) -> None:
        access, turn = self._access, self._turn
        if access is not None and turn is not None:
            seconds = self._clock() - turn.began
            outcome = self._outcome or Outcome()
            access.write(
                turn.request, outcome, peer=self._peer, status=status, sent=self._sent, seconds=seconds, clean=clean
            )
