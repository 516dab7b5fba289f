"""The pace of one response: its lead over its readers is limited, and it is paused at the limit.

Bytes ahead of a reader are in vain if it leaves. So at most `exact.FREE` bytes and twice those that readers have
taken arrive, unless the rest would be finished without them, too. Readers as fast as the origin never notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shield.fill.buffer import FillBuffer
from shield.fill.readers import Purse, Readers, keeps_up
from shield.fill.window import Window
from shield.origin.response import Response
from shield.rules import exact

PATIENCE_SECONDS = 3.0
"""How long a response that is kept is paused for slow readers; then they pay for the bytes ahead of them. Less than
`origin.pool.PATIENCE_SECONDS`, after which a connection may be taken away from a response that can't be resumed."""


class Pacing:
    """The pace of one response. It refers to the fill until `end`."""

    __slots__ = (
        "_buffer",
        "_finishes",
        "_is_held",
        "_loop",
        "_purse",
        "_readers",
        "_response",
        "_start",
        "_timer",
        "_window",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        response: Response,
        buffer: FillBuffer,
        readers: Readers,
        purse: Purse,
        *,
        start: int,
        finishes: Callable[[], bool],
    ) -> None:
        """`start`: the body's place in the object. `finishes`: whether the rest may arrive without readers."""
        self._start = start
        self._loop = loop
        self._buffer = buffer
        self._readers = readers
        self._purse = purse
        self._response: Response | None = response
        self._finishes: Callable[[], bool] | None = finishes
        self._is_held = False
        self._timer: asyncio.TimerHandle | None = None
        self._window: Window | None = None  # of a body that isn't kept

    def came(self) -> bool:
        """Bytes have arrived, and readers were told; True: the next ones are paused since no budget is left."""
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
                self._window = Window(self._loop, buffer, self._readers, start=self._start, lose=lose)
            self._window.progressed(response)

    @property
    def is_held(self) -> bool:
        """Whether the response isn't read, for the sake of its readers or of a cap."""
        if self._is_held or (self._window is not None and self._window.is_full):
            return True
        return self._response is not None and self._response.is_slowed

    def hold(self) -> None:
        """Pause until it is released or readers make progress."""
        self._stop_timer()
        if self._response is not None and not self._is_held:
            self._is_held = True
            self._response.pause()

    def release(self) -> None:
        self._stop_timer()
        if self._response is not None and self._is_held:
            self._is_held = False
            self._response.resume()

    def let_end(self) -> None:
        """Nobody reads any more, and of the response only the end is missing."""
        self.release()
        self.progressed()

    def give_up(self) -> None:
        """Take no more of the response. Bytes that arrived in vain are paid for."""
        if self._response is not None:
            self._purse.cost(self._response.unread())
            self._response.close()

    def replace(self, response: Response) -> None:
        """Go on with another response, which isn't started yet, and take no more of the first."""
        self.give_up()
        self._response = response
        if self._is_held:
            response.pause()
        if self._window is not None:
            self._window.stop()
            self._window = None  # a new one pauses this response, if it must be
        self.progressed()

    def end(self) -> None:
        """The response is complete, or given up."""
        if self._timer is not None:
            self._stop_timer()
        if self._window is not None:
            self._window.stop()
        self._response = self._window = self._finishes = None

    def _is_outrun(self) -> bool:
        """Whether its lead exceeds the limit."""
        if self._finishes is not None and self._finishes():  # before readers are asked, which costs system calls
            return False
        return self._purse.is_outrun(self._buffer.received, self._readers) and not self._is_awaited()

    def _is_awaited(self) -> bool:
        """Whether a reader of bytes farther on has too little left, counted from its own place; the budget pays for
        the bytes before that.
        """
        end = self._start + self._buffer.received
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
