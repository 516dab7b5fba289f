"""An entry in RAM as one piece of bytes: its mark in the tier, times, head, and a small body behind that.

A million entries made of objects would cost several hundred bytes more for each, spread over as many places, and the
garbage collector would walk them all. Of bytes it knows nothing.

    fixed fields | head | etag, if it isn't in the head | tags | body, up to SMALL bytes
"""

from __future__ import annotations

import math
from struct import Struct
from typing import Final

from shield.rules.freshness import Freshness
from shield.rules.heads import StoredHead
from shield.rules.key import key_of_text
from shield.store.entry import Body, Entry

SMALL: Final = 16 << 10
"""Bodies up to this size are copied behind their heads; they are sent in one piece with these, too."""

_BEFORE_SINCE = "<BqQBHQIIdddfffdd"  # the first three as in `fifo.MARK`
_FIXED: Final = Struct(_BEFORE_SINCE + "QIIH")
_PLAIN: Final = Struct("<17xBHQIIddd")
_SINCE: Final = Struct("<Q")
_SINCE_AT: Final = Struct(_BEFORE_SINCE).size
HEAD_AT: Final = _FIXED.size
"""The head begins here."""

INSIDE: Final = 16
"""Among the flags: the body is behind the head."""

_NO_CACHE: Final = 1
_MUST_REVALIDATE: Final = 2
_HAS_ETAG: Final = 4
_ETAG_APART: Final = 8
_ETAG_LINE: Final = b"\r\netag: "

plain_fields: Final = _PLAIN.unpack_from
"""What a plain hit needs: flags, status, the body's length, the ends of the head that clients get and of all that is
before a body, and `plain_hit_until`, `born` and `lifetime` as an entry has them.
"""


def pack(entry: Entry, origin: int) -> bytearray:
    """An entry; without its body, if that isn't small. `origin` is a number for its origin's name."""
    head, freshness = entry.head, entry.freshness
    flags = _NO_CACHE * head.no_cache | _MUST_REVALIDATE * head.must_revalidate
    apart = b""
    if head.etag is not None:
        flags |= _HAS_ETAG
        if _etag_in(head.block) != head.etag:
            flags |= _ETAG_APART
            apart = head.etag
    head_end = HEAD_AT + len(head.block)
    etag_end = head_end + len(apart)
    body_at = etag_end + len(entry.tags)
    is_small = entry.length <= SMALL
    fixed = _FIXED.pack(
        0, 0, entry.size, flags | INSIDE * is_small, head.status, entry.length, HEAD_AT + len(head.shown), body_at,
        entry.plain_hit_until, freshness.born, freshness.lifetime,
        freshness.grace, freshness.keep, freshness.error_grace, entry.stored_at,
        math.nan if head.last_modified is None else head.last_modified, entry.since, head_end, etag_end, origin,
    )  # fmt: skip
    body = entry.blocks if is_small else ()
    return bytearray().join((fixed, head.block, apart, entry.tags, *body))


def unpacked(text: bytes, packed: bytearray, body: Body | None, origin: str | None) -> Entry:
    """The entry under a key's text; `body` None: it is inside."""
    (
        _, _, size, flags, status, length, _, body_at, until, born, lifetime, grace, keep, error_grace, stored_at,
        last_modified, since, head_end, etag_end, _,
    ) = _FIXED.unpack_from(packed)  # fmt: skip
    block = bytes(packed[HEAD_AT:head_end])
    etag = None
    if flags & _HAS_ETAG:
        etag = bytes(packed[head_end:etag_end]) if flags & _ETAG_APART else _etag_in(block)
    modified = None if last_modified != last_modified else last_modified
    head = StoredHead(status, block, None if status else (), etag, modified)
    head.no_cache, head.must_revalidate = flags & _NO_CACHE != 0, flags & _MUST_REVALIDATE != 0
    if body is None:
        body = (memoryview(packed)[body_at:],) if length else ()
    entry = Entry(key_of_text(text), head, Freshness(born, lifetime, grace, keep, error_grace), body, origin=origin)
    entry.tags, entry.stored_at, entry.since = bytes(packed[etag_end:body_at]), stored_at, since
    entry.size, entry.plain_hit_until, entry.packed = size, until, packed
    return entry


def is_inside(packed: bytearray) -> bool:
    """Whether the body is behind the head."""
    return bool(plain_fields(packed)[0] & INSIDE)


def origin_of(packed: bytearray) -> int:
    """The number given to `pack`."""
    return int(_FIXED.unpack_from(packed)[-1])


def since_of(packed: bytearray) -> int:
    return int(_SINCE.unpack_from(packed, _SINCE_AT)[0])


def set_since(packed: bytearray, since: int) -> None:
    """As `Entry.since`, which changes as marks of purges are looked at."""
    _SINCE.pack_into(packed, _SINCE_AT, since)


def _etag_in(block: bytes) -> bytes | None:
    """The value of the first field of this name."""
    at = block.find(_ETAG_LINE)
    if at < 0:
        return None
    at += len(_ETAG_LINE)
    return block[at : block.index(b"\r\n", at)]
