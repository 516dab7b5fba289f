"""The certainty of an object's absence, by the origins that said so: replicas lack what hasn't arrived yet. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum

from shield.rules.ranking import OriginFacts

WEAK_SECONDS = 2.0
"""How long an uncertain absence is cached at most: an object that was just uploaded must be seen within seconds, and
a crowd of requests for a missing one still costs the origins one fetch in two seconds."""


class Absence(Enum):
    """Whose word an absence is; the value is the word in Cache-Status and logs. Every origin that was asked lacks the
    object in each case."""

    PRIMARY = "absent-at-primary"  # the primary, which is well, says so itself
    EVERYWHERE = "absent-everywhere"  # no origin is the primary, and some that have all objects say so
    REPLICAS = "absent-at-replicas"  # the primary wasn't asked
    UNWELL = "primary-unwell"  # the primary says so, but its health is bad
    PART = "absent-in-part"  # only origins say so that never have all objects
    ANNOUNCED = "announced"  # they say so of an object that was announced to be there

    @property
    def is_certain(self) -> bool:
        """Whether it may be cached for the whole lifetime of negative entries."""
        return self in (Absence.PRIMARY, Absence.EVERYWHERE)


def absence_of(facts: Sequence[OriginFacts], said: Collection[str], unwell: Collection[str]) -> Absence:
    """The certainty of an absence that the origins `said` state; `unwell` are those of them whose health is bad. None
    `said`: another worker has judged it.

    `facts` are those of the route's origins; none: all are alike.
    """
    if not facts or not said:
        return Absence.EVERYWHERE
    whole = [each for each in facts if each.name in said and each.holds_all]
    if not whole:
        return Absence.PART
    if not any(each.is_primary or each.copy_of for each in facts):
        return Absence.EVERYWHERE
    primary = next((each.name for each in whole if each.is_primary), None)
    if primary is None:
        return Absence.REPLICAS
    return Absence.UNWELL if primary in unwell else Absence.PRIMARY
