"""One connection to an origin: sends a request head, reads the response, one exchange at a time.

A state machine driven by its transport: no task, no await, no decision on the meaning of a response. Errors of socket
and parser become OriginErrors here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from shield.errors import Fault, OriginError
from shield.histograms import Histogram
from shield.messages import ResponseHead
from shield.origin.alarm import Alarm
from shield.origin.asked import Asked
from shield.origin.chunks import ChunkReader
from shield.origin.flow import Brake
from shield.origin.head import Framing, MessageError, NoMessageError, parse_head
from shield.origin.inflow import Inflow, has_come, inflow_of, unread
from shield.origin.pieces import HeadPieces
from shield.origin.resolver import Address
from shield.origin.response import Asker, Response
from shield.origin.terms import Terms

MOST_PAUSED = 0.1
"""The share of its time for which a body may have been paused by us, to tell the speed of its origin."""
HELD_SECONDS = 5.0
"""After so long without being read, an origin may close the connection, and isn't blamed for it."""


class Owner(Protocol):
    """The owner of a connection."""

    whole_at: float
    """When the last body had arrived whole (loop time)."""

    exchanges: Histogram
    """Times from requests to the ends of their bodies, without those for which they weren't read."""

    read_buffer: bytearray
    """Where its connections read to, all in one thread."""

    def opened(self, connection: Connection) -> None:
        """It has a socket; `lost` will follow eventually."""

    def release(self, connection: Connection) -> None:
        """Its exchange is over; `connection.closed` says whether it can carry another."""

    def broke(self, connection: Connection, fault: Fault) -> None:
        """The body of a success has ended with this fault, before it was whole."""

    def lost(self, connection: Connection) -> None:
        """Its socket is gone. May be called twice."""

    def dropped_field(self, line: bytes) -> None:
        """A malformed field line of a response was omitted."""

    def spoke_unasked(self, connection: Connection) -> None:
        """Bytes have arrived that answer no request; it is closed, or will be with its exchange."""


_NOTHING = Asked(b"", b"", 0.0)  # before the first request of a connection


class Connection:
    """Carries exchanges one after the other, until one ends in doubt. An asyncio.Protocol, but for the base class.

    Closed at once when the origin sends unsolicited bytes: they would be taken for the next response.
    """

    _transport: asyncio.Transport

    def __init__(self, owner: Owner, terms: Terms, *, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        # per connection
        self._owner = owner
        self._exchanges = owner.exchanges
        self._buffer = owner.read_buffer
        self._view: Any = memoryview(owner.read_buffer)  # a compiled class can't name its type
        self._terms = terms
        self._unstarted = terms.limits.unstarted_bytes
        self._total = terms.timeouts.total
        self._first_byte = min(terms.timeouts.first_byte, self._total)
        self._now = loop.time
        self._alarm = Alarm(loop, self._limit, self._expire)
        self._inflow: Inflow | None = None  # None: the kernel takes as much as it likes
        self._read = 0  # bytes in all, while its room is limited
        self.address = address
        self.opened_at = self.last_read = loop.time()
        self.closed = True  # until connected
        self.retired = False  # its address is no longer the origin's: no further exchange
        self.served = 0
        self.asked = _NOTHING  # its last request
        # of the last response
        self.bodiless = False  # whatever its fields say (HEAD, 204, 304)
        self.stated = False  # bodiless, but states the size of a body
        # per exchange
        self._response: Response | None = None
        self._head_at = self._total_at = 0.0
        self._body_at = self._free_until = 0.0  # the head's arrival, and `_total_at` then, which a pause puts off
        self._paused_at: float | None = None
        self._answered = False
        self._interims = 0
        self._pieces: HeadPieces | None = None  # of a head that isn't in one segment
        self._framing: Framing | None = None  # None until the final head
        self._left = 0  # bytes still to arrive, when the length is known
        self._chunks: ChunkReader | None = None
        self._persistent = False
        self._held_in = -1  # the last exchange that was held up for long, by its number
        self._held_at: float | None = None  # since when its reader takes nothing
        self._brake = None if terms.flow is None else Brake(terms.flow, loop, self._read_on)

    def ask(self, asked: Asked, asker: Asker | None = None) -> Response:
        """Send a request. Only when free. Doesn't wait: `asker` is called, later, or await `arrived` of the returned
        response.
        """
        if asked.sent is not None:
            asked.sent()
        asked.meter.requests += 1
        now = self._now()
        response = Response(self, self._unstarted, asked.inform, asker, flow=self._terms.flow, kept=self.served > 0)
        self._response = response
        self._total_at = now + self._total
        self._head_at = min(now + self._first_byte, asked.deadline)
        self._interims = self._left = 0
        self._answered, self._framing = False, None
        self.asked = asked
        if self._alarm.at > self._head_at:
            self._alarm.arm(self._head_at)
        self._transport.write(asked.head)
        return response

    @property
    def asked_at(self) -> float:
        """When its last request was sent (loop time), put off by pauses within the body; valid until its end."""
        return self._total_at - self._total

    def close(self) -> None:
        """Close immediately. An exchange in flight is unaffected; `abandon` and failures deal with it."""
        if not self.closed:
            self.closed = True
            if self._brake is not None:
                self._brake.end()
            self._alarm.cancel()
            self._transport.abort()

    def discard(self) -> None:
        """Close it when its opening was aborted: uvloop's transport then never calls `connection_lost`."""
        self.close()
        self._transport = asyncio.Transport()  # none: the other goes on referring to this
        self._alarm.end()
        self._owner.lost(self)

    def fail(self, fault: Fault, detail: str) -> None:
        """End the exchange in flight with an error, and the connection with it."""
        response, self._response = self._response, None
        if response is not None and self._framing is not None and response.head.status < 400:
            self._owner.broke(self, fault)
        if response is not None:
            self.asked.meter.unread += self.unread()
        self.close()
        if response is not None:
            self._owner.release(self)
            response.finish(OriginError(self._terms.origin, fault, detail))

    def unasked(self) -> bool:
        """Whether bytes wait to be read that would be taken for the next response; idle connections only.

        A body may follow a response that has none. It need be looked for only after a `bodiless` response, since that
        takes a system call. The end of the stream shows as well, and with TLS also records that aren't data.
        """
        sock = self._transport.get_extra_info("socket")
        if sock is None or self._transport.is_closing():
            return False
        return has_come(sock)

    def held_up(self, now: float) -> float:
        """Seconds for which its reader has been stalled, so that it isn't read."""
        return 0.0 if self._held_at is None else now - self._held_at

    @property
    def was_held(self) -> bool:
        """Whether it wasn't read for so long that the origin may have given up."""
        paused = 0.0 if self._paused_at is None else self._now() - self._paused_at
        return self._held_in == self.served or paused >= HELD_SECONDS

    # called by the response

    def hold(self) -> None:
        if self._held_at is None:
            self._held_at = self._now()
            self._pause()

    def proceed(self) -> None:
        if self._held_at is not None:
            self._held_at = None
            self._read_on()

    def _pause(self) -> None:
        if self._paused_at is None and not self.closed and not self._transport.is_closing():
            self._paused_at = self._now()
            self._transport.pause_reading()

    def _read_on(self) -> None:
        """Unless there is another reason not to read."""
        if self._held_at is not None or (self._brake is not None and self._brake.is_on):
            return
        if self._paused_at is None or self.closed or self._transport.is_closing():
            return
        now = self._now()
        self._total_at += now - self._paused_at  # the origin isn't charged for our pause
        self._head_at = min(self._head_at + now - self._paused_at, self.asked.deadline)
        if now - self._paused_at >= HELD_SECONDS:
            self._held_in = self.served
        self.last_read = now
        self._paused_at = None
        self._transport.resume_reading()
        self._watch()

    def unread(self) -> int:
        sock = None if self.closed else self._transport.get_extra_info("socket")
        return 0 if sock is None else unread(sock)

    def abandon(self) -> None:
        self._response = None
        self.asked.meter.unread += self.unread()
        self.close()
        self._owner.release(self)

    # called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._inflow = inflow_of(transport.get_extra_info("socket"))
        self.closed = False
        self._owner.opened(self)

    def get_buffer(self, size: int) -> bytearray:
        """The buffer that uvloop reads into, shared by all connections of the owner: bytes are taken out at once."""
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        """So many bytes have come into the buffer. A body that comes with its head is copied once, not twice."""
        end = 0
        if self._framing is None and self._pieces is None:
            end = self._buffer.find(b"\r\n\r\n", 0, size) + 4
        view = self._view
        if 4 <= end < size:
            self._receive(bytes(view[:end]), bytes(view[end:size]))
        else:
            self._receive(bytes(view[:size]), b"")

    def data_received(self, data: bytes) -> None:
        """The same from other loops."""
        self._receive(data, b"")

    def _receive(self, data: bytes, rest: bytes) -> None:
        """Bytes have come, with a `rest` if the others end as a head does."""
        response = self._response
        if response is None:
            self._take_unasked(len(data) + len(rest))
            return
        self.last_read = self._now()
        size = len(data) + len(rest)
        self.asked.meter.received += size
        if self._inflow is not None:
            self._read += size
            if self._read >= self._inflow.due and not self._inflow.came(self._read):
                self._inflow = None
        begins = False
        if self._left:
            self._receive_counted(response, data)
        elif self._framing is None:
            self._answered = begins = True
            try:
                self._receive_head(response, data, rest)
            except MessageError as error:
                self._refuse(response, error)
        else:
            self._receive_uncounted(response, data)
        if self._brake is not None and self._brake.came(size, is_over=self._response is None):
            self._pause()
        if begins and response.answered:
            response.tell()  # last: it may send the next request on this connection

    def _take_unasked(self, size: int) -> None:
        self.asked.meter.unread += size + self.unread()  # beyond the end of the last response, and billed
        self.close()
        self._owner.spoke_unasked(self)

    def eof_received(self) -> None:
        if self._framing is Framing.CLOSE and self._response is not None and self._ended_properly():
            self._complete(self._response)
        else:
            self._break("closed by the origin")

    def connection_lost(self, error: Exception | None) -> None:
        self._break(f"lost: {error}" if error else "lost")
        self._alarm.end()
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """A request head is all that is written."""

    def resume_writing(self) -> None: ...

    # reading a response

    def _receive_head(self, response: Response, data: bytes, rest: bytes) -> None:
        limits = self._terms.limits
        end = len(data) if rest else data.find(b"\r\n\r\n") + 4
        if end < 4 or end > limits.head_bytes or limits.bare_lf or self._pieces is not None:
            data, end = self._pieced_together(data + rest)
            if not end:
                return
            rest = b""
        head, framing, persistent = parse_head(
            data[:end], method=self.asked.method, max_fields=limits.head_fields, dropped=self._owner.dropped_field
        )
        if head.status < 200:
            self._inform(response, head, data[end:] + rest)
            return
        self._persistent, self._framing = persistent, framing
        self.bodiless = framing is Framing.NONE
        response.arrive(head)
        if framing is not Framing.LENGTH or not head.length:
            self._begin_uncounted(response, head, data[end:] + rest)
            return
        self._left, self._body_at, self._free_until = head.length, self.last_read, self._total_at
        if end < len(data):
            rest = data[end:] + rest
        if rest:
            self._receive_counted(response, rest)
        if self._response is response:
            self._watch()

    def _pieced_together(self, data: bytes) -> tuple[bytes, int]:
        """A head that isn't in one segment, with the bytes after it, and its end; 0: more is to come."""
        if self._pieces is None:
            self._pieces = HeadPieces(self._terms.limits)
        whole = self._pieces.add(data)
        if whole is None:
            return b"", 0
        self._pieces = None
        return whole

    def _inform(self, response: Response, head: ResponseHead, data: bytes) -> None:
        """Pass an interim response on, and read the bytes after it."""
        self._interims += 1
        if self._interims > self._terms.limits.interim_heads:
            raise MessageError(Fault.MALFORMED, f"more than {self._terms.limits.interim_heads} interim responses")
        if response.inform is not None:
            response.inform(head)
        if data:
            self._receive_head(response, data, b"")

    def _refuse(self, response: Response, error: MessageError) -> None:
        """Garbage on a kept connection is the rest of the last response: the request is sent again."""
        if not isinstance(error, NoMessageError) or not self.served or self._interims:
            self.fail(error.fault, error.detail)
            return
        self._owner.spoke_unasked(self)
        self._turn_stale(response)

    def _begin_uncounted(self, response: Response, head: ResponseHead, data: bytes) -> None:
        """Begin after a head that states no length above 0."""
        if self.bodiless or head.length == 0:
            if self.bodiless:
                self.stated = (head.get(b"content-length") or b"0") != b"0"
            if data:
                self._persistent = False
                self._owner.spoke_unasked(self)
            self._complete(response)
            return
        if self._framing is Framing.CHUNKED:
            self._chunks = ChunkReader(response, self._terms.limits.head_bytes)
        if data:
            self._receive_uncounted(response, data)
        if self._response is response:
            self._watch()

    def _receive_counted(self, response: Response, data: bytes) -> None:
        """A body of stated length: no parser needed, no copy made."""
        left = self._left
        size = len(data)
        if size < left:
            self._left = left - size
            response.deliver(data)
            return
        if size > left:
            self._persistent = False
            data = data[:left]
        self._left = 0
        response.deliver(data)
        if self._response is response:
            self._complete(response)

    def _receive_uncounted(self, response: Response, data: bytes) -> None:
        if self._framing is Framing.CLOSE:
            response.deliver(data)
            return
        chunks = cast(ChunkReader, self._chunks)
        try:
            chunks.feed(data)
        except MessageError as error:
            self.fail(error.fault, error.detail)
            return
        if chunks.complete and self._response is response:
            self._persistent = self._persistent and not chunks.surplus
            self._complete(response)

    def _complete(self, response: Response) -> None:
        """The body has ended as framed: become free for the next exchange before notifying anyone."""
        self._response = self._held_at = None
        self._chunks = None
        self.served += 1
        self._owner.whole_at = self.last_read
        self._exchanges.add(self.last_read - self.asked_at)
        if not self._persistent:
            self.asked.meter.unread += self.unread()  # bytes beyond its end
            self.close()
        elif self._paused_at is not None:
            self._end_pause()
        if response.weigh is not None:
            self._weigh(response.weigh, response.head.length or 0)
        self._owner.release(self)
        response.finish(None)

    def _end_pause(self) -> None:
        """Nobody has a reason any more not to read it."""
        self._paused_at = None
        if self._brake is not None:
            self._brake.release()
        self._transport.resume_reading()

    def _weigh(self, weigh: Callable[[int, float], None], size: int) -> None:
        """Tell the time in which a body arrived. After pauses it says nothing: the kernel went on receiving."""
        seconds, paused = self.last_read - self._body_at, self._total_at - self._free_until
        if paused <= MOST_PAUSED * seconds:
            weigh(size, seconds - paused)

    def _break(self, detail: str) -> None:
        """The connection ended during an exchange, or while idle."""
        response = self._response
        if response is None:
            self.close()
        elif self._framing is not None:
            missing = f", {self._left} bytes missing" if self._left else ""
            self.fail(Fault.SHORT_BODY, f"{detail} within the body{missing}")
        elif self._answered:
            self.fail(Fault.RESET, f"{detail} within the head")
        elif self.served:
            self._turn_stale(response)  # closed while idle, as origins do
        else:
            self.fail(Fault.RESET, f"{detail} before any answer")

    def _turn_stale(self, response: Response) -> None:
        self._response = None
        self.close()
        response.turn_stale()

    def _ended_properly(self) -> bool:
        """Whether this end of stream comes from the origin and isn't a cut. Only TLS can tell (close_notify).

        Anyone on the path can cut a TCP stream under TLS, so an end without close_notify proves nothing
        (RFC 9112 §9.8). asyncio reports both alike; the TLS object still knows.
        """
        tls = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return bool(tls.read(1) == b"")
        except OSError:
            return False

    # time limits

    def _watch(self) -> None:
        if (limit := self._limit()) is not None:
            self._alarm.arm(limit)

    def _limit(self) -> float | None:
        if self._response is None or self._paused_at is not None:
            return None
        if self._framing is None:
            return self._head_at
        return min(self.last_read + self._terms.timeouts.between_bytes, self._total_at)

    def _expire(self) -> None:
        timeouts, limit = self._terms.timeouts, self._limit()
        if self._framing is None:
            waited = max(0.0, self._head_at - self.asked_at)
            hurried = ", all that was left before the deadline" if self._head_at == self.asked.deadline else ""
            self.fail(Fault.FIRST_BYTE_TIMEOUT, f"no answer within {waited:.3g} s{hurried}")
        elif limit == self._total_at:
            self.fail(Fault.TOTAL_TIMEOUT, f"not complete within {timeouts.total:g} s")
        else:
            self.fail(Fault.BETWEEN_BYTES_TIMEOUT, f"silent for {timeouts.between_bytes:g} s within the body")
