"""The two questions of a cache: what may be done with what is stored, and what with what an origin answered.

All of RFC 9111 sits behind these functions, but for Vary: which variant a request gets is settled before the first
(`vary`), and of the second only `Vary: *` keeps a response from being stored.
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

# What answers a range or a condition is no answer to a whole GET (§3.3).
_OF_PARTS = frozenset({206, 304, 412, 416})

# What must-understand asks for (§5.2.2.3): registered, and nothing about it that a cache would have to do.
_UNDERSTOOD = frozenset(
    {200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308}
    | {400, 402, 404, 405, 406, 409, 410, 411, 413, 414, 415, 417, 422, 451}
    | {500, 501, 502, 503, 504, 505}
)

_NOTHING: frozenset[bytes] = frozenset()
_SET_COOKIE = (b"set-cookie",)

_RELOAD = CacheControl(no_cache=True)
_DEMANDS: dict[str, dict[str, Any]] = {  # what ignoring a request's directive leaves of it
    "no-cache": {"no_cache": False, "no_cache_fields": ()},
    "no-store": {"no_store": False},
    "max-age": {"max_age": None},
    "max-stale": {"max_stale": None},
    "min-fresh": {"min_fresh": None},
    "only-if-cached": {"only_if_cached": False},
}


class Verdict(Enum):
    """What the asker does with a lookup's result."""

    HIT = "hit"  # answer from what is stored
    STALE = "stale"  # answer from what is stored at once, and have it revalidated behind the answer
    REVALIDATE = "revalidate"  # ask an origin whether it still holds, wait, then answer
    MISS = "miss"  # fill, or join the fill that runs, and answer from it
    BYPASS = "bypass"  # ask an origin for this request alone; neither look up nor store
    REFUSE = "refuse"  # the client wants nothing but what is stored, and that won't do: 504


class Head(Protocol):
    """A stored head: its fields, its validators, and what its freshness made of it."""

    etag: bytes | None
    last_modified: float | None
    no_cache: bool
    must_revalidate: bool

    @property
    def fields(self) -> Sequence[Field]: ...


class Stored(Protocol):
    """What a verdict needs to know of an entry."""

    freshness: Freshness

    @property
    def head(self) -> Head: ...


def judge_lookup(request: Request, stored: Stored | None, now: float, rules: FreshnessRules) -> Verdict:
    """What may we do with what we have? RFC 9111 §4, in the order of its conditions.

    Directives of the request are ignored unless the rules honour them: the CDN decides by what it stores, not its
    visitors by what they send.
    """
    if request.method not in _METHODS:
        return Verdict.BYPASS  # §4: the method must allow it
    asked = _directives(request, rules)
    if asked.no_store:
        return Verdict.BYPASS  # §5.2.1.5
    verdict = _judge_stored(stored, now, asked)
    if asked.only_if_cached and verdict not in (Verdict.HIT, Verdict.STALE):
        return Verdict.REFUSE  # §5.2.1.7
    return verdict


def _judge_stored(stored: Stored | None, now: float, asked: CacheControl) -> Verdict:
    if stored is None:
        return Verdict.MISS
    unusable = Verdict.MISS if stored.head.etag is None and stored.head.last_modified is None else Verdict.REVALIDATE
    if stored.head.no_cache:
        return unusable  # §5.2.2.4
    ttl = stored.freshness.ttl(now)
    if asked is not ABSENT and not _accepts(asked, stored, now):
        return unusable  # §5.2.1
    if ttl > 0.0:
        return Verdict.HIT  # §4.2
    if stored.head.must_revalidate:
        return unusable  # §5.2.2.2
    if asked.max_stale is not None:  # §5.2.1.2, within what the operator lets anyone be served stale
        within = -ttl <= asked.max_stale and stored.freshness.in_error_grace(now)
    else:
        within = ttl > -stored.freshness.grace  # §4.2.4, RFC 5861 §3
    return Verdict.STALE if within else unusable  # §4.3


def _accepts(asked: CacheControl, stored: Stored, now: float) -> bool:
    """Whether a request's own directives let a stored response through, but for max-stale."""
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
    # RFC 8246 §2: a reload asks in vain for what never changes, unless it insists by no-cache.
    return freshness.age(now) <= asked.max_age or (ttl > 0.0 and _is_immutable(stored.head))


def _is_immutable(head: Head) -> bool:
    return parse_cache_control([value for name, value in head.fields if name == b"cache-control"]).immutable


class Share(Enum):
    """Who gets an origin's response; the value is the word in logs."""

    STORE = "store"  # everyone waiting, and later requests from the store
    SHARE = "share"  # those who asked while it was fetched; nothing is stored
    LEADER_ONLY = "leader-only"  # the one it was fetched for; all others ask an origin themselves


class Reason(Enum):
    """Why a response is stored, or isn't; the value is the word in Cache-Status and logs."""

    # stored
    EXPLICIT = "explicit"  # the origin states a lifetime
    IMPLICIT = "implicit"  # it states none, and the operator's or a heuristic one holds
    FORCED = "forced"  # the operator's lifetime holds whatever the origin says
    NEGATIVE = "negative"  # it is an error, to be believed for a while

    # for the leader alone
    PARTIAL = "partial"  # it answers a range or a condition, and isn't the whole object
    NO_STORE = "no-store"  # the origin forbids it, or the request where its directives are honoured
    PRIVATE = "private"  # the origin made it for one user
    VARY_STAR = "vary-star"  # it depends on more than the request
    SET_COOKIE = "set-cookie"  # it sets a cookie, which nobody else must get
    METHOD = "method"  # the answer to this method can't be reused
    AUTHORIZATION = "authorization"  # the request had credentials, and the origin doesn't let others have the answer
    CREDENTIALS = "credentials"  # the same for those in other fields, by which Vary tells no variants apart

    # for those who asked while it was fetched
    STATUS = "status"  # a status that isn't stored without a word of the origin or the operator
    NO_LIFETIME = "no-lifetime"  # it came stale, and would be of no use later
    UNKEYED = "unkeyed"  # forwarded fields of the request that Vary doesn't name may have brought it about
    TOO_MANY_VARIANTS = "too-many-variants"  # its key has as many variants as its route allows


@dataclass(slots=True)
class Disposition:
    """What becomes of a response, and why.

    `freshness` counts for what isn't stored, too: its age is told. Fields in `dropped` reach nobody; those in
    `unstored` reach only who asked before the response came. `by_request`: the reason lies in the request alone, and
    says nothing of what is stored for others.
    """

    share: Share
    freshness: Freshness
    reason: Reason
    dropped: frozenset[bytes] = _NOTHING
    unstored: frozenset[bytes] = _NOTHING
    by_request: bool = False


def judge_response(
    request: Request,
    head: ResponseHead,
    *,
    request_time: float,
    response_time: float,
    rules: FreshnessRules,
    unkeyed: Sequence[Field] = (),
) -> Disposition:
    """May a GET's response be stored, and who else may have it? RFC 9111 §3 for a shared cache.

    What is one person's goes to the leader alone; what merely can't be stored (an error, no lifetime) is still the
    answer for all who asked before it came, since for each of them it is as new as one of their own. What it may owe
    to credentials among the `unkeyed` fields is for the leader, too, unless the origin says otherwise; what it may
    owe to other `unkeyed` fields of the request, by which no variants are told apart, isn't kept for those who don't
    send them.
    """
    policy = policy_of(head, response_time, rules)
    freshness = freshness_of(head, policy, request_time=request_time, response_time=response_time, rules=rules)
    control, dropped, unstored = policy.control, rules.dropped, _NOTHING
    if control.private_fields and may_be_left_out(control.private_fields, rules):
        dropped |= frozenset(control.private_fields)  # §5.2.2.7: followers are other users
    if control.no_cache_fields and may_be_left_out(control.no_cache_fields, rules):
        unstored = frozenset(control.no_cache_fields)  # §5.2.2.4

    if b"set-cookie" in unstored:
        dropped |= {b"set-cookie"}  # others may be waiting for it, too

    share, by_request = Share.LEADER_ONLY, False
    reason = _reserved(head, control, rules)
    if reason is None and head.has_any(_SET_COOKIE) and rules.set_cookie == "refuse" and b"set-cookie" not in dropped:
        reason = Reason.SET_COOKIE  # §7.3: stored cookies would be handed to others
    if reason is None and (request.notable or request.method not in _METHODS):
        reason = _asked_for_itself(request, control, rules)
        by_request = reason is not None
    if reason is None and unkeyed and has_credentials(unkeyed, rules) and not _lets_others(control):
        reason, by_request = Reason.CREDENTIALS, True  # §3.5, whichever field they are in
    if reason is None:
        share, reason = _judge_storing(head, policy, freshness, response_time, rules)
    if unkeyed and rules.unkeyed == "refuse" and (head.status >= 400 or reflects(head.fields, unkeyed)):
        by_request = True  # an error, or what repeats them
        if share is Share.STORE:
            share, reason = Share.SHARE, Reason.UNKEYED
    return Disposition(share, freshness, reason, dropped, unstored, by_request)


def _reserved(head: ResponseHead, control: CacheControl, rules: FreshnessRules) -> Reason | None:
    """Why nobody but the leader may have it, or None when others may."""
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
    """Why a request makes its answer nobody else's, or None."""
    if request.method not in _METHODS:
        return Reason.METHOD  # §3: the method must be understood
    if _directives(request, rules).no_store:
        return Reason.NO_STORE  # §5.2.1.5
    if b"authorization" in request.notable and not _lets_others(control):
        return Reason.AUTHORIZATION  # §3.5, whatever Vary says
    return None


def has_credentials(forwarded: Sequence[Field], rules: FreshnessRules) -> bool:
    """Whether one of these fields says who the client is. What reads fields from variables takes _ for -."""
    return any(name.replace(b"_", b"-") in rules.credentials for name, _ in forwarded)


def _lets_others(control: CacheControl) -> bool:
    """Whether an origin lets others have what it answers to one client's credentials (§3.5)."""
    return control.public or control.must_revalidate or control.s_maxage is not None


def _judge_storing(
    head: ResponseHead, policy: Policy, freshness: Freshness, now: float, rules: FreshnessRules
) -> tuple[Share, Reason]:
    """Whether what others may have is worth keeping, and why or why not."""
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
    """Whether a later request could be answered with it: in grace, after a revalidation, or instead of an error."""
    ttl = freshness.ttl(now)
    if ttl > -freshness.grace:
        return True
    if head.status == 200 and ttl > -freshness.keep and has_validator(head):
        return True  # §4.3
    # It came stale. An error grace that the operator gives to all would keep whatever comes without a lifetime.
    asked_for = control.stale_if_error is not None or "max-stale" in rules.honour_request_directives
    return asked_for and ttl > -freshness.error_grace


def _directives(request: Request, rules: FreshnessRules) -> CacheControl:
    """What a request demands of a cache, as far as the rules honour it."""
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
