"""Whether a node hears of the others, and what it does while it doesn't: then it is *blind*, and may serve what was
purged elsewhere.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from shield.spread.journal import OrderJournal
from shield.spread.line import SILENT_SECONDS

_BLIND = "blind"  # the fact in the journal: epoch seconds since when, or nothing


class WhenBlind(Enum):
    """What a node does that is cut off from the others for too long; the value is the word in settings."""

    SERVE = "serve"  # what it has, and raises an alarm
    REVALIDATE = "revalidate"  # asks origins before it uses what it has
    NOT_READY = "not-ready"  # says that it isn't ready, so that load balancers send its clients elsewhere


@dataclass(frozen=True, slots=True)
class SpreadTerms:
    """`blind_seconds`: after so long without the others a node counts as blind, and a hole in the orders as final."""

    blind_seconds: float = 600.0
    when_blind: WhenBlind = WhenBlind.SERVE


class Sight:
    """Of one worker: the one that conducts `look`s, and tells the others of its node by the journal.

    `doubt` is told each second before which time, epoch seconds, origins must have confirmed what is used; 0.0: all
    may be used.
    """

    def __init__(
        self,
        journal: OrderJournal,
        terms: SpreadTerms,
        *,
        conducts: Callable[[], bool],
        doubt: Callable[[float], None],
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._terms = terms
        self._conducts = conducts
        self._doubt = doubt
        self._now = now
        self._clock = clock
        self._met_at = now()  # when enough of the others were heard of last
        self._last = 0.0  # the same, to the second
        self._sees = False
        self._since = 0.0  # when it became blind, epoch seconds; 0.0: it isn't

    async def begin(self) -> None:
        """The node starts, and isn't blind yet. Raises StoreError."""
        await asyncio.to_thread(self._journal.note, {_BLIND: ""})

    async def look(self, *, sees: bool, met_at: float | None = None) -> None:
        """Enough of the others are heard of, or not; and when they were last (loop time), as far as that is known.
        For the worker that conducts. Raises StoreError.
        """
        self._last = max(self._last, self._now() if sees and met_at is None else met_at or 0.0)
        if sees:
            self._met_at = self._now()
        elif self._sees and self._last:
            self._met_at = self._last  # that is a minute ago, or more: one that is heard of now and then isn't blind
        self._sees = sees
        is_blind = self.blind_for() >= self._terms.blind_seconds
        if is_blind is not self.is_blind:
            self._since = self._clock() if is_blind else 0.0
            self.apply()
            await asyncio.to_thread(self._journal.note, {_BLIND: repr(self._since) if is_blind else ""})

    async def read(self) -> None:
        """Learn it from the worker that conducts. Raises StoreError."""
        if not self._conducts():
            said = await asyncio.to_thread(self._journal.fact, _BLIND)
            self._since = _moment(said, self._since or self._clock()) if said else 0.0

    def apply(self) -> None:
        """Once a second: what was confirmed as long ago as purges may be missed isn't used either."""
        if self._terms.when_blind is WhenBlind.REVALIDATE:
            before = max(self._since, self._clock() - self._terms.blind_seconds)
            self._doubt(before if self.is_blind else 0.0)

    @property
    def is_blind(self) -> bool:
        return self._since > 0.0

    @property
    def is_unready(self) -> bool:
        """Whether load balancers are to send clients elsewhere, since this node may serve what was purged."""
        return self.is_blind and self._terms.when_blind is WhenBlind.NOT_READY

    @property
    def revalidates(self) -> bool:
        """Whether origins are asked before what is stored is used."""
        return self.is_blind and self._terms.when_blind is WhenBlind.REVALIDATE

    def blind_for(self) -> float:
        """Seconds for which too little was heard of the others; 0 while all is well, and in workers that don't
        conduct.
        """
        seconds = self._now() - self._met_at
        return seconds if self._conducts() and seconds > SILENT_SECONDS else 0.0


def _moment(said: str, default: float) -> float:
    """The time in the fact; of another version there may be something else."""
    try:
        moment = float(said)
    except ValueError:
        return default
    return moment if math.isfinite(moment) and moment > 0.0 else default
