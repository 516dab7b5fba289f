"""The half of an HTTP/2 connection that sends: answers by turns, as client and transport take them, and the end.

What streams call only notes what is to be sent: a fill that calls has others to tell, and nothing there may fail for
one client's sake. `_send` does it, once for all that happens at a time.

How a connection ends:

    OPEN > NOTICED      its last request has come, or the node stops: the client is told (GOAWAY, highest number)
    NOTICED > LEAVING   a sweep later: what the client sent meanwhile was answered, and the last number is said
    any > CLOSING       the last stream is over, it was idle for too long, or its client went too far
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, cast

from h2 import exceptions
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from hpack import Encoder

from shield.edge.http2.frames import MAX_FRAME, Frames
from shield.edge.http2.heads import PreparedEncoder, encoded
from shield.edge.http2.stream import INTERNAL_ERROR, ClientStream
from shield.edge.pace import Patience
from shield.observe.counters import is_counted_apart
from shield.outcome import CLIENT_LEFT, End
from shield.rules import floods

if TYPE_CHECKING:
    from shield.edge.guard import GuardedFront
    from shield.edge.http2.traffic import Traffic

log = logging.getLogger("shield.edge")

NO_ERROR = 0  # RFC 9113 §7
_HIGHEST = 2**31 - 1
_BATCH = 64 * 1024  # bytes written at once, before other streams have their turn and the transport is looked at
_LEEWAY = 4  # a client that doesn't know our limit yet is refused streams; at so many times that it is cut off
_LISTED_OVERHEAD = 32  # of a line in a header list (RFC 9113 §6.5.2)

# Requests are checked by `request_of`, for each stream: h2 would end the connection. Heads are as `block` made them.
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class Stage(Enum):
    """How the connection goes on."""

    OPEN = "open"  # requests are answered
    NOTICED = "noticed"  # they are, but the client has been told to send no more
    LEAVING = "leaving"  # only those under way; others get REFUSED_STREAM, so that they may be sent elsewhere
    CLOSING = "closing"  # nothing more is written: what waits goes out, then the transport closes


class _Protocol(H2Connection):
    MAX_CLOSED_STREAMS = 256  # that it remembers: 65,536 take 5 MB of each connection that has lived so long


class Sender(asyncio.Protocol):
    """Sends what the streams have. The half that listens opens them."""

    _transport: asyncio.Transport  # set by connection_made

    def __init__(self, front: GuardedFront, traffic: Traffic) -> None:
        limits = front.limits
        self._limits = limits
        self._clock = front.clock
        self._loop = front.loop
        self._traffic = traffic
        self._accounting = front.accounting
        self._counters = front.accounting.counters
        self._patience = Patience(limits)
        self.ready = True  # False: the transport has more to send than it should

        list_bytes = limits.max_head_bytes + limits.max_fields * _LISTED_OVERHEAD
        self._frames = Frames(max_block=2 * list_bytes)
        self._h2 = _Protocol(_CONFIG)
        self._encoder = PreparedEncoder()
        self._h2.encoder = cast(Encoder, self._encoder)
        self._h2.local_settings = _settings(limits.max_streams, list_bytes)
        # A head that is somewhat too large is answered 431.
        self._h2.decoder.max_header_list_size = 2 * list_bytes
        self._stage = Stage.OPEN
        self._streams: dict[int, ClientStream] = {}
        self._active: deque[ClientStream] = deque()  # with something to send
        self._blocked: dict[int, ClientStream] = {}  # until the client opens a window; the first for longest
        self._due = False  # `_send` is about to run, or runs
        now = self._clock()
        self._control, self._missteps = floods.control(now), floods.missteps(now)

    def _greet(self) -> None:
        """Say what is taken here."""
        self._h2.initiate_connection()
        # Until the client has read that, its further streams are refused one by one.
        self._h2.local_settings = _settings(_LEEWAY * self._limits.max_streams, self._limits.max_head_bytes)
        self._flush()

    # what streams say

    @property
    def crowd(self) -> int:
        return len(self._streams)

    def now(self) -> float:
        return self._clock()

    def wake(self, stream: ClientStream) -> None:
        if stream.pending:
            self._traffic.under_way.add(stream)
        if not stream.queued and stream.number not in self._blocked:
            stream.queued = True
            self._active.append(stream)
            self._soon()

    def leave(self, stream: ClientStream, end: End, code: int | None = None) -> None:
        if self._streams.pop(stream.number, None) is None:
            return
        self._blocked.pop(stream.number, None)
        self._traffic.under_way.discard(stream)
        stream.let_go()
        if code is not None:
            self._reset(stream.number, code)
        elif not stream.deaf:
            self._reset(stream.number, NO_ERROR)  # RFC 9113 §8.1: the client may stop sending
        exchange, counters = stream.exchange, self._counters
        if end is End.WHOLE:
            self._control.earn(floods.EARNED_BY_ANSWER)
            if exchange.outcome is not None and not exchange.outcome.refused:
                self._missteps.earn(1)
        elif end is End.ABANDONED:
            exchange.status = CLIENT_LEFT
        if end is End.WHOLE and is_counted_apart(exchange):
            if counters.add_plain(exchange.route or "", exchange.sent):
                exchange.finish(end, self._clock())
                self._accounting.sampled(exchange)
        else:
            exchange.finish(end, self._clock())
            self._accounting.finished(exchange)
        self._soon()

    def _reset(self, number: int, code: int) -> None:
        with suppress(exceptions.H2Error):  # it is closed
            self._h2.reset_stream(number, code)
        self._soon()

    # sending

    def _soon(self) -> None:
        """Send, once what happens now is over: a fill that calls has others to tell."""
        if not self._due and self._stage is not Stage.CLOSING:
            self._due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        """Send what the client and the transport take, a frame of each stream in turn; close after the last."""
        self._due = True  # while it goes on
        active, sent = self._active, 0
        try:
            while active and self.ready and self._stage is not Stage.CLOSING:
                stream = active.popleft()
                stream.queued = False
                if stream.number in self._streams:
                    sent += self._send_of(stream)
                if sent >= _BATCH:
                    self._flush(sent)
                    sent = 0
            if self._stage is not Stage.CLOSING:
                self._flush(sent)
        except Exception:
            log.exception("an HTTP/2 connection failed")
            self._cut_off("internal-error", INTERNAL_ERROR)
        self._due = False
        over = self._stage is Stage.LEAVING or self._frames.goes_away
        if over and not self._streams and self._stage is not Stage.CLOSING:
            self._close()

    def _send_of(self, stream: ClientStream) -> int:
        """A frame of a stream's body, and its head before; how many bytes of the body."""
        h2, number = self._h2, stream.number
        if stream.interims:
            for interim in stream.interims:
                self._send_head(number, interim, ends=False)
            stream.interims.clear()
        if stream.head is not None:
            head, stream.head = stream.head, None
            ends = stream.ending and not stream.pending
            self._send_head(number, head, ends=ends)
            if ends:
                self.leave(stream, End.WHOLE)
                return 0
        elif stream.ending and not stream.pending:
            h2.end_stream(number)
            self.leave(stream, End.WHOLE)
            return 0
        if not stream.pending:
            return 0
        room = min(h2.local_flow_control_window(number), h2.max_outbound_frame_size, MAX_FRAME)
        if room <= 0:
            self._blocked[number] = stream
            return 0
        part = stream.take(room)
        ends = stream.ending and not stream.pending
        h2.send_data(number, bytes(part) if isinstance(part, bytearray) else part, end_stream=ends)
        if ends:
            self.leave(stream, End.WHOLE)
        else:
            stream.flows()
            if stream.pending or stream.ending:
                self.wake(stream)
        return len(part)

    def _send_head(self, number: int, head: bytes, *, ends: bool) -> None:
        self._encoder.prepare(encoded(head))
        self._h2.send_headers(number, ((b":status", head[9:12]),), end_stream=ends)

    def _flush(self, sent: int = 0) -> None:
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)
        self._control.earn(sent / floods.BYTES_PER_FRAME)

    def _unblock(self, number: int) -> None:
        """The client has opened a window: of a stream, or (0) of all."""
        if number:
            stream = self._blocked.pop(number, None)
            freed = [] if stream is None else [stream]
        else:
            freed = list(self._blocked.values())
            self._blocked.clear()
        for stream in freed:
            self.wake(stream)

    # the end

    def _goaway(self, last: int, code: int = NO_ERROR) -> None:
        """h2 would take its own for the end of all streams."""
        self._flush()
        head = (8).to_bytes(3, "big") + b"\x07\x00\x00\x00\x00\x00"
        self._transport.write(head + last.to_bytes(4, "big") + code.to_bytes(4, "big"))

    def _notice(self) -> None:
        if self._stage is Stage.OPEN:
            self._stage = Stage.NOTICED
            self._goaway(_HIGHEST)

    def _go_away(self, code: int = NO_ERROR) -> None:
        """Answer nothing but what is under way."""
        if self._stage in (Stage.OPEN, Stage.NOTICED):
            self._stage = Stage.LEAVING
            self._goaway(self._h2.highest_inbound_stream_id, code)
            self._soon()

    def _cut_off(self, word: str, code: int | None) -> None:
        """End at once, for what the client did."""
        if self._stage is Stage.CLOSING:
            return
        self._traffic.cut_off[word] = self._traffic.cut_off.get(word, 0) + 1
        if code is not None:
            self._goaway(self._h2.highest_inbound_stream_id, code)
        self._close()

    def _close(self) -> None:
        """Close after what is written has gone out."""
        self._flush()
        self._stage = Stage.CLOSING
        self._drop_streams()
        self._patience.sweeps = 0
        self._transport.close()

    def _cut(self) -> None:
        self._stage = Stage.CLOSING
        self._drop_streams()
        self._transport.abort()

    def _drop_streams(self) -> None:
        for stream in list(self._streams.values()):
            stream.deaf = True
            self.leave(stream, End.ABANDONED)
        self._active.clear()


def _settings(streams: int, list_bytes: int) -> Settings:
    return Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: list_bytes,
        },
    )
