"""A request's path through proxies: announced to the servers behind us; loops are ended (RFC 8586)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shield.errors import RequestError
from shield.messages import Field
from shield.rules.targeted import CAPABILITY

NAME = b"cdn-loop"


_LONGEST = 1024
_is_way = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z:\[\]=; \t\",-]*").fullmatch


def is_way(value: bytes) -> bool:
    """Whether a CDN-Loop field's value, all lines joined, can be forwarded: it is the only part of a client's request
    that origins see unkeyed, and a value that they refuse would spoil the response for others.
    """
    return len(value) <= _LONGEST and _is_way(value) is not None


def has_passed(value: bytes, node: bytes) -> bool:
    """Whether a CDN-Loop field's value names this node among those the request has passed (§2)."""
    lower = node.lower()
    if lower not in value.lower():
        return False
    return any(member.partition(b";")[0].strip(b" \t").lower() == lower for member in value.split(b","))


def loop_objection(way: bytes, node: bytes) -> RequestError | None:
    """The error for a request that has come this way, if any."""
    if has_passed(way, node):
        return RequestError(508, "loop")  # §2
    return None if is_way(way) else RequestError(400, "bad-loop")


class Gateway:
    """A node's identification to the servers behind it: by Via (RFC 9110 §7.6.3), by CDN-Loop, and by
    Surrogate-Capability if it heeds Surrogate-Control.
    """

    def __init__(self, node: bytes, via: bytes, *, capability: bytes = b"") -> None:
        others: tuple[Field, ...] = ((b"via", via), (CAPABILITY, capability))
        self._others = others if capability else others[:1]
        self._names = frozenset(name for name, _ in self._others)
        self._node = node
        self._alone = (*self._others, (NAME, node))

    def introduced(self, fields: Sequence[Field], asked: Sequence[Field]) -> tuple[Field, ...]:
        """The fields of a request with ours appended to the existing values. `asked` are the client's, from
        which `fields` may have Via and Surrogate-Capability, but never CDN-Loop.
        """
        way = passed(asked)
        return self._added(fields, way) if fields or way else self._alone

    def _added(self, fields: Sequence[Field], way: bytes) -> tuple[Field, ...]:
        loop = (NAME, b"%b, %b" % (way, self._node) if way else self._node)
        added = []
        for name, member in self._others:
            before = [value for known, value in fields if known == name]
            added.append((name, b", ".join([*before, member])))
        kept = [line for line in fields if line[0] not in self._names]
        return (*kept, *added, loop)


def passed(fields: Sequence[Field]) -> bytes:
    """A request's path so far; b"" when there is none."""
    return b", ".join([value.strip(b" \t") for name, value in fields if name == NAME])
