"""The age and lifetime of a response: RFC 9111 §4.2, and the operator's rules for responses that state none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shield.messages import ResponseHead
from shield.rules import conditional, dates
from shield.rules.cache_control import ABSENT, MAX_SECONDS, CacheControl, seconds_of
from shield.rules.targeted import CDN, READ_BY_OTHERS, governing

HEURISTIC = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that may be given a lifetime when they state none (RFC 9110 §15.1)."""

# Errors of one request, one client or one moment: not stored, whatever they state, unless `negative` has them.
_PASSING = frozenset({401, 403, 407, 408, 421, 425, 429})

# Fields without which a response isn't understood.
_INDISPENSABLE = frozenset(
    {b"age", b"cache-control", b"content-encoding", b"content-range", b"content-type", b"date", b"expires", b"vary"}
)

_AGE = (b"age",)

CREDENTIALS = frozenset(
    b"api-key authorization client-cert cookie proxy-authorization x-access-token x-api-key x-auth-token"
    b" x-session-token".split()
)
"""Request fields that identify the client; a default that operators may replace."""

InvalidAge = Literal["ignore", "stale"]
SetCookie = Literal["refuse", "strip", "store"]
Unkeyed = Literal["refuse", "store"]


@dataclass(frozen=True, slots=True)
class FreshnessRules:
    """Defaults for silent responses, and limits for all. Durations in seconds, names lower case.

    S3 objects mostly have no Cache-Control: they get `default_lifetime`, or, if None, `heuristic_fraction`
    of the time since Last-Modified (§4.2.2), or, if that is None too, no lifetime.
    """

    default_lifetime: float | None = 3600.0
    heuristic_fraction: float | None = None
    max_lifetime: float = 366 * 86400.0
    forced_lifetime: float | None = None  # for non-errors, whatever the origin says except no-store and private
    ignore_cache_control: bool = False  # ignores even no-store and private
    negative_lifetime: float = 10.0  # upper bound for errors, whatever the origin says
    negative: Mapping[int, float] = field(default_factory=dict, hash=False)  # other bounds than that, by status
    grace: float = 30.0  # default for stale-while-revalidate
    error_grace: float = 86400.0  # default for stale-if-error
    keep: float = 7 * 86400.0  # kept past its lifetime to be revalidated, if it has a validator
    honour_request_directives: frozenset[str] = frozenset()  # clients' Cache-Control may force work on origins
    honour_field_names: bool = False  # no-cache and private with field names apply to these fields only
    set_cookie: SetCookie = "refuse"  # responses that set cookies: not stored, stored without them, or with them
    invalid_age: InvalidAge = "ignore"  # an Age that isn't one number: ignored, or too old
    unkeyed: Unkeyed = "refuse"  # responses that may depend on forwarded fields that Vary doesn't name
    credentials: frozenset[bytes] = CREDENTIALS  # a response to one of these fields is for that client alone
    targeted: tuple[bytes, ...] = (CDN,)  # fields that override Cache-Control, in order of precedence (RFC 9213)
    surrogate: bytes = b""  # our name as a target of Surrogate-Control
    strip_targeted: bool = True  # remove those meant for us alone
    tags: tuple[bytes, ...] = (b"surrogate-key", b"cache-tag", b"cache-groups")  # fields with tags for purges
    strip_tags: bool = False
    withheld: frozenset[bytes] = frozenset()  # those of them that clients don't get by the rules on response fields
    # derived: fields that no client gets, and those of them by which an entry is still judged
    dropped: frozenset[bytes] = field(init=False, repr=False, compare=False)
    hidden: frozenset[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        dropped = set(self.targeted) - READ_BY_OTHERS if self.strip_targeted else set()
        if self.strip_tags:
            dropped.update(self.tags)
        dropped |= self.withheld
        object.__setattr__(self, "hidden", frozenset(dropped))
        if self.set_cookie == "strip":
            dropped.add(b"set-cookie")
        object.__setattr__(self, "dropped", frozenset(dropped))

    def negative_bound(self, status: int) -> float | None:
        """How long an error of this status is cached at most; None: not at all."""
        bound = self.negative.get(status)
        if bound is None and status not in _PASSING and (status < 500 or status == 501):
            return self.negative_lifetime
        return bound

    def gives_lifetime_to(self, status: int) -> bool:
        """Whether an error of this status is cached though it states no lifetime and HTTP gives it none."""
        return status in self.negative and self.default_lifetime is not None


@dataclass(slots=True, init=False)
class Freshness:
    """A stored response's times. `born` is the epoch time at which its age was 0, the others are seconds.

    Past its lifetime it may be served stale for `grace` while it is revalidated (stale-while-revalidate) and for
    `error_grace` while no origin can answer (stale-if-error); it is kept for `keep`.
    """

    born: float
    lifetime: float
    grace: float
    keep: float
    error_grace: float

    def __init__(self, born: float, lifetime: float, grace: float, keep: float, error_grace: float = 0.0) -> None:
        self.born = born
        self.lifetime = lifetime
        self.grace = grace
        self.keep = keep
        self.error_grace = error_grace

    def age(self, now: float) -> float:
        """Current age in seconds (RFC 9111 §4.2.3); never negative, even if the clock was set back."""
        age = now - self.born
        return age if age > 0.0 else 0.0

    def ttl(self, now: float) -> float:
        """Remaining freshness in seconds; negative when stale (RFC 9111 §4.2)."""
        return self.lifetime - self.age(now)

    def shown_ttl(self, now: float) -> int:
        """Remaining freshness in whole seconds, as reported: together with Age it adds up to the lifetime."""
        return int(self.lifetime) - int(self.age(now))

    def outdated(self, now: float) -> Freshness:
        """The same of a response that became old enough just now to be stale, for caches behind us, too."""
        born = min(self.born, now - self.lifetime - 1.0)
        return Freshness(born, self.lifetime, self.grace, self.keep, self.error_grace)

    def in_error_grace(self, now: float) -> bool:
        """Whether it is fresh, or stale and still usable if no origin can answer (RFC 5861 §4)."""
        return self.ttl(now) > -max(self.grace, self.error_grace)


@dataclass(slots=True)
class Policy:
    """An origin's caching policy for one response: its directives, and a lifetime if it states one."""

    control: CacheControl
    lifetime: float | None


def policy_of(head: ResponseHead, response_time: float, rules: FreshnessRules) -> Policy:
    """The policy of a response: a targeted field, else Cache-Control and Expires; or nothing, if so configured."""
    if rules.ignore_cache_control:
        return Policy(ABSENT, None)
    control, is_targeted = governing(head, rules.targeted, rules.surrogate)
    lifetime = _stated_lifetime(control)
    if lifetime is None and not is_targeted:  # RFC 9213 §2.2: then Expires doesn't count either
        lifetime = _expires(head, response_time)
    return Policy(control, lifetime)


def freshness_of(
    head: ResponseHead, policy: Policy, *, request_time: float, response_time: float, rules: FreshnessRules
) -> Freshness:
    """The freshness of a response requested at `request_time` whose head arrived at `response_time`."""
    born = response_time - _initial_age(head, request_time, response_time, rules)
    if head.status >= 400:
        bound = rules.negative_bound(head.status) or 0.0
        stated = bound if policy.lifetime is None else min(policy.lifetime, bound)
        return Freshness(born, 0.0 if must_be_checked(policy.control, rules) else stated, 0.0, 0.0)

    lifetime, checked = policy.lifetime, must_be_checked(policy.control, rules)
    if rules.forced_lifetime is not None:
        lifetime = rules.forced_lifetime
    elif checked:
        lifetime = 0.0
    elif lifetime is None:
        lifetime = _implicit_lifetime(head, policy.control, response_time, rules)
    if lifetime > rules.max_lifetime:
        lifetime = rules.max_lifetime
    grace, error_grace = (0.0, 0.0) if checked else _graces(policy.control, lifetime, rules)
    keep = rules.keep if head.status == 200 and has_validator(head) else 0.0
    return Freshness(born, lifetime, grace, max(keep, grace, error_grace), error_grace)


def allowed_lifetime(head: ResponseHead) -> float:
    """Seconds for which a shared cache may keep a response by Cache-Control alone; infinite if it doesn't say."""
    control, _ = governing(head, ())
    if control.no_store or control.private or control.no_cache:
        return 0.0
    lifetime = _stated_lifetime(control)
    return math.inf if lifetime is None else lifetime


def must_be_checked(control: CacheControl, rules: FreshnessRules) -> bool:
    """Whether a response has to be revalidated at each use (§5.2.2.4).

    A no-cache that names fields may apply to those alone; applying it to the whole response is correct, too.
    """
    if not control.no_cache_fields or control.no_cache:
        return control.no_cache
    return not may_be_left_out(control.no_cache_fields, rules)


def may_be_left_out(names: tuple[bytes, ...], rules: FreshnessRules) -> bool:
    """Whether a directive that names fields may apply to them alone: if so configured, and they aren't essential."""
    return rules.honour_field_names and _INDISPENSABLE.isdisjoint(names)


def has_validator(head: ResponseHead) -> bool:
    """Whether a response can be revalidated: it has a valid entity tag, or a valid date in Last-Modified."""
    etag = head.get(b"etag")
    if etag is not None and conditional.is_tag(etag):
        return True
    modified = head.get(b"last-modified")
    return modified is not None and dates.parse(modified) is not None


def _stated_lifetime(control: CacheControl) -> float | None:
    """The lifetime that directives state, in the order of §4.2.1."""
    if control.s_maxage is not None:
        return float(control.s_maxage)  # §5.2.2.10: before max-age in a shared cache
    return None if control.max_age is None else float(control.max_age)  # §5.2.2.1: before Expires


def _expires(head: ResponseHead, response_time: float) -> float | None:
    lines = head.all(b"expires")
    if not lines:
        return None
    expires = dates.parse(lines[0]) if lines.count(lines[0]) == len(lines) else None
    if expires is None:
        return 0.0  # §5.3: invalid, "0" above all, is in the past; §4.2.1: so are two that differ
    return max(0.0, expires - _date(head, response_time))


def _implicit_lifetime(
    head: ResponseHead, control: CacheControl, response_time: float, rules: FreshnessRules
) -> float:
    """For a response that states none: ours, or a share of the time since it last changed (§4.2.2)."""
    if head.status not in HEURISTIC and not control.public:
        return 0.0
    if rules.default_lifetime is not None:
        return rules.default_lifetime
    modified = head.get(b"last-modified")
    changed = dates.parse(modified) if modified is not None else None
    if rules.heuristic_fraction is None or changed is None:
        return 0.0
    return max(0.0, rules.heuristic_fraction * (_date(head, response_time) - changed))


def _graces(control: CacheControl, lifetime: float, rules: FreshnessRules) -> tuple[float, float]:
    """How long it may be served stale: while it is revalidated, and when no origin answers."""
    if control.must_revalidate or control.proxy_revalidate:
        return 0.0, 0.0  # §4.2.4: prohibited, as by no-cache, and RFC 5861 can't lift that
    grace, error_grace = rules.grace, rules.error_grace
    if control.s_maxage is not None:
        grace = error_grace = 0.0  # §5.2.2.10 includes proxy-revalidate; explicit values still count
    if lifetime <= 0.0:
        grace = 0.0  # it demands revalidation each time
    if control.stale_while_revalidate is not None:
        grace = float(control.stale_while_revalidate)
    if control.stale_if_error is not None:
        error_grace = float(control.stale_if_error)
    return grace, error_grace


def _initial_age(head: ResponseHead, request_time: float, response_time: float, rules: FreshnessRules) -> float:
    """corrected_initial_age of §4.2.3."""
    age = response_time - _date(head, response_time)
    corrected = response_time - request_time if response_time > request_time else 0.0
    if head.has_any(_AGE):
        corrected += _age_value(head, rules)
    return age if age > corrected else corrected


def _age_value(head: ResponseHead, rules: FreshnessRules) -> float:
    """§5.1: of several values, in one line or several, the first counts; non-numbers are ignored, or count as old."""
    lines = head.all(b"age")
    if rules.invalid_age == "stale" and not (len(lines) == 1 and lines[0].isdigit()):
        return float(MAX_SECONDS)
    first = lines[0].partition(b",")[0].strip(b" \t")
    return float(seconds_of(first)) if first.isdigit() else 0.0


def _date(head: ResponseHead, response_time: float) -> float:
    """The time at which the origin generated it; the time of arrival if it has no Date (RFC 9110 §6.6.1)."""
    value = head.get(b"date")
    made = dates.parse(value) if value is not None else None
    return response_time if made is None else float(made)
