"""A client connection over HTTP/1.1. uvicorn or `tls` accepts it; this is the protocol.

A hit is answered as soon as it is read: no task, no await, no timer. Any other request becomes a `Transfer`,
which calls back; reading is paused meanwhile, and pipelined requests wait unparsed. Each response is recorded as an
`Exchange`, except for plain hits: those are counted, and a sample of them recorded.

`plain` reads nearly all heads. The base classes: `reading` parses the others, `life` opens and closes the connection;
`states` has its states.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from shield.edge.front import Front
from shield.edge.life import ConnectionLife
from shield.edge.pace import METERED, UNSENT, keep_little
from shield.edge.states import AnswerFraming, Life, Reading
from shield.edge.turn import Turn
from shield.errors import RequestError
from shield.messages import Part, Request
from shield.outcome import CLIENT_LEFT, End, Exchange, Outcome
from shield.reply import Reply, UnderWay
from shield.rules.access import DeniedError

if TYPE_CHECKING:
    from uvicorn.server import ServerState

log = logging.getLogger("shield.edge")

_END: Final = b"\r\n"
_CLOSE: Final = b"connection: close\r\n\r\n"
_CHUNKED: Final = b"transfer-encoding: chunked\r\n"
_JOIN_BELOW: Final = (
    16 * 1024
)  # a body up to this size is copied behind its head: one buffer is cheaper to send than three
_IDLE: Final = Reading.IDLE  # globals: one lookup on the hot path instead of two
_LATER: Final = Reading.LATER
_OPEN: Final = Life.OPEN


class ClientConnection(ConnectionLife):
    """Parses requests and answers them in order. Implements `Client` for the transfer in progress."""

    __slots__ = (
        "_accounting",
        "_counters",
        "_exchange",
        "_held",
        "_is_metered",
        "_loop",
        "_meters_next",
        "_plain_heads",
        "_proxy",
        "_transfer",
    )

    def __init__(self, front: Front, server_state: ServerState, life: Life = Life.OUTSIDE) -> None:
        super().__init__(front, server_state, life)
        self._proxy = front.proxy
        self._accounting = front.accounting
        self._counters = front.accounting.counters
        self._loop = front.loop
        self._plain_heads = front.plain_heads()
        self._held: tuple[int, int] | None = None  # as `held`, for a response sent without a transfer
        self._is_metered = False  # the kernel was told to keep little of the response in progress
        self._meters_next = False  # it will be before the next write

        # per request in progress: one that waits for a disk or an origin
        self._transfer: UnderWay | None = None
        self._exchange: Exchange | None = None

    # transport

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._parser = None  # it holds this connection
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            transfer.abandon()
            exchange = self._exchange
            assert exchange is not None
            exchange.status = CLIENT_LEFT
            self._end_exchange(End.ABANDONED)

    def pause_writing(self) -> None:
        self.ready = False

    def resume_writing(self) -> None:
        self.ready = True
        self._patience.flows()
        self._held = None
        if self._transfer is not None:
            self._transfer.advance()
        elif self._turns or self._later:
            self._go_on()

    # requests

    def data_received(self, data: bytes) -> None:
        if (
            self._reading is _IDLE
            and self._life is _OPEN
            and self._turn is None
            and self.ready
            and not self._turns
            and not self._heads.kept
            and len(data) <= self._bulky_above
        ):
            heads = self._plain_heads
            request = heads.read(data, self._max_fields)
            if request is not None:
                self._heard = True
                self._now = self._clock()
                try:
                    self._answer_plain(request, not heads.ends)
                except Exception:
                    log.exception("a request failed")
                    self._refuse(RequestError(500, "internal-error"))
                return
        super().data_received(data)

    def _answer_plain(self, request: Request, keep_alive: bool) -> None:
        """Answer a request whose head was plain, with nothing else in progress."""
        self._target = request.target
        self._said_last = not keep_alive
        if self._is_checked:
            objection = self._objection_to(request)
            if isinstance(objection, DeniedError):
                self._deny(request, objection)
                return
            if objection is not None:
                self._go_through(Turn(request, keep_alive, False, self._now, objection))
                return
        reply = self._proxy.try_hit(request, self._now)
        if reply is None:
            self._open(Turn(request, keep_alive, False, self._now))
        else:
            self._send(reply, keep_alive)
            if reply.outcome.plain and reply.status == 200:
                if self._plain_heads.is_new:
                    self._plain_heads.remember()
                if self._counters.add_plain(reply.route, reply.length):
                    self._sample(request, reply, self._now)
            else:
                self._account(request, reply, self._now)
        if not keep_alive:
            self._take_no_more()

    def _examine(self, request: Request, error: RequestError | None = None) -> None:
        super()._examine(request, error)
        if self._awaited is not None:
            self._awaited.regime = self._proxy.in_force.regime

    # responses, one at a time

    def _take(self, turn: Turn) -> None:
        """Answer a request, or queue it behind the one in progress and pause reading."""
        if self._transfer is None and self.ready and not self._turns:
            self._answer(turn)
        else:
            turn.regime = turn.regime or self._proxy.in_force.regime
            self._turns.append(turn)
            self._transport.pause_reading()

    def _answer(self, turn: Turn) -> None:
        if turn.error is None:
            reply = self._proxy.try_hit(turn.request, self._now, turn.regime)
        else:
            reply = self._proxy.refuse(turn.error, turn.request, self._now)
        if reply is None:
            self._open(turn)
        else:
            self._send(reply, turn.keep_alive and self._life is not Life.STOPPING)
            self._account(turn.request, reply, turn.began)

    def _go_on(self) -> None:
        """Answer queued requests, then parse the bytes that came behind them; resume reading when none are left."""
        self._now = self._clock()
        while self._turns and self._transfer is None and self.ready:
            self._answer(self._turns.pop(0))
        if self._reading is _LATER and self._turn is None and self.ready:
            later, self._later = self._later, b""
            self._reading = _IDLE
            self.data_received(later)
            if self._later_is_all and self._reading is not _LATER:
                self._end_after_last()
        if not self._turns and self._reading is not _LATER:
            self._listen()

    def _open(self, turn: Turn) -> None:
        request, regime = turn.request, turn.regime
        self._turn = turn
        exchange = self._exchange = Exchange(request.method, request.target, self._peer, turn.began)
        self._proxy.locate(exchange, regime)
        self._proxy.identify(request)
        exchange.take_from(request)
        transfer = self._proxy.open(request, self, regime, peer=self._peer)
        if not transfer.over:
            self._transfer = transfer

    def _send(self, reply: Reply, keep_alive: bool) -> None:
        transport = self._transport
        if keep_alive and not reply.close:
            whole = reply.whole
            if whole is None and (reply.length <= _JOIN_BELOW or reply.is_hot):
                whole = b"".join((reply.head, _END, *reply.parts))
                if reply.is_hot:
                    reply.whole = whole
            if whole is not None:
                transport.write(whole)
            else:
                transport.writelines((reply.head, _END, *reply.parts))
            if not self.ready and reply.length > _JOIN_BELOW:
                self._held = (id(whole or reply.parts[0]), reply.length)
            return
        if reply.length <= _JOIN_BELOW:
            transport.write(b"".join((reply.head, _CLOSE, *reply.parts)))
        else:
            transport.writelines((reply.head, _CLOSE, *reply.parts))
        if not self.ready and reply.parts:
            self._held = (id(reply.parts[0]), reply.length)
        self._close()

    def _refuse(self, error: RequestError) -> None:
        """Send an error for a malformed request, after the responses to those before it; then close."""
        if self._awaited is not None:
            turn, self._awaited = self._awaited, None
            turn.error, turn.keep_alive = error, False
            self._go_through(turn)
        elif self._reading in (Reading.IDLE, Reading.HEAD):
            method = b"HEAD" if self._heads.kept.lstrip().startswith(b"HEAD ") else b"GET"
            self._take(Turn(Request(method, self._target, [], {}), False, False, self._now, error))
            self._take_no_more()
        self._heads.kept, self._fields = b"", []  # else they occupy memory for as long as the client stays connected

    # Client

    @property
    def untaken(self) -> int:
        if not self._is_metered:
            self._meter()
        return 0 if self.ready else self._transport.get_write_buffer_size()

    def inform(self, block: bytes) -> None:
        turn = self._turn
        if turn is not None and not turn.http10 and self.ready:  # HTTP/1.0 has none (RFC 9110 §15.2)
            self._transport.write(block)

    def reply(self, reply: Reply) -> None:
        turn = self._finish_turn()
        self._send(reply, turn.keep_alive and self._life is not Life.STOPPING)
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        exchange.answer_whole(reply.status, reply.outcome, reply.length, self._clock())
        self._accounting.finished(exchange)

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        turn, exchange = self._turn, self._exchange
        assert turn is not None and exchange is not None
        exchange.answer(status, outcome, self._clock())
        if self._life is Life.STOPPING:
            turn.keep_alive = False
        if outcome.forward is not None and (length is None or length > METERED):
            if data is None or len(data) > UNSENT:
                self._meter()
            else:
                self._meters_next = True  # many may wait for their first byte: this is a system call for each
        end = _END if turn.keep_alive else _CLOSE
        if length is None or data is None:
            self._begin_apart(head, data, end, has_length=length is not None)
            return
        self._framing = AnswerFraming.LENGTH
        exchange.sent += len(data)
        if len(data) <= _JOIN_BELOW:
            self._transport.write(b"".join((head, end, data)))
        else:
            self._transport.writelines((head, end, data))

    def _begin_apart(self, head: bytes, data: Part | None, end: bytes, *, has_length: bool) -> None:
        """Begin a response whose length is unknown, or that has no bytes yet."""
        turn = self._turn
        assert turn is not None
        if has_length:
            self._framing = AnswerFraming.LENGTH
        else:
            self._framing = AnswerFraming.UNTIL_CLOSE if turn.http10 else AnswerFraming.CHUNKED
        self._transport.write(head + (_CHUNKED + end if self._framing is AnswerFraming.CHUNKED else end))
        if data is not None:
            self.write(data)

    def write(self, data: Part) -> None:
        exchange = self._exchange
        assert exchange is not None
        exchange.sent += len(data)
        if self._meters_next:
            self._meter()
        if self._framing is AnswerFraming.CHUNKED:
            self._transport.writelines((b"%x\r\n" % len(data), data, _END))
        else:
            self._transport.write(data)

    def finish(self, *, clean: bool) -> None:
        self._end_exchange(End.WHOLE if clean else End.BROKEN)
        turn = self._finish_turn()
        if not clean:
            self._cut()
            return
        if self._framing is AnswerFraming.CHUNKED:
            self._transport.write(b"0\r\n\r\n")
        if not turn.keep_alive or self._life is Life.STOPPING:
            self._close()

    def _meter(self) -> None:
        """An origin is held to the client's pace: what counts as sent has to be on its way."""
        self._is_metered, self._meters_next = True, False
        keep_little(self._transport)

    def _finish_turn(self) -> Turn:
        turn = self._turn
        assert turn is not None
        self._turn = self._transfer = None
        self._meters_next = False
        if self._is_metered:
            self._is_metered = False
            keep_little(self._transport, most=0)  # hits cost less when they are written at once
        if self._turns or self._later:
            # Not at once: the caller may be a fill, which has other readers to call.
            self._loop.call_soon(self._go_on)
        return turn

    # the worker

    def wind_down(self) -> None:
        """Close after the response in progress, if that can still say so."""
        turn, exchange = self._turn, self._exchange
        if turn is None or exchange is None or exchange.answered is not None or self._turns or self._later:
            return
        turn.keep_alive = False
        self._take_no_more()

    def held(self) -> tuple[int, int] | None:
        """The body that an unsent response keeps in memory, as its identity (connections that share it return the
        same) and its bytes; None if the client has taken nearly everything, or there is no such body.
        """
        if self.ready:
            return None
        return self._held if self._transfer is None else self._transfer.held()

    # records of exchanges

    def _account(self, request: Request, reply: Reply, began: float) -> None:
        """Record a response that needed no transfer."""
        if reply.outcome.plain and reply.status == 200 and request.method == b"GET":
            if self._counters.add_plain(reply.route, reply.length):
                self._sample(request, reply, began)
        else:
            self._accounting.finished(self._exchange_of(request, reply, began))

    def _sample(self, request: Request, reply: Reply, began: float) -> None:
        """Record a plain hit that has been counted."""
        self._accounting.sampled(self._exchange_of(request, reply, began))

    def _exchange_of(self, request: Request, reply: Reply, began: float) -> Exchange:
        exchange = Exchange(request.method, request.target, self._peer, began)
        if not reply.outcome.refused:
            self._proxy.locate(exchange)
        self._proxy.identify(request)
        exchange.take_from(request)
        exchange.answer_whole(reply.status, reply.outcome, reply.length, self._clock())
        return exchange

    def _end_exchange(self, end: End) -> None:
        """Record the response of a transfer."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        exchange.finish(end, self._clock())
        self._accounting.finished(exchange)
