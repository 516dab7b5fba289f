"""The beginning and end of a client's connection: counted at the door, closed after its last response, or aborted.

Timeouts are counted by `sweep`, which the worker calls on every connection once a second, so that requests need no
timers.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

from shield.edge.front import Front
from shield.edge.pace import Patience, pace, reset_on_close
from shield.edge.reading import RequestReader
from shield.edge.states import AnswerFraming, Life, Reading
from shield.edge.turn import Turn
from shield.errors import RequestError
from shield.rules.limits import ClientLimits

if TYPE_CHECKING:
    from uvicorn.server import ServerState


class ConnectionLife(RequestReader):
    """The part of a connection that opens and closes it, independent of its responses."""

    __slots__ = (
        "_connections",
        "_door",
        "_framing",
        "_in_front",
        "_later",
        "_later_is_all",
        "_life",
        "_listed",
        "_listener",
        "_numbers",
        "_patience",
        "_peer",
        "_said_last",
        "_transport",
        "_turns",
    )

    _transport: asyncio.Transport  # set by connection_made

    def __init__(self, front: Front, server_state: ServerState, life: Life) -> None:
        super().__init__(front.limits, front.clock, node=front.proxy.replies.node)
        self._connections: set[Any] = server_state.connections
        self._in_front = front.connections
        self._door = front.door
        self._listener = front.listener
        self._numbers = front.listener.numbers  # its connections and requests are limited in number
        self._peer = ""
        self._life = life
        self._said_last = False  # the client has said that it sends no further request
        self._listed = False  # as idle, at the door
        self._patience = Patience(front.limits)
        self._turns: list[Turn] = []  # parsed requests that wait: at most one, and perhaps a refusal
        self._later = b""  # the bytes behind them, unparsed
        self._later_is_all = False  # further bytes are discarded
        self._framing = AnswerFraming.LENGTH  # of the last streamed response

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._peer = self._listener.name_of(transport.get_extra_info("peername"))
        limits = self._limits
        if self._numbers:
            if self._life is Life.OUTSIDE:
                connected = transport.get_extra_info("socket") if self._door.must_see else None
                if not self._door.enter(self._peer, connected, len(self._connections)):
                    self._take_no_more()
                    self._transport.abort()
                    return
            self._listed = True
            self._door.idles(self, self._peer)
            if limits.max_requests:
                self._life, self._left = Life.NUMBERED, limits.max_requests
        if self._life is Life.OUTSIDE:
            self._life = Life.OPEN
        if limits.max_rate:
            pace(self._transport, limits.max_rate)
        self._connections.add(self)
        self._in_front.add(self)

    def reconsider(self, limits: ClientLimits) -> None:
        """Follow a new regime, which has these limits. If the limit on requests changes, their count starts again."""
        before = self._limits.max_requests
        if limits.max_rate != self._limits.max_rate:
            pace(self._transport, limits.max_rate)
        self._abide_by(limits)
        self._patience.abide_by(limits)
        if limits.max_requests != before and self._numbers and self._life in (Life.OPEN, Life.NUMBERED):
            self._left = limits.max_requests
            self._life = Life.NUMBERED if self._left else Life.OPEN

    @abstractmethod
    def wind_down(self) -> None:
        """Close after the response in progress, if that can still say so."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._life is not Life.OUTSIDE:
            self._depart()
        self._take_no_more()
        self._turns.clear()

    def _depart(self) -> None:
        """Remove this connection from all counts, if it is still in them."""
        if self in self._in_front:
            self._connections.discard(self)
            self._in_front.discard(self)
            if self._numbers:
                if self._listed:
                    self._listed = False
                    self._door.wakes(self)
                self._door.leave(self._peer)

    def _list(self, *, idle: bool) -> None:
        """Report to the door whether this connection is idle, so that it could be closed for another one."""
        if idle is not self._listed and self._numbers:
            self._listed = idle
            if idle:
                self._door.idles(self, self._peer)
            else:
                self._door.wakes(self)

    def gives_way(self) -> bool:
        """Close at once if the client has been silent for a sweep at least and no request is in progress; whether it
        did.
        """
        self._listed = False
        if (
            self._heard
            or not self.ready
            or self._reading is not Reading.IDLE
            or self._last_turn() is not None
            or self._life not in (Life.OPEN, Life.NUMBERED)
        ):
            return False
        self._take_no_more()
        self._life = Life.CLOSING
        self._transport.abort()  # closing TLS would wait for the client's close
        self._depart()
        return True

    def _put_off(self, data: bytes) -> None:
        """Keep pipelined bytes until it is their turn. They aren't parsed before, since fields take twenty times the
        memory. Bytes beyond the limit are discarded, and the connection ends before them: clients may repeat requests
        without a response on another one (RFC 9112 §9.3.2).
        """
        room = self._limits.pipelined_bytes - len(self._later)
        self._later += data[:room]
        if len(data) > room:
            self._later_is_all = True
        self._transport.pause_reading()

    def _take_no_more(self) -> None:
        super()._take_no_more()
        self._later, self._awaited = b"", None

    def eof_received(self) -> bool:
        """The client sends no more. Its complete requests are still answered; an incomplete head is dropped."""
        if self._reading is Reading.LATER and self._transport.can_write_eof():
            self._later_is_all = True
            return True
        self._reading = Reading.ENDED
        last = self._last_turn()
        if last is None or not self._transport.can_write_eof():  # TLS has no half-closed connections
            self._life = Life.CLOSING
            return False
        last.keep_alive = False
        return True

    def _last_turn(self) -> Turn | None:
        return self._turns[-1] if self._turns else self._turn

    def _end_after_last(self) -> None:
        """Close after the responses to all requests so far."""
        self._take_no_more()
        last = self._last_turn()
        if last is not None:
            last.keep_alive = False
        elif self._life is not Life.CLOSING:
            self._close()

    def _close(self) -> None:
        """Close once the write buffer is flushed. Until then, and shortly after, the client's bytes are read and
        discarded: unread bytes would make the kernel reset the connection before the response has arrived (RFC 9112
        §9.6). A client that has announced its last request sends no more.
        """
        self._take_no_more()
        self._life = Life.CLOSING
        self._turns.clear()
        self._patience.sweeps = 0
        if self._said_last or self._reading is Reading.ENDED or not self._transport.can_write_eof():
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write_eof()
            self._listen()

    def _close_idle(self) -> None:
        self._take_no_more()
        self._life = Life.CLOSING
        self._patience.sweeps = 0
        self._transport.close()

    def _cut(self) -> None:
        """Abort. A body that is framed by the end of the connection would look complete unless that is reset."""
        self._take_no_more()
        self._life = Life.CLOSING
        self._turns.clear()
        if self._framing is AnswerFraming.UNTIL_CLOSE:
            reset_on_close(self._transport)
        self._transport.abort()

    def _listen(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # the worker

    def shutdown(self) -> None:
        """uvicorn stops: close after the responses in progress."""
        if self._life is Life.CLOSING:
            return
        self._life = Life.STOPPING
        if self._last_turn() is None and self._reading not in (Reading.HEAD, Reading.BODY, Reading.LATER):
            self._close_idle()

    def abort(self) -> None:
        """The time to drain is over."""
        self._cut()

    def sweep(self) -> None:
        """Close or abort a connection that has exceeded a time limit. Called once a second."""
        limits, patience = self._limits, self._patience
        heard, self._heard = self._heard, False
        patience.sweeps += 1
        closing, idle = self._life is Life.CLOSING, False
        if closing or not self.ready:
            if not patience.takes_on(self._transport, closing=closing):
                self._cut()
        elif self._last_turn() is not None:
            patience.sweeps = 0  # the origins' timeouts apply
        elif self._reading in (Reading.HEAD, Reading.BODY):
            if not patience.has_time_for_head(self._fields):
                self._refuse(RequestError(408, "head-too-slow"))
        elif heard:
            patience.sweeps = 0
        elif patience.sweeps > (limits.keep_alive_seconds if self._target else limits.head_seconds):
            self._close_idle()
        else:
            idle = True
        if idle is not self._listed:
            self._list(idle=idle)
