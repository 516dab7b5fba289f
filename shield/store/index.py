"""Where everything lies: LMDB, off the Python heap and shared by all processes of a node.

`entries` maps key digest and slice to a place, `segments` holds one row for each segment file, `meta` the counters;
what belongs together changes in one transaction. Nothing here is made durable: after the machine stopped uncleanly
the index is thrown away and made again from the records (`claim`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import NamedTuple

import lmdb

from shield.errors import StoreError
from shield.rules.freshness import Freshness
from shield.store.files import Files
from shield.store.record import ALIGN, Kind

BATCH = 64
"""Entries changed in one transaction at most: more would make the index file grow by the pages it can't reuse yet."""

_SLACK = 8 << 20  # beyond the limit, for such pages: so that a full index can still give something up

SCHEMA = b"1"

_VALUE = Struct("<BHIIIIQQQddddd")
_unpack = _VALUE.unpack_from
_make = tuple.__new__  # without a call of Python code: this is on the path of every hit
_ROW = Struct("<BHQQ")
_COUNTERS = Struct("<QQQQQQQQ")
_SLICE = Struct(">I")
_WHOLE = _SLICE.pack(0)
_TOMBSTONE = _SLICE.pack(0xFFFFFFFF)


class IndexFullError(StoreError):
    """The index has reached its limit: something must go before anything comes."""


class IndexDamagedError(StoreError):
    """The index can't be read: it must be made again."""


class Found(NamedTuple):
    """What the index knows of a record. `head` stands for the record's own if it isn't empty (a later 304)."""

    kind: int
    status: int
    segment: int
    place: int  # in units of ALIGN
    header_length: int
    body_length: int
    sequence: int
    identity: int
    total: int
    born: float
    lifetime: float
    grace: float
    keep: float
    error_grace: float
    head: bytes = b""

    @property
    def offset(self) -> int:
        return self.place * ALIGN

    @property
    def length(self) -> int:
        """Bytes of the record."""
        return self.header_length + self.body_length

    @property
    def freshness(self) -> Freshness:
        return Freshness(self.born, self.lifetime, self.grace, self.keep, self.error_grace)

    def same_record(self, other: Found) -> bool:
        """Whether both are of one and the same record on the disk."""
        return self.sequence == other.sequence and self.place == other.place and self.segment == other.segment


class State(IntEnum):
    """What is done with a segment."""

    ACTIVE = 0  # its worker appends to it; counts as if it were full
    SEALED = 1  # complete
    UNSCANNED = 2  # the index doesn't know what is in it yet; `progress` bytes are scanned
    DRAINING = 3  # its worker reclaims it


class Row(NamedTuple):
    """A segment: `size` counts against the capacity."""

    state: int
    worker: int
    size: int
    progress: int = 0


class Counters(NamedTuple):
    """`sequence`: the last one given out; `floor`: up to this one, records of a lost index are not taken back."""

    epoch: int = 0
    sequence: int = 0
    floor: int = 0
    next_segment: int = 1
    segment_bytes: int = 0
    entries: int = 0
    entry_bytes: int = 0
    generation: int = 0


class Index:
    """One open index. Lookups from any thread; one writer at a time over all processes, the others wait.

    Open it after the fork, once per process. Raises IndexDamagedError when it is garbage or of another version.
    """

    def __init__(self, path: Path, *, limit: int, files: Files) -> None:
        self._files = files
        self._data = path / "data.mdb"
        self.limit = limit
        files.make_directory(path)
        try:
            self._env = lmdb.open(
                str(path),
                map_size=limit + _SLACK,
                max_dbs=4,
                max_readers=512,
                sync=False,
                metasync=False,
                readahead=False,
                mode=0o640,
            )
        except lmdb.Error as error:
            raise _refused(path, error) from error
        try:
            self._check()
        except lmdb.Error as error:
            self._env.close()
            raise _refused(path, error) from error
        except BaseException:
            self._env.close()
            raise

    def lookup(self, digest: bytes, slice_number: int | None = None) -> Found | None:
        """The entry under a digest, or one slice of it; the key's text is still to be compared."""
        key = _key(digest, slice_number)
        try:
            with self._begin(db=self._entries) as txn:
                value = txn.get(key)
        except lmdb.Error as error:
            raise IndexDamagedError(f"index: {error}") from error
        if value is None:
            return None
        found = _found(value)
        return None if found.kind == Kind.REMOVED else found

    def slices(self, digest: bytes) -> list[tuple[int, Found]]:
        """The slices stored under a digest, of whatever version, in order."""
        return [(number, found) for number, found in self._under(digest) if number >= 0]

    def counters(self) -> Counters:
        with self._reading() as txn:
            return _counters(txn, self._meta)

    def rows(self) -> list[tuple[int, Row]]:
        """All segments, oldest first."""
        with self._reading() as txn:
            return [(_SLICE.unpack(key)[0], Row(*_ROW.unpack(value))) for key, value in txn.cursor(self._segments)]

    def entries(self, after: bytes = b"") -> Iterator[tuple[bytes, int, Found]]:
        """Digest, slice (-1: the entry itself) and place of everything, tombstones too, in short transactions."""
        while True:
            page: list[tuple[bytes, Found]] = []
            with self._reading() as txn, txn.cursor(self._entries) as cursor:
                found = cursor.set_range(after)
                while found and len(page) < BATCH:
                    page.append((cursor.key(), _found(cursor.value())))
                    found = cursor.next()
            for key, value in page:
                yield key[:16], _SLICE.unpack_from(key, 16)[0] - 1, value
            if len(page) < BATCH:
                return
            after = page[-1][0] + b"\0"

    @contextmanager
    def write(self) -> Iterator[IndexChange]:
        """One transaction: all of it happens, or nothing when the block raises.

        Raises IndexFullError when there is no room for it, OSError when the system refuses.
        """
        self._files.step("index before")
        try:
            with self._env.begin(write=True) as txn:
                change = IndexChange(txn, self._entries, self._segments, self._meta)
                yield change
                change.finish()
        except lmdb.MapFullError as error:
            raise IndexFullError("the index is full") from error
        except lmdb.DiskError as error:
            raise OSError(errno.ENOSPC, f"index: {error}") from error
        except lmdb.Error as error:
            if error.code > 0:  # the system's number, not LMDB's own
                raise OSError(error.code, f"index: {error}") from error
            raise IndexDamagedError(f"index: {error}") from error
        self._files.step("index after")

    def size(self) -> int:
        """Bytes of its file, which never shrinks."""
        return self._files.size(self._data)

    def sync(self) -> None:
        """Make it durable as it is now."""
        try:
            self._env.sync(True)
        except lmdb.Error as error:
            raise StoreError(f"index: {error}") from error

    def close(self) -> None:
        """No lookup may be under way in another thread."""
        self._env.close()

    def _check(self) -> None:
        """Refuse what would fail later, or end the process: a file shorter than it says, another schema."""
        self._env.reader_check()
        info = self._env.info()
        page_size = self._env.stat()["psize"]
        if (info["last_pgno"] + 1) * page_size > max(self.size(), 2 * page_size):
            raise IndexDamagedError("shorter than it was")
        self._meta = self._env.open_db(b"meta")
        self._entries = self._env.open_db(b"entries")
        self._segments = self._env.open_db(b"segments")
        self._begin = self._env.begin
        with self._env.begin(write=True, db=self._meta) as txn:
            schema = txn.get(b"schema")
            if schema is None:
                txn.put(b"schema", SCHEMA)
            elif schema != SCHEMA:
                raise IndexDamagedError("of another version")

    def _under(self, digest: bytes) -> Iterator[tuple[int, Found]]:
        with self._reading() as txn, txn.cursor(self._entries) as cursor:
            found = cursor.set_range(digest)
            while found and cursor.key()[:16] == digest:
                value = _found(cursor.value())
                if value.kind != Kind.REMOVED:
                    yield _SLICE.unpack_from(cursor.key(), 16)[0] - 1, value
                found = cursor.next()

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction[bytes]]:
        try:
            with self._env.begin() as txn:
                yield txn
        except lmdb.Error as error:
            raise IndexDamagedError(f"index: {error}") from error


class IndexChange:
    """What may be done in one write transaction."""

    def __init__(
        self,
        txn: lmdb.Transaction[bytes],
        entries: lmdb._Database,
        segments: lmdb._Database,
        meta: lmdb._Database,
    ) -> None:
        self._txn = txn
        self._entries = entries
        self._segments = segments
        self._meta = meta
        self._before = _counters(txn, meta)
        self.counters = self._before

    def put(self, digest: bytes, slice_number: int | None, found: Found) -> bool:
        """Take in a record unless a later one, or a later removal, is known; whether it was taken."""
        key = _key(digest, slice_number)
        old = self._get(key)
        if old is not None and old.sequence > found.sequence:
            return False
        tombstone = self._get(digest + _TOMBSTONE)
        if tombstone is not None and tombstone.sequence > found.sequence:
            return False
        self._set(key, old, found)
        return True

    def replace(self, digest: bytes, slice_number: int | None, old: Found, new: Found) -> bool:
        """Put one record in place of another if that is still the one that is known; False when it isn't."""
        key = _key(digest, slice_number)
        current = self._get(key)
        if current is None or not current.same_record(old):
            return False
        self._set(key, current, new)
        return True

    def delete(self, digest: bytes, slice_number: int | None, found: Found) -> bool:
        """Forget a record if it is still this one that is known; False when it isn't."""
        key = _key(digest, slice_number)
        old = self._get(key)
        if old is None or not old.same_record(found):
            return False
        self._count(old, -1)
        self._txn.delete(key, db=self._entries)
        return True

    def remove(self, digest: bytes, tombstone: Found | None, *, sequence: int) -> int:
        """Forget all that is under a digest and older than `sequence`; how many entries and slices that were.

        While the index is being made again a `tombstone` stays, so that no older record takes the place.
        """
        removed = 0
        with self._txn.cursor(self._entries) as cursor:
            found = cursor.set_range(digest)
            while found and cursor.key()[:16] == digest:
                old = _found(cursor.value())
                if old.sequence < sequence:
                    removed += old.kind != Kind.REMOVED
                    self._count(old, -1)
                    found = cursor.delete()  # and on to the next
                else:
                    found = cursor.next()
        if tombstone is not None:
            self._txn.put(digest + _TOMBSTONE, _VALUE.pack(*tombstone[:-1]), db=self._entries)
        return removed

    def drop_tombstones(self, digests: list[bytes]) -> None:
        for digest in digests:
            self._txn.delete(digest + _TOMBSTONE, db=self._entries)

    def row(self, number: int) -> Row | None:
        value = self._txn.get(_SLICE.pack(number), db=self._segments)
        return None if value is None else Row(*_ROW.unpack(value))

    def rows(self) -> list[tuple[int, Row]]:
        cursor = self._txn.cursor(self._segments)
        return [(_SLICE.unpack(key)[0], Row(*_ROW.unpack(value))) for key, value in cursor]

    def set_row(self, number: int, row: Row | None) -> None:
        """Add, change or (None) drop a segment; its size is counted."""
        old = self.row(number)
        key = _SLICE.pack(number)
        change = (0 if row is None else row.size) - (0 if old is None else old.size)
        self.counters = self.counters._replace(segment_bytes=self.counters.segment_bytes + change)
        if row is None:
            self._txn.delete(key, db=self._segments)
        else:
            self._txn.put(key, _ROW.pack(*row), db=self._segments)

    def finish(self) -> None:
        if self.counters is not self._before:
            self._txn.put(b"counters", _COUNTERS.pack(*self.counters), db=self._meta)

    def _get(self, key: bytes) -> Found | None:
        value = self._txn.get(key, db=self._entries)
        return None if value is None else _found(value)

    def _set(self, key: bytes, old: Found | None, new: Found) -> None:
        self._count(old, -1)
        self._count(new, 1)
        self._txn.put(key, _VALUE.pack(*new[:-1]) + new.head, db=self._entries)

    def _count(self, found: Found | None, sign: int) -> None:
        if found is not None and found.kind != Kind.REMOVED:
            counters = self.counters
            self.counters = counters._replace(
                entries=counters.entries + sign, entry_bytes=counters.entry_bytes + sign * found.length
            )


def _refused(path: Path, error: lmdb.Error) -> Exception:
    """What an error at opening means: the system's own numbers say nothing of what is in the index."""
    if error.code > 0:
        return OSError(error.code, f"index {path}: {error}")
    return IndexDamagedError(f"index {path}: {error}")


def _key(digest: bytes, slice_number: int | None) -> bytes:
    return digest + (_WHOLE if slice_number is None else _SLICE.pack(slice_number + 1))


def _found(value: bytes) -> Found:
    return _make(Found, (*_unpack(value), value[_VALUE.size :]))


def _counters(txn: lmdb.Transaction[bytes], meta: lmdb._Database) -> Counters:
    value = txn.get(b"counters", db=meta)
    return Counters() if value is None else Counters(*_COUNTERS.unpack(value))
