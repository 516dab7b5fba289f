"""What an origin's answer means for an entry: which head it has, and how what is stored goes on."""

from __future__ import annotations

from dataclasses import replace

from shield.messages import Request, ResponseHead
from shield.origin.origins import Fetched
from shield.rules import dates, headers, ranges
from shield.rules.digests import OF_CONTENT
from shield.rules.fields import FieldRules
from shield.rules.freshness import Freshness, FreshnessRules, freshness_of, policy_of
from shield.rules.key import CacheKey
from shield.rules.routes import Route
from shield.rules.selection import StoredHead, of_fields, stored_head, with_length
from shield.rules.verdict import Disposition, Share, judge_response
from shield.store.entry import Entry


def judged(request: Request, fetched: Fetched, head: ResponseHead, rules: FreshnessRules) -> Disposition:
    """May it be stored, and who else may have it? `head` is that of the whole object."""
    disposition = judge_response(
        request, head, request_time=fetched.request_time, response_time=fetched.response_time, rules=rules
    )
    if fetched.by_peer and not rules.dropped.isdisjoint(rules.targeted):
        # A field that the owner leaves out may have governed it: then only the owner knows who may have it.
        return replace(disposition, share=Share.LEADER_ONLY, reason="unseen")
    return disposition


def is_part(fetched: Fetched) -> bool:
    """Whether an answer, to a tentative span, isn't all of the object."""
    head = fetched.response.head
    if head.status != 206:
        return False
    first, last, length = ranges.parse_content_range(head.get(b"content-range") or b"") or (0, 0, None)
    return (first, last + 1) != (0, length)


def whole_head(head: ResponseHead) -> ResponseHead:
    """The head of the object of which a 206 gives a part (RFC 9111 §3.4); any other head as it is."""
    if head.status != 206:
        return head
    stated = ranges.parse_content_range(head.get(b"content-range") or b"")
    fields = tuple(f for f in head.fields if f[0] not in _OF_THE_PART)
    return ResponseHead(200, fields, None if stated is None else stated[2])


_OF_THE_PART = OF_CONTENT | {b"content-length", b"content-range"}


def told_head(
    head: ResponseHead, disposition: Disposition, rules: FieldRules, *, via: bytes | None, date: bytes
) -> StoredHead:
    """The head that all who wait for an answer get."""
    dropped = disposition.dropped
    if dropped:
        head = ResponseHead(head.status, tuple(f for f in head.fields if f[0] not in dropped), head.length)
    return stored_head(head, via=via, date=date, length=head.length, rules=rules)


def kept_head(told: StoredHead, disposition: Disposition, length: int | None) -> StoredHead:
    """What of it is stored, with the body's length if that is known only now."""
    unstored = disposition.unstored
    if unstored:
        told = of_fields(told.status, tuple(f for f in told.fields if f[0] not in unstored))
    kept = told if length is None else with_length(told, length)
    assert disposition.freshness is not None
    return _as_judged(kept, disposition.freshness)


def freshened_entry(stored: Entry, fetched: Fetched, request: Request, route: Route) -> tuple[Entry, Disposition]:
    """The stored entry under the fields that a 304 or an answer to HEAD brings (RFC 9111 §4.3.4), judged anew."""
    update, answered, rules = fetched.response.head, fetched.response_time, route.freshness
    passing = route.fields.of(fetched.origin, by_peer=fetched.by_peer).kept
    date = dates.imf_fixdate(answered)
    fields = headers.updated(stored.head.fields, update.fields, date=date, passing=passing)
    ages = tuple(field for field in update.fields if field[0] == b"age")
    whole = ResponseHead(stored.head.status, (*fields, *ages), stored.length)
    disposition = judged(request, fetched, whole, rules)
    assert disposition.freshness is not None
    freshness = disposition.freshness
    if _was_governed_unseen(stored, update, rules):
        freshness = replace(stored.freshness, born=freshness.born)
    left_out = disposition.dropped | disposition.unstored
    head = of_fields(stored.head.status, tuple(f for f in fields if f[0] not in left_out))
    return stored.freshened(_as_judged(head, freshness), freshness), disposition


def negative_entry(key: CacheKey, status: int, *, lifetime: float, now: float, via: bytes) -> Entry:
    """That there is no such object, for as long as that is believed."""
    body = b"not found\n"
    fields = (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"cache-control", b"max-age=%d" % lifetime),
        (b"date", dates.imf_fixdate(now)),
        (b"content-length", b"%d" % len(body)),
        (b"via", via),
    )
    freshness = Freshness(born=now, lifetime=lifetime, grace=0.0, keep=0.0)
    return Entry(key, of_fields(status, fields), freshness, (body,))


def _as_judged(head: StoredHead, freshness: Freshness) -> StoredHead:
    """The head with marks as its freshness says, whatever field that came from."""
    head.must_revalidate = freshness.error_grace <= 0.0 and freshness.grace <= 0.0
    head.no_cache = head.must_revalidate and freshness.lifetime <= 0.0
    return head


def _was_governed_unseen(stored: Entry, update: ResponseHead, rules: FreshnessRules) -> bool:
    """Whether a targeted field that isn't stored gave the entry its times, and the update says nothing else.

    A 304 needn't repeat it (RFC 9110 §15.4.5), and what the fields that are stored say was never meant for us.
    """
    if rules.dropped.isdisjoint(rules.targeted) or any(update.get(name) is not None for name in rules.targeted):
        return False
    seen = ResponseHead(stored.head.status, stored.head.fields, stored.length)
    times = freshness_of(seen, policy_of(seen, 0.0, rules), request_time=0.0, response_time=0.0, rules=rules)
    return (times.lifetime, times.grace) != (stored.freshness.lifetime, stored.freshness.grace)
