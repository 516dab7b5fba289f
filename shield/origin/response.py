"""One response of an origin whose head has arrived, and its contract with the reader of the body.

Nothing here knows sockets or HTTP's framing: the connection delivers, the holder of the response sets the pace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from shield.errors import Fault, OriginError
from shield.messages import ResponseHead
from shield.origin.flow import Flow


class Sink(Protocol):
    """Takes a body. Neither method may raise or block; both are called on the event loop."""

    def on_data(self, data: bytes) -> None:
        """The next bytes, never empty. May pause or close the response."""

    def on_end(self, error: OriginError | None) -> None:
        """Exactly once unless the response was closed; None: the body is complete and exactly as framed."""


class Asker(Protocol):
    """The recipient of a response."""

    def responded(self, response: Response) -> None:
        """Its head is here, or can't come any more; called once, on the event loop. Must not raise.

        All that has come with the head waits in the response, and its connection may be in use again.
        """


class Carrier(Protocol):
    """The connection, as a response needs it."""

    def hold(self) -> None: ...

    def proceed(self) -> None: ...

    def abandon(self) -> None: ...

    def unread(self) -> int: ...


Inform = Callable[[ResponseHead], None]
"""Called with each interim response (1xx) before the head; must neither raise nor block."""


class Response:
    """A response. Its body waits, bounded, until `start`; the holder must start, read or close it.

    A body that has come to its end releases its connection by itself, even before `start`. `asker` is told when the
    head is here, or can't come any more; a task awaits `arrived` instead.
    """

    __slots__ = (
        "_buffer",
        "_buffer_limit",
        "_buffered",
        "_carrier",
        "_ended",
        "_paused",
        "_sink",
        "_started",
        "answered",
        "asker",
        "error",
        "flow",
        "guard",
        "head",
        "inform",
        "kept",
        "stale",
        "weigh",
    )

    head: ResponseHead
    """Set once `answered`."""

    def __init__(
        self,
        carrier: Carrier | None,
        buffer_limit: int,
        inform: Inform | None = None,
        asker: Asker | None = None,
        *,
        flow: Flow | None = None,
        kept: bool = False,
    ) -> None:
        """`flow` is the cap of the origin; `kept`: sent on a connection that had been used before."""
        self._carrier = carrier
        self._buffer_limit = buffer_limit
        self.inform = inform  # until the head has arrived, or can't any more
        self.asker = asker  # likewise
        self.flow = flow
        self.kept = kept
        self.answered = False
        self.error: OriginError | None = None  # set if the exchange failed
        self.stale = False  # unanswered, since the connection had been closed before
        self.guard: Callable[[Sink], Sink] | None = None  # the body passes it on its way to its sink
        self.weigh: Callable[[int, float], None] | None = None  # told size and seconds of a body that arrives freely
        self._buffer: list[bytes] | None = None  # what has arrived before it was started
        self._buffered = 0
        self._sink: Sink | None = None
        self._started = self._paused = self._ended = False

    # for the holder of the response

    def arrived(self) -> asyncio.Future[None]:
        """Done when there is a response, or can be none. Takes the place of the asker."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.answered or self.stale or self._ended:
            done.set_result(None)
        else:
            self.asker = _Sleeper(done)
        return done

    def start(self, sink: Sink) -> None:
        """Deliver the bytes received so far, then the rest as it arrives. Once only; `on_end` may come within."""
        if self._started:
            raise RuntimeError("the body is being delivered already")
        self._started = True
        if self.guard is not None:
            sink = self.guard(sink)
        self._sink = sink
        pieces, self._buffer = self._buffer, None
        if pieces is not None:
            for piece in pieces:
                sink.on_data(piece)
                if self._sink is None:
                    return
        if self._ended:
            self._sink = None
            sink.on_end(self.error)
        elif not self._paused and self._carrier is not None:
            self._carrier.proceed()

    def pause(self) -> None:
        """Stop reading from the origin. Bytes read already (up to a segment) and the end may still be delivered.

        No time limit runs meanwhile. No effect when the body has ended.
        """
        self._paused = True
        if self._carrier is not None:
            self._carrier.hold()

    def resume(self) -> None:
        self._paused = False
        if self._carrier is not None:
            self._carrier.proceed()

    def close(self) -> None:
        """Take no more: nothing is called afterwards, and a connection still busy with the body is closed."""
        self._sink = self.inform = self.asker = None
        self._started = True
        self._buffer = None
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.abandon()

    def taken_error(self) -> OriginError:
        """Why there is none, to be raised: frames of its traceback refer to this."""
        error, self.error = self.error, None
        return error or OriginError("-", Fault.CANCELLED, "closed")

    def unread(self) -> int:
        """Bytes that have come from the origin and that nobody was given."""
        carrier = self._carrier
        return sum(map(len, self._buffer or ())) + (0 if carrier is None else carrier.unread())

    @property
    def is_slowed(self) -> bool:
        """Whether it comes more slowly than its origin would send it, for the sake of a cap on that one's bytes."""
        return self.flow is not None and self.flow.is_limiting

    async def read(self, limit: int) -> bytes:
        """The whole body, or its first `limit` bytes with the rest abandoned. Raises OriginError."""
        collector = _Collector(self, limit)
        try:
            self.start(collector)
            await collector.done
        except asyncio.CancelledError:
            self.close()
            raise
        error, collector.error = collector.error, None
        if error is not None:
            self.error = None  # frames of its traceback refer to both
            try:
                raise error
            finally:
                del error
        return b"".join(collector.pieces)[:limit]

    # for the pool and the connection

    def arrive(self, head: ResponseHead) -> None:
        """The head is here. To be followed by `tell`, after what has come with it."""
        self.head = head
        self.answered = True
        self.inform = None

    def tell(self) -> None:
        """Tell the asker, once."""
        asker, self.asker = self.asker, None
        if asker is not None:
            asker.responded(self)

    def turn_stale(self) -> None:
        """Unanswered for good. The place in the pool stays with the fetch, unless it is `close`d."""
        self.stale = True
        self.inform = None
        self.tell()

    def deliver(self, data: bytes) -> None:
        sink = self._sink
        if sink is not None:
            sink.on_data(data)
        elif self._carrier is not None:  # else it was closed a moment ago, within this very segment
            if self._buffer is None:
                self._buffer = [data]
            else:
                self._buffer.append(data)
            self._buffered += len(data)
            if self._buffered >= self._buffer_limit:
                self._carrier.hold()

    def finish(self, error: OriginError | None) -> None:
        """The connection is done with this exchange, and has already let go of it."""
        self._carrier = self.inform = None
        self._ended = True
        self.error = error
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_end(error)
        elif not self.answered:
            self.tell()


class _Sleeper:
    """A task that awaits a response."""

    __slots__ = ("_done",)

    def __init__(self, done: asyncio.Future[None]) -> None:
        self._done = done

    def responded(self, response: Response) -> None:
        if not self._done.done():
            self._done.set_result(None)


class _Collector:
    """A sink that keeps up to `limit` bytes."""

    def __init__(self, response: Response, limit: int) -> None:
        self.pieces: list[bytes] = []
        self.error: OriginError | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._response = response
        self._room = limit

    def on_data(self, data: bytes) -> None:
        self.pieces.append(data)
        self._room -= len(data)
        if self._room < 0:
            self._response.close()
            self._settle()

    def on_end(self, error: OriginError | None) -> None:
        self.error = error
        self._settle()

    def _settle(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class After:
    """A sink for a response that begins with `passed` bytes too many."""

    def __init__(self, sink: Sink, passed: int) -> None:
        self._sink = sink
        self._passed = passed

    def on_data(self, data: bytes) -> None:
        rest = data[self._passed :]
        self._passed = max(0, self._passed - len(data))
        if rest:
            self._sink.on_data(rest)

    def on_end(self, error: OriginError | None) -> None:
        self._sink.on_end(error)
