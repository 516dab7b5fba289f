"""When an origin counts as out, and for how long it was: for one line in the log when it answers again. Pure; it
decides on no request.
"""

from __future__ import annotations

from dataclasses import dataclass

from shield.errors import Fault

IN_A_ROW = 3
"""Failures without an answer in between that make an outage: one that stumbles now and then is none."""

# They say nothing on the origin as such: they are of one object, or we gave up.
_OF_OBJECTS = frozenset(
    {Fault.FORBIDDEN, Fault.COLD, Fault.VALIDATOR, Fault.DIFFERS, Fault.SHORT_BODY, Fault.CANCELLED}
)


@dataclass(slots=True)
class Outage:
    """One that is over, or goes on. `began` is when its first attempt failed."""

    began: float
    fault: Fault  # the latest
    failures: int = 0

    def seconds(self, now: float) -> float:
        return now - self.began


class Outages:
    """The failures in a row of each origin, by name."""

    __slots__ = ("running",)

    def __init__(self) -> None:
        self.running: dict[str, Outage] = {}
        """Only to be read; while it is empty, an answer isn't worth a call of `answered`."""

    def failed(self, origin: str, fault: Fault, now: float) -> None:
        """An attempt at it failed."""
        if fault in _OF_OBJECTS:
            return
        outage = self.running.setdefault(origin, Outage(now, fault))
        outage.fault = fault
        outage.failures += 1

    def answered(self, origin: str) -> Outage | None:
        """It gave an object, or said that there is none: the outage that ends by this, if there was one."""
        outage = self.running.pop(origin, None)
        return outage if outage is not None and outage.failures >= IN_A_ROW else None
