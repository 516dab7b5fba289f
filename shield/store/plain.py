"""The response to a plain request: one without fields that matter, for an entry that is fresh."""

from __future__ import annotations

from typing import Final, NamedTuple

from shield.store.entry import Body, Entry

MEMORY: Final = "memory"
"""The name of the RAM tier."""


class Plain(NamedTuple):
    """`head` is as StoredHead.shown, `age` at least 0.

    `packed` is the entry in RAM; before `until` the response stays the same as long as that is there.
    """

    status: int
    head: bytes | bytearray
    parts: Body
    length: int
    age: int
    ttl: int
    tier: str
    packed: bytearray | None
    until: float


def plain_of(entry: Entry, now: float) -> Plain:
    """The response from an entry that is on no disk yet, or on a slower one."""
    age, head = int(entry.freshness.age(now)), entry.head
    ttl = int(entry.freshness.lifetime) - age
    return Plain(head.status, head.shown, entry.blocks, entry.length, age, ttl, MEMORY, None, now)
