"""The two questions of a cache: what may be done with what is stored, and what with what an origin answered.

All of RFC 9111 sits behind these functions. No field of a client's request is forwarded to an origin, so a Vary on
request fields can't select anything here: whoever asks, the origin saw the same request. It is passed on to the CDN
and doesn't keep a response from being stored; only `Vary: *` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from shield.messages import Request, ResponseHead
from shield.rules.cache_control import CacheControl
from shield.rules.cache_control import parse as parse_cache_control
from shield.rules.freshness import (
    NEGATIVE,
    Freshness,
    FreshnessRules,
    explicit_lifetime,
    freshness_of,
    has_validator,
)

_METHODS = frozenset({b"GET", b"HEAD"})

# Final statuses that are stored when they state a lifetime (RFC 9110 §15.1); 200, 404 and 410 also without.
_STORABLE = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})


class Verdict(Enum):
    """What the asker does with a lookup's result."""

    HIT = "hit"  # answer from what is stored
    STALE = "stale"  # answer from what is stored at once, and have it revalidated behind the answer
    REVALIDATE = "revalidate"  # ask an origin whether it still holds, wait, then answer
    MISS = "miss"  # fill, or join the fill that runs, and answer from it
    BYPASS = "bypass"  # ask an origin for this request alone; neither look up nor store


class Stored(Protocol):
    """What a verdict needs to know of an entry."""

    freshness: Freshness

    @property
    def no_cache(self) -> bool: ...
    @property
    def must_revalidate(self) -> bool: ...
    @property
    def etag(self) -> bytes | None: ...
    @property
    def last_modified(self) -> float | None: ...


def judge_lookup(request: Request, stored: Stored | None, now: float, rules: FreshnessRules) -> Verdict:
    """What may we do with what we have? RFC 9111 §4, in the order of its conditions.

    Directives of the request are ignored unless the rules honour them: the CDN decides by what it stores, not its
    visitors by what they send. only-if-cached is the asker's to answer: 504 for anything but HIT or STALE.
    """
    if request.method not in _METHODS:
        return Verdict.BYPASS  # §4: the method must allow it
    asked = _directives(request) if rules.honour_request_directives else None
    if asked is not None and asked.no_store:
        return Verdict.BYPASS  # §5.2.1.5
    if stored is None:
        return Verdict.MISS
    unusable = Verdict.MISS if stored.etag is None and stored.last_modified is None else Verdict.REVALIDATE
    if stored.no_cache:
        return unusable  # §5.2.2.4
    ttl = stored.freshness.ttl(now)
    if asked is not None and not _accepts(asked, stored.freshness, now):
        return unusable  # §5.2.1
    if ttl > 0.0:
        return Verdict.HIT  # §4.2
    if stored.must_revalidate:
        return unusable  # §5.2.2.2
    if ttl > -stored.freshness.grace:
        return Verdict.STALE  # §4.2.4, RFC 5861 §3
    return unusable  # §4.3


class Share(Enum):
    """Who gets an origin's response; the value is the word in logs."""

    STORE = "store"  # everyone waiting, and later requests from the store
    SHARE = "share"  # those who asked while it was fetched; nothing is stored
    LEADER_ONLY = "leader-only"  # the one it was fetched for; all others ask an origin themselves


@dataclass(slots=True)
class Disposition:
    """What becomes of a response. `freshness` is set when it is stored; `reason` is a token for logs and details."""

    share: Share
    freshness: Freshness | None
    reason: str


def judge_response(
    request: Request, head: ResponseHead, *, request_time: float, response_time: float, rules: FreshnessRules
) -> Disposition:
    """May a GET's response be stored, and who else may have it? RFC 9111 §3 for a shared cache.

    What is one person's goes to the leader alone; what merely can't be stored (an error, no lifetime) is still the
    answer for all who asked before it came, since for each of them it is as new as one of their own.
    """
    control = parse_cache_control(head.all(b"cache-control"))
    reason = _reserved(request, head, control, rules)
    if reason is not None:
        return Disposition(Share.LEADER_ONLY, None, reason)
    if head.status not in _STORABLE:
        return Disposition(Share.SHARE, None, "status")  # §3: 5xx, 429, 403 and whatever is not understood

    freshness = freshness_of(head, request_time=request_time, response_time=response_time, rules=rules)
    stated = explicit_lifetime(head, control, response_time) is not None
    if head.status != 200 and head.status not in NEGATIVE and not stated:
        return Disposition(Share.SHARE, None, "status")
    if not _worth_storing(head, control, freshness, response_time):
        return Disposition(Share.SHARE, None, "no-lifetime")
    if head.status in NEGATIVE:
        return Disposition(Share.STORE, freshness, "negative")
    return Disposition(Share.STORE, freshness, "explicit" if stated else "implicit")


def _reserved(request: Request, head: ResponseHead, control: CacheControl, rules: FreshnessRules) -> str | None:
    """Why nobody but the leader may have it, or None when others may."""
    if request.method not in _METHODS:
        return "method"  # §3: the method must be understood
    if head.status < 200 or head.status in (206, 304, 416):
        return "partial"  # no answer to a whole GET; §3.3: never taken for a complete one
    if control.no_store and not (control.must_understand and head.status in _STORABLE):
        return "no-store"  # §5.2.2.5, §5.2.2.3
    if control.private:
        return "private"  # §5.2.2.7
    if any(name.strip(b" \t") == b"*" for line in head.all(b"vary") for name in line.split(b",")):
        return "vary-star"  # §4.1
    if not rules.strip_set_cookie and head.all(b"set-cookie"):
        return "set-cookie"  # §7.3: stored cookies would be handed to others
    if rules.honour_request_directives and _directives(request).no_store:
        return "no-store"  # §5.2.1.5
    shared_anyway = control.public or control.must_revalidate or control.s_maxage is not None
    if b"authorization" in request.notable and not shared_anyway:
        return "authorization"  # §3.5
    return None


def _worth_storing(head: ResponseHead, control: CacheControl, freshness: Freshness, now: float) -> bool:
    """Whether a later request could be answered with it: fresh, in grace, or after a revalidation."""
    ttl = freshness.ttl(now)
    if has_validator(head) and head.status == 200 and ttl > -freshness.keep:
        return True  # §4.3
    return not control.no_cache and ttl > -freshness.grace


def _accepts(asked: CacheControl, freshness: Freshness, now: float) -> bool:
    """Whether a request's own directives let a stored response through (RFC 9111 §5.2.1)."""
    ttl = freshness.ttl(now)
    if asked.no_cache:
        return False  # §5.2.1.4
    if asked.max_age is not None and freshness.age(now) > asked.max_age:
        return False  # §5.2.1.1; max-stale loosens lifetimes, and this is none
    if asked.min_fresh is not None and ttl < asked.min_fresh:
        return False  # §5.2.1.3
    # A stale response is served by our grace as long as the request doesn't limit that further (§5.2.1.2).
    return asked.max_stale is None or ttl >= -asked.max_stale


def _directives(request: Request) -> CacheControl:
    value = request.notable.get(b"cache-control")
    if value is not None:
        return parse_cache_control((value,))
    pragma = request.notable.get(b"pragma", b"")
    return parse_cache_control((b"no-cache",) if b"no-cache" in pragma.lower() else ())  # §5.4
