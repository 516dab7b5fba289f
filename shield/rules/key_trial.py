"""How new credentials are introduced at an origin: proven by a probe, used for a share of requests, then all. Pure.

    PROBING --passed--> SHARED --no refusal for SHARE_SECONDS--> IN_USE

A refusal of the new ones leads back to PROBING, with the old ones in use: new keys take a while to be known
everywhere, so the next probe may pass. A refusal of the old ones puts the new ones into use at once, since nothing is
left to lose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

SHARE = 4
"""While they are shared, one second in so many is signed with the new credentials."""

SHARE_SECONDS = 20.0
"""Five seconds' worth of requests."""

WATCH_SECONDS = 300.0
"""After which the old credentials are forgotten, so that nothing can lead back to them."""

FIRST_PAUSE = 2.0
"""Seconds before a failed probe is repeated; twofold each time."""

LONGEST_PAUSE = 300.0

ALARM_FAILURES = 4
"""Failed probes before the operator is alerted: about half a minute, in which new keys become known."""


class TrialStage(Enum):
    """How far new credentials are introduced."""

    PROBING = "probing"  # the old ones sign all requests
    SHARED = "shared"  # the new ones sign a share
    IN_USE = "in use"  # they sign all; the old ones are kept for a while


class TrialEvent(Enum):
    """An observation."""

    PASSED = "passed"  # the probe
    FAILED = "failed"  # the probe: refused, or no response
    NEW_REFUSED = "the new ones were refused"
    OLD_REFUSED = "the old ones were refused"


@dataclass(frozen=True, slots=True)
class KeyTrial:
    """A trial; `due` is the time of its next probe (PROBING), or of the end of its stage.

    `failures` are failed probes and refusals in a row. `is_final`: there is no way back to the old ones.
    """

    stage: TrialStage
    due: float
    failures: int = 0
    is_final: bool = False

    @property
    def alarms(self) -> bool:
        """Whether the operator should know that the new credentials don't work."""
        return self.stage is TrialStage.PROBING and self.failures >= ALARM_FAILURES

    def after(self, event: TrialEvent, now: float) -> KeyTrial:
        """The trial after an observation. Observations of an earlier stage change nothing."""
        if event is TrialEvent.OLD_REFUSED:
            if self.stage is TrialStage.IN_USE:
                return replace(self, is_final=True)
            # If the new ones were refused before, both are: don't change between them with each request.
            return KeyTrial(TrialStage.IN_USE, now + WATCH_SECONDS, self.failures, is_final=self.failures > 0)
        if event is TrialEvent.NEW_REFUSED:
            if self.stage is TrialStage.PROBING or self.is_final:
                return self
            failures = max(self.failures + 1, ALARM_FAILURES)  # traffic was refused: an alarm at once
            return KeyTrial(TrialStage.PROBING, now + _pause(failures), failures)
        if self.stage is not TrialStage.PROBING:
            return self
        if event is TrialEvent.PASSED:
            return KeyTrial(TrialStage.SHARED, now + SHARE_SECONDS, self.failures)
        return replace(self, due=now + _pause(self.failures + 1), failures=self.failures + 1)

    def at(self, now: float) -> KeyTrial | None:
        """The trial as time passes; None once it is over, with the new credentials in use."""
        if self.stage is TrialStage.SHARED and now >= self.due:
            return KeyTrial(TrialStage.IN_USE, now + WATCH_SECONDS)
        if self.stage is TrialStage.IN_USE and now >= self.due:
            return None
        return self


def begun(now: float, *, nothing_to_lose: bool) -> KeyTrial:
    """A trial of new credentials. `nothing_to_lose`: the old ones are refused or expired, or there are none."""
    if nothing_to_lose:
        return KeyTrial(TrialStage.IN_USE, now + WATCH_SECONDS, is_final=True)
    return KeyTrial(TrialStage.PROBING, now)


def _pause(failures: int) -> float:
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
