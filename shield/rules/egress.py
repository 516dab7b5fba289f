"""Reasons for which bytes are fetched from an origin: the ledger counts by them."""

from __future__ import annotations

from enum import Enum

from shield.rules.attempts import Extra


class FetchReason(Enum):
    """Why a request was sent to an origin; the value is the word in the ledger and in metrics."""

    MISS = "miss"  # nothing usable is stored
    REVALIDATION = "revalidation"  # an entry is validated; a changed object comes with it
    RANGE = "range"  # a part of an object: a client's range, or slices that aren't stored
    BYPASS = "bypass"  # the response can't be shared or stored
    RESUME = "resume"  # the rest of a body that broke off
    FAILOVER = "failover"  # another origin failed, is late, suspected to be down, or over budget
    ABSENT = "absent"  # another origin doesn't have the object
    RETRY = "retry"  # the same origin again
    HEDGE = "hedge"  # a second origin beside one that is later than usual
    PROBE = "probe"  # the health of the origin, its lag, or new credentials
    AUDIT = "audit"  # copies are compared
    WARM = "warm"  # entries are brought in before clients request them
    PREFETCH = "prefetch"  # an announced object

    __hash__ = object.__hash__  # Enum's own is Python, and each fetch looks one up


_OF_EXTRA = {
    Extra.RETRY: FetchReason.RETRY,
    Extra.RESUME: FetchReason.RESUME,
    Extra.FAILOVER: FetchReason.FAILOVER,
    Extra.RESCUE: FetchReason.FAILOVER,
    Extra.ABSENT: FetchReason.ABSENT,
    Extra.HEDGE: FetchReason.HEDGE,
}


def reason_of(
    purpose: FetchReason | None,
    extra: Extra | None,
    *,
    resumes: bool = False,
    validates: bool = False,
    in_part: bool = False,
) -> FetchReason:
    """The reason of one attempt. An attempt after the first has that as its reason, whatever the fetch is for;
    else the `purpose` of the fetch counts, and without one what it asks for.
    """
    if extra is not None:
        return _OF_EXTRA[extra]
    if purpose is not None:
        return purpose
    if resumes:
        return FetchReason.RESUME
    if validates:
        return FetchReason.REVALIDATION
    return FetchReason.RANGE if in_part else FetchReason.MISS
