"""The part of a fill's response that a request gets and its outcome, further fetches for it, and its response if all
fetches failed.

These functions decide; the transfer carries it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from shield.errors import OriginError
from shield.fill.fill import Fill
from shield.fill.readers import Phase
from shield.fill.table import FillTable
from shield.fill.telling import Shown
from shield.messages import Request
from shield.origin.want import Failed, Keeping, Want, ends_stale, reasons
from shield.outcome import Forward, Outcome
from shield.reply import Replies
from shield.rules.conditional import is_strong
from shield.rules.ranges import Span, has_parts
from shield.rules.routes import Resource
from shield.rules.selection import Selection
from shield.store.entry import Entry
from shield.store.tiers import Store


@dataclass(frozen=True, slots=True)
class TransferMeans:
    """The dependencies of all transfers of a worker."""

    store: Store
    fills: FillTable
    replies: Replies
    clock: Callable[[], float]
    naming: bytes = b""  # the field in which responses state the request's identifier; none if empty


class Delivery(Enum):
    """How the chosen response is sent."""

    SEND = "send"  # from the fill
    FETCH_PART = "fetch part"  # fetch just that part of the same version: the fill shall not bring it
    FETCH_WHOLE = "fetch whole"  # fetch the whole object: the fill brings another part


def choose(
    request: Request, fill: Fill, replies: Replies, now: float, *, in_parts: bool, is_thrifty: bool
) -> tuple[Selection, Delivery]:
    """The response to a request from a fill whose head has arrived.

    `in_parts`: a part may be fetched by itself. `is_thrifty`: nothing beyond the client's own bytes may be fetched.
    """
    head, fresh = fill.head, fill.freshness
    assert head is not None
    # A window can't go back, nor do parts of one answer come from several fetches.
    chosen = replies.selection(request, head, fill.length, now=now, freshness=fresh, in_parts=fill.stores)
    may_fetch = in_parts and is_strong(head.etag)
    if chosen.status == 206 and chosen.length != fill.length and _is_wasteful(fill, is_thrifty=is_thrifty):
        if not fill.stores and may_fetch and has_parts(head.status, head.fields):
            return chosen, Delivery.FETCH_PART
        # A server may ignore Range (RFC 9110 §14.2): the client takes as much as the origin sends.
        request = request if chosen.is_cheap else request.whole()
        chosen = replies.selection(request, head, fill.length, now=now, freshness=fresh)
    if fill.part is None or chosen.lies_in(fill.part):
        return chosen, Delivery.SEND
    is_one_part = chosen.status == 206 and len(chosen.pieces) < 2
    return chosen, Delivery.FETCH_PART if is_one_part and may_fetch else Delivery.FETCH_WHOLE


def shown_by(
    fill: Fill, entry: Entry | None, forward: Forward | None, means: TransferMeans, *, collapsed: bool
) -> Shown:
    """What a request is told that was forwarded for this reason; `entry` is the one that answers it, if any."""
    telling = fill.telling
    if telling is not None and (known := telling.shown(entry, forward, collapsed)) is not None:
        return known
    now, fresh, head = means.clock(), fill.freshness, fill.head
    assert head is not None
    outcome = outcome_of_fill(fill, entry, forward, now, collapsed=collapsed)
    trailer = means.replies.trailer(0.0 if fresh is None else max(0.0, now - fresh.born), outcome)
    shown = outcome, trailer, head.shown + trailer
    if telling is not None:
        telling.show(shown, entry, forward, collapsed)
    return shown


def _is_wasteful(fill: Fill, *, is_thrifty: bool) -> bool:
    """Whether the bytes that a fill brings besides the requested part are of no use, or exceed the budget."""
    if fill.part is not None:
        return False
    return not fill.stores or (fill.phase is Phase.STREAMING and is_thrifty)


def part_of(resource: Resource, span: Span, etag: bytes | None, origin: str | None) -> Want:
    """The fetch of just a part of the version with this ETag, from the origin that gave it."""
    forwarded = resource.forwarded
    want = Want(b"GET", resource.path, resource.query, span=span, etag=etag, forwarded=forwarded, key=resource.named)
    want.version_of, want.route = origin, resource.route.name
    return want


def stands_in(stored: Entry, failure: Failed | OriginError | None, now: float) -> bool:
    """Whether a stale entry may be served because no origin answers (RFC 9111 §4.2.4, RFC 5861 §4)."""
    return not stored.no_cache and not ends_stale(failure) and stored.freshness.in_error_grace(now)


def status_of(failure: Failed | OriginError | None, stored: Entry | None) -> int:
    """The status of the error response if no entry may be served instead."""
    # What must be validated is as if it came too late: RFC 9111 §5.2.2.2 wants 504.
    forbidden = stored is not None and stored.must_revalidate and stored.head.status < 400
    return 504 if reasons(failure)[1] or forbidden else 503


def outcome_of_fill(
    fill: Fill, entry: Entry | None, forward: Forward | None, now: float, *, collapsed: bool
) -> Outcome:
    """Of a request that was forwarded for this reason; `entry` is the one that answers it, if any."""
    known, key, attempts = fill.entry or entry, fill.question.resource.key.text, fill.attempts
    fresh = fill.freshness if known is None else known.freshness
    stores = fill.committed or (fill.stores and fill.keep is not Keeping.NOWHERE)
    ttl = None if fresh is None else int(fresh.lifetime) - int(max(0.0, now - fresh.born))
    if fill.was_hit and fresh is not None:
        return Outcome(hit=True, ttl=ttl, key=key, trace=fill.trace)
    detail = fill.detail
    if not stores:
        ttl, detail = None, detail or (None if fill.disposition is None else fill.disposition.reason.value)
    made = Outcome(False, forward, fill.status, ttl, stores, collapsed, detail, fill.origin, key)
    made.attempts, made.trace = attempts, fill.trace
    return made


def outcome_of_entry(
    entry: Entry, forward: Forward | None, now: float, *, collapsed: bool, detail: str | None, is_kept: bool
) -> Outcome:
    """Of a request that an entry answers without a fill; `is_kept`: the entry is stored, or being stored."""
    is_hit = forward is None
    return Outcome(
        hit=is_hit,
        forward=forward,
        ttl=entry.freshness.shown_ttl(now),
        stored=not is_hit and detail is None and is_kept,  # with a detail it is stale, since no origin answered
        collapsed=collapsed,
        detail=detail,
        key=entry.key.text,
    )


def identifier_line(naming: bytes, request: Request) -> bytes:
    """The field line that states a request's identifier in the field `naming`; none if that is empty."""
    identifier = request.identifier if naming else None
    return b"" if identifier is None else b"%b: %b\r\n" % (naming, identifier)
