"""Disk tiers without bytes: which entries they have at any time.

It follows `shield.store.directory`: segments are a log; each worker writes one in each directory, one more is to
spare, and the oldest must go when there is no room for another. Of that, entries hit since are written again, up to
half a segment; the others move down a tier. A large entry is a record of its head, and one for each slice; the head
stays as long as a slice does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from shield.rules.rendezvous import Rendezvous
from shield.simulate.entries import SimulatedEntry, SimulatedSlice
from shield.store.entry import OVERHEAD

RECORD_BYTES = 256
"""Of a record and its place in the index, beside head and body."""


@dataclass(frozen=True, slots=True)
class SimulatedDirectoryTerms:
    """The room for segments in one directory, and the size of one. `path` and `weight` decide on its keys."""

    capacity: int
    segment_bytes: int
    path: str = ""
    weight: int = 1

    def part(self, share: float) -> SimulatedDirectoryTerms:
        """The same for this share of all keys."""
        capacity = max(int(self.capacity * share), 1 << 16)
        return SimulatedDirectoryTerms(capacity, max(int(self.segment_bytes * share), 1), self.path, self.weight)


@dataclass(frozen=True, slots=True)
class SimulatedTierTerms:
    """A tier: its directories, for a share of all keys."""

    name: str
    directories: tuple[SimulatedDirectoryTerms, ...]
    share: float = 1.0

    @property
    def capacity(self) -> int:
        return sum(each.capacity for each in self.directories)

    def part(self, share: float) -> SimulatedTierTerms:
        """The same for this share of all keys."""
        return SimulatedTierTerms(self.name, tuple([each.part(share) for each in self.directories]), share)


SimulatedRecord = SimulatedEntry | SimulatedSlice


class _SimulatedSegment:
    __slots__ = ("end", "entries")

    def __init__(self) -> None:
        self.entries: list[SimulatedRecord] = []
        self.end = 0


class _SimulatedDirectory:
    """Segments: those that workers write now, and those that are full, the oldest first."""

    __slots__ = ("active", "capacity", "largest", "reclaiming", "sealed", "segment_bytes", "used", "whole")

    def __init__(self, terms: SimulatedDirectoryTerms, share: float) -> None:
        self.capacity = terms.capacity
        self.segment_bytes = terms.segment_bytes
        self.largest = terms.capacity // 8
        self.whole = int(terms.capacity / share) // 8  # the largest of the real one
        self.active: dict[int, _SimulatedSegment] = {}  # by worker
        self.sealed: deque[_SimulatedSegment] = deque()
        self.used = 0  # by those that are full
        self.reclaiming = False

    def has_room(self) -> bool:
        """For another segment; those that are written count as full."""
        return self.used + (len(self.active) + 1) * self.segment_bytes <= self.capacity

    def has_room_for(self, size: int, worker: int) -> bool:
        """For a record, without giving up any segment."""
        active = self.active.get(worker)
        return (active is not None and active.end + size <= self.segment_bytes) or self.has_room()

    def seal(self, worker: int) -> None:
        active = self.active.pop(worker, None)
        if active is not None:
            self.sealed.append(active)
            self.used += active.end


class SimulatedTier:
    """`cool` says whether a key was hit since, and forgets one of the hits. `leave` is told what is given up here
    though it may still be of use.
    """

    def __init__(self, terms: SimulatedTierTerms, cool: Callable[[bytes], int]) -> None:
        self.name = terms.name
        self.leave: Callable[[SimulatedRecord, float], None] = lambda entry, now: None
        self.has_reclaimed = False
        self._cool = cool
        self.unfit = 0
        """Records that found no place, though the real disk would have one."""
        self._directories = [_SimulatedDirectory(each, terms.share) for each in terms.directories]
        self._only = self._directories[0] if len(self._directories) == 1 else None
        self._ring = Rendezvous(
            [each.path.encode() for each in terms.directories], [each.weight for each in terms.directories]
        )
        self._place: dict[bytes, tuple[SimulatedRecord, _SimulatedSegment]] = {}
        self._slices: dict[bytes, set[bytes]] = {}  # of entries, by their texts

    def find(self, text: bytes) -> SimulatedEntry | None:
        found = self._place.get(text)
        return found[0] if found is not None and isinstance(found[0], SimulatedEntry) else None

    def find_slice(self, text: bytes) -> SimulatedSlice | None:
        found = self._place.get(text)
        return found[0] if found is not None and isinstance(found[0], SimulatedSlice) else None

    def drop(self, text: bytes) -> None:
        """An entry, with its slices."""
        self._place.pop(text, None)
        for piece in self._slices.pop(text, ()):
            self._place.pop(piece, None)

    def take(self, entry: SimulatedRecord, now: float) -> None:
        """From the tier above, unless it is here already."""
        place = self._place.get(entry.key.text)
        if place is None or place[0] is not entry:
            self.write(entry, now)

    def write(self, entry: SimulatedRecord, now: float) -> None:
        """Append it, in place of an older one."""
        owner = entry.entry_key
        directory = self._only or self._directories[self._ring.owner(owner.digest)]
        self._append(entry, directory, owner.owner, now)

    def _append(self, entry: SimulatedRecord, directory: _SimulatedDirectory, worker: int, now: float) -> None:
        size = entry.size - OVERHEAD + RECORD_BYTES
        if size > directory.largest:
            self.unfit += size <= directory.whole
            self.drop(entry.of)
            return
        active = self._active(directory, worker, size, now)
        if active is None:
            self.drop(entry.of)
            return
        if isinstance(entry, SimulatedSlice):
            self._slices.setdefault(entry.of, set()).add(entry.key.text)
        active.entries.append(entry)
        active.end += size
        self._place[entry.key.text] = entry, active

    def _active(self, directory: _SimulatedDirectory, worker: int, size: int, now: float) -> _SimulatedSegment | None:
        """The worker's segment, with room for a record; None: there is no room for another."""
        while True:
            active = directory.active.get(worker)
            if active is not None and (not active.end or active.end + size <= directory.segment_bytes):
                return active
            directory.seal(worker)
            self._make_room(directory, worker, now)
            if worker in directory.active:
                continue  # made for what was kept
            if not directory.has_room():
                return None
            directory.active[worker] = _SimulatedSegment()
            self._make_room(directory, worker, now)  # one to spare; kept records may fill the new one

    def _make_room(self, directory: _SimulatedDirectory, worker: int, now: float) -> None:
        """For another segment, by giving up the oldest."""
        while not directory.reclaiming and not directory.has_room() and directory.sealed:
            directory.reclaiming = self.has_reclaimed = True
            self._reclaim(directory, worker, now)
            directory.reclaiming = False

    def _reclaim(self, directory: _SimulatedDirectory, worker: int, now: float) -> None:
        victim, left = directory.sealed[0], directory.segment_bytes // 2
        heads = [each for each in victim.entries if isinstance(each, SimulatedEntry) and each.is_large]
        others = [each for each in victim.entries if isinstance(each, SimulatedSlice) or not each.is_large]
        for entry in [*others, *heads]:  # heads are judged once their slices have been
            text = entry.key.text
            place = self._place.get(text)
            if place is None or place[1] is not victim or place[0] is not entry:
                continue
            head = self.find(entry.of)
            if isinstance(entry, SimulatedSlice) and (head is None or not entry.is_of(head)):
                self._forget(entry)
                continue
            assert head is not None
            size = entry.size - OVERHEAD + RECORD_BYTES
            if head.is_over(now):
                self._forget(entry)
                continue
            can_stay = size <= left
            is_wanted = (can_stay and self._has_slices(entry)) or self._cool(entry.key.digest)
            if is_wanted and can_stay and directory.has_room_for(size, worker):
                del self._place[text]
                left -= size
                self._append(entry, directory, worker, now)
            else:
                self._forget(entry)
                if isinstance(entry, SimulatedSlice):
                    self.leave(head, now)  # it goes along
                self.leave(entry, now)
        directory.sealed.popleft()
        directory.used -= victim.end

    def _has_slices(self, entry: SimulatedRecord) -> bool:
        """Whether it is the head of slices that are here: it is judged after those of its own segment."""
        return bool(self._slices.get(entry.key.text))

    def _forget(self, entry: SimulatedRecord) -> None:
        del self._place[entry.key.text]
        if isinstance(entry, SimulatedSlice):
            pieces = self._slices.get(entry.of, set())
            pieces.discard(entry.key.text)
            if not pieces:
                self._slices.pop(entry.of, None)
