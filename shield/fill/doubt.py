"""Fetches of keys that changed lately: the primary is asked first, and a copy that may lag is kept for seconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from shield.fill.means import Means
from shield.fill.settlement import Question, Settlement, settle_absence
from shield.messages import ResponseHead
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.rules import ranges
from shield.rules.absence import Absence, absence_of
from shield.rules.changes import (
    Changed,
    ChangeKind,
    authorities,
    is_doubtful,
    is_limited,
    limit,
    limited,
    version_of,
    with_primary_first,
)
from shield.rules.routes import Resource
from shield.store.entry import Entry

MAY_LAG = "may-lag"
"""The detail of a response that may be the one from before a change."""

Result = Fetched | Absent | Failed


def note_change(question: Question, means: Means) -> Changed | None:
    """Note in a question whether its key changed lately, and how."""
    question.changed = means.changes.find(question.resource.named, means.clock())
    return question.changed


async def fetch_with_care(question: Question, means: Means, names: Sequence[str], want: Want) -> Result:
    """As the source does, for a key that changed lately.

    An object that was taken down comes from the primary or not at all.
    """
    facts, fetch, changed = question.resource.route.facts, means.source.fetch, question.changed
    assert changed is not None
    if changed.is_of_absence:
        result = await _fetch_all(authorities(names, facts), want, fetch)
        if changed.kind is ChangeKind.TAKEN_DOWN or not isinstance(result, Failed):
            return result
    want.may_hedge = False  # a replica's response may be the one from before
    lag = means.lag
    result = await fetch(with_primary_first(names, facts, () if lag is None else lag.late()), want)
    if lag is not None and isinstance(result, Fetched) and not result.by_peer:
        lag.sighted(want, result, since=changed.at, among=[each.name for each in facts])
    return result


async def _fetch_all(
    names: Sequence[str], want: Want, fetch: Callable[[Sequence[str], Want], Awaitable[Result]]
) -> Result:
    """What the first of these origins has, if all of them have something."""
    first: Fetched | None = None
    result: Result | None = None
    try:
        for name in names:
            result = await fetch((name,), want)
            if not isinstance(result, Fetched):
                return result
            if first is not None:
                result.response.close()
            elif result.by_peer:
                return result  # the owner of the key has asked all of them
            else:
                first = result
        assert first is not None  # every route has an origin
        result = first
        return result
    finally:
        if first is not None and result is not first:
            first.response.close()


def doubts(changed: Changed, resource: Resource, result: Fetched, stored: Entry | None) -> bool:
    """Whether a result may be from before the change. Then its head says so, and caches behind us keep it briefly.

    The owner of the key has judged what it gives: its head tells of that.
    """
    head, route = result.response.head, resource.route
    if result.by_peer and not is_limited(head):
        return False
    if head.status >= 400 or not is_doubtful(changed, route.facts, result.origin or None, _version(head, stored)):
        return False
    result.response.head = limited(head, route.freshness)
    result.detail = MAY_LAG
    return True


def _version(head: ResponseHead, stored: Entry | None) -> int:
    etag, length = head.get(b"etag"), head.length
    if head.status == 304:
        return 0 if stored is None else version_of(stored.etag, stored.length)
    if head.status == 206:
        _, _, length = ranges.parse_content_range(head.get(b"content-range") or b"") or (0, 0, None)
    return version_of(etag, length)


def shorten(settled: Settlement, now: float) -> None:
    """Have the entry of a doubted response expire within seconds."""
    if settled.disposition is not None:
        freshness, entry = settled.disposition.freshness, settled.entry
        limit(freshness, now)
        if entry is not None:
            entry.plain_hit_until = min(entry.plain_hit_until, freshness.born + freshness.lifetime)


def settle_missing(question: Question, absent: Absent, means: Means) -> tuple[Settlement, str]:
    """The settlement of an absence, and its certainty in a word: of an object that was announced it isn't certain."""
    changed, resource = question.changed, question.resource
    if changed is not None and changed.kind in (ChangeKind.NEW, ChangeKind.CHANGED):
        absence = Absence.ANNOUNCED
    else:
        absence = absence_of(resource.route.facts, absent.said, absent.unwell)
    known = means.store.variants.names(resource.named)
    return settle_absence(question, absent, absence, means.clock(), known=known), absence.value
