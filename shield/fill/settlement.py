"""What is settled when an answer's head has come: what becomes of it, of what is stored, and of those who wait.

`settle` says it as a value, and the fill does it. Nothing here knows the store, the clock or the loop, so that every
case can be looked at without an origin. Below it: which head an answer gives an entry, and how a stored one goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from shield.messages import Field, Request, ResponseHead
from shield.origin.want import Absent, Fetched, Want
from shield.rules import dates, exact, headers, hidden, ranges
from shield.rules.conditional import HeadEffect, freshens, head_effect, is_strong
from shield.rules.digests import OF_CONTENT
from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey
from shield.rules.ranges import Span
from shield.rules.routes import Resource, Route
from shield.rules.selection import StoredHead, as_judged, of_fields, stored_head, with_length
from shield.rules.tags import labels
from shield.rules.vary import choosing, names_in, unkeyed
from shield.rules.verdict import Disposition, Reason, Share, has_credentials, judge_response
from shield.store.entry import OVERHEAD, Body, Entry

_STALE_IF = frozenset({500, 502, 503, 504})  # RFC 5861 §4


class Step(Enum):
    """What a fill does with an answer."""

    ASK_WHOLE = "ask whole"  # it is of no use: close it, and ask for the whole object, without a condition
    FRESHEN = "freshen"  # what is stored holds on: close the answer, store `entry`, and answer with that
    CONFIRM = "confirm"  # the same for the readers present, but `entry` isn't stored
    KEEP = "keep"  # what was good a while ago is better (RFC 5861 §4): close the answer and fail
    SLICE = "slice"  # stream into slices, whose fill the readers go on to
    STORE = "store"  # stream, and keep every byte to become an entry
    PART = "part"  # it is no more than was asked for: stream it to those present who want just that of the object
    SHARE = "share"  # stream to the readers present, through a window
    LEADER_ONLY = "leader-only"  # stream to the leader, through a window; all others fetch for themselves


class HitForMiss(Enum):
    """What an answer says on whether the next requests for its key need wait for each other."""

    MARK = "mark"  # they need not: it can't be shared
    FORGET = "forget"  # they should
    LEAVE = "leave"  # nothing: it isn't the whole object, or the request alone is the reason


@dataclass(slots=True)
class Question:
    """What a fill asks, and on whose behalf. `stored` is what is to be validated, if anything.

    `want` and `stored` change when an answer is of no use. `shared`: others may join; that has no say in what is
    stored. `in_slices`: its readers can go on in slices. `in_parts` False: the parts that origins give are too small
    to be kept, so that the object isn't to be had in parts.
    """

    resource: Resource
    request: Request
    want: Want
    stored: Entry | None
    shared: bool
    in_slices: bool = True
    in_parts: bool = True


@dataclass(frozen=True, slots=True)
class FillTerms:
    """What holds for all answers: bodies above `sliced_above` bytes are read in slices, and nothing above `largest`
    bytes is kept otherwise. `keeps_slices`: there is a disk for them.
    """

    via: bytes
    slice_bytes: int
    largest: int
    sliced_above: int
    keeps_slices: bool = True


@dataclass(slots=True)
class Settlement:
    """What is to be done, `step` first of all, and what readers are told.

    `drops`: what is stored under the key goes, unless this answer takes its place. `keeps_bytes` are the memory that
    STORE needs; `is_too_large`: there would never be enough. `span` is where in the object the body lies of SLICE and
    PART, whose `length` is the object's. `is_too_small`: it was a smaller part than asked for, and the next ones
    would be, too.

    Of variants: `learns` names the fields by which the key's answers vary from now on, if that is news; `sorts`: it
    must be found out of which variant the answer is; `kept_until`: it needs a place among the variants until then;
    `of_equals`: only those may have it whose request an origin would have seen alike.
    """

    step: Step
    disposition: Disposition | None = None
    head: StoredHead | None = None
    length: int | None = None
    tags: bytes = b""
    entry: Entry | None = None
    drops: bool = False
    keeps_bytes: int = 0
    span: Span | None = None
    is_part: bool = False
    is_too_small: bool = False
    is_too_large: bool = False
    hit_for_miss: HitForMiss = HitForMiss.LEAVE
    sorts: bool = False
    learns: tuple[bytes, ...] = ()
    kept_until: float | None = None
    of_equals: bool = False


def settle_ordinary(question: Question, fetched: Fetched, terms: FillTerms) -> Settlement | None:
    """What becomes of an ordinary answer that is stored whole, as nearly all are; None: `settle` has to say it."""
    head, request, want, length = fetched.response.head, question.request, question.want, fetched.response.head.length
    ordinary = question.resource.route.ordinary.get(fetched.origin)
    if ordinary is None or length is None or length > min(terms.sliced_above, terms.largest - OVERHEAD):
        return None
    if request.notable or want.method != b"GET" or want.span is not None or question.stored is not None:
        return None
    if fetched.by_peer or not question.in_parts:
        return None
    disposition = ordinary.judge(head, fetched.request_time, fetched.response_time)
    if disposition is None:
        return None
    told = ordinary.head(head, length, disposition.freshness, terms.via)
    settled = Settlement(Step.STORE, disposition, told, length, drops=True, keeps_bytes=length + OVERHEAD)
    settled.hit_for_miss = HitForMiss.FORGET
    return settled


def settle(question: Question, fetched: Fetched, terms: FillTerms, *, known: tuple[bytes, ...]) -> Settlement:
    """What becomes of an answer. `known` are the fields by which the key's answers are known to vary."""
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
        head = _whole(head)
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
    """What an answer to HEAD says of what is stored."""
    if want.method != b"HEAD" or head.status != 200 or stored.head.status != 200:
        return HeadEffect.NOTHING
    return head_effect(stored.etag, stored.last_modified, stored.length, head)


def _may_slice(question: Question, fetched: Fetched, head: ResponseHead, terms: FillTerms) -> bool:
    """Whether an answer's body can be kept in slices: it is large, and a strong ETag names it."""
    if head.length is None or head.length <= terms.sliced_above:
        return False
    if not terms.keeps_slices and b"range" in question.request.notable:
        return False  # just that part is fetched
    if not question.in_slices or question.want.method != b"GET" or not is_strong(head.get(b"etag")):
        return False
    return ranges.has_parts(fetched.response.head.status, head.fields)


def _is_too_small(part: Span, want: Want, length: int, slice_bytes: int) -> bool:
    """Whether it is less than was asked for, and less than a slice."""
    assert want.span is not None
    if part.start != want.span.start:
        return False  # what was asked for lies beyond the object, and it is the beginning
    wanted = min(want.span.stop, length)
    return part.stop < (min(wanted, part.start + slice_bytes) if slice_bytes else wanted)


def _is_enough(part: Span, question: Question, head: ResponseHead) -> bool:
    """Whether a part is what the leader wants, or the rest can be fetched by itself at less cost than the whole."""
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
    """What has to be known of variants before anybody gets the answer (RFC 9111 §4.1)."""
    disposition = settled.disposition
    assert disposition is not None
    if disposition.share is not Share.STORE:
        settled.of_equals = True
        return
    freshness = disposition.freshness
    settled.of_equals = freshness.lifetime <= 0.0  # what must be validated each time is for who asked (§5.2.2.4)
    names = choosing(names_in(head.all(b"vary")) or (), resource.route.forwarding)
    if names != known:
        settled.learns = names
    settled.sorts = True
    if want.method == b"GET":
        settled.kept_until = freshness.born + freshness.lifetime + freshness.grace  # what is only kept gives way


def _settle_keeping(settled: Settlement, disposition: Disposition, terms: FillTerms) -> None:
    """Whether the bytes of a whole object are kept (RFC 9111 §3), and what that says to the next requests."""
    leader_only = disposition.share is Share.LEADER_ONLY
    settled.drops = not disposition.by_request  # else it says nothing of what others get
    if not leader_only:
        settled.hit_for_miss = HitForMiss.FORGET
    elif not disposition.by_request:
        settled.hit_for_miss = HitForMiss.MARK
    if settled.step is Step.STORE:
        settled.keeps_bytes = (settled.length or 0) + OVERHEAD
        if settled.keeps_bytes > terms.largest:
            settled.step, settled.is_too_large = Step.SHARE, True


def _freshened(question: Question, stored: Entry, fetched: Fetched, known: tuple[bytes, ...]) -> Settlement:
    """304, or a HEAD that says the same: what is stored holds on."""
    route = question.resource.route
    entry, disposition = freshened_entry(stored, fetched, question.request, route)
    stores, of_equals = disposition.share is Share.STORE, False
    if route.forwarding.any:
        said = names_in([value for name, value in entry.head.fields if name == b"vary"]) or ()
        if choosing(said, route.forwarding) != known:
            stores = False  # it varies by other fields now: the next fetch finds out of which variant it is (§4.1)
        of_equals = not stores or entry.freshness.lifetime <= 0.0
    drops = not stores and not disposition.by_request
    step = Step.FRESHEN if stores else Step.CONFIRM
    return Settlement(step, disposition, entry=entry, drops=drops, of_equals=of_equals)


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


def _part_of(head: ResponseHead) -> Span | None:
    """Which bytes a 206 gives, half-open; None when they are all of the object."""
    first, last, length = ranges.parse_content_range(head.get(b"content-range") or b"") or (0, 0, None)
    return None if (first, last + 1) == (0, length) else Span(first, last + 1)


def _whole(head: ResponseHead) -> ResponseHead:
    """The head of the object of which a 206 gives a part (RFC 9111 §3.4)."""
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


def whole_entry(
    resource: Resource, told: StoredHead, disposition: Disposition, body: Body, *, length: int | None
) -> Entry:
    """What all bytes of an answer make; `length` as in `kept_head`."""
    head = kept_head(told, disposition, length, resource.route)
    return Entry(resource.key, head, disposition.freshness, body)


def large_entry(
    resource: Resource, told: StoredHead, disposition: Disposition, length: int, terms: FillTerms
) -> Entry:
    """What an answer makes whose body goes on in slices."""
    head = kept_head(told, disposition, None, resource.route)
    return Entry.large(resource.key, head, disposition.freshness, length=length, slice_bytes=terms.slice_bytes)


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


def settle_absence(question: Question, absent: Absent, now: float, *, known: tuple[bytes, ...]) -> Settlement:
    """What becomes of the word that there is no such object, and for whom it holds: no field of the request may have
    brought it about by which it isn't told apart. `known` as in `settle`.
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
            share = Share.SHARE  # what isn't there doesn't set aside the variants of what is

    holds_for_all = not forwarding.any or (share is Share.STORE and is_of_known)
    lifetime = min(rules.negative_bound(absent.status) or 0.0, absent.lifetime)
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
    """That there is no such object, for as long as that is believed."""
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
