"""The HTTP/2 front: one client connection, with as many requests under way as its client has opened streams.

It stands beside the HTTP/1.1 front, on the same listener, store and fills, and answers by the same calls: hits within
`data_received`, all else by a `Transfer` that calls back. h2 is the protocol: frames, header compression, windows and
the states of streams. Here are the decisions, and the bounds that h2 lacks (`frames`, `rules.floods`).

A fault of one request ends its stream, one of the connection ends all of them. `sending` is the half that answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from h2 import events, exceptions

from shield.edge.http2.frames import ENHANCE_YOUR_CALM, PROTOCOL_ERROR, FrameError
from shield.edge.http2.sending import NO_ERROR, Sender, Stage
from shield.edge.http2.stream import CANCEL, INTERNAL_ERROR, ClientStream
from shield.edge.pace import keep_little, pace
from shield.edge.turn import Turn, may_have_body, objection_to_whole
from shield.errors import RequestError
from shield.messages import Field, Request
from shield.outcome import End, Http2Exchange, Outcome
from shield.rules.access import ClientIdentity, DeniedError
from shield.rules.limits import ClientLimits
from shield.rules.pseudo_fields import MalformedError, request_of

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from shield.edge.guard import GuardedFront
    from shield.edge.http2.traffic import Traffic
    from shield.edge.rates import ClientRates

log = logging.getLogger("shield.edge")

_REFUSED_STREAM = 7  # RFC 9113 §7
_WRITE_HIGH = 128 * 1024  # bytes in the transport: a small answer doesn't wait behind more
_AT_ONCE = 4096  # bytes of what comes: two hundred requests at most


class Http2Connection(Sender):
    """Answers the requests of one client. Made once TLS has agreed on h2, for a connection the door has counted."""

    def __init__(self, front: GuardedFront, traffic: Traffic, server_state: ServerState) -> None:
        super().__init__(front, traffic)
        self._proxy = front.proxy
        self._guard = front.guard
        self._door = front.door
        self._listener = front.listener
        self._connections: set[Any] = server_state.connections
        self._in_front = front.connections
        self._left = self._limits.max_requests  # requests that may still come; 0: any number
        self._peer = ""
        self._identity: ClientIdentity | None = None  # None: access rules let all its requests in
        self._rates: ClientRates | None = None
        self._listed = False  # as idle, at the door
        self._heard = False  # since the last sweep
        self._later = b""  # what came while the transport had more to send than it should
        self._begun = False  # a request has come
        self._units = 0  # of `_frames`, at the last sweep
        self._waits = 0  # sweeps for the end of a frame or header block

    # transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)
        if self._limits.max_rate:
            pace(self._transport, self._limits.max_rate)
        keep_little(self._transport)  # small responses would wait behind what it keeps, too
        self._peer = self._listener.name_of(transport.get_extra_info("peername"))
        self._connections.add(self)
        self._in_front.add(self)
        self._traffic.connections += 1
        self.reconsider(self._limits)
        self._greet()

    def reconsider(self, limits: ClientLimits) -> None:
        """Another regime is in force. Requests that it limits are counted anew."""
        if limits.max_requests != self._limits.max_requests:
            self._left = limits.max_requests
        if limits.max_rate != self._limits.max_rate:
            pace(self._transport, limits.max_rate)
        self._limits = limits
        self._patience.abide_by(limits)
        certificate = self._transport.get_extra_info("peercert")
        self._identity = self._guard.identity(self._peer, certificate)
        self._rates = self._guard.limiter.of(self._peer)

    def data_received(self, data: bytes) -> None:
        if self._stage is Stage.CLOSING:
            return
        self._heard = True
        if self._later or not self.ready or len(data) > _AT_ONCE:
            self._later += data
            self._go_on()
        else:
            self._take_in(data)

    def _go_on(self) -> None:
        """Take what has come, piece by piece: the responses to a large one could be far larger than the transport
        should hold."""
        while self._later and self.ready:
            data, self._later = self._later[:_AT_ONCE], self._later[_AT_ONCE:]
            self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        if self._stage is Stage.CLOSING:
            return
        self._due = True
        try:
            self._receive(data)
        except FrameError as error:
            self._cut_off(error.word, error.code)
        except exceptions.H2Error as refusal:
            self._cut_off(_word(refusal), None)  # h2 has told the client
        except Exception:
            log.exception("an HTTP/2 connection failed")
            self._cut_off("internal-error", INTERNAL_ERROR)
        self._send()

    def eof_received(self) -> bool:
        """TLS has no half-closed connections."""
        return False

    def pause_writing(self) -> None:
        self.ready = False
        if not self._transport.is_closing():  # what the client asks for besides would be answered into memory
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.ready = True
        self._patience.flows()
        self._send()
        self._go_on()
        if self.ready and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stage, self._later = Stage.CLOSING, b""
        self._drop_streams()
        self._depart()

    def _depart(self) -> None:
        """Count no more, if it still does."""
        if self in self._in_front:
            self._connections.discard(self)
            self._in_front.discard(self)
            self._list(idle=False)
            self._door.leave(self._peer)

    # what the client says

    def _receive(self, data: bytes) -> None:
        now = self._clock()
        whole = self._frames.take(data)
        steps, self._frames.steps = self._frames.steps, 0
        if steps and not self._control.spend(steps, now):
            raise FrameError(ENHANCE_YOUR_CALM, "flood")
        told = self._h2.receive_data(whole)
        # Before all else: no answer may begin on a stream that has ended meanwhile.
        gone = {each.stream_id for each in told if isinstance(each, events.StreamReset)}
        for number in gone:
            self._take_back(number, now)
        for event in told:
            if self._stage is Stage.CLOSING:
                return
            if isinstance(event, events.RequestReceived):
                if event.stream_id not in gone:
                    self._take(event, now)
            elif isinstance(event, events.StreamEnded):
                self._end_of_request(event.stream_id)
            elif isinstance(event, events.WindowUpdated):
                self._unblock(event.stream_id)
            elif isinstance(event, events.DataReceived):
                self._take_body(event)
            elif isinstance(event, events.TrailersReceived):
                self._refuse_body(event.stream_id)
            elif isinstance(event, events.RemoteSettingsChanged):
                self._unblock(0)

    def _take(self, event: events.RequestReceived, now: float) -> None:
        """Answer a request, or wait for the end of its body, which must be empty."""
        number, ended = event.stream_id, event.stream_ended is not None
        self._begun = True
        if self._stage is Stage.LEAVING or len(self._streams) >= self._limits.max_streams:
            self._traffic.refused += 1
            self._reset(number, _REFUSED_STREAM)
            if self._stage is not Stage.LEAVING:
                self._misstep(now)
            return
        if self._left:
            self._left -= 1
            if not self._left:
                self._notice()
        self._traffic.requests += 1
        try:
            request = request_of(event.headers)
        except MalformedError:
            self._record_malformed(event.headers, now)
            self._reset(number, PROTOCOL_ERROR)
            self._misstep(now)
            return
        exchange = Http2Exchange(request.method, request.target, self._peer, now)
        error = self._guard.hold(request, self._identity, self._rates, now) or self._objection(request)
        exchange.target = request.target  # without what only the guard may see
        turn = Turn(request, True, False, now, error, self._proxy.in_force.regime)
        stream = self._streams[number] = ClientStream(self, number, turn, exchange, deaf=ended)
        if ended or error is not None or request.method not in (b"GET", b"HEAD") or may_have_body(request):
            self._answer(stream, turn, now)

    def _take_body(self, event: events.DataReceived) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if event.data:
            self._refuse_body(event.stream_id)

    def _refuse_body(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and stream.turn is not None:
            stream.turn.error = RequestError(400, "body-not-allowed")
            self._answer(stream, stream.turn, self._clock())

    def _end_of_request(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.deaf = True
        if stream.turn is not None:
            self._answer(stream, stream.turn, self._clock())

    def _take_back(self, number: int, now: float) -> None:
        """The client has reset a stream, or made h2 reset it."""
        stream = self._streams.get(number)
        self._traffic.taken_back += 1
        if stream is not None:
            stream.deaf = True
            self.leave(stream, End.ABANDONED)
        self._misstep(now)

    def _objection(self, request: Request) -> RequestError | None:
        return objection_to_whole(request, self._limits, node=self._proxy.replies.node, host_needed=True)

    def _answer(self, stream: ClientStream, turn: Turn, now: float) -> None:
        proxy, request, error = self._proxy, turn.request, turn.error
        stream.turn = None
        if error is None:
            reply = proxy.try_hit(request, now, turn.regime)
        elif isinstance(error, DeniedError):
            reply = self._guard.denial(error, request.method, now)
            if not self._missteps.spend(1, now):
                self._go_away(ENHANCE_YOUR_CALM)
        else:
            reply = proxy.refuse(error, request, now)
        if reply is None or not reply.outcome.refused:
            proxy.locate(stream.exchange, turn.regime)
        if reply is None or not reply.outcome.plain:
            proxy.identify(request)
        stream.exchange.take_from(request)
        if reply is not None:
            stream.reply(reply)
            return
        transfer = proxy.open(request, stream, turn.regime, peer=self._peer)
        if not transfer.over:
            stream.transfer = transfer

    def _misstep(self, now: float) -> None:
        if not self._missteps.spend(1, now):
            raise FrameError(ENHANCE_YOUR_CALM, "missteps")

    def _record_malformed(self, fields: Iterable[Field], now: float) -> None:
        said = dict(fields)
        target = self._guard.without_link(said.get(b":path", b""))
        exchange = Http2Exchange(said.get(b":method", b""), target, self._peer, now)
        exchange.answer_whole(400, Outcome(detail="malformed-request", refused=True), 0, now)
        self._accounting.finished(exchange)

    # the door and the worker

    def _list(self, *, idle: bool) -> None:
        """Say at the door whether this connection could give way to another."""
        if idle is not self._listed:
            self._listed = idle
            if idle:
                self._door.idles(self, self._peer)
            else:
                self._door.wakes(self)

    def gives_way(self) -> bool:
        """Close at once if nothing was said for a sweep at least, and nothing is under way; whether it does."""
        self._listed = False
        if self._heard or not self.ready or self._frames.open or self._streams or self._stage is not Stage.OPEN:
            return False
        self._cut()
        self._depart()
        return True

    def held(self) -> None:
        """Its streams say what they hold."""

    def wind_down(self) -> None:
        """Have the client open its next streams elsewhere; those under way end as they would."""
        self._notice()

    def shutdown(self) -> None:
        """uvicorn stops: end when what runs is answered."""
        if self._streams:
            self._notice()
        elif self._stage is not Stage.CLOSING:
            self._go_away()
            self._send()

    def abort(self) -> None:
        """The time to drain is over."""
        self._cut()

    def sweep(self) -> None:
        """Once a second: end what has taken too long."""
        limits, patience = self._limits, self._patience
        heard, self._heard = self._heard, False
        patience.sweeps += 1
        idle = False
        if self._stage is Stage.CLOSING or not self.ready:
            if not patience.takes_on(self._transport, closing=self._stage is Stage.CLOSING):
                self._cut()
        elif self._waits_for_frame() > limits.head_seconds:
            self._cut_off("head-too-slow", NO_ERROR)
        elif self._stage is Stage.NOTICED:
            self._go_away()
        elif self._streams:
            patience.sweeps = 0
            self._sweep_streams(limits)
        elif patience.sweeps > (limits.keep_alive_seconds if self._begun else limits.head_seconds):
            self._go_away()
        else:
            idle = not heard
        self._list(idle=idle)

    def _waits_for_frame(self) -> int:
        """The sweeps since a frame or header block has begun that has no end yet."""
        frames = self._frames
        self._waits = self._waits + 1 if frames.open and frames.units == self._units else 0
        self._units = frames.units
        return self._waits

    def _sweep_streams(self, limits: ClientLimits) -> None:
        for stream in list(self._streams.values()):
            if stream.turn is not None:
                if stream.awaits_body() > limits.head_seconds:
                    stream.turn.error = RequestError(408, "head-too-slow")
                    self._answer(stream, stream.turn, self._clock())
            elif stream.stalls(limits.send_bytes) > limits.send_seconds:
                self.leave(stream, End.ABANDONED, CANCEL)


def _word(error: exceptions.H2Error) -> str:
    if isinstance(error, exceptions.TooManyStreamsError):
        return "too-many-streams"
    return "head-too-large" if isinstance(error, exceptions.DenialOfServiceError) else "protocol-error"
