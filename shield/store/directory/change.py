"""The changes that one write transaction may make to the index. Later records win, in whatever order they arrive.

A slice is useful only to the entry of its own body: a slice older than the entry under its key and of another body
is forgotten when that entry arrives, and not restored afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

import lmdb

from shield.store.directory.record import RecordKind
from shield.store.directory.values import (
    Found,
    IndexCounters,
    IndexDamagedError,
    Row,
    State,
    pack_counters,
    pack_found,
    pack_removal,
    pack_row,
    unpack_counters,
    unpack_found,
    unpack_removal,
    unpack_row,
)

EVERYTHING = bytes(16)
"""In place of a digest: everything was removed."""

_SLICE: Final = Struct(">I")
_KEY: Final = 16 + _SLICE.size
WHOLE: Final = _SLICE.pack(0)
"""The end of the key of an entry itself, behind its digest."""

_FIRST_SLICE: Final = _SLICE.pack(1)
_TOMBSTONE: Final = _SLICE.pack(0xFFFFFFFF)
_FORGOTTEN = 4096  # slices forgotten with their entry at most; reclaim drops the others, which no lookup finds


class Tables:
    """The index's databases. `memory` is how many removals are remembered."""

    __slots__ = ("entries", "memory", "meta", "removals", "segments")

    def __init__(self, env: lmdb.Environment, *, memory: int) -> None:
        self.meta = env.open_db(b"meta")
        self.entries = env.open_db(b"entries")
        self.segments = env.open_db(b"segments")
        self.removals = env.open_db(b"removals")
        self.memory = memory

    def counters(self, txn: lmdb.Transaction[bytes]) -> IndexCounters:
        value = txn.get(b"counters", db=self.meta)
        return IndexCounters() if value is None else unpack_counters(value)

    def removed(self, txn: lmdb.Transaction[bytes], since: int, until: int) -> dict[bytes, int] | None:
        """Digests removed after one generation and up to another, each with its last; None if too many to list."""
        if until - since > self.memory:
            return None
        removed: dict[bytes, int] = {}
        for generation in range(since + 1, until + 1):
            value = txn.get(_SLICE.pack(generation % self.memory), db=self.removals)
            at, digest = (0, b"") if value is None else unpack_removal(value)
            if at != generation or digest == EVERYTHING:
                return None
            removed[digest] = generation
        return removed

    def newest_unscanned(self, txn: lmdb.Transaction[bytes], below: int) -> tuple[int, Row] | None:
        """The last segment below a number that is still to be scanned."""
        with txn.cursor(self.segments) as cursor:
            there = cursor.prev() if cursor.set_range(_SLICE.pack(below)) else cursor.last()
            while there:
                row = unpack_row(cursor.value())
                if row.state == State.UNSCANNED:
                    return segment_of(cursor.key()), row
                there = cursor.prev()
        return None


class IndexChange:
    """Made by `Index.write`, and valid until its block ends."""

    def __init__(self, txn: lmdb.Transaction[bytes], tables: Tables) -> None:
        self._txn = txn
        self._tables = tables
        self._entries = tables.entries
        self.counters = tables.counters(txn)
        self._before = pack_counters(self.counters)

    # entries

    def put(self, digest: bytes, slice_number: int | None, found: Found) -> bool:
        """Add a record unless a later one, or a later removal, is known; returns whether it was added."""
        key = key_of(digest, slice_number)
        old = self._get(key)
        if old is not None and (old.sequence > found.sequence or old.same_record(found)):
            return False
        if self.counters.tombstones:
            tombstone = self._get(digest + _TOMBSTONE)
            if tombstone is not None and tombstone.sequence > found.sequence:
                return False
        if slice_number is None:
            self._set(key, old, found)
            if self.counters.slices and (old is None or old.identity != found.identity or old.kind != found.kind):
                self._forget_slices(digest, found)
            return True
        entry = self._get(digest + WHOLE)
        if entry is not None and entry.sequence > found.sequence and not entry.owns(found):
            return False
        self._set(key, old, found)
        return True

    def replace(self, digest: bytes, slice_number: int | None, old: Found, new: Found) -> bool:
        """Replace one record by another if the index still has the old one; False when it doesn't.

        `new` has the same body, and isn't from before marks of purges that were applied to the old one.
        """
        key = key_of(digest, slice_number)
        current = self._get(key)
        if current is None or not current.same_record(old) or new.since < current.since:
            return False
        self._set(key, current, new)
        return True

    def move(self, digest: bytes, slice_number: int | None, old: Found, new: Found) -> bool:
        """As `replace`, but not if the old record has got another head since."""
        return self._get(key_of(digest, slice_number)) == old and self.replace(digest, slice_number, old, new)

    def delete(self, digest: bytes, slice_number: int | None, found: Found) -> bool:
        """Forget a record if the index still has it; False when it doesn't."""
        key = key_of(digest, slice_number)
        old = self._get(key)
        if old is None or not old.same_record(found):
            return False
        self._count(old, -1)
        self._txn.delete(key, db=self._entries)
        return True

    def sweep(self, digest: bytes, slice_number: int, found: Found) -> None:
        """Forget a slice that has no entry."""
        entry = self._get(digest + WHOLE)
        if entry is None or not entry.owns(found):
            self.delete(digest, slice_number, found)

    # removals

    def remove(self, digest: bytes, tombstone: Found | None, *, sequence: int) -> int:
        """Forget everything under a digest that is older than `sequence`; returns the number of entries and slices.

        While the index is being rebuilt a `tombstone` stays, so that no older record takes the position.
        """
        removed = 0
        with self._txn.cursor(self._entries) as cursor:
            there = cursor.set_range(digest)
            while there and cursor.key()[:16] == digest:
                old = unpack_found(cursor.value())
                if old.sequence < sequence:
                    removed += old.kind != RecordKind.REMOVED
                    self._count(old, -1)
                    there = cursor.delete()  # moves on to the next
                else:
                    there = cursor.next()
        if tombstone is not None and self._get(digest + _TOMBSTONE) is None:  # else that one is later
            self._set(digest + _TOMBSTONE, None, tombstone)
        return removed

    def expel(self, digest: bytes, slice_number: int | None, found: Found, *, until: int) -> int:
        """Forget what is under a digest from before the mark `until`, if the index still has this record; with an
        entry its slices go. Returns the greatest sequence that is forgotten, 0 if none is.
        """
        key = key_of(digest, slice_number)
        old = self._get(key)
        if old is None or not old.same_record(found) or old.since >= until:
            return 0
        if slice_number is not None:
            self._count(old, -1)
            self._txn.delete(key, db=self._entries)
            return old.sequence
        last = 0
        with self._txn.cursor(self._entries) as cursor:
            there = cursor.set_range(digest)
            while there and cursor.key()[:16] == digest:
                old = unpack_found(cursor.value())
                if old.since < until and old.kind != RecordKind.REMOVED:
                    last = max(last, old.sequence)
                    self._count(old, -1)
                    there = cursor.delete()  # moves on to the next
                else:
                    there = cursor.next()
        return last

    def remove_everything(self) -> None:
        """Forget all entries; the segments stay."""
        self._txn.drop(self._entries, delete=False)
        counters = self.counters
        counters.entries = counters.entry_bytes = counters.slices = counters.tombstones = 0

    def note_removal(self, digest: bytes) -> None:
        """Remember that this key was removed now: bodies that set out before are refused."""
        self.counters.generation += 1
        generation = self.counters.generation
        slot = _SLICE.pack(generation % self._tables.memory)
        self._txn.put(slot, pack_removal(generation, digest), db=self._tables.removals)

    def removed(self, since: int) -> dict[bytes, int] | None:
        """As `Tables.removed`, up to now."""
        return self._tables.removed(self._txn, since, self.counters.generation)

    def drop_tombstone(self, digest: bytes) -> None:
        self._count(self._get(digest + _TOMBSTONE), -1)
        self._txn.delete(digest + _TOMBSTONE, db=self._entries)

    # segments and counters

    def row(self, number: int) -> Row | None:
        value = self._txn.get(_SLICE.pack(number), db=self._tables.segments)
        return None if value is None else unpack_row(value)

    def rows(self) -> Iterator[tuple[int, Row]]:
        """All segments, oldest first. They must not be changed during the iteration."""
        for key, value in self._txn.cursor(self._tables.segments):
            yield segment_of(key), unpack_row(value)

    def set_row(self, number: int, row: Row | None) -> None:
        """Add, change or (None) drop a segment; the counters follow."""
        old = self.row(number)
        key = _SLICE.pack(number)
        if row is None:
            self._txn.delete(key, db=self._tables.segments)
        else:
            self._txn.put(key, pack_row(row), db=self._tables.segments)
        counters = self.counters
        counters.segment_bytes += (0 if row is None else row.size) - (0 if old is None else old.size)
        counters.segments += (row is not None) - (old is not None)
        counters.unscanned += _is_unscanned(row) - _is_unscanned(old)

    def advance(self, *, sequence: int = 0, floor: int = 0) -> None:
        """Raise these two to at least the given values."""
        counters = self.counters
        counters.sequence = max(counters.sequence, sequence)
        counters.floor = max(counters.floor, floor)

    def finish(self) -> None:
        """Write the counters; called before the transaction ends."""
        counters = pack_counters(self.counters)
        if counters != self._before:
            self._txn.put(b"counters", counters, db=self._tables.meta)

    def _get(self, key: bytes) -> Found | None:
        value = self._txn.get(key, db=self._entries)
        return None if value is None else unpack_found(value)

    def _set(self, key: bytes, old: Found | None, new: Found) -> None:
        self._count(old, -1)
        self._count(new, 1)
        self._txn.put(key, pack_found(new), db=self._entries)

    def _forget_slices(self, digest: bytes, entry: Found) -> None:
        """Forget slices older than an entry and not of its body: they are its neighbours in the table."""
        with self._txn.cursor(self._entries) as cursor:
            there = cursor.set_range(digest + _FIRST_SLICE)
            for _ in range(_FORGOTTEN):
                if not there or cursor.key()[:16] != digest:
                    return
                old = unpack_found(cursor.value())
                if old.kind == RecordKind.SLICE and old.sequence < entry.sequence and not entry.owns(old):
                    self._count(old, -1)
                    there = cursor.delete()  # moves on to the next
                else:
                    there = cursor.next()

    def _count(self, found: Found | None, sign: int) -> None:
        if found is None:
            return
        counters = self.counters
        if found.kind == RecordKind.REMOVED:
            counters.tombstones += sign
            return
        counters.entries += sign
        counters.entry_bytes += sign * (found.header_length + found.body_length)
        if found.kind == RecordKind.SLICE:
            counters.slices += sign


def key_of(digest: bytes, slice_number: int | None) -> bytes:
    return digest + (WHOLE if slice_number is None else _SLICE.pack(slice_number + 1))


def number_of(key: bytes) -> int:
    """For a key in `entries`: the slice, or -1 for the entry itself. Raises IndexDamagedError, as the next does."""
    if len(key) != _KEY:
        raise IndexDamagedError("a key is damaged")
    return int.from_bytes(key[16:], "big") - 1


def segment_of(key: bytes) -> int:
    """For a key in `segments`: its number."""
    if len(key) != _SLICE.size:
        raise IndexDamagedError("a key is damaged")
    return int.from_bytes(key, "big")


def _is_unscanned(row: Row | None) -> bool:
    return row is not None and row.state == State.UNSCANNED
