"""Keys that changed lately, at the primary first: the order of origins for them, and trust in their responses. Pure.

Replication takes time, so that after a purge or an upload a replica may still have the bytes of before, or none. For
as long as that may be so, the primary is tried first, and a replica's response is kept for seconds at most.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

import xxhash

from shield.messages import ResponseHead
from shield.rules.absence import WEAK_SECONDS
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.ranking import OriginFacts
from shield.rules.targeted import governing

UNSTATED_LAG_SECONDS = 900.0
"""The lag of a replica without `max_lag`: the 15 minutes that S3's replication time control promises."""

_LIFETIMES = (b"cache-control", b"expires", b"cdn-cache-control", b"surrogate-control", b"age")


class ChangeKind(IntEnum):
    """The reason why a key is treated with care."""

    PURGED = 1  # its entry was removed by an operator
    NEW = 2  # it was announced as a new object
    CHANGED = 3  # it was announced as overwritten
    DELETED = 4  # it was announced as deleted
    TAKEN_DOWN = 5  # removed for good: only the primary can bring it back


@dataclass(frozen=True, slots=True)
class Changed:
    """One change. `at` and `until` are epoch seconds: when it was told, and up to when replicas may lag. `version` is
    that of the entry removed then (`version_of`), 0 if unknown."""

    kind: ChangeKind
    at: float
    until: float
    version: int = 0

    @property
    def is_of_absence(self) -> bool:
        """Whether the object is gone, so that a replica's copy mustn't stand for it."""
        return self.kind in (ChangeKind.DELETED, ChangeKind.TAKEN_DOWN)


def lag_of(facts: Sequence[OriginFacts]) -> float:
    """The seconds for which any of these origins may lag; 0.0: none of them is a copy."""
    lags = [UNSTATED_LAG_SECONDS if each.max_lag is None else each.max_lag for each in facts if each.copy_of]
    return max(lags, default=0.0)


def primary_of(facts: Sequence[OriginFacts]) -> str | None:
    """The primary, even if the route doesn't have it."""
    return next(
        (each.name if each.is_primary else each.copy_of for each in facts if each.is_primary or each.copy_of), None
    )


def with_primary_first(
    order: Sequence[str], facts: Sequence[OriginFacts], late: Collection[str] = ()
) -> Sequence[str]:
    """The order with the primary first, if it is among them, and copies that are `late` last."""
    primary = primary_of(facts)
    return tuple(sorted(order, key=lambda name: 0 if name == primary else 2 if name in late else 1))


def authorities(order: Sequence[str], facts: Sequence[OriginFacts]) -> Sequence[str]:
    """The origins that all must have an object which was taken down, before it is served again: the primary; without
    one, all that have all objects, in this order.
    """
    primary = primary_of(facts)
    if primary is not None:
        return (primary,)
    partial = {each.name for each in facts if not each.holds_all}
    return [name for name in order if name not in partial] or order


def version_of(etag: bytes | None, length: int | None) -> int:
    """A number for the bytes of a response, by its ETag and length; 0: unknown."""
    if etag is None or length is None:
        return 0
    return xxhash.xxh3_64_intdigest(b"%b %d" % (etag.removeprefix(b"W/"), length)) >> 1 or 1


def is_doubtful(changed: Changed, facts: Sequence[OriginFacts], origin: str | None, version: int) -> bool:
    """Whether an object from this origin (None: unknown) may be the one from before the change.

    Not if the origin is the primary, or if it is known to differ from what was there before.
    """
    primary = primary_of(facts)
    if primary is None or origin == primary or changed.kind is ChangeKind.NEW:
        return False
    return not (changed.version and version) or version == changed.version


def limited(head: ResponseHead, rules: FreshnessRules) -> ResponseHead:
    """The head of a doubtful response, by which caches behind us keep it for seconds, too. One that restricts caching
    in another way than by time stays as it is.
    """
    control, _ = governing(head, ())
    targeted, _ = governing(head, rules.targeted, rules.surrogate)
    for each in (control, targeted):
        if each.no_store or each.private or each.no_cache or each.private_fields or each.no_cache_fields:
            return head
    words = [b"max-age=%d" % WEAK_SECONDS]
    if control.public:
        words.append(b"public")
    if control.must_revalidate:
        words.append(b"must-revalidate")
    left_out = {*_LIFETIMES, *rules.targeted}
    kept = tuple([field for field in head.fields if field[0] not in left_out])
    return ResponseHead(head.status, (*kept, (b"cache-control", b", ".join(words))), head.length)


def is_limited(head: ResponseHead) -> bool:
    """Whether caches are to keep a response for seconds only, as a `limited` one."""
    control, _ = governing(head, ())
    return control.max_age is not None and control.max_age <= WEAK_SECONDS


def limit(freshness: Freshness, now: float) -> None:
    """Have a doubtful response expire within seconds, without grace."""
    freshness.lifetime = min(freshness.lifetime, freshness.age(now) + WEAK_SECONDS)
    freshness.grace = freshness.error_grace = 0.0
