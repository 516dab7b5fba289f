"""After orders were lost: makes all that is stored stale, in parts and at a pace, so that origins aren't asked to
confirm all of it at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shield.complaints import Complaints
from shield.errors import ShieldError
from shield.rules.purging import SHARES
from shield.spread.journal import OrderJournal

log = logging.getLogger("shield.cluster")

_OUTDATING = "outdating"  # the fact in the journal


@dataclass(frozen=True, slots=True)
class OutdatingState:
    """`left` parts are to become stale, `following` first and then those behind it, and around; the last one did at
    `at`, epoch seconds. `why` is for people.
    """

    following: int = 0
    left: int = 0
    at: float = 0.0
    why: str = ""

    def is_due(self, now: float, step: float) -> bool:
        """Whether the next part is to become stale; also if the clock was set back."""
        return self.left > 0 and not 0.0 <= now - self.at < step


class Outdating:
    """Of the worker that conducts. How far it is, is in the journal, so that another one goes on after a kill.

    `mark` makes a part of all keys stale, durably, by its number below `SHARES`; it may raise ShieldError.
    """

    def __init__(
        self,
        journal: OrderJournal,
        mark: Callable[[int], Awaitable[object]],
        *,
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._mark = mark
        self._seconds = seconds
        self._clock = clock
        self._complaints = Complaints(log, seconds=60.0)
        self.state = OutdatingState()
        """As of the last round."""

    async def begin(self, why: str) -> None:
        """Have all that is stored now become stale. One that is under way goes on, and around. Raises StoreError."""
        log.error(
            "%s. All that is stored here becomes stale, over %.0f s, since it may be out of date", why, self._seconds
        )
        before = await self._read()
        await self._note(OutdatingState(before.following, SHARES, before.at, why))

    async def go_on(self) -> None:
        """Make the next part stale if it is time for that. To be called once a second. Raises StoreError."""
        state, now = await self._read(), self._clock()
        if not state.is_due(now, self._seconds / SHARES):
            return
        try:
            await self._mark(state.following)
        except ShieldError as error:
            text = "what is stored can't be made stale, and may be out of date: %s"
            self._complaints.say("mark", now, text, error)
            return
        left = state.left - 1
        await self._note(OutdatingState((state.following + 1) % SHARES, left, now, state.why if left else ""))
        if not left:
            log.warning("all that was stored when orders were lost is stale now")

    async def _read(self) -> OutdatingState:
        said = await asyncio.to_thread(self._journal.fact, _OUTDATING)
        try:
            following, left, at, why = json.loads(said) if said else (0, 0, 0.0, "")
            self.state = OutdatingState(int(following) % SHARES, min(int(left), SHARES), float(at), str(why))
        except (ValueError, TypeError, OverflowError):
            self.state = OutdatingState(left=SHARES, why="orders were lost")  # it can't be read: all of it again
        return self.state

    async def _note(self, state: OutdatingState) -> None:
        said = json.dumps([state.following, state.left, state.at, state.why])
        await asyncio.to_thread(self._journal.note, {_OUTDATING: said})
        self.state = state
