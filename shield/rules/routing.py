"""Which origin next: pure ranking and the policy of attempts. Waits are returned, never made."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

MIN_ATTEMPT_SECONDS = 0.05
"""Less time than this before the deadline isn't worth an attempt: no origin answers so fast from afar."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What ranking knows of an origin."""

    name: str
    role: str  # primary or replica


@dataclass(slots=True)
class Attempt:
    """One try: at `origin`, given up at `deadline` (same clock as the one passed in)."""

    origin: str
    deadline: float


def rank(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Names in the order in which they are to be tried: as configured."""
    return tuple([candidate.name for candidate in candidates])


def next_attempt(order: Sequence[str], tried: Container[str], *, now: float, deadline: float) -> Attempt | None:
    """The first origin in `order` that wasn't tried yet, or None when none is left or time is up.

    Time is shared out evenly: an origin may use what remains divided by the origins that remain, so that the
    last one has its share even when all before it stall.
    """
    left = [name for name in order if name not in tried]
    remaining = deadline - now
    if not left or remaining < MIN_ATTEMPT_SECONDS:
        return None
    return Attempt(left[0], now + remaining / len(left))
