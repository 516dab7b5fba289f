"""The order in which origins are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """The facts about an origin that ranking uses."""

    name: str
    role: str  # primary or replica


def rank(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Names in the order in which they are tried: as configured."""
    return tuple([candidate.name for candidate in candidates])
