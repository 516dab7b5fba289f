"""Slices whose fetches have failed, and when each of them is fetched again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from shield.errors import Fault, OriginError
from shield.fill.audience import Audience, Failure
from shield.origin.want import Failed
from shield.rules.persistence import may_pass, next_wait


class _Setback:
    """Failures in a row to bring one slice."""

    __slots__ = ("broken_by", "resting", "since", "strikes")

    def __init__(self, since: float) -> None:
        self.since = since  # the time in which it must come is counted from here
        self.strikes = 0
        self.broken_by: str | None = None  # the origin that broke off its body last
        self.resting: asyncio.TimerHandle | None = None  # it is left alone until then


class Setbacks:
    """Those of one version. A slice that comes at last has none any more; `close` it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, seconds: float, chance: Callable[[], float]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._chance = chance
        self._all: dict[int, _Setback] = {}

    def is_resting(self, number: int) -> bool:
        """Whether a slice isn't to be fetched yet."""
        setback = self._all.get(number)
        return setback is not None and setback.resting is not None

    def broken_by(self, number: int) -> str | None:
        """The origin that broke off the body with this slice last; None: none did."""
        setback = self._all.get(number)
        return None if setback is None else setback.broken_by

    def note(self, number: int, failure: Failure, began: float, audience: Audience) -> bool:
        """A fetch that began to be waited for at `began` has failed to bring a slice. False when asking again is no
        use; else its readers are told when it may be.
        """
        if isinstance(failure, Failed):  # no origin of several gave it
            passes = may_pass(failure.failures) and audience.has_given
            return passes and self._is_in_time(number, failure.failures, began, audience.tell)
        if failure.fault is Fault.VALIDATOR:
            return False
        return self._is_in_time(number, (failure,), self._loop.time(), audience.tell, broken_by=failure.origin)

    def _is_in_time(
        self,
        number: int,
        errors: Sequence[OriginError],
        began: float,
        again: Callable[[], None],
        *,
        broken_by: str | None = None,
    ) -> bool:
        loop = self._loop
        setback = self._all.get(number)
        if setback is None:
            setback = self._all[number] = _Setback(began)
        setback.strikes += 1
        if broken_by is not None:
            setback.broken_by = broken_by
        left = setback.since + self._seconds - loop.time()
        wait = next_wait(errors, setback.strikes, left=left, chance=self._chance())
        if wait is None:
            return False

        def rested() -> None:
            setback.resting = None
            again()

        if setback.resting is not None:
            setback.resting.cancel()
        setback.resting = loop.call_later(wait, rested)
        return True

    def overcome(self, number: int) -> None:
        """A slice has come."""
        if self._all:
            self._drop(self._all.pop(number, None))

    def close(self) -> None:
        """Call nobody any more."""
        setbacks, self._all = self._all, {}
        for setback in setbacks.values():
            self._drop(setback)

    def _drop(self, setback: _Setback | None) -> None:
        if setback is not None and setback.resting is not None:
            setback.resting.cancel()
            setback.resting = None
