"""One request on an HTTP/2 connection, and its answer. Implements `Client` for the transfer that brings it.

What an answer holds in memory is bounded as over HTTP/1.1: a whole answer refers to its entry's body, and a transfer
waits once some tens of KiB are here. The bytes leave in frames, by turns with those of other streams, as the client
opens windows: the connection fetches them here, so that nothing that fills call can fail for a client's sake.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from shield.edge.turn import Turn
from shield.messages import Part
from shield.outcome import End, Exchange, Outcome
from shield.reply import Reply, UnderWay

_HIGH_WATER = 256 * 1024  # bytes that wait on one connection, shared by its streams
_LEAST_HIGH_WATER = 16 * 1024

INTERNAL_ERROR, CANCEL = 2, 8  # RFC 9113 §7


class Way(Protocol):
    """The connection, as its streams see it."""

    @property
    def crowd(self) -> int:
        """Streams that are open on it."""

    def wake(self, stream: ClientStream) -> None:
        """Send what waits there, as soon as the client takes it."""

    def leave(self, stream: ClientStream, end: End, code: int | None = None) -> None:
        """The stream is over; by RST_STREAM, if with a code."""

    def now(self) -> float:
        """Epoch seconds."""


class ClientStream:
    """A request whose head has come. Ends with `leave` on its connection.

    The connection sends `interims`, `head` and `pending`, in this order, then the end if it is `ending`. Heads are as
    `rules.heads.block` makes them.
    """

    __slots__ = (
        "_held",
        "_high_water",
        "_sent_before",
        "_sweeps",
        "_way",
        "deaf",
        "ending",
        "exchange",
        "head",
        "interims",
        "number",
        "pending",
        "queued",
        "ready",
        "transfer",
        "turn",
        "waiting",
    )

    def __init__(self, way: Way, number: int, turn: Turn, exchange: Exchange, *, deaf: bool) -> None:
        self._way = way
        self.number = number
        self.turn: Turn | None = turn  # until it is answered: the end of its body may be awaited
        self.exchange = exchange
        self.deaf = deaf  # the client has said its last word on it
        self.transfer: UnderWay | None = None
        self.interims: list[bytes] = []
        self.head: bytes | None = None
        self.pending: deque[Part] = deque()
        self.waiting = 0  # bytes in `pending`
        self.ending = False  # nothing follows what is pending
        self.ready = True  # False: its transfer waits
        self.queued = False  # it will have its turn when the connection sends
        self._high_water = 0
        self._held: tuple[int, int] | None = None  # of a whole answer
        self._sweeps = 0  # since the client did what it should
        self._sent_before = 0

    # Client

    @property
    def untaken(self) -> int:
        return 0 if self.ready else self.waiting

    def inform(self, block: bytes) -> None:
        self.interims.append(block.removesuffix(b"\r\n"))
        self._way.wake(self)

    def reply(self, reply: Reply) -> None:
        self.transfer = None
        self.exchange.answer(reply.status, reply.outcome, self._way.now())
        self.head, self.ending = reply.head, True
        if reply.length:
            self.pending.extend(part for part in reply.parts if part)
            self.waiting = reply.length
            self._held = (id(reply.parts[0]), reply.length)
        self._way.wake(self)

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        self.exchange.answer(status, outcome, self._way.now())
        self.head = head
        self._high_water = max(_LEAST_HIGH_WATER, _HIGH_WATER // self._way.crowd)
        if data is None:
            self._way.wake(self)
        else:
            self.write(data)

    def write(self, data: Part) -> None:
        if data:
            self.pending.append(data)
            self.waiting += len(data)
            self.ready = self.waiting < self._high_water
        self._way.wake(self)

    def finish(self, *, clean: bool) -> None:
        self.transfer = None
        if clean:
            self.ending = True
            self._way.wake(self)
        else:
            self._way.leave(self, End.BROKEN, INTERNAL_ERROR)

    # the connection

    def take(self, most: int) -> Part:
        """The next bytes to send, at most so many. Only while some are pending."""
        part = self.pending[0]
        if len(part) <= most:
            self.pending.popleft()
        else:
            whole = memoryview(part)
            part, self.pending[0] = whole[:most], whole[most:]
        self.waiting -= len(part)
        self.exchange.sent += len(part)
        return part

    def flows(self) -> None:
        """Some of what waited is sent: have the transfer go on if there is room again."""
        if not self.ready and self.waiting <= self._high_water // 4:
            self.ready = True
            if self.transfer is not None:
                self.transfer.advance()

    def let_go(self) -> None:
        """Nothing more will be sent."""
        transfer, self.transfer = self.transfer, None
        self.pending.clear()
        self.waiting = 0
        if transfer is not None:
            transfer.abandon()

    def stalls(self, send_bytes: int) -> int:
        """The sweeps for which the client has taken less than this of what waits. Called once each, while the
        connection flows."""
        sent = self.exchange.sent
        if not self.pending or sent - self._sent_before >= send_bytes:
            self._sent_before, self._sweeps = sent, 0
        else:
            self._sweeps += 1
        return self._sweeps

    def awaits_body(self) -> int:
        """The sweeps for which the end of the request has been awaited. Called once each."""
        self._sweeps += 1
        return self._sweeps

    # the worker

    def held(self) -> tuple[int, int] | None:
        """What it holds in memory that the client hasn't taken, as `ClientConnection.held` says it."""
        if not self.pending:
            return None
        shared = self._held if self.transfer is None else self.transfer.held()
        return shared or (id(self), self.waiting)

    def abort(self) -> None:
        """Give the memory back: the client sees that the answer isn't whole."""
        self._way.leave(self, End.ABANDONED, CANCEL)
