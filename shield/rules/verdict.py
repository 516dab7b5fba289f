"""The two decisions of a cache: how the stored entry may be used, and how an origin's response may be used.

They implement all of RFC 9111 except Vary: the variant for a request is selected before the first (`vary`), and for
the second only `Vary: *` keeps a response from being stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from shield.messages import Field, Request, ResponseHead
from shield.rules.cache_control import ABSENT, CacheControl
from shield.rules.cache_control import parse as parse_cache_control
from shield.rules.freshness import (
    HEURISTIC,
    Freshness,
    FreshnessRules,
    Policy,
    freshness_of,
    has_validator,
    may_be_left_out,
    policy_of,
)
from shield.rules.vary import names_in, reflects

_METHODS = frozenset({b"GET", b"HEAD"})

# Responses to a range or a condition don't answer a whole GET (§3.3).
_OF_PARTS = frozenset({206, 304, 412, 416})

# The statuses that must-understand allows (§5.2.2.3): registered, and without special demands on caches.
_UNDERSTOOD = frozenset(
    {200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308}
    | {400, 402, 404, 405, 406, 409, 410, 411, 413, 414, 415, 417, 422, 451}
    | {500, 501, 502, 503, 504, 505}
)

_NOTHING: frozenset[bytes] = frozenset()
_SET_COOKIE = (b"set-cookie",)

_RELOAD = CacheControl(no_cache=True)
_DEMANDS: dict[str, dict[str, Any]] = {  # the effect of ignoring a request's directive
    "no-cache": {"no_cache": False, "no_cache_fields": ()},
    "no-store": {"no_store": False},
    "max-age": {"max_age": None},
    "max-stale": {"max_stale": None},
    "min-fresh": {"min_fresh": None},
    "only-if-cached": {"only_if_cached": False},
}


class Verdict(Enum):
    """The next step after a lookup. STALE is stale-while-revalidate (RFC 5861 §3)."""

    HIT = "hit"  # answer from the entry
    STALE = "stale"  # answer from the entry at once, and revalidate it in the background
    REVALIDATE = "revalidate"  # revalidate at an origin, wait, then answer
    MISS = "miss"  # fill, or join the running fill, and answer from it
    BYPASS = "bypass"  # fetch for this request alone; neither look up nor store
    REFUSE = "refuse"  # the client accepts only a stored response, and there is none to serve: 504


class Head(Protocol):
    """A stored head: its fields, its validators, and the marks of its freshness."""

    etag: bytes | None
    last_modified: float | None
    no_cache: bool
    must_revalidate: bool

    @property
    def fields(self) -> Sequence[Field]: ...


class Stored(Protocol):
    """An entry, as far as verdicts need it."""

    freshness: Freshness

    @property
    def head(self) -> Head: ...


def judge_lookup(
    request: Request,
    stored: Stored | None,
    now: float,
    rules: FreshnessRules,
    *,
    is_cut_off: bool = False,
    doubted_before: float = 0.0,
) -> Verdict:
    """How may the stored entry be used? RFC 9111 §4, in the order of its conditions.

    Directives of the request are ignored unless the rules honour them: by default stored responses decide, not the
    CDN's clients. `is_cut_off`: all origins are known to be bad, so that nothing is gained by asking them first.
    What an origin sent or confirmed last before `doubted_before`, epoch seconds, is revalidated before it is used.
    """
    if request.method not in _METHODS:
        return Verdict.BYPASS  # §4: the method must allow it
    asked = _directives(request, rules)
    if asked.no_store:
        return Verdict.BYPASS  # §5.2.1.5
    verdict = _judge_stored(stored, now, asked, is_cut_off=is_cut_off, doubted_before=doubted_before)
    if asked.only_if_cached and verdict not in (Verdict.HIT, Verdict.STALE):
        return Verdict.REFUSE  # §5.2.1.7
    return verdict


def _judge_stored(
    stored: Stored | None, now: float, asked: CacheControl, *, is_cut_off: bool, doubted_before: float
) -> Verdict:
    if stored is None:
        return Verdict.MISS
    unusable = Verdict.MISS if stored.head.etag is None and stored.head.last_modified is None else Verdict.REVALIDATE
    if stored.head.no_cache or (stored.freshness.born < doubted_before and not is_cut_off):
        return unusable  # §5.2.2.4, or it may have been purged
    ttl = stored.freshness.ttl(now)
    if asked is not ABSENT and not _accepts(asked, stored, now):
        return unusable  # §5.2.1
    if ttl > 0.0:
        return Verdict.HIT  # §4.2
    if stored.head.must_revalidate:
        return unusable  # §5.2.2.2
    if asked.max_stale is not None:  # §5.2.1.2, within the staleness that the operator allows
        within = -ttl <= asked.max_stale and stored.freshness.in_error_grace(now)
    elif is_cut_off:
        within = stored.freshness.in_error_grace(now)  # §4.2.4, RFC 5861 §4
    else:
        within = ttl > -stored.freshness.grace  # §4.2.4, RFC 5861 §3
    return Verdict.STALE if within else unusable  # §4.3


def _accepts(asked: CacheControl, stored: Stored, now: float) -> bool:
    """Whether a request's own directives, except max-stale, admit a stored response."""
    freshness = stored.freshness
    ttl = freshness.ttl(now)
    if asked.no_cache or asked.no_cache_fields:
        return False  # §5.2.1.4
    if asked.min_fresh is not None and ttl < asked.min_fresh:
        return False  # §5.2.1.3
    if asked.max_age is None:
        return True
    if ttl <= 0.0 and asked.max_stale is None:
        return False  # §5.2.1.1: then it doesn't want a stale one either
    # RFC 8246 §2: a reload of an immutable response is ignored, unless it insists by no-cache.
    return freshness.age(now) <= asked.max_age or (ttl > 0.0 and _is_immutable(stored.head))


def _is_immutable(head: Head) -> bool:
    return parse_cache_control([value for name, value in head.fields if name == b"cache-control"]).immutable


class Share(Enum):
    """The requests that get an origin's response; the value is the word in logs."""

    STORE = "store"  # all waiting requests, and later ones from the store
    SHARE = "share"  # requests that came while it was fetched; not stored
    LEADER_ONLY = "leader-only"  # the one it was fetched for; all others fetch for themselves


class Reason(Enum):
    """Why a response is stored, or isn't; the value is the word in Cache-Status and logs."""

    # stored
    EXPLICIT = "explicit"  # the origin states a lifetime
    IMPLICIT = "implicit"  # it states none, and the operator's or a heuristic one holds
    FORCED = "forced"  # the operator's lifetime holds whatever the origin says
    NEGATIVE = "negative"  # it is an error, cached for a while (negative caching)

    # for the leader alone
    PARTIAL = "partial"  # it answers a range or a condition, not for the whole object
    NO_STORE = "no-store"  # the origin forbids it, or the request where its directives are honoured
    PRIVATE = "private"  # the origin made it for one user
    VARY_STAR = "vary-star"  # it depends on more than the request
    SET_COOKIE = "set-cookie"  # it sets a cookie, which no other client must get
    METHOD = "method"  # responses to this method can't be reused
    AUTHORIZATION = "authorization"  # the request had credentials, and the origin doesn't allow sharing
    CREDENTIALS = "credentials"  # the same for credentials in other fields, if Vary doesn't name them

    # for the requests that came while it was fetched
    STATUS = "status"  # a status stored only if the origin or the operator says so
    NO_LIFETIME = "no-lifetime"  # it arrived stale, and would be useless later
    UNKEYED = "unkeyed"  # forwarded fields that Vary doesn't name may have caused it
    EXACT = "exact"  # only the requested part was fetched
    TOO_MANY_VARIANTS = "too-many-variants"  # its key already has as many variants as its route allows


@dataclass(slots=True, init=False)
class Disposition:
    """The use of a response, and the reason.

    `freshness` is set for responses that aren't stored, too: their age is sent. `dropped` fields are removed for all
    clients; `unstored` ones are sent only to requests that came before the response. `by_request`: the reason is in
    the request alone, and doesn't apply to other requests for the entry.
    """

    share: Share
    freshness: Freshness
    reason: Reason
    dropped: frozenset[bytes]
    unstored: frozenset[bytes]
    by_request: bool

    def __init__(
        self,
        share: Share,
        freshness: Freshness,
        reason: Reason,
        dropped: frozenset[bytes] = _NOTHING,
        unstored: frozenset[bytes] = _NOTHING,
        by_request: bool = False,
    ) -> None:
        self.share = share
        self.freshness = freshness
        self.reason = reason
        self.dropped = dropped
        self.unstored = unstored
        self.by_request = by_request


def judge_response(
    request: Request,
    head: ResponseHead,
    *,
    request_time: float,
    response_time: float,
    rules: FreshnessRules,
    unkeyed: Sequence[Field] = (),
) -> Disposition:
    """May a GET's response be stored, and which other requests may get it? RFC 9111 §3 for a shared cache.

    A personal response is for the leader alone. One that only can't be stored (an error, no lifetime) answers all
    requests that came before it, since their own fetch wouldn't be newer. `unkeyed` are forwarded fields that don't
    distinguish variants: a response that may depend on credentials among them is for the leader alone, unless the
    origin allows more; one that may depend on others of them isn't stored.
    """
    policy = policy_of(head, response_time, rules)
    freshness = freshness_of(head, policy, request_time=request_time, response_time=response_time, rules=rules)
    control, dropped, unstored = policy.control, rules.dropped, _NOTHING
    if control.private_fields and may_be_left_out(control.private_fields, rules):
        dropped |= frozenset(control.private_fields)  # §5.2.2.7: followers are other users
    if control.no_cache_fields and may_be_left_out(control.no_cache_fields, rules):
        unstored = frozenset(control.no_cache_fields)  # §5.2.2.4

    if b"set-cookie" in unstored:
        dropped |= {b"set-cookie"}  # other requests may be waiting for it, too

    share, by_request = Share.LEADER_ONLY, False
    reason = _reserved(head, control, rules)
    if reason is None and head.has_any(_SET_COOKIE) and rules.set_cookie == "refuse" and b"set-cookie" not in dropped:
        reason = Reason.SET_COOKIE  # §7.3: stored cookies would be sent to other clients
    if reason is None and (request.notable or request.method not in _METHODS):
        reason = _asked_for_itself(request, control, rules)
        by_request = reason is not None
    if reason is None and unkeyed and has_credentials(unkeyed, rules) and not _lets_others(control):
        reason, by_request = Reason.CREDENTIALS, True  # §3.5, whichever field they are in
    if reason is None:
        share, reason = _judge_storing(head, policy, freshness, response_time, rules)
    if unkeyed and rules.unkeyed == "refuse" and (head.status >= 400 or reflects(head.fields, unkeyed)):
        by_request = True  # an error, or a response that repeats them
        if share is Share.STORE:
            share, reason = Share.SHARE, Reason.UNKEYED
    return Disposition(share, freshness, reason, dropped, unstored, by_request)


def _reserved(head: ResponseHead, control: CacheControl, rules: FreshnessRules) -> Reason | None:
    """Why only the leader may have it, or None when others may."""
    if head.status < 200 or head.status in _OF_PARTS:
        return Reason.PARTIAL
    if control.no_store and not (control.must_understand and head.status in _UNDERSTOOD):
        return Reason.NO_STORE  # §5.2.2.5, §5.2.2.3
    if control.private or (control.private_fields and not may_be_left_out(control.private_fields, rules)):
        return Reason.PRIVATE  # §5.2.2.7
    vary = head.all(b"vary")
    if vary and names_in(vary) is None:
        return Reason.VARY_STAR  # §4.1
    return None


def _asked_for_itself(request: Request, control: CacheControl, rules: FreshnessRules) -> Reason | None:
    """Why a request makes its response unusable for others, or None."""
    if request.method not in _METHODS:
        return Reason.METHOD  # §3: the method must be understood
    if _directives(request, rules).no_store:
        return Reason.NO_STORE  # §5.2.1.5
    if b"authorization" in request.notable and not _lets_others(control):
        return Reason.AUTHORIZATION  # §3.5, whatever Vary says
    return None


def has_credentials(forwarded: Sequence[Field], rules: FreshnessRules) -> bool:
    """Whether one of these fields identifies the client. _ counts as -, as for servers that pass environment
    variables.
    """
    return any(name.replace(b"_", b"-") in rules.credentials for name, _ in forwarded)


def _lets_others(control: CacheControl) -> bool:
    """Whether an origin lets others have what it answers to one client's credentials (§3.5)."""
    return control.public or control.must_revalidate or control.s_maxage is not None


def _judge_storing(
    head: ResponseHead, policy: Policy, freshness: Freshness, now: float, rules: FreshnessRules
) -> tuple[Share, Reason]:
    """Whether a response that others may have is worth storing, and the reason."""
    status, control = head.status, policy.control
    if control.must_understand and status not in _UNDERSTOOD:
        return Share.SHARE, Reason.STATUS  # §5.2.2.3
    if status >= 400 and rules.negative_bound(status) is None:
        return Share.SHARE, Reason.STATUS
    stated = policy.lifetime is not None
    if not (stated or control.public or status in HEURISTIC or rules.gives_lifetime_to(status)):
        return Share.SHARE, Reason.STATUS  # §3, last condition
    if not _worth_storing(head, control, freshness, now, rules):
        return Share.SHARE, Reason.NO_LIFETIME
    if status >= 400:
        return Share.STORE, Reason.NEGATIVE
    if rules.forced_lifetime is not None:
        return Share.STORE, Reason.FORCED
    return Share.STORE, Reason.EXPLICIT if stated else Reason.IMPLICIT


def _worth_storing(
    head: ResponseHead, control: CacheControl, freshness: Freshness, now: float, rules: FreshnessRules
) -> bool:
    """Whether it could answer a later request: in grace, after a revalidation, or instead of an error."""
    ttl = freshness.ttl(now)
    if ttl > -freshness.grace:
        return True
    if head.status == 200 and ttl > -freshness.keep and has_validator(head):
        return True  # §4.3
    # It arrived stale. The operator's general error grace would keep every response without a lifetime.
    asked_for = control.stale_if_error is not None or "max-stale" in rules.honour_request_directives
    return asked_for and ttl > -freshness.error_grace


def _directives(request: Request, rules: FreshnessRules) -> CacheControl:
    """A request's demands on a cache, as far as the rules honour them."""
    honoured = rules.honour_request_directives
    if not honoured or not request.notable:
        return ABSENT
    value = request.notable.get(b"cache-control")
    if value is None:
        pragma = request.notable.get(b"pragma", b"") if "pragma" in honoured else b""
        return _RELOAD if b"no-cache" in pragma.lower() else ABSENT  # §5.4
    asked = parse_cache_control((value,))
    for directive, ignored in _DEMANDS.items():
        if directive not in honoured:
            asked = replace(asked, **ignored)
    return asked
