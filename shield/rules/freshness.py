"""How old a response is and how long it holds: RFC 9111 §4.2, and the operator's rules where a response is silent."""

from __future__ import annotations

from dataclasses import dataclass

from shield.messages import ResponseHead
from shield.rules import dates
from shield.rules.cache_control import MAX_SECONDS, CacheControl
from shield.rules.cache_control import parse as parse_cache_control

NEGATIVE = frozenset({404, 410})
"""Statuses stored with a short lifetime of their own."""


@dataclass(frozen=True, slots=True)
class FreshnessRules:
    """What holds where origins say nothing, and the limits on what they say. All in seconds.

    S3 objects mostly carry no Cache-Control: `default_lifetime` is theirs, None leaves them to `heuristic_fraction`
    of the time since Last-Modified (§4.2.2), and None there too leaves them without any.
    """

    default_lifetime: float | None = 3600.0
    heuristic_fraction: float | None = None
    max_lifetime: float = 366 * 86400.0
    negative_lifetime: float = 10.0  # upper bound for 404 and 410, whatever the origin says
    grace: float = 30.0  # served stale while it is revalidated, unless stale-while-revalidate says otherwise
    error_grace: float = 86400.0  # served stale when no origin can answer, unless stale-if-error says otherwise
    keep: float = 7 * 86400.0  # kept past its lifetime to be revalidated, if it has a validator
    honour_request_directives: bool = False  # clients' Cache-Control may force work on origins
    strip_set_cookie: bool = False  # store responses that set cookies, without these


@dataclass(slots=True)
class Freshness:
    """A stored response's times. `born` is the epoch time at which its age was 0, all else are seconds.

    Past its lifetime it may be served stale for `grace` while it is revalidated, for `error_grace` when no origin
    can answer, and is worth keeping for `keep`.
    """

    born: float
    lifetime: float
    grace: float
    keep: float
    error_grace: float = 0.0

    def age(self, now: float) -> float:
        """Current age in seconds (RFC 9111 §4.2.3); never negative, though the clock may have been set back."""
        age = now - self.born
        return age if age > 0.0 else 0.0

    def ttl(self, now: float) -> float:
        """Remaining freshness in seconds; negative when stale (RFC 9111 §4.2)."""
        return self.lifetime - self.age(now)

    def shown_ttl(self, now: float) -> int:
        """Remaining freshness as it is told to others: with the Age that is sent, it adds up to the lifetime."""
        return int(self.lifetime) - int(self.age(now))

    def in_grace(self, now: float) -> bool:
        """Fresh, or stale and still to be served while it is revalidated (RFC 5861 §3)."""
        return self.ttl(now) > -self.grace

    def in_error_grace(self, now: float) -> bool:
        """Fresh, or stale and still to be served when no origin can answer (RFC 5861 §4)."""
        return self.ttl(now) > -max(self.grace, self.error_grace)

    def kept_until(self) -> float:
        """Epoch time from which on it is of no use to anyone."""
        return self.born + self.lifetime + self.keep


def freshness_of(
    head: ResponseHead, *, request_time: float, response_time: float, rules: FreshnessRules
) -> Freshness:
    """The freshness of a response that was asked for at `request_time` and whose head came at `response_time`."""
    control = parse_cache_control(head.all(b"cache-control"))
    explicit = explicit_lifetime(head, control, response_time)
    lifetime = explicit if explicit is not None else _implicit_lifetime(head, response_time, rules)
    lifetime = min(lifetime, rules.max_lifetime)
    born = response_time - _initial_age(head, request_time, response_time)
    if head.status in NEGATIVE:
        return Freshness(born, min(lifetime, rules.negative_lifetime), 0.0, 0.0)

    grace, error_grace = _graces(control, lifetime, rules)
    keep = rules.keep if has_validator(head) else 0.0
    return Freshness(born, lifetime, grace, max(keep, grace, error_grace), error_grace)


def explicit_lifetime(head: ResponseHead, control: CacheControl, response_time: float) -> float | None:
    """What the origin itself says, in the order of §4.2.1; None when it says nothing."""
    if control.s_maxage is not None:
        return float(control.s_maxage)  # §5.2.2.10: before max-age in a shared cache
    if control.max_age is not None:
        return float(control.max_age)  # §5.2.2.1: before Expires
    lines = set(head.all(b"expires"))
    if not lines:
        return None
    expires = dates.parse(lines.pop()) if len(lines) == 1 else None
    if expires is None:
        return 0.0  # §5.3: invalid, "0" above all, is in the past; §4.2.1: so are two that differ
    return max(0.0, expires - _date(head, response_time))


def has_validator(head: ResponseHead) -> bool:
    """Whether it can be revalidated: an ETag, or a Last-Modified that is a date."""
    if head.get(b"etag"):
        return True
    modified = head.get(b"last-modified")
    return modified is not None and dates.parse(modified) is not None


def _implicit_lifetime(head: ResponseHead, response_time: float, rules: FreshnessRules) -> float:
    """For a response that states no time: ours, or a share of how long it hasn't changed (§4.2.2)."""
    if head.status in NEGATIVE:
        return rules.negative_lifetime
    if head.status != 200:
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
    if control.must_revalidate or control.proxy_revalidate or control.no_cache:
        return 0.0, 0.0  # §4.2.4: prohibited, and RFC 5861 can't lift that
    grace, error_grace = rules.grace, rules.error_grace
    if control.s_maxage is not None:
        grace = error_grace = 0.0  # §5.2.2.10 includes proxy-revalidate; what is explicit still counts
    if lifetime <= 0.0:
        grace = 0.0  # it asks for a check each time
    if control.stale_while_revalidate is not None:
        grace = float(control.stale_while_revalidate)
    if control.stale_if_error is not None:
        error_grace = float(control.stale_if_error)
    return grace, error_grace


def _initial_age(head: ResponseHead, request_time: float, response_time: float) -> float:
    """corrected_initial_age of §4.2.3."""
    apparent_age = max(0.0, response_time - _date(head, response_time))
    response_delay = max(0.0, response_time - request_time)
    return max(apparent_age, _age_value(head) + response_delay)


def _age_value(head: ResponseHead) -> float:
    """§5.1: the first of several values; what is no number is ignored."""
    lines = head.all(b"age")
    first = lines[0].split(b",", 1)[0].strip(b" \t") if lines else b""
    if not first.isdigit():
        return 0.0
    return float(min(int(first), MAX_SECONDS)) if len(first) <= 12 else float(MAX_SECONDS)


def _date(head: ResponseHead, response_time: float) -> float:
    """When the origin made it; when we got it if it doesn't say (RFC 9110 §6.6.1)."""
    value = head.get(b"date")
    made = dates.parse(value) if value is not None else None
    return response_time if made is None else float(made)
