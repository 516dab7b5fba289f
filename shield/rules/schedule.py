"""The schedule of one fetch over several origins: which is tried when, and for how long. Pure; waits are returned.

The runner of a schedule requests the next step, does it, and reports the result:

- `Start`: try this origin, and give up at its deadline; then report `fetched`, `absent` or `failed`
- `Wait`: nothing to start before then, unless an attempt under way ends
- `Done`: it is over

A schedule may start an attempt while others are under way. This one doesn't: it tries each origin in turn, so its
runner may simply wait for each result before it requests the next step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shield.errors import Fault
from shield.rules.budget import RetryBudget

MIN_ATTEMPT_SECONDS = 0.05
"""With less time than this before the deadline no attempt is worthwhile: remote origins don't respond so fast."""

TRANSIENT_SECONDS = 0.05
"""A failed origin is tried again within this time, at random, so that fetches that failed together don't return
together. As AWS's own clients do; a restart or a failed node behind it takes no longer."""

THROTTLED_SECONDS = 1.0
"""The same for an overloaded origin: another request a moment later would add to the overload."""

_TRANSIENT = frozenset({Fault.SERVER, Fault.THROTTLED, Fault.RESET, Fault.CONNECT})
_LASTING = frozenset({501, 505})  # RFC 9110 §15.6.2, §15.6.6: the same request never succeeds


@dataclass(slots=True)
class Start:
    """Try `origin` now, and give up at `deadline` (of the clock whose `now` is passed in)."""

    origin: str
    deadline: float


@dataclass(slots=True)
class Wait:
    """Nothing to start before `until`."""

    until: float


@dataclass(slots=True)
class Done:
    """An origin gave the object, all have answered, or time is up."""


NextStep = Start | Wait | Done


class Schedule:
    """Each origin of `order` in turn; then once more, after a short wait, those whose failure may have passed.

    Time is shared out evenly: an origin may use the remaining time divided by the remaining origins, so that
    the last one has its share even when all before it stall. `budgets` pay for repeats; origins without one are
    tried once. `chance` gives numbers from 0 to 1 by which waits are spread. No wait for a repeat exceeds
    `patience`.
    """

    __slots__ = (
        "_again",
        "_budgets",
        "_chance",
        "_deadline",
        "_left",
        "_over",
        "_patience",
        "_repeated",
        "_under_way",
    )

    def __init__(
        self,
        order: Sequence[str],
        *,
        deadline: float,
        budgets: Mapping[str, RetryBudget],
        chance: Callable[[], float],
        patience: float = math.inf,
    ) -> None:
        self._deadline = deadline
        self._budgets = budgets
        self._chance = chance
        self._patience = patience
        self._left = list(order)
        self._again: list[tuple[float, str]] = []  # earliest time, and origin
        self._repeated: set[str] = set()
        self._under_way: Start | None = None
        self._over = False

    @property
    def asked_all(self) -> bool:
        """Whether every origin was tried at least once."""
        return not self._left

    def next(self, now: float) -> NextStep:
        """The next step."""
        if self._over:
            return Done()
        if self._under_way is not None:
            return Wait(self._under_way.deadline)
        if self._deadline - now >= MIN_ATTEMPT_SECONDS:
            if self._left:
                count, origin = len(self._left), self._left.pop(0)
                budget = self._budgets.get(origin)
                if budget is not None:
                    budget.earn()
                return self._start(origin, now, count)
            if self._again:
                return self._repeat_next(now)
        self._over = True
        return Done()

    def fetched(self, origin: str) -> None:
        """It gave the object."""
        self._under_way = None
        self._over = True

    def absent(self, origin: str) -> None:
        """It doesn't have the object."""
        self._under_way = None

    def failed(
        self, origin: str, fault: Fault, now: float, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        """It couldn't tell, or not in time; `retry_after` is the time in seconds that it asks for."""
        self._under_way = None
        if origin in self._repeated or origin not in self._budgets or not is_transient(fault, status):
            return
        wait = self._chance() * (THROTTLED_SECONDS if fault is Fault.THROTTLED else TRANSIENT_SECONDS)
        if retry_after is not None:
            wait += retry_after
        if wait <= self._patience and now + wait + MIN_ATTEMPT_SECONDS <= self._deadline:
            self._again.append((now + wait, origin))

    def _repeat_next(self, now: float) -> NextStep:
        while self._again:
            first = min(self._again)
            ready, origin = first
            if ready > now:
                return Wait(ready)
            count = len(self._again)
            self._again.remove(first)
            if self._budgets[origin].take():
                self._repeated.add(origin)
                return self._start(origin, now, count)
        self._over = True
        return Done()

    def _start(self, origin: str, now: float, count: int) -> Start:
        """Begin an attempt at the first of `count` origins that share the time."""
        self._under_way = Start(origin, share_of(now, self._deadline, count))
        return self._under_way


def share_of(now: float, deadline: float, count: int) -> float:
    """When the first of `count` attempts has to end that share the time until the deadline."""
    return min(now + (deadline - now) / count, deadline)


def is_transient(fault: Fault, status: int | None) -> bool:
    """Whether the same request may well succeed a moment later.

    Not after a timeout: every waiting request would try a hanging origin twice, and lose all its time.
    """
    return fault in _TRANSIENT and status not in _LASTING
