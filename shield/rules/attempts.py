"""The schedule of one fetch over several origins: which is tried when, and for how long. Pure; waits are returned.

The runner of a schedule requests the next step, carries it out, and reports the result:

- `Start`: try this origin, and give up at the deadline; then report `fetched`, `absent` or `failed`
- `Wait`: nothing to start before then, unless an attempt in progress ends
- `Done`: the schedule is over

An origin that doesn't respond within its patience isn't abandoned: the next one is tried concurrently (a hedged
request), and the first that has the object wins. So a hung origin costs half a second, and an object that is slow
everywhere still arrives. Moving on to the next origin is free: all clients that wait for a hung origin must be able
to leave it. Retries at the same origin are charged to its budget, and so is the rest of a body that it broke off; not
those after a refusal as too many, since no more requests get there than its limit allows (`rules.throttling`).

Each start has a kind, by which extra attempts are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from shield.errors import Fault
from shield.rules.budget import Budget

MIN_ATTEMPT_SECONDS = 0.05
"""With less time than this before the deadline no attempt is worthwhile: remote origins don't respond so fast."""

PATIENCE_SECONDS = 0.5
"""The time an origin has at least to respond before the next one is tried, too."""

PATIENCE_FACTOR = 4.0
"""The same as a multiple of the 95th percentile of its times to first byte."""

UNKNOWN_PATIENCE_SECONDS = 2.0
"""The same without enough samples: first responses need handshakes, distant origins several round trips."""

TRANSIENT_SECONDS = 0.05
"""A failed origin is retried after a random part of this time, so that fetches that failed together don't retry
together. AWS's own clients do the same; a restart or a failed node behind the origin takes no longer."""

THROTTLED_SECONDS = 1.0
"""The same for an overloaded origin: another request a moment later would add to the overload. As much is added each
time."""

_TRANSIENT = frozenset({Fault.SERVER, Fault.THROTTLED, Fault.RESET, Fault.CONNECT})
_LASTING = frozenset({501, 505})  # RFC 9110 §15.6.2, §15.6.6: the same request never succeeds


class Extra(Enum):
    """The reason for an attempt after the first; the value is the word in metrics."""

    RETRY = "retry"  # it failed before, for the same fetch
    RESUME = "resume"  # its body broke off, and the rest is fetched from it
    FAILOVER = "failover"  # another one failed, or is late
    RESCUE = "rescue"  # another one is suspected to be down
    ABSENT = "absent"  # another one doesn't have the object
    HEDGE = "hedge"  # another one is later than usual, and may still respond


@dataclass(frozen=True, slots=True)
class Contender:
    """An origin of a fetch. An attempt at one that `is_out` ends with its patience, unless it is the first. One that
    `is_held` isn't tried beside another that is merely late.
    """

    origin: str
    patience: float = UNKNOWN_PATIENCE_SECONDS
    is_out: bool = False
    is_held: bool = False


@dataclass(slots=True)
class Start:
    """Try `origin` now, and give up at `deadline` (of the clock whose `now` is passed in)."""

    origin: str
    deadline: float
    extra: Extra | None = None  # None: the first attempt of the fetch


@dataclass(slots=True)
class Wait:
    """Nothing to start before `until`; infinite: wait for an attempt in progress, each of which has a deadline."""

    until: float


@dataclass(slots=True)
class Done:
    """An origin has sent the object, all have responded, or time is up."""


NextStep = Start | Wait | Done


class HedgeOffer(Protocol):
    """When and whether the first attempt is hedged."""

    @property
    def at(self) -> float:
        """When it is late."""

    def take(self) -> bool:
        """It is late; whether to hedge it, which is paid for then."""


class Schedule:
    """Tries each origin of `order` in turn, then retries those with transient failures once, after a short wait, and
    those that refused as too many until the deadline.

    The next origin is tried once all before it have failed or have used up their patience, or an even share of the
    time. Retries are charged to `budgets`; origins without one are tried once. `chance` returns numbers from 0 to 1,
    for jitter. No wait for a retry exceeds `longest_wait` seconds. `resumes` is the origin that broke off the body of
    which this fetches the rest: the attempt there is charged, too. `hedge`: when the first attempt is later than
    usual, and what pays for trying the next origin beside it then.
    """

    __slots__ = (
        "_again",
        "_budgets",
        "_chance",
        "_deadline",
        "_extra",
        "_hedge",
        "_left",
        "_longest_wait",
        "_over",
        "_patience",
        "_refusals",
        "_repeated",
        "_resumes",
        "_started",
        "_under_way",
        "unpaid",
    )

    def __init__(
        self,
        order: Sequence[Contender],
        *,
        deadline: float,
        budgets: Mapping[str, Budget],
        chance: Callable[[], float],
        longest_wait: float = math.inf,
        resumes: str | None = None,
        hedge: HedgeOffer | None = None,
    ) -> None:
        self._deadline = deadline
        self._budgets = budgets
        self._chance = chance
        self._longest_wait = longest_wait
        self._left = list(order)
        self._patience = {each.origin: each.patience for each in order}
        self._again: list[tuple[float, str]] = []  # earliest time, and origin
        self._repeated: set[str] = set()
        self._refusals: dict[str, int] = {}  # as too many
        self._resumes = resumes
        self._hedge = hedge
        self.unpaid: str | None = None
        """An origin that wasn't asked for the rest of a body, since its budget is spent."""
        self._started = False
        self._extra = None if resumes is None else Extra.FAILOVER  # the reason for the next attempt
        self._under_way: dict[str, float] = {}  # by origin: the time at which its patience ends
        self._over = False

    @property
    def asked_all(self) -> bool:
        """Whether every origin was tried at least once."""
        return not self._left and self.unpaid is None

    def next(self, now: float) -> NextStep:
        """The next step."""
        if self._over:
            return Done()
        if self._deadline - now >= MIN_ATTEMPT_SECONDS and (self._left or self._again):
            turn = max(self._under_way.values(), default=now)
            if turn > now:
                if self._hedge is not None and self._may_hedge():
                    if self._hedge.at > now:
                        return Wait(min(turn, self._hedge.at))
                    hedge, self._hedge = self._hedge, None
                    if hedge.take():
                        return self._start(self._left.pop(0).origin, now, math.inf, Extra.HEDGE)
                return Wait(turn if turn < self._deadline else math.inf)
            step = self._start_next(now) or self._repeat_next(now)
            if step is not None:
                return step
        if self._under_way:
            return Wait(math.inf)
        self._over = True
        return Done()

    def fetched(self, origin: str) -> None:
        """The origin has sent the object."""
        self._under_way.clear()
        self._over = True

    def absent(self, origin: str) -> None:
        """The origin doesn't have the object."""
        self._under_way.pop(origin, None)
        self._extra = Extra.ABSENT

    def failed(
        self, origin: str, fault: Fault, now: float, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        """The attempt failed, or timed out; `retry_after` are the seconds in the origin's Retry-After."""
        self._under_way.pop(origin, None)
        self._extra = Extra.FAILOVER
        if origin in self._repeated or origin not in self._budgets or not is_transient(fault, status):
            return
        wait = self._chance() * TRANSIENT_SECONDS
        if fault is Fault.THROTTLED:
            before = self._refusals.get(origin, 0)
            self._refusals[origin] = before + 1
            wait = (before + self._chance()) * THROTTLED_SECONDS
        if retry_after is not None:
            wait += retry_after
        if wait <= self._longest_wait and now + wait + MIN_ATTEMPT_SECONDS <= self._deadline:
            self._again.append((now + wait, origin))

    def suspect(self, origin: str) -> None:
        """The origin is suspected to be down: try the next one at once."""
        if origin in self._under_way:
            self._under_way[origin] = -math.inf
            self._extra = Extra.RESCUE

    def _may_hedge(self) -> bool:
        """Whether there is a next origin, and it is as good as the first."""
        return bool(self._left) and not self._left[0].is_out and not self._left[0].is_held

    def _start_next(self, now: float) -> Start | None:
        if not self._left:
            return None
        candidate, extra = self._left.pop(0), self._extra
        if candidate.origin == self._resumes:
            if not self._budgets[candidate.origin].take():
                self.unpaid = candidate.origin
                return self._start_next(now)
            extra = Extra.RESUME
        patience = candidate.patience if self._started and candidate.is_out else math.inf
        if self._started:
            self._hedge = None
        self._started, self._extra = True, Extra.FAILOVER
        return self._start(candidate.origin, now, patience, extra)

    def _repeat_next(self, now: float) -> NextStep | None:
        while self._again:
            first = min(self._again)
            ready, origin = first
            if ready > now:
                return Wait(ready)
            self._again.remove(first)
            is_free = origin in self._refusals
            if is_free or self._budgets[origin].take():
                if not is_free:
                    self._repeated.add(origin)
                return self._start(origin, now, math.inf, Extra.RETRY)
        return None

    def _start(self, origin: str, now: float, most: float, extra: Extra | None) -> Start:
        """Start an attempt that may take `most` seconds."""
        share = (self._deadline - now) / (len(self._left) + 1)
        patience = math.inf if self._left and self._left[0].is_held else self._patience[origin]
        self._under_way[origin] = now + min(patience, share)
        return Start(origin, min(now + max(most, MIN_ATTEMPT_SECONDS), self._deadline), extra)


def patience(p95: float | None) -> float:
    """The patience with an origin, in seconds, by the 95th percentile of its times to first byte (None: unknown)."""
    return UNKNOWN_PATIENCE_SECONDS if p95 is None else max(PATIENCE_SECONDS, PATIENCE_FACTOR * p95)


def is_transient(fault: Fault, status: int | None) -> bool:
    """Whether the same request is likely to succeed a moment later.

    Not after a timeout: every waiting request would try a hung origin twice, and use up its time.
    """
    return fault in _TRANSIENT and status not in _LASTING
