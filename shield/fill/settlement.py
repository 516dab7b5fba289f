"""The use of a response once its head has arrived: what is stored, and which of the waiting requests get it.

`settle` returns it as a value, and the fill carries it out. Nothing here knows the store, the clock or the loop, so
that every case can be tested without an origin. Below it: the heads of entries, and how a stored one is freshened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from shield.messages import Field, Request, ResponseHead
from shield.origin.want import Absent, Fetched, Want
from shield.rules import dates, exact, headers, hidden, ranges
from shield.rules.absence import WEAK_SECONDS, Absence
from shield.rules.changes import Changed
from shield.rules.conditional import HeadEffect, freshens, head_effect, is_strong
from shield.rules.fields import stored_head
from shield.rules.freshness import Freshness
from shield.rules.heads import StoredHead, as_judged, of_fields, with_length
from shield.rules.key import CacheKey
from shield.rules.ranges import Span
from shield.rules.routes import Resource, Route
from shield.rules.tags import labels
from shield.rules.vary import choosing, names_in, unkeyed
from shield.rules.verdict import Disposition, Reason, Share, has_credentials, judge_response
from shield.store.entry import OVERHEAD, Body, Entry

_STALE_IF = frozenset({500, 502, 503, 504})  # RFC 5861 §4


class Step(Enum):
    """The use that a fill makes of a response."""

    ASK_WHOLE = "ask whole"  # none: close it, and fetch the whole object, without a condition
    FRESHEN = "freshen"  # the stored entry still holds: close the response, store `entry`, and answer with that
    CONFIRM = "confirm"  # the same for the present readers, but `entry` isn't stored
    KEEP = "keep"  # the stale entry is better (RFC 5861 §4): close the response and fail
    SLICE = "slice"  # stream into slices: the readers continue from their fill
    STORE = "store"  # stream, and keep every byte for the entry
    PART = "part"  # just the requested part: stream it to the present readers that need no more
    SHARE = "share"  # stream to the present readers, through a window
    LEADER_ONLY = "leader-only"  # stream to the leader, through a window; all others fetch for themselves


class HitForMiss(Enum):
    """Whether the next requests for the key need wait for each other, by this response."""

    MARK = "mark"  # no: it can't be shared
    FORGET = "forget"  # yes
    LEAVE = "leave"  # unknown: it isn't the whole object, or the request alone is the reason


@dataclass(slots=True, init=False)
class Question:
    """The fetch of a fill, and the request that caused it. `stored` is the entry to be validated, if any.

    `want` and `stored` change when a response is of no use. `shared`: other requests may join, which doesn't affect
    storing. `in_slices`: its readers may continue in slices. `in_parts` False: the parts that origins give are too
    small to be kept, so that clients get no ranges of the object. `changed`: its key did so lately.
    """

    resource: Resource
    request: Request
    want: Want
    stored: Entry | None
    shared: bool
    in_slices: bool
    in_parts: bool
    changed: Changed | None

    def __init__(
        self,
        resource: Resource,
        request: Request,
        want: Want,
        stored: Entry | None,
        shared: bool,
        in_slices: bool = True,
        in_parts: bool = True,
        changed: Changed | None = None,
    ) -> None:
        self.resource = resource
        self.request = request
        self.want = want
        self.stored = stored
        self.shared = shared
        self.in_slices = in_slices
        self.in_parts = in_parts
        self.changed = changed


@dataclass(frozen=True, slots=True)
class FillTerms:
    """Limits for all responses: bodies above `sliced_above` bytes are read in slices; other entries have at most
    `largest` bytes. `keeps_slices`: there is a disk for slices.
    """

    via: bytes
    slice_bytes: int
    largest: int
    sliced_above: int
    keeps_slices: bool = True


@dataclass(slots=True, init=False)
class Settlement:
    """The use of one response: `step`, and its details.

    `drops`: the entry under the key is dropped, unless this response replaces it. `keeps_bytes` is the memory that
    STORE needs; `is_too_large`: there will never be enough. `span` is the body's place in the object for SLICE and
    PART, whose `length` is the object's. `is_too_small`: the part is smaller than requested, as further ones would
    be.

    For variants: `learns` are the fields by which the key's responses vary from now on, if they are new; `sorts`: its
    variant must be determined; `kept_until`: until then it needs a place among the variants; `of_equals`: only for
    requests that an origin would have seen alike.
    """

    step: Step
    disposition: Disposition | None
    head: StoredHead | None
    length: int | None
    tags: bytes
    entry: Entry | None
    drops: bool
    keeps_bytes: int
    span: Span | None
    is_part: bool
    is_too_small: bool
    is_too_large: bool
    hit_for_miss: HitForMiss
    sorts: bool
    learns: tuple[bytes, ...]
    kept_until: float | None
    of_equals: bool

    def __init__(
        self,
        step: Step,
        disposition: Disposition | None = None,
        head: StoredHead | None = None,
        length: int | None = None,
        tags: bytes = b"",
        entry: Entry | None = None,
        drops: bool = False,
        keeps_bytes: int = 0,
        span: Span | None = None,
        is_part: bool = False,
        is_too_small: bool = False,
        is_too_large: bool = False,
        hit_for_miss: HitForMiss = HitForMiss.LEAVE,
        sorts: bool = False,
        learns: tuple[bytes, ...] = (),
        kept_until: float | None = None,
        of_equals: bool = False,
    ) -> None:
        self.step = step
        self.disposition = disposition
        self.head = head
        self.length = length
        self.tags = tags
        self.entry = entry
        self.drops = drops
        self.keeps_bytes = keeps_bytes
        self.span = span
        self.is_part = is_part
        self.is_too_small = is_too_small
        self.is_too_large = is_too_large
        self.hit_for_miss = hit_for_miss
        self.sorts = sorts
        self.learns = learns
        self.kept_until = kept_until
        self.of_equals = of_equals


def settle_ordinary(question: Question, fetched: Fetched, terms: FillTerms) -> Settlement | None:
    """The settlement of an ordinary response that is stored whole, as nearly all are; None: `settle` decides."""
    head, request, want, length = fetched.response.head, question.request, question.want, fetched.response.head.length
    ordinary = question.resource.route.ordinary.get(fetched.origin)
    if ordinary is None or length is None or length > min(terms.sliced_above, terms.largest - OVERHEAD):
        return None
    if request.notable or want.method != b"GET" or want.span is not None or question.stored is not None:
        return None
    if fetched.by_peer or not question.in_parts or question.changed is not None:
        return None
    disposition = ordinary.judge(head, fetched.request_time, fetched.response_time)
    if disposition is None:
        return None
    told = ordinary.head(head, length, disposition.freshness, terms.via)
    size, shared = length + OVERHEAD, HitForMiss.FORGET
    return Settlement(Step.STORE, disposition, told, length, drops=True, keeps_bytes=size, hit_for_miss=shared)


def settle(question: Question, fetched: Fetched, terms: FillTerms, *, known: tuple[bytes, ...]) -> Settlement:
    """The settlement of a response. `known` are the fields by which the key's responses are known to vary."""
    head, stored, want = fetched.response.head, question.stored, question.want
    outdates = False
    if stored is not None:
        effect = _effect(stored, want, head)
        if head.status == 304 and not freshens(stored.etag, stored.last_modified, head):
            return Settlement(Step.ASK_WHOLE, drops=True)  # it is for something else (RFC 9111 §4.3.3)
        if head.status == 304 or effect is HeadEffect.FRESHENS:
            return _freshened(question, stored, fetched, known)
        if head.status in _STALE_IF and stored.freshness.in_error_grace(fetched.response_time):
            return Settlement(Step.KEEP)
        outdates = effect is HeadEffect.OUTDATES

    resource, route, part = question.resource, question.resource.route, None
    if head.status == 206 and want.tentative:
        part = _part_of(head)
        head = ranges.head_of_whole(head)
    disposition = judged(question.request, fetched, head, route)
    in_slices = _may_slice(question, fetched, head, terms) and disposition.share is Share.STORE
    if part is not None and _is_too_small(part, want, head.length or 0, terms.slice_bytes):
        return Settlement(Step.ASK_WHOLE, is_too_small=True)
    if part is not None and not in_slices and not _is_enough(part, question, head):
        return Settlement(Step.ASK_WHOLE)

    share = disposition.share
    step = Step.STORE if share is Share.STORE else Step.SHARE if share is Share.SHARE else Step.LEADER_ONLY
    settled = Settlement(step, disposition, length=head.length, drops=outdates)
    settled.tags = labels(head, route.freshness.tags)
    settled.head = told_head(head, fetched, disposition, route, via=terms.via)
    if route.particular and route.forwarding.any:
        _settle_variant(settled, head, resource, want, known)
    if in_slices:
        settled.step, settled.is_part = Step.SLICE, part is not None
        settled.span = Span(0, head.length or 0) if part is None else part
        settled.hit_for_miss, settled.drops = HitForMiss.FORGET, True
    elif part is not None:
        settled.step, settled.is_part, settled.span = Step.PART, True, part
        settled.sorts = False  # nothing of it is kept
        if share is Share.STORE:
            settled.disposition = replace(disposition, reason=Reason.EXACT)
        else:
            settled.of_equals = True
        if share is Share.LEADER_ONLY and not disposition.by_request:
            settled.hit_for_miss = HitForMiss.MARK
    elif want.method == b"GET" and (want.span is None or want.tentative):  # it brings all of the object
        _settle_keeping(settled, disposition, terms)
    elif settled.step is Step.STORE:
        settled.step = Step.SHARE
    return settled


def _effect(stored: Entry, want: Want, head: ResponseHead) -> HeadEffect:
    """The effect of a response to HEAD on the stored entry."""
    if want.method != b"HEAD" or head.status != 200 or stored.head.status != 200:
        return HeadEffect.NOTHING
    return head_effect(stored.etag, stored.last_modified, stored.length, head)


def _may_slice(question: Question, fetched: Fetched, head: ResponseHead, terms: FillTerms) -> bool:
    """Whether a body can be kept in slices: it is large, and has a strong ETag."""
    if head.length is None or head.length <= terms.sliced_above:
        return False
    if not terms.keeps_slices and b"range" in question.request.notable:
        return False  # just that part is fetched
    if not question.in_slices or question.want.method != b"GET" or not is_strong(head.get(b"etag")):
        return False
    return ranges.has_parts(fetched.response.head.status, head.fields)


def _is_too_small(part: Span, want: Want, length: int, slice_bytes: int) -> bool:
    """Whether a part is less than was requested, and less than a slice."""
    assert want.span is not None
    if part.start != want.span.start:
        return False  # the requested span lies beyond the object, and this is the beginning
    wanted = min(want.span.stop, length)
    return part.stop < (min(wanted, part.start + slice_bytes) if slice_bytes else wanted)


def _is_enough(part: Span, question: Question, head: ResponseHead) -> bool:
    """Whether a part is all that the leader needs, or fetching the rest of that costs less than the whole object."""
    length, request = head.length or 0, question.request
    spans = exact.spans_of(request.notable.get(b"range"), length)
    if len(spans) > 1 or not length:
        return False
    if not spans or (part.start <= spans[0].start and spans[0].stop <= part.stop):
        return True
    return is_strong(head.get(b"etag")) and not exact.is_worth(length, spans[0].stop - spans[0].start)


def _settle_variant(
    settled: Settlement, head: ResponseHead, resource: Resource, want: Want, known: tuple[bytes, ...]
) -> None:
    """Add what concerns variants: it must be known before any reader gets the response (RFC 9111 §4.1)."""
    disposition = settled.disposition
    assert disposition is not None
    if disposition.share is not Share.STORE:
        settled.of_equals = True
        return
    freshness = disposition.freshness
    settled.of_equals = (
        freshness.lifetime <= 0.0
    )  # one that must be validated each time is for its own request (§5.2.2.4)
    names = choosing(names_in(head.all(b"vary")) or (), resource.route.forwarding)
    if names != known:
        settled.learns = names
    settled.sorts = True
    if want.method == b"GET":
        settled.kept_until = (
            freshness.born + freshness.lifetime + freshness.grace
        )  # merely keeping it for revalidation takes no place


def _settle_keeping(settled: Settlement, disposition: Disposition, terms: FillTerms) -> None:
    """Add whether the bytes of a whole object are kept (RFC 9111 §3), and the hint for the next requests."""
    leader_only = disposition.share is Share.LEADER_ONLY
    settled.drops = not disposition.by_request  # else other requests may get another response
    if not leader_only:
        settled.hit_for_miss = HitForMiss.FORGET
    elif not disposition.by_request:
        settled.hit_for_miss = HitForMiss.MARK
    if settled.step is Step.STORE:
        settled.keeps_bytes = (settled.length or 0) + OVERHEAD
        if settled.keeps_bytes > terms.largest:
            settled.step, settled.is_too_large = Step.SHARE, True


def _freshened(question: Question, stored: Entry, fetched: Fetched, known: tuple[bytes, ...]) -> Settlement:
    """After 304, or a response to HEAD that matches: the stored entry still holds."""
    route = question.resource.route
    entry, disposition = freshened_entry(stored, fetched, question.request, route)
    stores, of_equals = disposition.share is Share.STORE, False
    if route.forwarding.any:
        said = names_in([value for name, value in entry.head.fields if name == b"vary"]) or ()
        if choosing(said, route.forwarding) != known:
            stores = False  # it varies by other fields now: the next fetch determines its variant (§4.1)
        of_equals = not stores or entry.freshness.lifetime <= 0.0
    drops = not stores and not disposition.by_request
    step = Step.FRESHEN if stores else Step.CONFIRM
    return Settlement(step, disposition, entry=entry, drops=drops, of_equals=of_equals)


class Streaming:
    """A response whose body is still arriving, judged as a stored one."""

    __slots__ = ("freshness", "head")

    def __init__(self, head: StoredHead, freshness: Freshness) -> None:
        self.head = head
        self.freshness = freshness


def judged(request: Request, fetched: Fetched, head: ResponseHead, route: Route) -> Disposition:
    """The disposition of a response. `head` is that of the whole object."""
    if b"authorization" in request.notable and not route.forwarding.has(b"authorization"):
        # No origin saw it, so that the response doesn't depend on it (RFC 9111 §3.5).
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
    """The forwarded fields of a request that don't distinguish variants, with these names in Vary."""
    return unkeyed(names, route.forwarding.fields(request), route.forwarding)


def _part_of(head: ResponseHead) -> Span | None:
    """The bytes in a 206, half-open; None when they are the whole object."""
    first, last, length = ranges.parse_content_range(head.get(b"content-range") or b"") or (0, 0, None)
    return None if (first, last + 1) == (0, length) else Span(first, last + 1)


def told_head(
    head: ResponseHead, fetched: Fetched, disposition: Disposition, route: Route, *, via: bytes
) -> StoredHead:
    """The head for all waiting requests; `head` is that of the whole object."""
    dropped, kept_back = disposition.dropped, route.freshness.hidden
    put_away: tuple[Field, ...] = ()
    if dropped:
        put_away = hidden.hide([f for f in head.fields if f[0] in kept_back], kept_back)
        head = ResponseHead(head.status, tuple(f for f in head.fields if f[0] not in dropped), head.length)
    made = stored_head(
        head,
        via=None if fetched.by_peer and not fetched.by_node else via,
        date=dates.imf_fixdate(fetched.response_time),
        length=head.length,
        rules=route.fields.of(fetched.origin, by_peer=fetched.by_peer),
    )
    if put_away:
        made = of_fields(made.status, (*made.fields, *put_away))
    return as_judged(made, disposition.freshness)


def kept_head(told: StoredHead, disposition: Disposition, length: int | None, route: Route) -> StoredHead:
    """The stored form of `told`, with the body's length if that is known only now. Ranges of an entry are supported
    even if its origin ignores them.
    """
    unstored = disposition.unstored
    if unstored:
        told = of_fields(told.status, tuple(f for f in told.fields if f[0] not in unstored))
    if told.status == 200 and route.fields.tells_ranges and not ranges.has_parts(200, told.fields):
        told = of_fields(told.status, ranges.with_parts(told.fields))
    kept = told if length is None else with_length(told, length)
    assert disposition.freshness is not None
    return as_judged(kept, disposition.freshness)


def whole_entry(
    resource: Resource, told: StoredHead, disposition: Disposition, body: Body, *, length: int | None
) -> Entry:
    """The entry of a complete response; `length` as in `kept_head`."""
    head = kept_head(told, disposition, length, resource.route)
    return Entry(resource.key, head, disposition.freshness, body)


def large_entry(
    resource: Resource, told: StoredHead, disposition: Disposition, length: int, terms: FillTerms
) -> Entry:
    """The entry of a response whose body continues in slices."""
    head = kept_head(told, disposition, None, resource.route)
    return Entry.large(resource.key, head, disposition.freshness, length=length, slice_bytes=terms.slice_bytes)


def freshened_entry(stored: Entry, fetched: Fetched, request: Request, route: Route) -> tuple[Entry, Disposition]:
    """The entry under the fields of a 304 or of a response to HEAD (RFC 9111 §4.3.4), judged again."""
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


def settle_absence(
    question: Question, absent: Absent, absence: Absence, now: float, *, known: tuple[bytes, ...]
) -> Settlement:
    """The settlement of the object's absence, and the requests for which it holds: no forwarded field that doesn't
    distinguish variants may have caused it. An uncertain one is cached for seconds at most. `known` as in `settle`.
    """
    route = question.resource.route
    forwarding, rules = route.forwarding, route.freshness
    names = tuple([name for name in absent.vary or () if forwarding.has(name)])
    is_of_known = {*known}.issuperset(names)
    share = Share.STORE
    if absent.vary is None:
        share = Share.LEADER_ONLY  # §4.1
    elif forwarding.any:
        unnamed = unkeyed_of(question.request, route, names)
        if has_credentials(unnamed, rules):
            share = Share.LEADER_ONLY
        elif unnamed and rules.unkeyed == "refuse" and not forwarding.storage:
            share = Share.SHARE
        elif known and not is_of_known:
            share = Share.SHARE  # an absence must not displace the variants of an object

    holds_for_all = not forwarding.any or (share is Share.STORE and is_of_known)
    lifetime = min(rules.negative_bound(absent.status) or 0.0, absent.lifetime)
    if not absence.is_certain:
        lifetime = min(lifetime, WEAK_SECONDS)
    if share is Share.STORE and lifetime <= 0.0:
        share = Share.SHARE
    freshness = Freshness(born=now, lifetime=lifetime if share is Share.STORE else 0.0, grace=0.0, keep=0.0)
    settled = Settlement(Step(share.value), Disposition(share, freshness, Reason.NEGATIVE))
    if share is not Share.STORE:
        settled.drops, settled.of_equals = holds_for_all, forwarding.any
    elif forwarding.any:
        settled.sorts, settled.learns, settled.kept_until = True, () if known else names, now + lifetime
    return settled


def negative_entry(key: CacheKey, absent: Absent, freshness: Freshness, *, via: bytes) -> Entry:
    """The entry that records the object's absence for its lifetime."""
    body = b"not found\n"
    names = [b"*"] if absent.vary is None else absent.vary
    fields = (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"cache-control", b"max-age=%d" % freshness.lifetime),
        *([(b"vary", b", ".join(names))] if names else []),
        (b"date", dates.imf_fixdate(freshness.born)),
        (b"content-length", b"%d" % len(body)),
        (b"via", via),
    )
    return Entry(key, of_fields(absent.status, fields), freshness, (body,))
