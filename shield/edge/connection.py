"""The HTTP/1.1 front: one client connection. uvicorn, or `tls.Greeter`, listens; the protocol is ours.

A hit is answered inside the parser's callback: no task, no await, no timer. Everything else is a `Transfer` that
calls back; requests that come meanwhile (pipelining) wait their turn, and reading pauses. Timeouts are counted by
`sweep`, which the worker calls on every connection once a second, so that a request arms no timer of its own.

How requests are read is `reading`'s.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from shield.edge.door import Door
from shield.edge.heads import ALONE, BEHIND_FIRST
from shield.edge.pace import reset_on_close, unsent
from shield.edge.reading import WATCHED as WATCHED
from shield.edge.reading import RequestReader
from shield.edge.tls import Greeter
from shield.edge.turn import LOOKED_AT, Turn
from shield.errors import RequestError
from shield.messages import Request
from shield.observe.access import AccessLog
from shield.outcome import Outcome
from shield.proxy import Proxy
from shield.regime import Regime
from shield.reply import Part, Reply
from shield.rules.limits import ClientLimits
from shield.transfer import Transfer

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_END = b"\r\n"
_CR, _SLASH, _ONE, _G, _H = b"\r/1GH"
_CLOSE = b"connection: close\r\n\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
_JOIN_BELOW = 16 * 1024  # small bodies are copied behind their head: one buffer is cheaper to send than three
_LINGER_SWEEPS = 2


class Front:
    """What all connections of a listener share."""

    def __init__(
        self, proxy: Proxy, limits: ClientLimits, *, access: AccessLog | None, clock: Callable[[], float]
    ) -> None:
        self.proxy = proxy
        self.limits = limits
        self.access = access
        self.clock = clock
        self.door = Door(limits, clock=clock)
        self.loop = asyncio.get_running_loop()
        self.connections: set[ClientConnection] = set()

    def follow(self, regime: Regime) -> None:
        """From now on this regime holds, for connections that are open, too."""
        self.limits = self.door.limits = self._limits_under(regime)
        for connection in self.connections:
            connection.reconsider(self.limits)

    def wind_down(self) -> None:
        """Have each connection end with its next answer, those that are still to come, too."""
        self.limits = self.door.limits = replace(self.limits, max_requests=1)
        for connection in self.connections:
            connection.reconsider(self.limits)

    def log_to(self, access: AccessLog | None) -> None:
        """Note requests there from now on, those of connections that are open, too."""
        self.access = access
        for connection in self.connections:
            connection._access = access

    def _limits_under(self, regime: Regime) -> ClientLimits:
        return regime.limits

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> ClientConnection:
        """uvicorn's `http=` factory."""
        return self._connection(server_state)

    def greet(self, listener: socket.socket, context: ssl.SSLContext, server_state: ServerState) -> Greeter:
        """Take connections for which `protocol` is to be made behind TLS."""
        return Greeter(
            listener,
            context,
            self.door,
            welcome=lambda: self._connection(server_state),
            inside=lambda: len(server_state.connections),
            seconds=lambda: self.limits.head_seconds,
        )

    def _connection(self, server_state: ServerState) -> ClientConnection:
        return ClientConnection(self, server_state)


class ClientConnection(RequestReader):
    """Parses requests, answers them in order. Implements `Client` for the transfer under way."""

    __slots__ = (
        "_access",
        "_at_end",
        "_careful",
        "_chunked",
        "_closing",
        "_connections",
        "_door",
        "_guarded",
        "_held",
        "_in_front",
        "_inside",
        "_loop",
        "_outcome",
        "_paused",
        "_peer",
        "_proxy",
        "_quiet_sweeps",
        "_sent",
        "_slow_head",
        "_status",
        "_stopping",
        "_transfer",
        "_transport",
        "_turn",
        "_turns",
        "_unsent",
        "_until_close",
        "ready",
    )

    _transport: asyncio.Transport  # set by connection_made

    def __init__(self, front: Front, server_state: ServerState) -> None:
        super().__init__(front.limits, front.clock, node=front.proxy.replies.node)
        self._proxy = front.proxy
        self._access = front.access
        self._loop = front.loop
        self._connections: set[Any] = server_state.connections
        self._in_front = front.connections
        self._door = front.door
        self._peer = "unix"
        self._inside = False  # of the door, which must be told of its end
        self._guarded = False  # `_let_in` is asked for each request

        # per connection
        self.ready = True
        self._turns: deque[Turn] = deque()  # that wait
        self._turn: Turn | None = None  # under way
        self._transfer: Transfer | None = None
        self._stopping = False  # finish what runs, then close
        self._careful = False  # no request is plain: each may be the last
        self._closing = False  # all is written; what isn't sent yet goes out
        self._paused = False  # not reading
        self._at_end = False  # the client will send nothing more

        # between sweeps
        self._quiet_sweeps = 0
        self._unsent = 0
        self._held: tuple[int, int] | None = None  # of a whole answer
        self._slow_head: object = None

        # per streamed answer
        self._chunked = False
        self._until_close = False
        self._status = 0
        self._sent = 0
        self._outcome: Outcome | None = None

    # transport

    def let_in(self) -> None:
        """The door has counted it already."""
        self._inside = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):  # not a peer on a unix socket: no limit holds for those
            self._peer, self._left = peer[0], self._limits.max_requests
            self._careful = self._left > 0
            if not self._inside:
                connected = transport.get_extra_info("socket")
                self._inside = self._door.enter(self._peer, connected, len(self._connections))
            if not self._inside:
                self._deaf = True
                self._transport.abort()
                return
        self._connections.add(self)
        self._in_front.add(self)

    def reconsider(self, limits: ClientLimits) -> None:
        """Another regime is in force. Requests that it limits are counted anew."""
        before = self._limits.max_requests
        self._abide_by(limits)
        if limits.max_requests != before and self._peer != "unix":
            self._left = limits.max_requests
            self._careful = self._left > 0 or self._stopping

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._in_front.discard(self)
        if self._inside:
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

    def pause_writing(self) -> None:
        self.ready = False

    def resume_writing(self) -> None:
        self.ready = True
        self._unsent = 0
        self._held = None
        if self._transfer is not None:
            self._transfer.advance()
        elif self._turns:
            self._go_on()

    # parser

    def on_headers_complete(self) -> None:
        self._in_head = False
        end = len(self._target)  # as it came: a guard takes a link's parts off
        if self._deaf or (self._guarded and not self._let_in()):
            return
        heads, target, fields, notable = self._heads, self._target, self._fields, self._notable
        # llhttp took this line, so that it is just "GET /a HTTP/1.1" if these bytes are in their places.
        piece = heads.piece
        if not (
            heads.at == ALONE
            and piece[0] == _G
            and piece[4] == _SLASH
            and piece[end + 5] == _H
            and piece[end + 12] == _ONE
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

    # answering, one request at a time

    def _take(self, turn: Turn) -> None:
        """Answer a request now, or when its turn comes."""
        if self._transfer is None and self.ready and not self._turns:
            self._answer(turn)
        elif len(self._turns) < self._limits.max_pipelined:
            turn.regime = self._proxy.in_force.regime
            self._turns.append(turn)
            if not self._paused:
                self._paused = True
                self._transport.pause_reading()
        else:
            # Unanswered requests may be sent again on another connection (RFC 9112 §9.3.2).
            self._end_after_last()

    def _answer(self, turn: Turn) -> None:
        if turn.error is None:
            reply = self._proxy.try_hit(turn.request, self._now, turn.regime)
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
        transfer = self._proxy.open(turn.request, self, turn.regime)
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
                if not self.ready:
                    self._held = (id(reply.parts[0]), reply.length)
            return
        transport.writelines((reply.head, _CLOSE, *reply.parts))
        if not self.ready and reply.parts:
            self._held = (id(reply.parts[0]), reply.length)
        self._close()

    def _refuse(self, error: RequestError) -> None:
        """Answer what can't be understood, after what came before it; then close."""
        if not self._deaf:
            method = b"HEAD" if self._heads.kept.lstrip().startswith(b"HEAD ") else b"GET"
            self._take(Turn(Request(method, self._target, [], {}), False, False, self._now, error))
            self._deaf = True
        self._in_head = False
        self._heads.kept, self._fields = b"", []  # a client that stays would hold them

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

    def inform(self, block: bytes) -> None:
        turn = self._turn
        if turn is not None and not turn.http10 and self.ready:  # HTTP/1.0 has none (RFC 9110 §15.2)
            self._transport.write(block)

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

    def held(self) -> tuple[int, int] | None:
        """What an answer holds in memory that isn't taken yet: what it is, and how many bytes; None for nothing much.

        Several that wait for the same give the same.
        """
        if self.ready:
            return None
        return self._held if self._transfer is None else self._transfer.held()

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
        if self._unsent and not self.ready and not self._closing and self._quiet_sweeps % limits.send_step:
            return  # asking the kernel takes long, for a crowd of slow readers all at once
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
