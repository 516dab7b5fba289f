"""The pace of one answer: how far it may be ahead of its readers, and what holds it up.

A reader that leaves leaves behind what had come ahead of it. So no more comes than `exact.FREE` bytes and twice what
readers have taken, unless the rest would be finished without them, too. Readers as fast as the origin never notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shield.fill.buffer import FillBuffer
from shield.fill.purse import Purse
from shield.fill.readers import Readers, keeps_up
from shield.fill.window import Window
from shield.origin.response import Response
from shield.rules import exact

PATIENCE_SECONDS = 3.0
"""How long an answer that is kept is held up for slow readers; then they pay for what comes ahead of them. Less than
`origin.pool.PATIENCE_SECONDS`, after which a connection may be taken away from an answer that can't be resumed."""


class Pacing:
    """Of one fill, whose first byte is at `start`. From `begin` to `end` it has the answer and refers to the fill."""

    __slots__ = (
        "_buffer",
        "_finishes",
        "_is_held",
        "_loop",
        "_purse",
        "_readers",
        "_response",
        "_timer",
        "_window",
        "start",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, buffer: FillBuffer, readers: Readers, purse: Purse, *, start: int
    ) -> None:
        self.start = start
        self._loop = loop
        self._buffer = buffer
        self._readers = readers
        self._purse = purse
        self._response: Response | None = None
        self._finishes: Callable[[], bool] | None = None
        self._is_held = False
        self._timer: asyncio.TimerHandle | None = None
        self._window: Window | None = None  # of a body that isn't kept

    def begin(self, response: Response, *, finishes: Callable[[], bool]) -> None:
        """The answer is here. `finishes`: whether the rest of it may come though nobody reads."""
        self._response = response
        self._finishes = finishes

    def came(self) -> bool:
        """Bytes have come, and readers were told; True: the next ones are held up since no budget is left."""
        buffer = self._buffer
        if not buffer.retained:
            self.progressed()
            return False
        if buffer.received <= exact.FREE or not self._is_outrun():
            return False
        if not self._is_held:
            self.hold()
            self._timer = self._loop.call_later(PATIENCE_SECONDS, self._lose_patience)
        return self._purse.is_empty

    def progressed(self) -> None:
        """Readers have read on, or joined."""
        response, buffer = self._response, self._buffer
        if response is None:
            return
        if self._is_held and not self._is_outrun():
            self.release()
        if not buffer.retained:
            if self._window is None:
                lose = self._readers.detach
                self._window = Window(self._loop, buffer, self._readers, start=self.start, lose=lose)
            self._window.progressed(response)

    def hold(self) -> None:
        """Let no more come until it is released or readers make progress."""
        self._stop_timer()
        if self._response is not None and not self._is_held:
            self._is_held = True
            self._response.pause()

    def release(self) -> None:
        self._stop_timer()
        if self._response is not None and self._is_held:
            self._is_held = False
            self._response.resume()

    def give_up(self) -> None:
        """Take no more of the answer. What came in vain is paid for."""
        if self._response is not None:
            self._purse.cost(self._response.unread())
            self._response.close()

    def end(self) -> None:
        """The answer is complete, or given up."""
        if self._timer is not None:
            self._stop_timer()
        if self._window is not None:
            self._window.stop()
        self._response = self._window = self._finishes = None

    def _is_outrun(self) -> bool:
        """Whether more has come than may be left behind."""
        if self._finishes is not None and self._finishes():  # before readers are asked, which costs system calls
            return False
        return self._purse.is_outrun(self._buffer.received, self._readers) and not self._is_awaited()

    def _is_awaited(self) -> bool:
        """Whether a reader of bytes farther on has too little left, counted from its own place; the budget pays for
        the bytes before that.
        """
        end = self.start + self._buffer.received
        return any(keeps_up(reader, end) for reader in self._readers) and not self._purse.is_empty

    def _lose_patience(self) -> None:
        """The readers are slow rather than gone."""
        self._timer = None
        self._purse.open()
        self.progressed()
        if self._is_held:  # the budget is spent: it is filled again as time goes by
            self._timer = self._loop.call_later(PATIENCE_SECONDS, self._lose_patience)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
