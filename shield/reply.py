"""Responses ready to be written, from a stored entry or Shield's own, and the interface to which they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from secrets import token_bytes
from typing import Literal, Protocol

from shield.errors import RequestError
from shield.messages import Fields, Part, Request
from shield.outcome import HEALTH, Outcome, Trailer, key_name, node_name, plain_hit
from shield.rules import dates
from shield.rules.freshness import Freshness
from shield.rules.heads import StoredHead, block
from shield.rules.link_lifetime import REST, capped
from shield.rules.routes import Resource
from shield.rules.selection import Selection, select
from shield.store.entry import Entry, body_parts
from shield.store.plain import Plain

CacheStatus = Literal["plain", "with-key", "off"]

_RETRIABLE_BY_CONNECTION = (404, 405, 429)


UNAVAILABLE = "no origin could answer"
OVER_BUDGET = "the budget of its origins is spent"
"""Texts of responses that no origin gave."""


class Reply:
    """A whole response. `head` lacks only a Connection field and the blank line; `length` is of `parts` together.

    `route` is the name of the route of a plain hit; of others it is empty. One that `is_hot` will be sent
    often: it is worth joining, though it may be large, and then kept as `whole`, for connections that stay open.
    """

    __slots__ = ("close", "head", "is_hot", "length", "outcome", "parts", "route", "status", "whole")

    def __init__(
        self, status: int, head: bytes, parts: Sequence[Part], length: int, outcome: Outcome, route: str = ""
    ) -> None:
        self.status = status
        self.head = head
        self.parts = parts
        self.length = length
        self.outcome = outcome
        self.route = route
        self.close = False  # the connection must not be used after it
        self.is_hot = False
        self.whole: bytes | None = None


class Client(Protocol):
    """The destination of a transfer; each front has one."""

    ready: bool  # False: don't write now; the front calls `Transfer.advance` when it is True again

    @property
    def untaken(self) -> int:
        """Bytes written that it can't be sent yet; 0 while it is `ready`."""

    def inform(self, block: bytes) -> None:
        """A whole interim response (RFC 9110 §15.2), before the final one; dropped where it can't be sent."""

    def reply(self, reply: Reply) -> None:
        """A whole response, and its end."""

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        """The head of a streamed response, as in `Reply`, with the first bytes of its body if available.

        `length` None: only its end shows where the body ends.
        """

    def write(self, data: Part) -> None:
        """Body bytes, in order."""

    def finish(self, *, clean: bool) -> None:
        """The end of a streamed response. If not clean, the client must be able to see that it is incomplete."""


class UnderWay(Protocol):
    """A request that its client waits for, as its front sees it: a `Transfer`, or a purge."""

    @property
    def over(self) -> bool:
        """Whether the client has got the end, or is gone."""

    def advance(self) -> None:
        """The client can take more."""

    def abandon(self) -> None:
        """The client is gone."""

    def held(self) -> tuple[int, int] | None:
        """The body in memory that it reads, and its bytes."""


class WholeReply:
    """A request whose reply comes whole, or not at all if the client has left; its work goes on all the same."""

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        self._client: Client | None = client

    @property
    def over(self) -> bool:
        return self._client is None

    def end(self, reply: Reply) -> None:
        """This is the reply."""
        client, self._client = self._client, None
        if client is not None:
            client.reply(reply)

    def advance(self) -> None:
        """There is nothing to go on with."""

    def abandon(self) -> None:
        self._client = None

    def held(self) -> tuple[int, int] | None:
        """No body is in memory."""
        return None


class Replies:
    """Makes replies in the name of one node.

    `server` is the Server field of all of them, None for none. `cache_status`: whether they state their
    outcome, with or without the cache key.
    """

    def __init__(
        self,
        *,
        node: str,
        via: bytes,
        retry_after_seconds: float,
        server: bytes | None = None,
        cache_status: CacheStatus = "plain",
    ) -> None:
        self.node = node.encode()
        tells, named = cache_status != "off", node_name(node)
        self._tells_key = cache_status == "with-key"
        line = b"" if server is None else b"server: %b\r\n" % server
        self.trailer = Trailer(named, line, tells=tells, tells_key=self._tells_key).of
        self._via = via
        self._boundary_key = token_bytes(32)
        # As `trailer` for a hit with its ttl; inlined, since every hit on a disk comes here.
        node_and_server = [part.replace(b"%", b"%%") for part in (line, named)]
        told = b"cache-status: %b; hit; ttl=%%d%%b\r\n" if tells else b"%%.0a%%.0b%.0b"
        self._hit = (b"%%b%bage: %%d\r\n" + told) % tuple(node_and_server)
        self._retry_after = (b"retry-after", b"%d" % max(1, round(retry_after_seconds)))

    def of_plain(self, plain: Plain, resource: Resource, *, with_body: bool) -> Reply:
        """A hit, for a request without special fields."""
        status, shown, parts, length, age, ttl, tier, _, _ = plain
        told = b"; key=" + key_name(resource.key.text) if self._tells_key else b""
        head = self._hit % (shown, age, ttl, told)
        if with_body:
            return Reply(status, head, parts, length, plain_hit(tier), resource.route.name)
        return Reply(status, head, (), 0, plain_hit(tier), resource.route.name)

    def selection(
        self,
        request: Request,
        head: StoredHead,
        length: int | None,
        *,
        now: float,
        freshness: Freshness | None,
        in_parts: bool = True,
    ) -> Selection:
        """The response to `request` from a body under this head; several ranges as parts, if they are available."""
        chosen = select(request, head, length, boundary_key=self._boundary_key if in_parts else None)
        if REST in request.notable:
            age, lifetime = (0.0, 0.0) if freshness is None else (freshness.age(now), freshness.lifetime)
            chosen.block = capped(chosen.block, rest=int(request.notable[REST]), age=age, lifetime=lifetime)
        return chosen

    def of_entry(self, request: Request, entry: Entry, now: float, outcome: Outcome) -> Reply:
        """The response to `request` from a stored entry: all, ranges, the head, or the result of preconditions."""
        chosen = self.selection(request, entry.head, entry.length, now=now, freshness=entry.freshness)
        head = chosen.block + self.trailer(entry.freshness.age(now), outcome)
        parts = entry.blocks if chosen.whole and chosen.pieces else _parts(entry, chosen)
        return Reply(chosen.status, head, parts, chosen.length or 0, outcome)

    def refusal(self, error: RequestError, request: Request, now: float) -> Reply:
        """The response to a rejected request. The connection is closed unless the request was unambiguous."""
        outcome = Outcome(detail=error.detail, refused=True)
        reply = self.own(error.status, error.reason, request, now, outcome=outcome, fields=error.fields)
        has_body = b"content-length" in request.notable or b"transfer-encoding" in request.notable
        reply.close = has_body or error.status not in _RETRIABLE_BY_CONNECTION or request.method == b"CONNECT"
        return reply

    def options(self, allow: bytes, fields: Fields, now: float, outcome: Outcome) -> Reply:
        """The response to OPTIONS (RFC 9110 §9.3.7): the methods that a route allows."""
        lines = ((b"allow", allow), *fields, (b"date", dates.imf_fixdate(now)), (b"via", self._via))
        return Reply(204, block(204, lines) + self.trailer(0, outcome), (), 0, outcome)

    def unavailable(
        self,
        status: int,
        request: Request,
        now: float,
        outcome: Outcome,
        *,
        retry_after: float | None = None,
        text: str = UNAVAILABLE,
    ) -> Reply:
        """No origin could answer: never a 404, never stored (RFC 9110 §15.6.4, §15.6.5).

        `retry_after` are the seconds after which one may; None: it isn't known.
        """
        again = self._retry_after
        if retry_after is not None:
            again = (again[0], b"%d" % max(1, math.ceil(retry_after)))
        return self.own(status, text, request, now, outcome=outcome, fields=(again,))

    def health(self, status: int, body: bytes, request: Request, now: float) -> Reply:
        """Whether the node can serve, as JSON."""
        return self.in_json(status, body, request, now, Outcome(detail=HEALTH))

    def in_json(self, status: int, body: bytes, request: Request, now: float, outcome: Outcome) -> Reply:
        """A response of our own for programs."""
        lines = (
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"date", dates.imf_fixdate(now)),
            (b"via", self._via),
        )
        head = block(status, lines) + self.trailer(0, outcome)
        parts = () if request.method == b"HEAD" else (body,)
        return Reply(status, head, parts, len(body) if parts else 0, outcome)

    def bare(self, status: int, text: str, request: Request, now: float, outcome: Outcome) -> Reply:
        """A response that says no more than this; the outcome is for the log alone. The connection is closed."""
        reply = self.own(status, text, request, now, outcome=outcome, fields=())
        shown = self.trailer(0, outcome)
        reply.head, reply.close = reply.head.removesuffix(shown), True
        return reply

    def only_if_cached(self, request: Request, now: float) -> Reply:
        """The response to a request that accepts only a stored response (RFC 9111 §5.2.1.7)."""
        outcome = Outcome(detail="only-if-cached")
        return self.own(504, "not stored", request, now, outcome=outcome, fields=())

    def own(
        self,
        status: int,
        text: str,
        request: Request,
        now: float,
        *,
        outcome: Outcome,
        fields: Fields,
    ) -> Reply:
        body = text.encode("ascii", "replace") + b"\n"
        lines = (
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"date", dates.imf_fixdate(now)),
            *fields,
            (b"via", self._via),
        )
        head = block(status, lines) + self.trailer(0, outcome)
        if request.method == b"HEAD":
            return Reply(status, head, (), 0, outcome)
        return Reply(status, head, (body,), len(body), outcome)


def _parts(entry: Entry, chosen: Selection) -> Sequence[Part]:
    """The body of a response, without copying."""
    parts: list[Part] = []
    for before, start, stop in chosen.pieces:
        if before:
            parts.append(before)
        parts += body_parts(entry.blocks, start, entry.length if stop is None else stop)
    return parts
