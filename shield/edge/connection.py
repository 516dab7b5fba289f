"""The HTTP/1.1 front: one client connection. uvicorn listens, terminates TLS and stops; the protocol is ours.

A hit is answered inside the parser's callback: no task, no await, no timer. Everything else is a `Transfer` that
calls back; requests that come meanwhile (pipelining) wait their turn, and reading pauses. Timeouts are counted by
`sweep`, which the worker calls on every connection once a second, so that a request arms no timer of its own.

llhttp refuses most of what is ambiguous (Content-Length with Transfer-Encoding or twice, folded lines, bare CR or LF,
space before a colon). What it leaves to us, `examined` and `Heads` look at; a plain request, which comes alone in one
piece and whose first line is as it should be, byte for byte, doesn't come by there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import httptools

from shield.edge.door import Door
from shield.edge.heads import ALONE, AT_START, BEHIND_FIRST, Heads
from shield.edge.pace import reset_on_close, unsent
from shield.edge.turn import LOOKED_AT, Turn, examined, refusal_of
from shield.edge.turn import Limits as Limits
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
_PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)
_CR, _SLASH, _ONE, _G, _H = b"\r/1GH"
_EMPTY_LINE = (b"", b"\r", b"\r\n")  # as far as it came
_KEEP_ALIVE = (b"keep-alive", b"Keep-Alive")
_CLOSE = b"connection: close\r\n\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
_JOIN_BELOW = 16 * 1024  # small bodies are copied behind their head: one buffer is cheaper to send than three
_LINGER_SWEEPS = 2
WATCHED = NOTABLE | {b"host", b"proxy-connection"}
"""Names of the fields that are looked at while a head is parsed."""


class Front:
    """What all connections of a listener share."""

    def __init__(self, proxy: Proxy, limits: Limits, *, access: AccessLog | None, clock: Callable[[], float]) -> None:
        self.proxy = proxy
        self.limits = limits
        self.access = access
        self.clock = clock
        self.door = Door(limits, clock=clock)
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
        self._door = front.door
        self._heads = Heads()
        self._parser = httptools.HttpRequestParser(self)
        self._peer = ""
        self._host: bytes | None = None  # what Host said, and may say
        self._left = 0  # requests that may still come; 0: any number
        self._watched = WATCHED
        self._guarded = False  # `_let_in` is asked for each request

        # per connection
        self.ready = True
        self._turns: deque[Turn] = deque()  # that wait
        self._turn: Turn | None = None  # under way
        self._transfer: Transfer | None = None
        self._stopping = False  # finish what runs, then close
        self._careful = False  # no request is plain: each may be the last
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
        self._hosts = 0  # lines of it; one that isn't known counts twice
        self._in_head = False
        self._error: httptools.HttpParserError | None = None  # of the parser, which is fed no more

        # per streamed answer
        self._chunked = False
        self._until_close = False
        self._status = 0
        self._sent = 0
        self._outcome: Outcome | None = None

    # transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._peer, self._left = peer[0], self._limits.max_requests
            self._careful = self._left > 0
        else:
            self._peer = "unix"
        if not self._door.enter(self._peer, len(self._connections)):
            self._deaf = True
            self._transport.abort()
            return
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._connections:
            self._connections.discard(self)
            self._door.leave(self._peer)
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
        heads = self._heads
        if heads.kept or len(data) > self._bulky_above:
            self._parse_in_parts(data)
        else:
            heads.piece, heads.at = data, ALONE
            try:
                self._parser.feed_data(data)
            except _PARSER_ERRORS as error:
                self._fail(error)
            if self._in_head or heads.at != BEHIND_FIRST:
                self._look_at_rest()

    def _parse_in_parts(self, data: bytes) -> None:
        """What goes on with a head that has begun, or is so much that a head could exceed its limits."""
        heads, limit = self._heads, self._limits.max_head_bytes
        while data and not self._deaf:
            heads.piece, data = heads.parts(data, limit)
            heads.at = AT_START
            if self._error is None:
                try:
                    self._parser.feed_data(heads.piece)
                except _PARSER_ERRORS as error:
                    self._fail(error)
            self._look_at_rest()
            if len(heads.kept) >= limit:
                too_long = len(self._target) > self._limits.max_target_bytes
                self._refuse(RequestError(414, "target-too-long") if too_long else RequestError(431, "head-too-large"))

    def _fail(self, error: httptools.HttpParserError | httptools.HttpParserUpgrade) -> None:
        if isinstance(error, httptools.HttpParserUpgrade):
            self._end_after_last()  # it was answered as if it asked for no upgrade (RFC 9110 §7.8)
            return
        self._error = error
        if isinstance(error, httptools.HttpParserCallbackError):
            log.error("a request failed", exc_info=error.__context__ or error)

    def _look_at_rest(self) -> None:
        """Keep what has no end yet, unless it can't become a head."""
        rest = self._heads.keep()
        if self._error is not None:
            refusal = refusal_of(self._error, rest)
            if refusal is not None:
                self._refuse(refusal)
        elif not self._in_head and rest not in _EMPTY_LINE:
            self._refuse(RequestError(400, "malformed-request"))

    def pause_writing(self) -> None:
        self.ready = False

    def resume_writing(self) -> None:
        self.ready = True
        self._unsent = 0
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
        if name in self._watched:
            if name == b"host":
                self._hosts += 1 if value == self._host else 2
                return
            if name == b"proxy-connection":  # llhttp takes it for Connection
                name = b"connection"
            if name == b"connection" and value in _KEEP_ALIVE:
                return
            notable, value = self._notable, value.rstrip(b" \t")
            notable[name] = notable[name] + b", " + value if name in notable else value

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._deaf or (self._guarded and not self._let_in()):
            return
        heads, target, fields, notable = self._heads, self._target, self._fields, self._notable
        # llhttp took this line, so that it is just "GET /a HTTP/1.1" if these bytes are in their places.
        piece = heads.piece
        if not (
            heads.at == ALONE
            and piece[0] == _G
            and piece[4] == _SLASH
            and piece[len(target) + 5] == _H
            and piece[len(target) + 12] == _ONE
            and piece[-5] > _CR
            and self._hosts == 1
            and len(fields) <= self._max_fields
            and not self._careful
            and (not notable or LOOKED_AT.isdisjoint(notable))
        ):
            self._examine(Request(self._parser.get_method(), target, fields, notable))
            return
        heads.at = BEHIND_FIRST
        request = Request(b"GET", target, fields, notable)
        if self._transfer is None and self.ready and not self._turns:
            reply = self._proxy.try_hit(request, self._now)
            if reply is None:
                self._open(Turn(request, True, False, self._now))
            else:
                self._send(reply, True)
                if self._access is not None:
                    self._log_reply(request, reply, self._now)
        else:
            self._take(Turn(request, True, False, self._now))

    def _examine(self, request: Request) -> None:
        """Take a request that isn't plain."""
        turn = examined(request, self._heads.take(), self._parser, self._limits, self._now)
        if turn.error is None:
            self._host = next((value for name, value in request.fields if name == b"host"), b"")
        if self._left:
            self._left -= 1
            turn.keep_alive = turn.keep_alive and self._left > 0
        last = turn.error is not None or not turn.keep_alive
        self._take(turn)
        if last:
            self._deaf = True

    def _let_in(self) -> bool:
        """Whether the request whose head has come may be answered; if not, it has been refused."""
        return True

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
        if not self._deaf:
            method = b"HEAD" if self._heads.kept.lstrip().startswith(b"HEAD ") else b"GET"
            self._take(Turn(Request(method, self._target, [], {}), False, False, self._now, error))
            self._deaf = True
        self._in_head = False
        self._heads.kept = b""

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
            reset_on_close(self._transport)
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
        self._stopping = self._careful = True
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
            left = unsent(self._transport)
            taken = self._unsent - left
            if taken < 0 or taken >= limits.send_bytes or (taken and not left):
                self._unsent, self._quiet_sweeps = left, 0
            elif self._quiet_sweeps > (limits.send_seconds if left else _LINGER_SWEEPS):
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
