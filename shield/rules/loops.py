"""A request's path through proxies: announced to origins (RFC 9110 §7.6.3, RFC 8586), and loops are detected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from shield.errors import RequestError
from shield.messages import Field, Request
from shield.rules.targeted import CAPABILITY

NAME: Final = b"cdn-loop"


_LONGEST = 1024
_is_plain = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z:\[\]=; \t\",-]*").fullmatch


def may_be_forwarded(value: bytes) -> bool:
    """Whether a value of CDN-Loop, all lines joined, may be forwarded. It is the only part of a client's request that
    origins see and that isn't in the key, besides its identifier: an error in response to it would affect other
    clients.
    """
    return len(value) <= _LONGEST and _is_plain(value) is not None


def has_passed(value: bytes, node: bytes) -> bool:
    """Whether a value of CDN-Loop names this node among those that the request has passed (RFC 8586 §2)."""
    lower = node.lower()
    if lower not in value.lower():
        return False
    return any(member.partition(b";")[0].strip(b" \t").lower() == lower for member in value.split(b","))


def loop_objection(value: bytes, node: bytes) -> RequestError | None:
    """The error for a request with this value of CDN-Loop: 508 for a loop, 400 for a bad value; None for neither."""
    if has_passed(value, node):
        return RequestError(508, "loop")  # §2
    return None if may_be_forwarded(value) else RequestError(400, "bad-loop")


class Gateway:
    """The fields by which a node identifies itself to origins: Via (RFC 9110 §7.6.3), CDN-Loop, and
    Surrogate-Capability if the node honours Surrogate-Control; and the field that names requests, if there is one.
    """

    def __init__(self, node: bytes, via: bytes, *, capability: bytes = b"", naming: bytes = b"") -> None:
        others: tuple[Field, ...] = ((b"via", via), (CAPABILITY, capability))
        self._others = others if capability else others[:1]
        self._names = frozenset(name for name, _ in self._others)
        self._node = node
        self.naming = naming
        """The field in which requests state their identifier; none if empty."""
        self.alone = (*self._others, (NAME, node))
        """The fields of a request that has no others and came through no other proxy."""

    def of(self, fields: Sequence[Field], request: Request | None) -> tuple[Field, ...]:
        """The fields of a request to an origin on behalf of a client's; `fields` are those that are forwarded."""
        if request is None:
            return self.introduced(fields, b"") if fields else self.alone
        loops = request.get(NAME)
        if self.naming and (identifier := request.identifier) is not None:
            others = [line for line in fields if line[0] != self.naming] if fields else fields
            said = self.introduced(others, loops) if others or loops else self.alone
            return (*said, (self.naming, identifier))
        return self.introduced(fields, loops) if fields or loops else self.alone

    def name_line(self, request: Request) -> bytes:
        """The field line with a request's identifier; none if requests aren't named."""
        identifier = request.identifier if self.naming else None
        return b"" if identifier is None else b"%b: %b\r\n" % (self.naming, identifier)

    def introduced(self, fields: Sequence[Field], loops: bytes) -> tuple[Field, ...]:
        """The fields of a request to an origin, with our members appended; `alone` if there are no others. `loops` is
        the client's CDN-Loop; `fields`, the forwarded ones, may have Via and Surrogate-Capability, but never that.
        """
        loop = (NAME, b"%b, %b" % (loops, self._node) if loops else self._node)
        added = []
        for name, member in self._others:
            before = [value for known, value in fields if known == name]
            added.append((name, b", ".join([*before, member])))
        kept = [line for line in fields if line[0] not in self._names]
        return (*kept, *added, loop)
