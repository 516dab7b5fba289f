"""Puts imported records where a node with these directories looks for them, without displacing any entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shield.errors import StoreError
from shield.rules.rendezvous import Rendezvous
from shield.store.directory.directory import CacheDirectory, DirectoryHealth
from shield.store.directory.index import Found
from shield.store.directory.log import Draft, slice_of
from shield.store.directory.reclaim import NoRoomError
from shield.store.directory.record import DamagedError, Record


@dataclass(slots=True)
class Placed:
    """Counts of imported records by result."""

    taken: int = 0
    taken_bytes: int = 0
    known: int = 0  # the same, or a later one, is stored already
    no_room: int = 0
    refused: int = 0  # too large for this store


class Intake:
    """`first`: directories of the first tier in the order of `ring`, opened with a judge that refuses to displace
    entries; `lower`: those of the other tiers.
    """

    def __init__(self, first: Sequence[CacheDirectory], ring: Rendezvous, lower: Sequence[CacheDirectory]) -> None:
        self._first = first
        self._ring = ring
        self._lower = lower
        self._full: set[int] = set()
        self.placed = Placed()

    def take(self, draft: Draft) -> None:
        """Write a record if it is new here and there is room. Raises StoreError when a directory fails."""
        record, placed = draft.record, self.placed
        member = self._ring.owner(record.key.digest)
        directory = self._first[member]
        if self._is_known(directory, record):
            placed.known += 1
            return
        if member in self._full:
            placed.no_room += 1
            return
        try:
            found = _written(directory, draft)
        except DamagedError:
            return  # its file counts it
        except NoRoomError:
            self._full.add(member)
            placed.no_room += 1
        except StoreError:
            if directory.health is not DirectoryHealth.WELL:
                raise
            placed.refused += 1
        else:
            if found is None:
                placed.known += 1
                return
            placed.taken += 1
            placed.taken_bytes += found.length
            if slice_of(record) is None:
                self._outdate(record)

    def _is_known(self, owner: CacheDirectory, record: Record) -> bool:
        digest, number, born = record.key.digest, slice_of(record), record.freshness.born
        for directory in (owner, *self._lower):
            found = directory.lookup(digest, number)
            if found is not None and found.born >= born:
                return True
            if number is None:
                continue
            if found is not None and found.identity == record.identity:
                return True
            entry = directory.lookup(digest)
            if entry is not None and entry.born >= born and entry.identity != record.identity:
                return True  # of another version, and a later one
        return False

    def _outdate(self, record: Record) -> None:
        """Another version in a lower tier must not come back when this one goes."""
        for directory in self._lower:
            found = directory.lookup(record.key.digest)
            if found is not None and found.identity != record.identity:
                directory.remove([record.key])


def _written(directory: CacheDirectory, draft: Draft) -> Found | None:
    return directory.commit([draft])[0] if draft.coming is None else directory.take_in(draft)
