"""A fetch as nearly all are: the first attempt brings the object in time. It is done by callbacks, without a task.

Anything else makes it a task, which goes on from there (`Origins.go_on`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from shield.origin.attempt import PlainAttempt
from shield.origin.lot import Lot
from shield.origin.origin import Origin
from shield.origin.response import Response
from shield.origin.want import Absent, Failed, Fetched, Want


class FetchTaker(Protocol):
    """Takes the result of a fetch. One of these is called, once, on the event loop, unless it is cancelled before."""

    def fetched(self, result: Fetched | Absent | Failed) -> None:
        """The result; the response belongs to the taker from now on. Must not raise."""

    def failed_by_bug(self, error: Exception) -> None:
        """There is none, because of a bug."""


class Fetching(Protocol):
    """A fetch under way."""

    def cancel(self) -> object:
        """Leave nothing behind, and tell the taker nothing any more. Only before it was told."""


class Continuing(Protocol):
    """Goes on with fetches that aren't plain after all."""

    def go_on(self, fetch: PlainFetch) -> Coroutine[Any, Any, Fetched | Absent | Failed]:
        """The result, whatever it takes."""


class PlainFetch:
    """One fetch whose first attempt was sent at once. It is this attempt's asker, and waits for its origin."""

    __slots__ = (
        "_continuing",
        "_has_begun",
        "_is_waiting",
        "_loop",
        "_taker",
        "_task",
        "attempt",
        "began",
        "is_suspicious",
        "lot",
        "order",
        "origin",
        "want",
    )

    attempt: PlainAttempt

    def __init__(
        self,
        continuing: Continuing,
        lot: Lot,
        order: Sequence[str],
        want: Want,
        *,
        taker: FetchTaker,
        began: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`order` are the origins that it tries; it `began` when it did (loop time)."""
        self._continuing = continuing
        self._taker = taker
        self._loop = loop
        self._is_waiting = False  # for its origin alone
        self._task: asyncio.Task[None] | None = None  # once it isn't plain any more
        self._has_begun = False  # that task
        self.lot = lot
        self.order = order
        self.origin: Origin = lot.origins[order[0]]
        self.want = want
        self.began = began
        self.is_suspicious = False
        """It was told not to wait for its origin alone."""

    def wait(self, attempt: PlainAttempt) -> None:
        """The attempt was sent: wait for it, for as long as its origin may be waited for alone."""
        self.attempt = attempt
        self.lot.users += 1
        if len(self.order) > 1:
            self._is_waiting = True
            self.origin.waiting.begin(self, self.began + self.lot.patience(self.order))

    def responded(self, response: Response) -> None:
        if self._task is not None:
            return  # it is about to see for itself
        self._wait_no_more()
        try:
            fetched = self.origin.take(self.attempt)
        except Exception as error:
            response.close()
            self.lot.users -= 1
            self._taker.failed_by_bug(error)
            return
        if fetched is None:
            self._go_on()
        else:
            self.lot.users -= 1
            self._taker.fetched(fetched)

    def be_late(self) -> None:
        """Don't wait for the origin alone any more: its time is over."""
        self._go_on()

    def suspect(self, origin: str) -> None:
        """Don't wait for the origin alone any more."""
        self.is_suspicious = True
        self._go_on()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            if self._has_begun:
                return  # it leaves nothing behind
        self._wait_no_more()
        self.lot.users -= 1
        self.origin.give_up(self.attempt)

    def _go_on(self) -> None:
        """It is late, or its response isn't the object."""
        self._wait_no_more()
        self._task = self._loop.create_task(self._go_on_in_task())

    async def _go_on_in_task(self) -> None:
        self._has_begun = True
        try:
            result = await self._continuing.go_on(self)
        except Exception as error:
            self._taker.failed_by_bug(error)
            return
        finally:
            self._task = None
            self.lot.users -= 1
        self._taker.fetched(result)

    def _wait_no_more(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self.origin.waiting.end(self)
