"""In which order origins are tried: pure ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """What ranking knows of an origin."""

    name: str
    role: str  # primary or replica


def rank(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Names in the order in which they are to be tried: as configured."""
    return tuple([candidate.name for candidate in candidates])
