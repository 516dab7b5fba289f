"""One fetch that brings consecutive slices of a large entry, from whichever origin has that very version."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from shield.errors import Fault, OriginError
from shield.fill.buffer import FillBuffer
from shield.origin.response import Response
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.rules.ranges import Span

if TYPE_CHECKING:
    from shield.fill.sliced import SlicedFill

log = logging.getLogger("shield.fill")

Failure = Failed | OriginError


class Run:
    """Bytes from `at` to `stop`, in order. Each slice's buffer is the fill's from its first byte on.

    `by_peer`: another worker of this node fetches and stores them.
    """

    __slots__ = (
        "_buffer",
        "_cut",
        "_early",
        "_fill",
        "_paused",
        "_response",
        "_task",
        "at",
        "by_peer",
        "origin",
        "stop",
    )

    def __init__(self, fill: SlicedFill, start: int, stop: int) -> None:
        self.at = start
        self.stop = stop
        self.by_peer = False
        self.origin: str | None = None
        self._fill = fill
        self._buffer: FillBuffer | None = None  # of the slice that arrives
        self._early: list[bytes] = []  # came while there was no memory for it
        self._paused = False
        self._cut = False  # the answer has more to say than is wanted
        self._response: Response | None = None
        self._task: asyncio.Task[None] | None = None

    def fetch(self, want: Callable[[Span], Want]) -> None:
        """Ask for it."""
        self._task = self._fill.table.loop.create_task(self._fetch(want(Span(self.at, self.stop))))

    async def _fetch(self, want: Want) -> None:
        fill = self._fill
        try:
            result = await fill.table.source.fetch(
                fill.resource.named, fill.target, fill.resource.route.origins, want
            )
            if isinstance(result, Fetched):
                self.take(result)
                self.start()
            else:
                failure = OriginError("-", Fault.VALIDATOR, "it is gone") if isinstance(result, Absent) else result
                fill.ended(self, failure)
        except Exception as error:  # a bug of ours must release the readers too
            log.exception("fill of %s failed", fill.name)
            self.close()
            fill.ended(
                self, OriginError(self.origin or "-", Fault.CANCELLED, f"internal error: {type(error).__name__}")
            )
        finally:
            self._task = None

    def take(self, fetched: Fetched) -> None:
        """Go on with an answer whose body begins at `at`."""
        self._response = fetched.response
        self.by_peer = fetched.by_peer
        self.origin = fetched.origin

    def start(self) -> None:
        if self._response is not None:
            self._response.start(self)

    @property
    def slice_share(self) -> float:
        """How much of the slice under way has come."""
        number, inside = divmod(self.at, self._fill.slice_bytes)
        return inside / self._fill.slices.length(number)

    def close(self) -> None:
        """Fetch no more. What has come of the slice under way is lost."""
        response, self._response = self._response, None
        if response is not None:
            response.close()
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._early.clear()
        self._drop_buffer()

    def pause(self) -> None:
        if not self._paused and self._response is not None:
            self._paused = True
            self._response.pause()

    def resume(self) -> None:
        """Go on if that may be by now; else it waits again."""
        if not self._fill.has_run(self):
            return
        before = self.at
        early, self._early = self._early, []
        for place, data in enumerate(early):
            if not self._put(data):
                self._early += early[place + 1 :]
                break
            if not self._fill.has_run(self):
                break
        if self.at > before:
            self._fill.advanced()
        if self._early or not self._fill.has_run(self):
            return
        if self._response is None and self._task is None:
            self._conclude(None)
        elif self._paused and self._response is not None:
            self._paused = False
            self._response.resume()

    def stop_at(self, stop: int) -> None:
        """Want no more than this: a later slice is here already, or nobody needs it."""
        self.stop = stop
        self._cut = True
        if self.at >= stop:
            self._finish()

    # called by the origin's connection

    def on_data(self, data: bytes) -> None:
        if self._early:
            self._early.append(data)
        else:
            self._put(data)
            self._fill.advanced()

    def on_end(self, error: OriginError | None) -> None:
        self._response = None
        if error is not None or not self._early:  # else `resume` comes to the end
            self._conclude(error)

    def _conclude(self, error: OriginError | None) -> None:
        if error is None and self.at < self.stop:
            error = OriginError(self.origin or "-", Fault.SHORT_BODY, f"ended at byte {self.at} of {self.stop}")
        self._early.clear()
        self._drop_buffer()
        self._fill.ended(self, error)

    def _put(self, data: bytes) -> bool:
        """Take bytes in, slice by slice; False, and they wait, when there is no memory for the next slice."""
        fill, rest = self._fill, memoryview(data)
        while len(rest) and self.at < self.stop:
            number, inside = divmod(self.at, fill.slice_bytes)
            if self._buffer is None:
                if fill.is_here(number):
                    self.stop_at(self.at)
                    return True
                self._buffer = fill.begin_slice(self, number)
                if self._buffer is None:
                    self._early.insert(0, bytes(rest))
                    self.pause()
                    return False
            length = fill.slices.length(number)
            piece = rest[: length - inside]
            self._buffer.append(data if len(piece) == len(data) else bytes(piece))
            self.at += len(piece)
            rest = rest[len(piece) :]
            if inside + len(piece) == length:
                self._buffer = None
                fill.slice_complete(self, number)
        if self.at >= self.stop and (self._cut or len(rest)):
            self._finish()
        return True

    def _finish(self) -> None:
        """All that is wanted is here; an answer that has more to say is cut off."""
        response, self._response = self._response, None
        if response is not None:
            response.close()
        self._fill.ended(self, None)

    def _drop_buffer(self) -> None:
        if self._buffer is not None:
            self._buffer = None
            self._fill.slice_lost(self.at // self._fill.slice_bytes)
