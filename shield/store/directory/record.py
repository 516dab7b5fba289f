"""The contents of a segment: records that describe themselves, with a checksum for every block. Pure.

    checksum of the header | fixed fields | key text | head | etag | origin | tags | table of block checksums | body

A record is bound to its position: the header's checksum is seeded with a secret of its segment and its offset, so a
record copied or swapped to another position isn't valid there, and nobody can plant one inside a body.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

import xxhash

from shield.rules.freshness import Freshness
from shield.rules.heads import StoredHead
from shield.rules.key import CacheKey

MAGIC = b"\xf5ShR"
FORMAT = 2
"""Version of records, segments and index together. A directory of another version is emptied, never read."""

BLOCK: Final = 64 << 10
"""Bytes of a body under one checksum: a read from the middle reads and checks only the blocks it touches."""

ALIGN: Final = 64
"""Records begin at multiples of this."""

MAX_HEADER: Final = 1 << 20
MAX_BODY = (1 << 32) - MAX_HEADER - 1

_FIXED: Final = Struct("<Q4sBBHIIIIHHHHIIQQ16sdddddddQ")
_of_whole: Final = Struct("<Q5xBHIIII24xQ").unpack_from  # the fields that `read_whole` needs
_CLAIMED: Final = Struct("<8x4sB3xII")  # magic, format, and the two lengths
_TABLE_ITEM: Final = 8
# positions of these among the fixed fields
_KIND, _FLAGS, _HEADER_LENGTH, _BODY_LENGTH, _TEXT_LENGTH, _HEAD_LENGTH, _ETAG_LENGTH = 3, 4, 5, 6, 7, 8, 9
_ORIGIN_LENGTH, _TAGS_LENGTH = 10, 11
_STATUS, _SLICE, _TOTAL, _SEQUENCE, _DIGEST, _BORN, _STORED_AT, _LAST_MODIFIED = 12, 13, 15, 16, 17, 18, 23, 24
_SINCE = 25
_NO_CACHE: Final = 1
_MUST_REVALIDATE: Final = 2
_HAS_ETAG: Final = 4
_HAS_ORIGIN: Final = 8
_hash: Final = xxhash.xxh3_64_intdigest
_FIXED_SIZE: Final = _FIXED.size
_sum: Final = Struct("<Q").unpack_from
_make: Final = tuple.__new__  # without a call of Python code


class DamagedError(ValueError):
    """The bytes aren't the record that should be here."""


class RecordKind(IntEnum):
    """The content of a record."""

    WHOLE = 0  # head and all of the body
    HEAD = 1  # head of an entry whose body lies in slices
    SLICE = 2  # one slice; the head is in a record of its own
    REMOVED = 3  # a tombstone: earlier records of the key are gone


@dataclass(slots=True)
class Record:
    """One record without its body. Never changed once made.

    `slice` counts from 0 and is set for slices only; `total` is the length of the whole body, which together
    with the etag identifies the version of the object that a slice belongs to.
    """

    kind: RecordKind
    key: CacheKey
    freshness: Freshness
    head: bytes = b""  # as StoredHead.block
    status: int = 200
    etag: bytes | None = None
    last_modified: float | None = None
    no_cache: bool = False
    must_revalidate: bool = False
    origin: str | None = None
    tags: bytes = b""
    stored_at: float = 0.0  # epoch seconds when its body had come from there; 0.0: that isn't known
    total: int = 0
    slice: int = 0
    slice_bytes: int = 0
    sequence: int = 0  # assigned by the store: later ones win
    since: int = 0  # of the purges: it falls under no mark up to that one

    @property
    def identity(self) -> int:
        """Equal for all slices of one version of an object."""
        return identity_of(self.etag, self.total)

    def stored_head(self) -> StoredHead:
        """The head with its fields parsed: only for requests that need them."""
        made = StoredHead(self.status, self.head, None if self.head else (), self.etag, self.last_modified)
        made.no_cache, made.must_revalidate = self.no_cache, self.must_revalidate
        return made


class Header:
    """A checked header: how long record and body are, and what the body's blocks must hash to.

    The record itself is parsed on demand: a hit mostly needs its head alone.
    """

    __slots__ = ("_data", "_fixed", "_record", "body_length", "header_length", "sequence")

    def __init__(self, data: bytes, fixed: tuple[Any, ...]) -> None:
        self._data = data
        self._fixed = fixed
        self._record: Record | None = None
        self.header_length: int = fixed[_HEADER_LENGTH]
        self.body_length: int = fixed[_BODY_LENGTH]
        self.sequence: int = fixed[_SEQUENCE]

    @property
    def kind(self) -> int:
        return int(self._fixed[_KIND])

    @property
    def slice(self) -> int | None:
        """The slice's number, None for other records."""
        return self._fixed[_SLICE] if self._fixed[_KIND] == RecordKind.SLICE else None

    @property
    def digest(self) -> bytes:
        """The key's digest."""
        return bytes(self._fixed[_DIGEST])

    def indexed(self, segment: int, place: int) -> tuple[Any, ...]:
        """The index's value for a record at this position: the fields of a `Found` except its head."""
        fixed = self._fixed
        etag_at = _FIXED.size + fixed[_TEXT_LENGTH] + fixed[_HEAD_LENGTH]
        etag = self._data[etag_at : etag_at + fixed[_ETAG_LENGTH]] if fixed[_FLAGS] & _HAS_ETAG else None
        identity = identity_of(etag, fixed[_TOTAL])
        return (
            fixed[_KIND], fixed[_STATUS], segment, place, self.header_length, self.body_length, self.sequence,
            identity, fixed[_TOTAL], fixed[_SINCE], *fixed[_BORN:_STORED_AT],
        )  # fmt: skip

    @property
    def since(self) -> int:
        """As in `Record`; with a later head the index has a later one."""
        return int(self._fixed[_SINCE])

    @property
    def text(self) -> bytes:
        """The key's text."""
        return self._data[_FIXED.size : _FIXED.size + self._fixed[_TEXT_LENGTH]]

    @property
    def head(self) -> bytes:
        start = _FIXED.size + self._fixed[_TEXT_LENGTH]
        return self._data[start : start + self._fixed[_HEAD_LENGTH]]

    @property
    def tags(self) -> bytes:
        return _tags(self._data, self._fixed)

    @property
    def origin(self) -> str | None:
        """This and the next one as in `Record`."""
        return _origin(self._data, self._fixed)

    @property
    def stored_at(self) -> float:
        return float(self._fixed[_STORED_AT])

    @property
    def table(self) -> bytes:
        """The checksums of the body's blocks, as `checksums` gives them."""
        return self._data[self.header_length - _TABLE_ITEM * -(-self.body_length // BLOCK) :]

    @property
    def record(self) -> Record:
        if self._record is None:
            self._record = _record(self._data, self._fixed)
        return self._record

    def stored_head(self) -> StoredHead:
        """The part of the record that answers a request; `Record.stored_head` without parsing everything."""
        fixed, data = self._fixed, self._data
        flags, head_at = fixed[_FLAGS], _FIXED.size + fixed[_TEXT_LENGTH]
        etag_at = head_at + fixed[_HEAD_LENGTH]
        modified = fixed[_LAST_MODIFIED]
        made = StoredHead(
            fixed[_STATUS],
            data[head_at:etag_at],
            None,
            data[etag_at : etag_at + fixed[_ETAG_LENGTH]] if flags & _HAS_ETAG else None,
            None if modified != modified else modified,
        )
        made.no_cache, made.must_revalidate = flags & _NO_CACHE != 0, flags & _MUST_REVALIDATE != 0
        return made

    def check(self, body: bytes | bytearray | memoryview, start: int = 0) -> None:
        """Raise DamagedError unless `body` is the body from `start`, a multiple of BLOCK, to the end of a block."""
        view = memoryview(body)
        table = self.header_length - _TABLE_ITEM * (-(-self.body_length // BLOCK) - start // BLOCK)
        for at in range(0, len(view), BLOCK):
            if _hash(view[at : at + BLOCK]) != int.from_bytes(self._data[table : table + _TABLE_ITEM], "little"):
                raise DamagedError(f"block {(start + at) // BLOCK} is damaged")
            table += _TABLE_ITEM


class Whole(NamedTuple):
    """The parts of a whole record that answer a plain request."""

    no_cache: bool
    head: bytearray  # as StoredHead.block
    body: bytearray
    data: bytearray  # all that is before the body

    @property
    def tags(self) -> bytes:
        """As in `Record`: not extracted for each response. So are the next two."""
        return _tags(self.data, _FIXED.unpack_from(self.data))

    @property
    def origin(self) -> str | None:
        return _origin(self.data, _FIXED.unpack_from(self.data))

    @property
    def stored_at(self) -> float:
        return float(_FIXED.unpack_from(self.data)[_STORED_AT])

    @property
    def header(self) -> Header:
        """The same, with all that a record says."""
        return Header(bytes(self.data), _FIXED.unpack_from(self.data))


class ForeignError(ValueError):
    """A good record, but of another key."""


def read_whole(header: bytearray, body: bytearray, key: CacheKey, *, sequence: int, seed: int) -> Whole:
    """A record in two pieces of the lengths that it should have, checked as `decode` and `Header.check` do, at half
    the cost.

    Raises DamagedError unless it has this sequence, ForeignError when it belongs to another key.
    """
    size, length = len(body), len(header)
    if length < _FIXED_SIZE:
        raise DamagedError("too short")
    checksum, kind, flags, own_length, own_size, text_length, head_length, own = _of_whole(header)
    if own_length != length or own_size != size or own != sequence or _hash(header[8:], seed) != checksum:
        raise DamagedError("the header is damaged or belongs to another position")
    text = key.text
    if text_length != len(text) or not header.startswith(text, _FIXED_SIZE) or kind:
        raise ForeignError("another key of the same digest")
    if 0 < size <= BLOCK:  # the usual case
        if _hash(body) != _sum(header, length - _TABLE_ITEM)[0]:
            raise DamagedError("block 0 is damaged")
    elif size:
        blocks, view = -(-size // BLOCK), memoryview(body)
        for number, stated in enumerate(_table_of(blocks).unpack_from(header, length - _TABLE_ITEM * blocks)):
            if _hash(view[number * BLOCK : (number + 1) * BLOCK]) != stated:
                raise DamagedError(f"block {number} is damaged")
    head_at = _FIXED_SIZE + text_length
    return _make(Whole, (flags & _NO_CACHE != 0, header[head_at : head_at + head_length], body, header))


def record_of(key: CacheKey, head: StoredHead, freshness: Freshness, kind: RecordKind = RecordKind.WHOLE) -> Record:
    """A record for a stored head; the caller adds the other fields."""
    return Record(
        kind,
        key,
        freshness,
        head.block,
        head.status,
        head.etag,
        head.last_modified,
        head.no_cache,
        head.must_revalidate,
    )


def identity_of(etag: bytes | None, total: int) -> int:
    return _hash(b"" if etag is None else b'"' + etag, seed=total)


def header_length(record: Record, body_length: int) -> int:
    """Bytes of the header that `encode` will make."""
    origin = 0 if record.origin is None else len(record.origin.encode())
    variable = len(record.key.text) + len(record.head) + len(record.etag or b"") + origin + len(record.tags)
    return _FIXED.size + variable + _TABLE_ITEM * -(-body_length // BLOCK)


def checksums(parts: Iterable[bytes | bytearray | memoryview]) -> bytes:
    """The checksum table of a body given in parts."""
    table: list[int] = []
    rest = b""
    for part in parts:
        view = memoryview(part)
        if rest:  # the part ended within a block: its rest goes before the next part
            view = memoryview(rest + bytes(view))
        whole = len(view) - len(view) % BLOCK
        table += [_hash(view[at : at + BLOCK]) for at in range(0, whole, BLOCK)]
        rest = bytes(view[whole:])
    if rest:
        table.append(_hash(rest))
    return b"".join([value.to_bytes(8, "little") for value in table])


def encode(record: Record, body_length: int, table: bytes, *, seed: int) -> bytes:
    """The header, to be followed by the body. `seed` belongs to the position where it will be written.

    Raises ValueError when it is too long for a record.
    """
    key, freshness = record.key, record.freshness
    origin = b"" if record.origin is None else record.origin.encode()
    etag = record.etag or b""
    length = header_length(record, body_length)
    if length > MAX_HEADER or body_length > MAX_BODY:
        raise ValueError("too long for a record")
    flags = _NO_CACHE * record.no_cache | _MUST_REVALIDATE * record.must_revalidate
    flags |= _HAS_ETAG * (record.etag is not None) | _HAS_ORIGIN * (record.origin is not None)
    try:
        fixed = _FIXED.pack(
            0, MAGIC, FORMAT, record.kind, flags, length, body_length, len(key.text), len(record.head),
            len(etag), len(origin), len(record.tags), record.status, record.slice, record.slice_bytes,
            record.total, record.sequence, key.digest, freshness.born, freshness.lifetime, freshness.grace,
            freshness.keep, freshness.error_grace, record.stored_at,
            math.nan if record.last_modified is None else record.last_modified, record.since,
        )  # fmt: skip
    except struct.error as error:
        raise ValueError(f"no record: {error}") from None
    rest = b"".join([fixed[8:], key.text, record.head, etag, origin, record.tags, table])
    return _hash(rest, seed=seed).to_bytes(8, "little") + rest


def lengths(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int]:
    """Length of header and body that a record claims, unchecked; raises DamagedError if there is no record."""
    if len(data) - offset < _FIXED.size:
        raise DamagedError("too short")
    magic, version, header, body = _CLAIMED.unpack_from(data, offset)
    if magic != MAGIC or version != FORMAT or not _FIXED.size <= header <= MAX_HEADER:
        raise DamagedError("no record here")
    return header, body


def decode(data: bytes | bytearray | memoryview, *, seed: int) -> Header:
    """The header in the first bytes of `data`; raises DamagedError unless every bit is as it was written."""
    if len(data) < _FIXED.size:
        raise DamagedError("too short")
    fixed = _FIXED.unpack_from(data)
    length = fixed[_HEADER_LENGTH]
    if fixed[1] != MAGIC or fixed[2] != FORMAT or not _FIXED.size <= length <= min(MAX_HEADER, len(data)):
        raise DamagedError("no record here")
    header = bytes(data) if len(data) == length else bytes(memoryview(data)[:length])
    if _hash(memoryview(header)[8:], seed=seed) != fixed[0]:
        raise DamagedError("the header is damaged or belongs to another position")
    return Header(header, fixed)


def _record(header: bytes, fixed: tuple[Any, ...]) -> Record:
    (
        _, _, _, kind, flags, _, _, text_length, head_length, etag_length, origin_length, tags_length, status,
        slice_number, slice_bytes, total, sequence, digest, born, lifetime, grace, keep, error_grace, stored_at,
        last_modified, since,
    ) = fixed  # fmt: skip
    head_at = _FIXED.size + text_length
    etag_at = head_at + head_length
    origin_at = etag_at + etag_length
    tags_at = origin_at + origin_length
    return Record(
        _KINDS[kind],
        CacheKey(header[_FIXED.size : head_at], digest),
        Freshness(born, lifetime, grace, keep, error_grace),
        header[head_at:etag_at],
        status,
        header[etag_at:origin_at] if flags & _HAS_ETAG else None,
        None if last_modified != last_modified else last_modified,
        flags & _NO_CACHE != 0,
        flags & _MUST_REVALIDATE != 0,
        header[origin_at:tags_at].decode() if flags & _HAS_ORIGIN else None,
        header[tags_at : tags_at + tags_length],
        stored_at,
        total,
        slice_number,
        slice_bytes,
        sequence,
        since,
    )


def _tags(header: bytes | bytearray, fixed: tuple[Any, ...]) -> bytes:
    start = _FIXED.size + sum(fixed[_TEXT_LENGTH:_TAGS_LENGTH])  # after key text, head, etag and origin
    return bytes(header[start : start + fixed[_TAGS_LENGTH]])


def _origin(header: bytes | bytearray, fixed: tuple[Any, ...]) -> str | None:
    if not fixed[_FLAGS] & _HAS_ORIGIN:
        return None
    start = _FIXED.size + sum(fixed[_TEXT_LENGTH:_ORIGIN_LENGTH])  # after key text, head and etag
    return bytes(header[start : start + fixed[_ORIGIN_LENGTH]]).decode()


@lru_cache(maxsize=64)
def _table_of(blocks: int) -> Struct:
    """The form of a table of so many checksums."""
    return Struct(f"<{blocks}Q")


def padding(length: int) -> int:
    """Bytes between the end of a record of this length and the next position where one may begin."""
    return -length % ALIGN


def joined_length(parts: Sequence[bytes | bytearray | memoryview]) -> int:
    return sum([len(part) for part in parts])


_KINDS = tuple(RecordKind)
