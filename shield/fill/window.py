"""A body that isn't retained: a window that follows its readers and holds the origin to their pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from shield.fill.buffer import FillBuffer
from shield.fill.readers import Reader, taken
from shield.origin.response import Response
from shield.rules import exact
from shield.store.entry import BLOCK

WINDOW = BLOCK
"""Bytes kept of such a body at most. The only memory of a fill that the common bound doesn't count."""

PATIENCE_SECONDS = 2.0
"""How long a full window waits for its slowest reader before that one has to go on by itself."""


class Window:
    """Over the buffer of one fill whose first byte is at `start`. `lose` lets go of a reader that holds it up."""

    __slots__ = ("_buffer", "_is_wide", "_loop", "_lose", "_paused", "_readers", "_start", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        buffer: FillBuffer,
        readers: Collection[Reader],
        *,
        start: int,
        lose: Callable[[Reader], None],
    ) -> None:
        self._loop = loop
        self._buffer = buffer
        self._readers = readers
        self._start = start
        self._lose = lose
        self._paused = False
        self._is_wide = False  # it has come to its full size
        self._timer: asyncio.TimerHandle | None = None

    def progressed(self, response: Response) -> None:
        """Readers have read on: give up what all have passed; pause the origin while one holds a full window."""
        buffer = self._buffer
        slowest = self._slowest()
        buffer.trim(slowest - self._start)
        most = self._most()
        if buffer.held >= most and not self._paused:
            self._paused = True
            response.pause()
            self._be_patient(slowest, response)
        elif self._paused and buffer.held < (most // 2 if self._is_wide else most):
            self._paused = False
            self.stop()
            response.resume()

    @property
    def is_full(self) -> bool:
        """Whether it holds the origin up."""
        return self._paused

    def _most(self) -> int:
        """Bytes that it may hold by now: what is ahead of readers who leave was sent in vain."""
        if self._is_wide:
            return WINDOW
        most = max([taken(reader) for reader in self._readers], default=0)
        self._is_wide = most >= WINDOW
        return min(WINDOW, exact.FREE + most)

    def stop(self) -> None:
        """Wait for nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _slowest(self) -> int:
        end = self._start + self._buffer.received
        return min((reader.position for reader in self._readers), default=end)

    def _be_patient(self, stuck_at: int, response: Response) -> None:
        self.stop()
        if len(self._readers) > 1:
            self._timer = self._loop.call_later(PATIENCE_SECONDS, self._lose_slowest, stuck_at, response)

    def _lose_slowest(self, stuck_at: int, response: Response) -> None:
        """The window has been full for as long as others can be asked to wait: who holds it goes on alone."""
        self._timer = None
        if not self._paused:
            return
        limit = stuck_at + WINDOW // 2
        if any(reader.position >= limit for reader in self._readers):
            for reader in [r for r in self._readers if r.position < limit]:
                self._lose(reader)
        self.progressed(response)
        if self._paused:
            self._be_patient(self._slowest(), response)
