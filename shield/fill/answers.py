"""What an origin's answer means for an entry: which head it has, and how what is stored goes on."""

from __future__ import annotations

from shield.messages import Request, ResponseHead
from shield.origin.origins import Fetched
from shield.rules import dates, ranges
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.key import CacheKey
from shield.rules.selection import freshened_head, of_fields
from shield.rules.verdict import Disposition, judge_response
from shield.store.entry import Entry


def judged(request: Request, fetched: Fetched, head: ResponseHead, rules: FreshnessRules) -> Disposition:
    """May it be stored, and who else may have it? `head` is that of the whole object."""
    return judge_response(
        request, head, request_time=fetched.request_time, response_time=fetched.response_time, rules=rules
    )


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
    fields = tuple(f for f in head.fields if f[0] not in (b"content-range", b"content-length"))
    return ResponseHead(200, fields, None if stated is None else stated[2])


def freshened_entry(
    stored: Entry, fetched: Fetched, request: Request, rules: FreshnessRules
) -> tuple[Entry, Disposition]:
    """The stored entry under the fields that a 304 brings (RFC 9111 §4.3.4), judged anew."""
    update, answered = fetched.response.head, fetched.response_time
    head = freshened_head(stored.head, update, date=dates.imf_fixdate(answered))
    ages = tuple(field for field in update.fields if field[0] == b"age")
    whole = ResponseHead(stored.head.status, (*head.fields, *ages), stored.length)
    disposition = judged(request, fetched, whole, rules)
    return stored.freshened(head, disposition.freshness or Freshness(answered, 0.0, 0.0, 0.0)), disposition


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
