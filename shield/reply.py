"""Answers ready to be written: of a stored entry, or Shield's own."""

from __future__ import annotations

from collections.abc import Sequence

from shield.errors import RequestError
from shield.messages import Fields, Request
from shield.outcome import Outcome, node_name
from shield.rules import dates
from shield.rules.headers import block
from shield.rules.selection import select
from shield.store.entry import Entry, body_parts
from shield.store.tiers import Plain

Part = bytes | bytearray | memoryview

PLAIN_HIT = Outcome(hit=True)
"""Stands for every plain hit where no log line needs to know more."""

_RETRIABLE_BY_CONNECTION = (404, 405)


class Reply:
    """A whole answer. `head` lacks only a Connection field and the blank line; `length` is of `parts` together."""

    __slots__ = ("close", "head", "length", "outcome", "parts", "status")

    def __init__(self, status: int, head: bytes, parts: Sequence[Part], length: int, outcome: Outcome) -> None:
        self.status = status
        self.head = head
        self.parts = parts
        self.length = length
        self.outcome = outcome
        self.close = False  # the connection must not be used after it


class Replies:
    """Makes replies in the name of one node."""

    def __init__(self, *, node: str, via: bytes, retry_after_seconds: float) -> None:
        self._node = node_name(node)
        self._via = via
        self._retry_after = (b"retry-after", b"%d" % max(1, round(retry_after_seconds)))

    def trailer(self, age: float, outcome: Outcome) -> bytes:
        """The field lines that differ from one answer to the next (RFC 9111 §5.1, RFC 9211)."""
        return b"age: %d\r\ncache-status: %b\r\n" % (age, outcome.cache_status(self._node))

    def of_plain(self, plain: Plain, *, with_body: bool) -> Reply:
        """A hit on a disk, for a request that asks for nothing special."""
        status, block, body, length, age, ttl = plain
        head = b"%bage: %d\r\ncache-status: %b; hit; ttl=%d\r\n" % (block, age if age > 0 else 0, self._node, ttl)
        return Reply(status, head, (body,), length, PLAIN_HIT) if with_body else Reply(status, head, (), 0, PLAIN_HIT)

    def render_hit(self, entry: Entry, age: int) -> None:
        """The head of a plain hit, once per entry and second of age."""
        # Written out, since every hit on a disk comes here: the same as `trailer` of a hit with its ttl.
        entry.rendered = b"%bage: %d\r\ncache-status: %b; hit; ttl=%d\r\n" % (
            entry.head.block,
            age,
            self._node,
            int(entry.freshness.lifetime) - age,
        )
        entry.rendered_age = age

    def of_entry(self, request: Request, entry: Entry, now: float, outcome: Outcome) -> Reply:
        """What `request` gets of a stored entry: all, a range, the head, or the result of its preconditions."""
        chosen = select(request, entry.head, entry.length)
        head = chosen.block + self.trailer(entry.freshness.age(now), outcome)
        stop = chosen.stop or 0
        if chosen.whole and stop == entry.length:
            return Reply(chosen.status, head, entry.blocks, stop, outcome)
        parts = tuple(body_parts(entry.blocks, chosen.start, stop))
        return Reply(chosen.status, head, parts, max(0, stop - chosen.start), outcome)

    def refusal(self, error: RequestError, request: Request, now: float) -> Reply:
        """To a request that goes nowhere. The connection ends unless the request was understood without doubt."""
        allow = ((b"allow", b"GET, HEAD"),) if error.status == 405 else ()
        reply = self.own(error.status, error.reason, request, now, outcome=Outcome(detail=error.reason), fields=allow)
        has_body = b"content-length" in request.notable or b"transfer-encoding" in request.notable
        reply.close = has_body or error.status not in _RETRIABLE_BY_CONNECTION
        return reply

    def unavailable(self, status: int, request: Request, now: float, outcome: Outcome) -> Reply:
        """No origin could answer: never a 404, never stored (RFC 9110 §15.6.4, §15.6.5)."""
        return self.own(status, "no origin could answer", request, now, outcome=outcome, fields=(self._retry_after,))

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
