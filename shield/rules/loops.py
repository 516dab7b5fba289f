"""CDN-Loop: requests that come back to where they were are ended (RFC 8586)."""

from __future__ import annotations

from collections.abc import Sequence

from shield.messages import Field

NAME = b"cdn-loop"


def has_passed(value: bytes, node: bytes) -> bool:
    """Whether a CDN-Loop field's value names this node among those that a request has come through (§2)."""
    lower = node.lower()
    if lower not in value.lower():
        return False
    return any(member.partition(b";")[0].strip(b" \t").lower() == lower for member in value.split(b","))


def passed(fields: Sequence[Field]) -> bytes:
    """What a request says of its way so far; b"" when nothing."""
    return b", ".join([value.strip(b" \t") for name, value in fields if name == NAME])
