"""Disk tiers without bytes: which entries they have at any time.

It follows `shield.store.directory`: segments are a log; one is written, one is to spare, and the oldest must go when
there is no room for another. Of that, entries hit since are written again, up to half a segment; the others move down
a tier. Directories of one tier count as one, and a large object as one record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shield.store.entry import OVERHEAD

if TYPE_CHECKING:
    from shield.simulate.entries import SimulatedEntry

RECORD_BYTES = 256
"""Of a record and its place in the index, beside head and body."""


@dataclass(frozen=True, slots=True)
class SimulatedTierTerms:
    """A tier: the room for segments in all its directories together, and the size of one."""

    name: str
    capacity: int
    segment_bytes: int

    def part(self, share: float) -> SimulatedTierTerms:
        """The same for this share of all keys."""
        capacity = max(int(self.capacity * share), 1 << 16)
        return SimulatedTierTerms(self.name, capacity, max(int(self.segment_bytes * share), 1))


class _SimulatedSegment:
    __slots__ = ("end", "entries")

    def __init__(self) -> None:
        self.entries: list[SimulatedEntry] = []
        self.end = 0


class SimulatedTier:
    """`cool` says whether a key was hit since, and forgets one of the hits. `leave` is told what is given up here
    though it may still be of use.
    """

    def __init__(self, terms: SimulatedTierTerms, cool: Callable[[bytes], int]) -> None:
        self.name = terms.name
        self.leave: Callable[[SimulatedEntry, float], None] = lambda entry, now: None
        self.has_reclaimed = False
        self._cool = cool
        self._capacity = terms.capacity
        self._segment_bytes = terms.segment_bytes
        self._largest = terms.capacity // 8
        self._place: dict[bytes, tuple[SimulatedEntry, _SimulatedSegment]] = {}
        self._active: _SimulatedSegment | None = None
        self._sealed: deque[_SimulatedSegment] = deque()
        self._used = 0  # by sealed segments
        self._reclaiming = False

    def find(self, text: bytes) -> SimulatedEntry | None:
        place = self._place.get(text)
        return None if place is None else place[0]

    def drop(self, text: bytes) -> None:
        self._place.pop(text, None)

    def take(self, entry: SimulatedEntry, now: float) -> None:
        """From the tier above, unless it is here already."""
        place = self._place.get(entry.key.text)
        if place is None or place[0] is not entry:
            self.write(entry, now)

    def write(self, entry: SimulatedEntry, now: float) -> None:
        """Append it, in place of an older one."""
        size = entry.size - OVERHEAD + RECORD_BYTES
        if size > self._largest:
            self.drop(entry.key.text)
            return
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
        for entry in victim.entries:
            text = entry.key.text
            place = self._place.get(text)
            if place is None or place[1] is not victim or place[0] is not entry:
                continue
            del self._place[text]
            if entry.is_over(now):
                continue
            size = entry.size - OVERHEAD + RECORD_BYTES
            if self._cool(entry.key.digest) and size <= left:
                left -= size
                self.write(entry, now)
            else:
                self.leave(entry, now)
