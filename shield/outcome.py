"""The outcome of one request: the one value from which Cache-Status, log fields and metric labels are rendered.

Nothing else writes the words hit, miss or stale, so they can't drift apart. With the request, the response and their
times it makes an `Exchange`, the complete record of a request at its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from shield.messages import Fields, Request
    from shield.trace import FetchTrace

OPTIONS: Final = "options"
"""The detail, and the word, of a response to OPTIONS: our own, and no error."""

HEALTH: Final = "health"
"""The detail, and the word, of a response to a request whether the node can serve."""

PURGE: Final = "purge"
"""The detail, and the word, of a response to PURGE: a purge that was carried out."""

PEER_HIT: Final = "peer-hit"
"""The detail of a response that another node had stored."""

PEER_FILLED: Final = "peer"
"""And of one that it has fetched."""

MISS: Final = "miss"
"""The word of a response that isn't from this node's store; perhaps another node had it."""

CLIENT_LEFT: Final = 499
"""In place of a status if the client left before there was one."""

_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")  # sf-token, RFC 9651 §3.3.4


class Forward(Enum):
    """Why a request was forwarded to an origin (RFC 9211 §2.2); the value is the parameter on the wire."""

    BYPASS = "bypass"  # the cache was configured or told not to handle it
    METHOD = "method"  # the method can't be answered from a cache
    URI_MISS = "uri-miss"  # nothing is stored under the key
    VARY_MISS = "vary-miss"  # an entry is stored, but no matching variant
    REQUEST = "request"  # the request's own directives forbid the entry
    STALE = "stale"  # the entry is no longer fresh
    PARTIAL = "partial"  # the requested range isn't stored completely

    __hash__ = object.__hash__  # Enum's own is Python, and a miss looks one up several times


_URI_MISS: Final = Forward.URI_MISS  # a global: one lookup for nearly all misses instead of several


@dataclass(slots=True, init=False)
class Outcome:
    """One request's outcome. `forward` None and `hit` False means that Shield itself answered: OPTIONS, PURGE,
    its health, or an error of the request.

    `refused` is such an error, raised before any lookup.

    `ttl` is seconds, negative when stale. `forward_status` is the origin's status, None if none answered. `key` is
    the text of the cache key. `tier` is that of the entry that was found: "memory", or a disk tier's name; None if
    the response isn't from one. `attempts` is the number of requests to origins of the fetch that it waited for, as
    far as known: 0 if there was none.

    `plain` outcomes are shared values, of hits without further details.
    """

    hit: bool
    forward: Forward | None
    forward_status: int | None
    ttl: int | None
    stored: bool
    collapsed: bool
    detail: str | None
    origin: str | None
    key: bytes | None
    refused: bool
    tier: str | None
    attempts: int
    plain: bool
    trace: FetchTrace | None = field(compare=False, repr=False)  # of the fetch that it waited for

    def __init__(
        self,
        hit: bool = False,
        forward: Forward | None = None,
        forward_status: int | None = None,
        ttl: int | None = None,
        stored: bool = False,
        collapsed: bool = False,
        detail: str | None = None,
        origin: str | None = None,
        key: bytes | None = None,
        refused: bool = False,
        tier: str | None = None,
        attempts: int = 0,
        plain: bool = False,
        trace: FetchTrace | None = None,
    ) -> None:
        self.hit = hit
        self.forward = forward
        self.forward_status = forward_status
        self.ttl = ttl
        self.stored = stored
        self.collapsed = collapsed
        self.detail = detail
        self.origin = origin
        self.key = key
        self.refused = refused
        self.tier = tier
        self.attempts = attempts
        self.plain = plain
        self.trace = trace

    def cache_status(self, node: bytes, *, with_key: bool = False) -> bytes:
        """One member of the Cache-Status list (RFC 9211 §2); `node` is as `node_name` made it."""
        said = node + (b"; hit" if self.hit else _way(self.forward, self.forward_status, self.stored, self.collapsed))
        if self.ttl is not None:
            said += b"; ttl=%d" % self.ttl
        if with_key and self.key is not None:
            said += b"; key=" + key_name(self.key)
        if self.detail is not None:
            said += b"; detail=" + _bare(self.detail)
        return said

    @property
    def served_stale(self) -> bool:
        """Whether a stale entry was served: while it is refreshed, or because that failed."""
        if self.ttl is None or self.ttl >= 0:
            return False
        return self.hit or (self.forward is Forward.STALE and not self.stored and self.forward_status is None)

    @property
    def word(self) -> str:
        """The word in metrics and logs: hit, stale, miss, collapsed, revalidated, bypass, options, health, purge,
        refused, error.
        """
        ttl, forward = self.ttl, self.forward
        if ttl is not None and ttl < 0 and self.served_stale:
            return "stale"
        if self.hit:
            return "hit"
        if forward is None:
            if self.detail in (OPTIONS, HEALTH, PURGE):
                return str(self.detail)
            return "refused" if self.refused else "error"
        if self.collapsed:
            return "collapsed"
        if forward is _URI_MISS:
            return MISS
        if forward is Forward.STALE and self.forward_status == 304:
            return "revalidated"
        return "bypass" if forward in (Forward.BYPASS, Forward.METHOD) else MISS

    @property
    def reason(self) -> str | None:
        """Why the request was forwarded, or not even looked up, in a word; None for others."""
        if self.forward is not None:
            return self.forward.value
        return self.detail if self.refused else None

    def log_fields(self) -> dict[str, str | int | bool]:
        """Its fields in logs, without those that don't apply."""
        fields: dict[str, str | int | bool] = {"cache": self.word}
        if self.plain:
            fields["tier"] = self.tier or MEMORY
            return fields
        for name in ("reason", "forward_status", "ttl", "detail", "origin", "tier"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        if self.attempts:
            fields["attempts"] = self.attempts
        if self.stored:
            fields["stored"] = True
        return fields


MEMORY: Final = "memory"
"""The name of the RAM tier."""

PLAIN_HIT = Outcome(hit=True, tier=MEMORY, plain=True)
"""Shared by all plain hits in RAM."""


@lru_cache
def plain_hit(tier: str) -> Outcome:
    """Shared by all plain hits on a disk tier."""
    return Outcome(hit=True, tier=tier, plain=True)


class Trailer:
    """Renders the field lines of a response that differ each time, for one node (RFC 9111 §5.1, RFC 9211)."""

    __slots__ = ("_node", "_server", "_tells", "_tells_key")

    def __init__(self, node: bytes, server: bytes, *, tells: bool, tells_key: bool) -> None:
        """`node` is as `node_name` made it, `server` a whole field line; `tells`: the outcome, too, with the key."""
        self._node = node
        self._server = server
        self._tells = tells
        self._tells_key = tells_key

    def of(self, age: float, outcome: Outcome) -> bytes:
        if not self._tells:
            return b"%bage: %d\r\n" % (self._server, age)
        told = outcome.cache_status(self._node, with_key=self._tells_key)
        return b"%bage: %d\r\ncache-status: %b\r\n" % (self._server, age, told)


class End(Enum):
    """How an exchange ended."""

    WHOLE = "whole"  # the whole response was written
    BROKEN = "broken"  # it was cut short, since the rest of its body is unavailable
    ABANDONED = "abandoned"  # the client left before its end, or read too slowly


class Exchange:
    """A request and its response, from the head of the one to the end of the other. Each front keeps one per request
    and passes it on at the end; counters, access log and all other records read nothing but this.

    `client` is an address, or "unix". `route` is None if no route was looked up. `protocol` is None for HTTP/1.
    `key` is the text of the cache key, if there is one.
    `fields` are the request's, without secrets that only the guard may see.
    `status` is the response's, or 499 if there was none. `sent` are bytes of the body. Times are epoch seconds:
    `began` when the request's head was complete, `answered` when the response's head was written.
    """

    __slots__ = (
        "_request",
        "answered",
        "began",
        "client",
        "end",
        "ended",
        "fields",
        "key",
        "method",
        "outcome",
        "route",
        "sent",
        "status",
        "target",
    )

    protocol: ClassVar[str | None] = None

    def __init__(self, method: bytes, target: bytes, client: str, began: float, *, route: str | None = None) -> None:
        self.method = method
        self.target = target
        self.client = client
        self.route = route
        self.began = began
        self.answered: float | None = None
        self.ended = began
        self.status = CLIENT_LEFT
        self.outcome: Outcome | None = None  # None: no response
        self.sent = 0
        self.end = End.WHOLE
        self.fields: Fields = ()
        self.key: bytes | None = None
        self._request: Request | None = None

    def take_from(self, request: Request) -> None:
        """Note the request's fields and its identifier."""
        self.fields, self._request = request.fields, request

    def answer(self, status: int, outcome: Outcome, now: float) -> None:
        """The head of the response has been written."""
        self.status, self.outcome, self.answered = status, outcome, now

    def answer_whole(self, status: int, outcome: Outcome, sent: int, now: float) -> None:
        """The whole response has been written."""
        self.status, self.outcome, self.sent = status, outcome, sent
        self.answered = self.ended = now

    def finish(self, end: End, now: float) -> None:
        """Nothing more will be written."""
        self.end, self.ended = end, now

    @property
    def request_id(self) -> bytes | None:
        """The request's identifier, made when something reads it; None if none was needed."""
        return None if self._request is None else self._request.identifier

    @property
    def origin(self) -> str | None:
        """The origin of the response, if it was just fetched."""
        return None if self.outcome is None else self.outcome.origin

    @property
    def first_byte_seconds(self) -> float | None:
        """Time until the response's head was written; None if it never was."""
        return None if self.answered is None else self.answered - self.began

    @property
    def total_seconds(self) -> float:
        return self.ended - self.began


class Http2Exchange(Exchange):
    """An exchange on a stream."""

    __slots__ = ()

    protocol = "HTTP/2"


@lru_cache(maxsize=1024)
def _way(forward: Forward | None, status: int | None, stored: bool, collapsed: bool) -> bytes:
    """The Cache-Status of a request that wasn't a hit: one of few values."""
    if forward is None:
        return b""
    parts = [b"; fwd=" + forward.value.encode()]
    if status is not None:
        parts.append(b"fwd-status=%d" % status)
    if stored:
        parts.append(b"stored")
    if collapsed:
        parts.append(b"collapsed")
    return b"; ".join(parts)


def node_name(node: str) -> bytes:
    """A node's name as Cache-Status member: an sf-token if possible, else an sf-string."""
    return _bare(node)


def key_name(text: bytes) -> bytes:
    """A cache key's text for Cache-Status (RFC 9211 §2.7), without its variant."""
    return _string(text.partition(b" ")[0].decode("ascii", "replace"))


def _bare(text: str) -> bytes:
    return text.encode() if _TOKEN.fullmatch(text) else _string(text)


def _string(text: str) -> bytes:
    safe = "".join(c if " " <= c <= "~" else "?" for c in text)
    return b'"' + safe.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
