"""The way of a request through proxies: it is told to who is behind us, and what comes back is ended (RFC 8586)."""

from __future__ import annotations

from collections.abc import Sequence

from shield.messages import Field
from shield.rules.targeted import CAPABILITY

NAME = b"cdn-loop"


def has_passed(value: bytes, node: bytes) -> bool:
    """Whether a CDN-Loop field's value names this node among those that a request has come through (§2)."""
    lower = node.lower()
    if lower not in value.lower():
        return False
    return any(member.partition(b";")[0].strip(b" \t").lower() == lower for member in value.split(b","))


class Gateway:
    """How a node introduces itself to the servers behind it: by Via (RFC 9110 §7.6.3), by CDN-Loop, and by
    Surrogate-Capability if it heeds Surrogate-Control.
    """

    def __init__(self, node: bytes, via: bytes, *, capability: bytes = b"") -> None:
        self._members: tuple[Field, ...] = ((b"via", via), (NAME, node))
        if capability:
            self._members += ((CAPABILITY, capability),)

    def introduced(self, fields: Sequence[Field], asked: Sequence[Field]) -> tuple[Field, ...]:
        """The fields of a request with ours, behind what each of them says already. `asked` are the client's."""
        way = passed(asked)
        if not way and not fields:
            return self._members
        said = [*fields, (NAME, way)] if way else fields
        added = []
        for name, member in self._members:
            before = [value for known, value in said if known == name]
            added.append((name, b", ".join([*before, member])))
        names = {name for name, _ in added}
        return (*[line for line in fields if line[0] not in names], *added)


def passed(fields: Sequence[Field]) -> bytes:
    """What a request says of its way so far; b"" when nothing."""
    return b", ".join([value.strip(b" \t") for name, value in fields if name == NAME])
