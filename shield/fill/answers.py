"""What an origin's answer means for an entry: which head it has, and how what is stored goes on."""

from __future__ import annotations

from collections.abc import Sequence

from shield.messages import Field, Request, ResponseHead
from shield.origin.want import Absent, Fetched
from shield.rules import dates, headers, hidden, ranges
from shield.rules.digests import OF_CONTENT
from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey
from shield.rules.routes import Route
from shield.rules.selection import StoredHead, as_judged, of_fields, stored_head, with_length
from shield.rules.tags import labels
from shield.rules.vary import names_in, unkeyed
from shield.rules.verdict import Disposition, judge_response
from shield.store.entry import Entry


class Streaming:
    """An answer whose body isn't all here yet, as a stored response."""

    __slots__ = ("freshness", "head")

    def __init__(self, head: StoredHead, freshness: Freshness) -> None:
        self.head = head
        self.freshness = freshness


def judged(request: Request, fetched: Fetched, head: ResponseHead, route: Route) -> Disposition:
    """May it be stored, and who else may have it? `head` is that of the whole object."""
    if b"authorization" in request.notable and not route.forwarding.has(b"authorization"):
        # No origin saw it, so that nothing in the answer is for its bearer (RFC 9111 §3.5).
        notable = {name: value for name, value in request.notable.items() if name != b"authorization"}
        request = Request(request.method, request.target, request.fields, notable)
    return judge_response(
        request,
        head,
        request_time=fetched.request_time,
        response_time=fetched.response_time,
        rules=route.freshness,
        unkeyed=unkeyed_of(request, route, names_in(head.all(b"vary")) or ()) if route.forwarding.any else (),
    )


def unkeyed_of(request: Request, route: Route, names: Sequence[bytes] = ()) -> Sequence[Field]:
    """The fields of a request that origins saw and by which variants aren't told apart, by these names in Vary."""
    return unkeyed(names, route.forwarding.fields(request), route.forwarding)


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
    head: ResponseHead, fetched: Fetched, disposition: Disposition, route: Route, *, via: bytes
) -> StoredHead:
    """The head that all who wait for an answer get; `head` is that of the whole object."""
    dropped, kept_back = disposition.dropped, route.freshness.hidden
    put_away: tuple[Field, ...] = ()
    if dropped:
        put_away = hidden.hide([f for f in head.fields if f[0] in kept_back], kept_back)
        head = ResponseHead(head.status, tuple(f for f in head.fields if f[0] not in dropped), head.length)
    made = stored_head(
        head,
        via=None if fetched.by_peer else via,
        date=dates.imf_fixdate(fetched.response_time),
        length=head.length,
        rules=route.fields.of(fetched.origin, by_peer=fetched.by_peer),
    )
    if put_away:
        made = of_fields(made.status, (*made.fields, *put_away))
    return as_judged(made, disposition.freshness)


def kept_head(told: StoredHead, disposition: Disposition, length: int | None, route: Route) -> StoredHead:
    """What of it is stored, with the body's length if that is known only now. Parts of what is stored can be had,
    whatever its origin can do.
    """
    unstored = disposition.unstored
    if unstored:
        told = of_fields(told.status, tuple(f for f in told.fields if f[0] not in unstored))
    if told.status == 200 and route.fields.tells_ranges and not ranges.has_parts(200, told.fields):
        told = of_fields(told.status, ranges.with_parts(told.fields))
    kept = told if length is None else with_length(told, length)
    assert disposition.freshness is not None
    return as_judged(kept, disposition.freshness)


def freshened_entry(stored: Entry, fetched: Fetched, request: Request, route: Route) -> tuple[Entry, Disposition]:
    """The stored entry under the fields that a 304 or an answer to HEAD brings (RFC 9111 §4.3.4), judged anew."""
    update, answered, rules = fetched.response.head, fetched.response_time, route.freshness
    passing = route.fields.of(fetched.origin, by_peer=fetched.by_peer).kept
    date = dates.imf_fixdate(answered)
    fields = headers.updated(hidden.reveal(stored.head.fields), update.fields, date=date, passing=passing)
    if stored.head.status == 200 and route.fields.tells_ranges:
        fields = ranges.with_parts(fields)
    ages = tuple(field for field in update.fields if field[0] == b"age")
    whole = ResponseHead(stored.head.status, (*fields, *ages), stored.length)
    disposition = judged(request, fetched, whole, route)
    assert disposition.freshness is not None
    freshness = disposition.freshness
    left_out = disposition.dropped | disposition.unstored
    head = of_fields(stored.head.status, tuple(f for f in hidden.hide(fields, rules.hidden) if f[0] not in left_out))
    entry = stored.freshened(as_judged(head, freshness), freshness)
    entry.tags = labels(whole, rules.tags)
    return entry, disposition


def negative_entry(
    key: CacheKey, absent: Absent, request: Request, route: Route, *, now: float, via: bytes
) -> tuple[Entry, bool]:
    """That there is no such object, for as long as that is believed; and whether it holds for others, too: no field
    of the request may have brought it about.
    """
    forwarding, rules = route.forwarding, route.freshness
    for_all = not forwarding.any or forwarding.storage or rules.unkeyed == "store" or not unkeyed_of(request, route)
    lifetime = min(rules.negative_bound(absent.status) or 0.0, absent.lifetime) if for_all else 0.0
    body = b"not found\n"
    fields = (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"cache-control", b"max-age=%d" % lifetime),
        (b"date", dates.imf_fixdate(now)),
        (b"content-length", b"%d" % len(body)),
        (b"via", via),
    )
    freshness = Freshness(born=now, lifetime=lifetime, grace=0.0, keep=0.0)
    return Entry(key, of_fields(absent.status, fields), freshness, (body,)), for_all
