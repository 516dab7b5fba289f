"""The index: LMDB, off the Python heap and shared by all processes of a node.

`entries` maps key digest and slice to a position, `segments` holds one row for each segment file, `removals` the last
keys removed, `meta` the counters; related changes are made in one transaction. Nothing here is made durable:
after an unclean stop of the machine the index is discarded and rebuilt from the records (`claim`).

A lookup reads mapped pages. A page that isn't in the page cache has to come from the disk, and the caller waits for
it: so `warm` reads in the whole file at the start, as long as that is a small part of memory. What remains are pages
that the system has evicted under memory pressure, and the leaves of an index too large to be warmed.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import lmdb

from shield.store.directory.change import WHOLE, IndexChange, Tables, key_of, number_of, segment_of
from shield.store.directory.files import Files
from shield.store.directory.record import RecordKind
from shield.store.directory.values import (
    Found,
    IndexCounters,
    IndexDamagedError,
    IndexFullError,
    IndexHaltedError,
    IndexOutdatedError,
    Row,
    State,
    unpack_found,
    unpack_row,
)

__all__ = [
    "BATCH",
    "Found",
    "Index",
    "IndexChange",
    "IndexCounters",
    "IndexDamagedError",
    "IndexFullError",
    "IndexHaltedError",
    "IndexOutdatedError",
    "Row",
    "State",
]

BATCH = 64
"""Most entries changed in one transaction: more would make the index file grow by the pages it can't reuse yet."""

SCHEMA = b"3"

_REMOVED: Final = int(RecordKind.REMOVED)

_SLACK = 8 << 20  # beyond the limit, for such pages, so that a full index can still free something
_ROOM = 1 << 20  # less free space than this counts as none
_REMOVALS = 16384  # remembered, in a large index
_WARM_STEP = 4 << 20


class Index:
    """One open index. Any thread reads; one writer at a time over all processes, the others wait.

    `lookup` alone isn't guarded against `close`, since it is called for every request: it belongs to the threads that
    `close` is known to come after. All other reads hold the index open until they are done.

    Open it after the fork, once per process. Raises IndexDamagedError when it is garbage or of another version.
    """

    def __init__(self, path: Path, *, limit: int, files: Files) -> None:
        self._files = files
        self._data = path / "data.mdb"
        self.limit = limit
        self._guard = threading.Condition()
        self._readings = 0
        self._closed = False
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
            raise _translated(error) from error
        try:
            self._check()
        except lmdb.Error as error:
            self._env.close()
            raise _translated(error) from error
        except BaseException:
            self._env.close()
            raise

    def lookup(self, digest: bytes, slice_number: int | None = None) -> Found | None:
        """The entry under a digest, or one slice of it; the caller still has to compare the key's text."""
        key = digest + WHOLE if slice_number is None else key_of(digest, slice_number)
        try:
            # Ends with its last reference, at once: half of what a block costs, for every request.
            value = self._begin(self._entries).get(key)
        except lmdb.Error as error:
            raise _translated(error) from error
        if value is None:
            return None
        found = unpack_found(value)
        return None if found.kind == _REMOVED else found

    def peek(self, digest: bytes, slice_number: int | None = None) -> Found | None:
        """As `lookup`, for any thread; raises IndexHaltedError once it is closed."""
        with self._reading() as txn:
            value = txn.get(key_of(digest, slice_number), db=self._entries)
        found = None if value is None else unpack_found(value)
        return None if found is None or found.kind == RecordKind.REMOVED else found

    def spared(self, digest: bytes, slice_number: int | None = None) -> Found | None:
        """As `peek`, with all that is known of marks of purges: what a sweep has left falls under none of these."""
        with self._reading() as txn:
            value = txn.get(key_of(digest, slice_number), db=self._entries)
            swept = self._tables.counters(txn).swept
        found = None if value is None else unpack_found(value)
        if found is None or found.kind == RecordKind.REMOVED:
            return None
        return found if found.since >= swept else found._replace(since=swept)

    def slices(self, digest: bytes) -> list[tuple[int, Found]]:
        """The slices stored under a digest, of any version, in order."""
        with self._reading() as txn, txn.cursor(self._entries) as cursor:
            return list(_slices(cursor, digest))

    def has_slices(self, digest: bytes, entry: Found, *, outside: int) -> bool:
        """Whether slices of an entry's body lie in other segments than this one."""
        with self._reading() as txn, txn.cursor(self._entries) as cursor:
            return any(found.segment != outside and entry.owns(found) for _, found in _slices(cursor, digest))

    def counters(self) -> IndexCounters:
        with self._reading() as txn:
            return self._tables.counters(txn)

    def rows(self) -> list[tuple[int, Row]]:
        """All segments, oldest first."""
        with self._reading() as txn:
            cursor = txn.cursor(self._tables.segments)
            return [(segment_of(key), unpack_row(value)) for key, value in cursor]

    def row(self, number: int) -> Row | None:
        with self._reading() as txn:
            value = txn.get(number.to_bytes(4, "big"), db=self._tables.segments)
            return None if value is None else unpack_row(value)

    def ends(self) -> tuple[int, int] | None:
        """Numbers of the oldest and the newest segment; None when there is none."""
        with self._reading() as txn, txn.cursor(self._tables.segments) as cursor:
            if not cursor.first():
                return None
            first = segment_of(cursor.key())
            cursor.last()
            return first, segment_of(cursor.key())

    def without_row(self, numbers: Iterable[int]) -> set[int]:
        """The given segments that no longer have a row."""
        with self._reading() as txn:
            get, segments = txn.get, self._tables.segments
            return {number for number in numbers if get(number.to_bytes(4, "big"), db=segments) is None}

    def newest_unscanned(self, below: int) -> tuple[int, Row] | None:
        """The last segment below a number that is still to be scanned."""
        with self._reading() as txn:
            return self._tables.newest_unscanned(txn, below)

    def removed(self, since: int, until: int) -> dict[bytes, int] | None:
        """Digests removed after one generation and up to another, each with its last; None if too many to list."""
        with self._reading() as txn:
            return self._tables.removed(txn, since, until)

    def entries(self, after: bytes = b"") -> Iterator[tuple[bytes, int, Found]]:
        """Digest, slice (-1: the entry itself) and position of everything, tombstones too, in short transactions."""
        while True:
            page = self.page(after, BATCH)
            for key, value in page:
                yield key[:16], number_of(key), value
            if len(page) < BATCH:
                return
            after = page[-1][0] + b"\0"

    def page(self, after: bytes, most: int) -> list[tuple[bytes, Found]]:
        """At most `most` keys and values after a key."""
        page: list[tuple[bytes, Found]] = []
        with self._reading() as txn, txn.cursor(self._entries) as cursor:
            there = cursor.set_range(after)
            while there and len(page) < most:
                page.append((cursor.key(), unpack_found(cursor.value())))
                there = cursor.next()
        return page

    @contextmanager
    def write(self) -> Iterator[IndexChange]:
        """One transaction: all of it happens, or nothing when the block raises.

        Raises IndexFullError when there is no room for it, OSError when the system refuses.
        """
        self._files.step("index before")
        try:
            with self._env.begin(write=True) as txn:
                change = IndexChange(txn, self._tables)
                yield change
                change.finish()
        except lmdb.Error as error:
            if error.code == errno.EIO and self._files.free_bytes(self._data.parent) < _ROOM:
                # LMDB reports this for a write cut short by a full file system.
                raise OSError(errno.ENOSPC, "index: no room for it") from error
            raise _translated(error) from error
        self._files.step("index after")

    def size(self) -> int:
        """Bytes of its file, which never shrinks."""
        return self._files.size(self._data)

    def warm(self, stopped: Callable[[], bool]) -> bool:
        """Read the whole file into the page cache, in steps; False when it was stopped or the file is too large."""
        size = self.size()
        if size > self._files.available_memory() // 2:
            return False
        fd = self._files.open(self._data)
        try:
            buffer = bytearray(_WARM_STEP)
            for at in range(0, size, _WARM_STEP):
                if stopped():
                    return False
                self._files.read(fd, [buffer], at)
        finally:
            self._files.close(fd)
        return True

    def still_here(self) -> bool:
        """Whether the file is still the one that was opened."""
        try:
            return self._files.inode(self._data) == self._inode
        except FileNotFoundError:
            return False
        except OSError:
            return True  # can't be determined

    def forget_dead_readers(self) -> None:
        """Clear readers that were killed during a lookup: they would keep pages from being reused."""
        try:
            self._env.reader_check()
        except lmdb.Error as error:
            raise _translated(error) from error

    def sync(self) -> None:
        """Make the current state durable."""
        try:
            self._env.sync(True)
        except lmdb.Error as error:
            raise _translated(error) from error

    def close(self) -> None:
        """Waits for readers. No `lookup` may be under way in another thread, nor any change."""
        with self._guard:
            self._closed = True
            self._guard.wait_for(lambda: not self._readings)
        self._env.close()

    def _check(self) -> None:
        """Refuse an index that would fail later or kill the process: shorter than it claims, or of another schema."""
        self._env.reader_check()
        info = self._env.info()
        page_size = self._env.stat()["psize"]
        if (info["last_pgno"] + 1) * page_size > max(self.size(), 2 * page_size):
            raise IndexDamagedError("the index is shorter than it was")
        self._inode = self._files.inode(self._data)
        memory = min(_REMOVALS, self.limit // 512)
        self._tables = Tables(self._env, memory=memory)
        self._entries = self._tables.entries
        self._begin = self._env.begin
        with self._env.begin(write=True, db=self._tables.meta) as txn:
            schema = txn.get(b"schema")
            if schema is None:
                txn.put(b"schema", SCHEMA)
            elif schema != SCHEMA:
                raise IndexOutdatedError("the index is of another version")
            self._tables.counters(txn)

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction[bytes]]:
        with self._guard:
            if self._closed:
                raise IndexHaltedError("index: it is closed")
            self._readings += 1
        try:
            with self._env.begin() as txn:
                yield txn
        except lmdb.Error as error:
            raise _translated(error) from error
        finally:
            with self._guard:
                self._readings -= 1
                self._guard.notify_all()


def _slices(cursor: lmdb.Cursor[bytes], digest: bytes) -> Iterator[tuple[int, Found]]:
    """From the table of entries."""
    there = cursor.set_range(key_of(digest, 0))
    while there and (key := cursor.key())[:16] == digest:
        found = unpack_found(cursor.value())
        if found.kind != RecordKind.REMOVED:
            yield number_of(key), found
        there = cursor.next()


def _translated(error: lmdb.Error) -> Exception:
    """The meaning of an LMDB error: the system's own errnos say nothing about the contents of the index."""
    if isinstance(error, lmdb.MapFullError):
        return IndexFullError("the index is full")
    if isinstance(error, lmdb.PanicError) or error.code == 0:  # 0: closed
        return IndexHaltedError(f"index: {error}")
    if isinstance(error, lmdb.ReadersFullError):
        return OSError(errno.EAGAIN, f"index: {error}")
    if error.code > 0:
        return OSError(error.code, f"index: {error}")
    return IndexDamagedError(f"index: {error}")
