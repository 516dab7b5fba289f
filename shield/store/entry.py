"""A stored response: ready-made head, validators, freshness and the body, in blocks of one size or in slices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from shield.rules.freshness import Freshness
from shield.rules.heads import StoredHead
from shield.rules.key import CacheKey

BLOCK: Final = 1 << 20
"""Bytes of every block of a body but the last: any offset is found by one division."""

OVERHEAD: Final = 400
"""Bytes that an entry takes in RAM beside its own: fixed fields, tables, a turn in the tier, a ghost (measured)."""

Block = bytes | bytearray | memoryview
Body = tuple[Block, ...]


class Entry:
    """One stored response. Only the last group of fields changes after it is made. RAM has it `packed`.

    The body of a large entry is on disk, in slices of `slice_bytes`, of which some may be missing;
    `length` is that of the whole body in any case.
    """

    __slots__ = (
        "blocks",
        "freshness",
        "head",
        "key",
        "length",
        "origin",
        "packed",
        "plain_hit_until",
        "since",
        "size",
        "slice_bytes",
        "stored_at",
        "tags",
    )

    def __init__(
        self, key: CacheKey, head: StoredHead, freshness: Freshness, blocks: Body, *, origin: str | None = None
    ) -> None:
        self.key = key
        self.head = head
        self.freshness = freshness
        self.blocks = blocks
        self.length = body_length(blocks)
        self.slice_bytes = 0
        self.origin = origin
        # labels for group purges, sorted, a line each; and epoch seconds when the body had come from `origin`
        self.tags, self.stored_at = b"", 0.0
        self.size = OVERHEAD + len(key.text) + len(head.block) + self.length
        # A request without notable fields is a hit until then; saves the full decision on the hot path.
        self.plain_hit_until = -1.0 if head.no_cache or not head.status else freshness.born + freshness.lifetime

        # the tier's: the mark of a purge up to which it is known to fall under none; and its form there, if it was
        # stored there or comes from there
        self.since = 0
        self.packed: bytearray | None = None

    @classmethod
    def large(cls, key: CacheKey, head: StoredHead, freshness: Freshness, *, length: int, slice_bytes: int) -> Entry:
        """An entry whose body is in slices."""
        entry = cls(key, head, freshness, ())
        entry.length, entry.slice_bytes = length, slice_bytes
        return entry

    @property
    def is_marker(self) -> bool:
        """Whether it only records the fields by which the responses under its key vary (`variants`)."""
        return self.head.status == 0

    @property
    def is_large(self) -> bool:
        return self.slice_bytes > 0

    @property
    def etag(self) -> bytes | None:
        return self.head.etag

    @property
    def last_modified(self) -> float | None:
        return self.head.last_modified

    @property
    def no_cache(self) -> bool:
        return self.head.no_cache

    @property
    def must_revalidate(self) -> bool:
        return self.head.must_revalidate

    def freshened(self, head: StoredHead, freshness: Freshness) -> Entry:
        """The same body under a newer head (RFC 9111 §4.3.4)."""
        entry = Entry(self.key, head, freshness, self.blocks, origin=self.origin)
        entry.length, entry.slice_bytes, entry.tags = self.length, self.slice_bytes, self.tags
        entry.since, entry.stored_at = self.since, self.stored_at
        return entry

    def __repr__(self) -> str:
        return f"Entry({self.key.text.decode('ascii', 'backslashreplace')}, {self.head.status}, {self.length} bytes)"


def body_length(blocks: Body) -> int:
    """Bytes in a body: all blocks but the last are full."""
    return (len(blocks) - 1) * BLOCK + len(blocks[-1]) if blocks else 0


def body_parts(blocks: Body, start: int, stop: int) -> Iterable[Block]:
    """The bytes of a half-open span, without copying; whole blocks are returned as they are."""
    index, offset = divmod(start, BLOCK)
    while start < stop:
        block = blocks[index]
        take = min(len(block) - offset, stop - start)
        yield block if take == len(block) else memoryview(block)[offset : offset + take]
        start += take
        index, offset = index + 1, 0
