"""Disk tiers without bytes: which entries they have at any time.

It follows `shield.store.directory`: segments are a log; one is written, one is to spare, and the oldest must go when
there is no room for another. Of that, entries hit since are written again, up to half a segment; the others move down
a tier. A large entry is a record of its head, and one for each slice; the head stays as long as a slice does. The
directories of one tier count as one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from shield.simulate.entries import SimulatedEntry, SimulatedSlice
from shield.store.entry import OVERHEAD

RECORD_BYTES = 256
"""Of a record and its place in the index, beside head and body."""


@dataclass(frozen=True, slots=True)
class SimulatedTierTerms:
    """A tier: the room for segments in all its directories together, and the size of one."""

    name: str
    capacity: int
    segment_bytes: int
    share: float = 1.0  # of the real one

    def part(self, share: float) -> SimulatedTierTerms:
        """The same for this share of all keys."""
        capacity = max(int(self.capacity * share), 1 << 16)
        return SimulatedTierTerms(self.name, capacity, max(int(self.segment_bytes * share), 1), share)


SimulatedRecord = SimulatedEntry | SimulatedSlice


class _SimulatedSegment:
    __slots__ = ("end", "entries")

    def __init__(self) -> None:
        self.entries: list[SimulatedRecord] = []
        self.end = 0


class SimulatedTier:
    """`cool` says whether a key was hit since, and forgets one of the hits. `leave` is told what is given up here
    though it may still be of use.
    """

    def __init__(self, terms: SimulatedTierTerms, cool: Callable[[bytes], int]) -> None:
        self.name = terms.name
        self.leave: Callable[[SimulatedRecord, float], None] = lambda entry, now: None
        self.has_reclaimed = False
        self._cool = cool
        self._capacity = terms.capacity
        self._segment_bytes = terms.segment_bytes
        self._largest = terms.capacity // 8
        self._largest_of_whole = int(terms.capacity / terms.share) // 8
        self.unfit = 0
        """Records that found no place, though the real disk would have one."""
        self._place: dict[bytes, tuple[SimulatedRecord, _SimulatedSegment]] = {}
        self._slices: dict[bytes, set[bytes]] = {}  # of entries, by their texts
        self._active: _SimulatedSegment | None = None
        self._sealed: deque[_SimulatedSegment] = deque()
        self._used = 0  # by sealed segments
        self._reclaiming = False

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
        size = entry.size - OVERHEAD + RECORD_BYTES
        if size > self._largest:
            self.unfit += size <= self._largest_of_whole
            self.drop(entry.of)
            return
        if isinstance(entry, SimulatedSlice):
            self._slices.setdefault(entry.of, set()).add(entry.key.text)
        active = self._active
        if active is None or (active.end and active.end + size > self._segment_bytes):
            active = self._roll(now)
            if active.end and active.end + size > self._segment_bytes:  # what was kept has filled it
                active = self._roll(now)
        active.entries.append(entry)
        active.end += size
        self._place[entry.key.text] = entry, active

    def _roll(self, now: float) -> _SimulatedSegment:
        """Seal the active segment, and begin another, with room for the next."""
        if self._active is not None:
            self._sealed.append(self._active)
            self._used += self._active.end
        self._active = made = _SimulatedSegment()
        if not self._reclaiming:
            # The active one counts as full, and one is to spare.
            while self._used + 2 * self._segment_bytes > self._capacity and self._sealed:
                self._reclaiming = self.has_reclaimed = True
                self._reclaim(now)
                self._reclaiming = False
        return self._active or made

    def _reclaim(self, now: float) -> None:
        victim, left = self._sealed.popleft(), self._segment_bytes // 2
        self._used -= victim.end
        heads = [each for each in victim.entries if each.of == each.key.text]
        for entry in [*[each for each in victim.entries if each.of != each.key.text], *heads]:
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
            elif size <= left and (self._has_slices(entry) or self._cool(entry.key.digest)):
                del self._place[text]
                left -= size
                self.write(entry, now)
            else:
                self._forget(entry)
                if isinstance(entry, SimulatedSlice):
                    self.leave(head, now)  # it goes along
                self.leave(entry, now)

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
