"""The schedule of one fetch over several origins: which is asked when, and for how long. Pure; waits are returned.

The carrier of a schedule asks for the next step, does it, and tells what came of it:

- `Start`: ask this origin, and give up at its deadline; then tell `fetched`, `absent` or `failed`
- `Wait`: nothing to start before then, unless something comes of what is under way
- `Done`: it is over

A schedule may start an attempt while others are under way. This one doesn't: each origin in turn, so that its carrier
may as well wait for each answer before it asks for the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shield.errors import Fault

MIN_ATTEMPT_SECONDS = 0.05
"""Less time than this before the deadline isn't worth an attempt: no origin answers so fast from afar."""


@dataclass(slots=True)
class Start:
    """Ask `origin` now, and give up at `deadline` (of the clock whose `now` is passed in)."""

    origin: str
    deadline: float


@dataclass(slots=True)
class Wait:
    """Nothing to start before `until`."""

    until: float


@dataclass(slots=True)
class Done:
    """An origin gave the object, all had their say, or time is up."""


Step = Start | Wait | Done


class Schedule:
    """Each origin of `order` once, in order.

    Time is shared out evenly: an origin may use what remains divided by the origins that remain, so that the last
    one has its share even when all before it stall.
    """

    __slots__ = ("_deadline", "_left", "_over", "_under_way")

    def __init__(self, order: Sequence[str], *, deadline: float) -> None:
        self._deadline = deadline
        self._left = list(order)
        self._under_way: Start | None = None
        self._over = False

    @property
    def asked_all(self) -> bool:
        """Whether every origin was asked at least once."""
        return not self._left

    def next(self, now: float) -> Step:
        """What is to be done now."""
        if self._over:
            return Done()
        if self._under_way is not None:
            return Wait(self._under_way.deadline)
        remaining = self._deadline - now
        if not self._left or remaining < MIN_ATTEMPT_SECONDS:
            self._over = True
            return Done()
        start = Start(self._left[0], min(now + remaining / len(self._left), self._deadline))
        del self._left[0]
        self._under_way = start
        return start

    def fetched(self, origin: str) -> None:
        """It gave the object."""
        self._under_way = None
        self._over = True

    def absent(self, origin: str) -> None:
        """It doesn't have the object."""
        self._under_way = None

    def failed(self, origin: str, fault: Fault, now: float) -> None:
        """It couldn't say, or not in time."""
        self._under_way = None
