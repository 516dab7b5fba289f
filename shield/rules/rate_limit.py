"""Rate limits: which requests count against which budget, and GCRA, the algorithm of a budget. Pure.

A budget is one number, the time at which it will be full again (`due`; GCRA calls it the theoretical arrival time).
Each admitted request moves it by one interval, and none is admitted that would move it by more than a burst beyond
now. So in any time t at most `burst + t / interval` requests are admitted, and a budget whose time has passed is like
one that was never used: it can be forgotten.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

import xxhash

from shield.errors import RequestError
from shield.messages import Field
from shield.rules.access import FORWARDED, X_FORWARDED_FOR
from shield.rules.addresses import Networks, Peer, stated_clients

SECOND = 1_000_000_000
"""Times and intervals are whole nanoseconds, so that sums of them are exact."""

CLOSED = -1
"""In place of the number of nodes that share a limit: nobody is admitted."""

TOO_MANY = 429  # RFC 6585 §4


@dataclass(frozen=True, slots=True)
class RequestPace:
    """`burst` requests at once, then one each `interval` nanoseconds."""

    interval: int
    burst: int
    tolerance: int = field(init=False, repr=False)
    """How far a request may move a budget beyond now, less its own interval."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "tolerance", self.interval * (self.burst - 1))

    @classmethod
    def of(cls, requests: int, seconds: float, burst: int) -> RequestPace:
        """So many requests in so many seconds; rounded down, if at all."""
        return cls(max(1, math.ceil(seconds * SECOND / requests)), burst)

    @property
    def window_seconds(self) -> int:
        """Time in which an empty budget is full again, at least a second."""
        return max(1, math.ceil(self.interval * self.burst / SECOND))


@lru_cache(maxsize=64)
def divided(pace: RequestPace, nodes: int) -> RequestPace:
    """The part of one of so many nodes."""
    return RequestPace(pace.interval * nodes, max(1, pace.burst // nodes))


def bounded(due: int, now: int, pace: RequestPace) -> int:
    """The due time of a budget that is no later than a burst from now: it would be only if the clock was set back or
    the pace was changed, and then counts as just used up."""
    return min(due, now + pace.interval * pace.burst)


def wait_of(due: int, now: int, pace: RequestPace) -> int:
    """Nanoseconds until a budget with a `bounded` due time admits a request; 0: it does now."""
    over = due - now - pace.tolerance
    return over if over > 0 else 0


def spent(due: int, now: int, pace: RequestPace) -> int:
    """The due time of a budget after an admitted request."""
    return (due if due > now else now) + pace.interval


def budget_of(*names: bytes) -> int:
    """The number of a budget: 64 bits with sign, and never 0."""
    return int.from_bytes(xxhash.xxh3_64_digest(b" ".join(names)), "little", signed=True) or 1


class Subject(Enum):
    """The unit with its own budget; the value is the word in settings."""

    ADDRESS = "address"  # a client's address, or IPv6 /64 network
    ROUTE = "route"  # a route, for all of its clients together
    SIGNED_URL_KEY = "signed-url-key"  # the key that a valid link is signed with
    HEADER = "header"  # a value of a request field


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A limit by the name that it has in settings. `header` is the field of `Subject.HEADER`, lower case.

    `routes` empty: requests of all routes count. Clients in `exempt` have no limit. `refuses` False: requests beyond
    it are only counted.
    """

    name: str
    subject: Subject
    pace: RequestPace
    header: bytes = b""
    routes: frozenset[str] = frozenset()
    exempt: Networks = field(default_factory=Networks, compare=False)
    refuses: bool = True

    @property
    def depends_on_route(self) -> bool:
        return bool(self.routes) or self.subject is Subject.ROUTE

    def budget(self, subject: bytes) -> int:
        """The number of the budget that a subject has under this limit: 64 bits with sign, and never 0."""
        return budget_of(self.name.encode(), self.subject.value.encode(), subject)


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """The limits of a node. `client_fields` are those in which `trusted` proxies name their clients."""

    limits: tuple[RateLimit, ...]
    trusted: Networks = field(default_factory=Networks, compare=False)
    client_fields: frozenset[bytes] = frozenset({FORWARDED, X_FORWARDED_FOR})

    @property
    def fields(self) -> frozenset[bytes]:
        """Names of the request fields that limits depend on."""
        named = frozenset(limit.header for limit in self.limits if limit.header)
        return named | self.client_fields if self.trusted else named

    @property
    def depend_on_key(self) -> bool:
        """Whether the key of a request's signed link matters."""
        return any(limit.subject is Subject.SIGNED_URL_KEY for limit in self.limits)

    def clients(self, peer: Peer, fields: Mapping[bytes, bytes]) -> list[Peer]:
        """The clients of a request, as `rules.addresses.stated_clients`: two if a proxy's fields contradict."""
        stated = [fields.get(name) if name in self.client_fields else None for name in (FORWARDED, X_FORWARDED_FOR)]
        return list(dict.fromkeys(stated_clients(peer, stated[0], stated[1], self.trusted)))


@dataclass(frozen=True, slots=True)
class RateFacts:
    """The parts of a request that limits depend on: its clients, its route's name, the values of its fields in
    `RateLimits.fields`, and the id of the key of its signed link, if that is valid."""

    clients: list[Peer]
    route: str | None = None
    fields: Mapping[bytes, bytes] = field(default_factory=dict)
    key: bytes | None = None


def budgets_of(limits: RateLimits, facts: RateFacts) -> list[tuple[RateLimit, int]]:
    """The budgets that a request is taken from, by limit.

    A request without the field or link of a limit counts for its address. A client without an address, as on a unix
    socket that no trusted proxy speaks on, has no budget.
    """
    found: list[tuple[RateLimit, int]] = []
    for limit in limits.limits:
        if limit.routes and facts.route not in limit.routes:
            continue
        if all(client in limit.exempt for client in facts.clients):  # one of two may be forged
            continue
        if limit.subject is Subject.ROUTE:
            if facts.route is not None:
                found.append((limit, limit.budget(facts.route.encode())))
            continue
        named = facts.key if limit.subject is Subject.SIGNED_URL_KEY else facts.fields.get(limit.header)
        if named is not None:
            found.append((limit, limit.budget(b"= " + named)))
            continue
        found += [(limit, limit.budget(place)) for place in map(_place, facts.clients) if place is not None]
    return found


def _place(client: Peer) -> bytes | None:
    """The common address of clients at one place: an IPv4 address, or the /64 of an IPv6 address."""
    if client is None or isinstance(client, str):
        return None
    if isinstance(client, ipaddress.IPv4Address):
        return client.packed
    return client.packed[:8]


class RateLimitedError(RequestError):
    """A request beyond a limit, which the client may repeat in `wait` nanoseconds."""

    ends_connection = False

    def __init__(self, limit: RateLimit, wait: int) -> None:
        super().__init__(TOO_MANY, "rate-limited")
        self.limit = limit
        self.seconds = max(1, math.ceil(wait / SECOND))
        self.detail = f"rate-limited: {limit.name}"

    @property
    def fields(self) -> tuple[Field, ...]:
        """Retry-After (RFC 9110 §10.2.3), and the fields of draft-ietf-httpapi-ratelimit-headers-11 §3, §4."""
        name, pace, wait = self.limit.name.encode(), self.limit.pace, self.seconds
        return (
            (b"retry-after", b"%d" % wait),
            (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (name, pace.burst, pace.window_seconds)),
            (b"ratelimit", b'"%b";r=0;t=%d' % (name, wait)),
        )
