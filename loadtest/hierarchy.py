"""RAM and disk tiers as far as hit ratios go: what is where at which time, without bytes.

RAM has the real `S3Fifo`. A disk tier follows `shield.store.directory.log`: segments are a log, an active one
counts as if it were full, one is to spare, and what is kept of a segment that must go is written again at the head of
the log. Who decides what is kept and what is admitted is a `Policy`: Shield's own classes, or made up.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import xxhash

from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey
from shield.shared import Shared
from shield.store.admission import Admission
from shield.store.directory.files import Files
from shield.store.directory.index import Found
from shield.store.directory.reclaim import Fate, ReclaimCandidate
from shield.store.directory.record import Record, RecordKind
from shield.store.directory.segments import Segment as RealSegment
from shield.store.disk import PROMOTE_AT, Disk
from shield.store.fifo import MARK, S3Fifo, use

SEGMENTS = 100  # of a tier, fewer if the largest object would not fit into one
MOST_HITS = 3


class Ram:
    """The RAM tier's policy, of numbered entries without bytes."""

    def __init__(self, capacity: int) -> None:
        self.policy: S3Fifo[bytearray] = S3Fifo(
            capacity, max_entry=capacity // 8, mark_of=lambda mark: mark, on_gone=lambda text, mark: None
        )

    def has(self, number: int) -> bool:
        """Counts as use."""
        mark = self.policy.find(b"%d" % number)
        if mark is not None:
            use(mark)
        return mark is not None

    def commit(self, number: int, size: int) -> None:
        self.policy.put(b"%d" % number, bytearray(MARK.pack(0, 0, size)))


class Policy(Protocol):
    """What a disk tier does."""

    keep_share: float  # of a segment, that is kept at most
    probation: float  # share of the capacity that new entries pass through in a log of their own
    late: bool  # what leaves RAM though it was asked for again is written, if it isn't there
    once_full: bool  # until a segment had to go, all is admitted

    def hit(self, number: int) -> int:
        """An entry is asked for; how often that was."""

    def keeps(self, number: int, *, can_stay: bool) -> bool:
        """Whether an entry is worth being written again, now that its segment must go."""

    def admits(self, number: int) -> bool:
        """Whether what came from an origin is written at all."""


class Shield:
    """The real judge, hit counts and admission."""

    keep_share = 0.5  # as in `shield.store.directory.log`
    probation = 0.0
    once_full = True

    def __init__(self, entries: int, *, repeated: bool) -> None:
        self.late = repeated
        self._shared = Shared(slots=1 << max(20, (entries - 1).bit_length()))
        self._admission = Admission(entries) if repeated else None
        self._judge = asyncio.run(_disk(self._shared)).judge(0)

    def hit(self, number: int) -> int:
        return self._shared.hit(_digest(number))

    def keeps(self, number: int, *, can_stay: bool) -> bool:
        record = Record(RecordKind.WHOLE, CacheKey(b"", _digest(number)), _FRESHNESS)
        candidate = ReclaimCandidate(_FOUND, record, cast(RealSegment, None), _FILES, can_stay=can_stay)
        return self._judge(candidate) is Fate.KEEP

    def admits(self, number: int) -> bool:
        return self._admission is None or self._admission.admit(_digest(number))


async def _disk(shared: Shared) -> Disk:
    disk = Disk(shared, clock=lambda: 0.0)
    await disk.close()  # only its judge is wanted
    return disk


_FRESHNESS = Freshness(0.0, 1e9, 0.0, 0.0)
_FOUND = Found(0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 1e9, 0.0, 0.0, 0.0)
_FILES = Files()


def _digest(number: int) -> bytes:
    return xxhash.xxh3_128_digest(b"%d" % number)


@dataclass(frozen=True, slots=True)
class Choices:
    """Of a made-up policy; the defaults are the plainest."""

    keep_share: float = 0.5
    needed: int = 1  # hits, to be kept
    fades: bool = False  # of the hits of what is kept, all but one count on; else none
    repeated: bool = False  # only what was asked for before is admitted
    once_full: bool = False
    memory: float = 1.0  # keys that "before" reaches back, for each entry in the tier
    probation: float = 0.0
    slots: float = 0.0  # counters of hits for each entry in the tier, which entries share by chance; 0: one for each


class MadeUp:
    """A policy of some choices, for a tier of about so many entries."""

    late = False

    def __init__(self, choices: Choices, entries: int) -> None:
        self.keep_share = choices.keep_share
        self.probation = choices.probation
        self.once_full = choices.once_full
        self._choices = choices
        self._slots = int(entries * choices.slots)
        self._hits: dict[int, int] = {}
        self._seen = Remembered(int(entries * choices.memory))

    def hit(self, number: int) -> int:
        slot = self._slot(number)
        hits = min(MOST_HITS, self._hits.get(slot, 0) + 1)
        self._hits[slot] = hits
        return hits

    def keeps(self, number: int, *, can_stay: bool) -> bool:
        slot = self._slot(number)
        hits = self._hits.pop(slot, 0)
        if hits < self._choices.needed or not can_stay:
            return False
        if self._choices.fades and hits > 1:
            self._hits[slot] = hits - 1
        return True

    def admits(self, number: int) -> bool:
        return not self._choices.repeated or self._seen.add(number)

    def _slot(self, number: int) -> int:
        return hash((number, 1)) % self._slots if self._slots else number


class Remembered:
    """Numbers seen lately, in two generations: between `most` and twice as many."""

    def __init__(self, most: int) -> None:
        self._most = max(most, 16)
        self._young: set[int] = set()
        self._old: set[int] = set()

    def add(self, number: int) -> bool:
        """Whether it was known; it is from now on."""
        known = number in self
        if len(self._young) >= self._most:
            self._old, self._young = self._young, set()
        self._young.add(number)
        return known

    def __contains__(self, number: int) -> bool:
        return number in self._young or number in self._old


class Segment:
    __slots__ = ("end", "entries")

    def __init__(self) -> None:
        self.entries: list[int] = []
        self.end = 0


class Log:
    """A segment that is appended to, and those that are complete, oldest first."""

    def __init__(self) -> None:
        self.active: Segment | None = None
        self.sealed: deque[Segment] = deque()
        self.used = 0


class DiskTier:
    """Which entries a tier of `capacity` bytes has. `leave` is told what it gives up."""

    def __init__(self, sizes: Sequence[int], capacity: int, policy: Policy) -> None:
        self.policy = policy
        self.leave: Callable[[int], None] = lambda number: None
        self.is_full = False
        self.written = 0
        self.kept = 0
        self._sizes = sizes
        self._capacity = capacity
        self._segment_bytes = max(capacity // SEGMENTS, min(max(sizes), capacity // 8))
        self._place: dict[int, Segment] = {}
        self._main, self._new = Log(), Log()
        self._reclaiming = False
        self._left = Remembered(entries_in(sizes, capacity))

    def __contains__(self, number: int) -> bool:
        return number in self._place

    def held(self) -> int:
        """Bytes of all entries, and of those that have gone from complete segments, too."""
        return self._main.used + self._new.used

    def take(self, number: int) -> None:
        """Take in what another tier gives up, unless it is here."""
        if number not in self._place:
            self.commit(number)

    def commit(self, number: int) -> None:
        """Take an entry in."""
        is_new = self.policy.probation > 0 and number not in self._left
        self._append(number, self._new if is_new else self._main)

    def _append(self, number: int, log: Log) -> None:
        size = self._sizes[number]
        if size > self._segment_bytes:
            return
        while log.active is None or log.active.end + size > self._segment_bytes:
            self._seal(log)
            self._make_room()
            self._roll(log)
            self._make_room()  # one to spare, for what is kept
        log.active.entries.append(number)
        log.active.end += size
        self._place[number] = log.active
        self.written += size

    def _seal(self, log: Log) -> None:
        if log.active is not None:
            log.used -= self._segment_bytes - log.active.end
            log.sealed.append(log.active)
            log.active = None

    def _roll(self, log: Log) -> None:
        if log.active is None:  # else what was kept has opened it
            log.active = Segment()
            log.used += self._segment_bytes

    def _make_room(self) -> None:
        if self._reclaiming:
            return
        while self.held() + self._segment_bytes > self._capacity:
            new, main = self._new.sealed, self._main.sealed
            crowded = self._new.used > self.policy.probation * self._capacity + self._segment_bytes
            log = self._new if new and (crowded or not main) else self._main
            if not log.sealed:
                return
            self._reclaiming = self.is_full = True
            self._reclaim(log)
            self._reclaiming = False

    def _reclaim(self, log: Log) -> None:
        policy, sizes = self.policy, self._sizes
        victim = log.sealed.popleft()
        left = self._segment_bytes * policy.keep_share
        for number in victim.entries:
            if self._place.get(number) is not victim:
                continue
            del self._place[number]
            size = sizes[number]
            if policy.keeps(number, can_stay=size <= left) and size <= left and self._can_keep(size):
                left -= size
                self._append(number, self._main)
                self.kept += size
            else:
                if log is self._new:
                    self._left.add(number)
                self.leave(number)
        log.used -= victim.end

    def _can_keep(self, size: int) -> bool:
        active = self._main.active
        fits = active is not None and active.end + size <= self._segment_bytes
        return fits or self.held() + self._segment_bytes <= self._capacity


class Hierarchy:
    """RAM, then disk tiers, the fastest first; what leaves one moves to the next."""

    def __init__(self, sizes: Sequence[int], memory: int, tiers: Sequence[DiskTier]) -> None:
        self.tiers = tuple(tiers)
        self._sizes = sizes
        self._memory = Ram(memory)
        for upper, lower in itertools.pairwise(tiers):
            upper.leave = lower.take
        if tiers[0].policy.late:
            self._memory.policy.on_evict = lambda text, mark: self._write_late(int(text))

    def ask(self, number: int) -> bool:
        """Whether it is a hit; it is stored if it isn't."""
        if self._memory.has(number):
            self.tiers[0].policy.hit(number)
            return True
        size = self._sizes[number]
        for level, tier in enumerate(self.tiers):
            if number in tier:
                hits = tier.policy.hit(number)
                if level and hits >= PROMOTE_AT:
                    self.tiers[0].commit(number)
                self._memory.commit(number, size)
                return True
        self._memory.commit(number, size)
        first = self.tiers[0]
        if first.policy.admits(number) or (first.policy.once_full and not first.is_full):
            first.commit(number)
        return False

    def _write_late(self, number: int) -> None:
        if not any(number in tier for tier in self.tiers):
            self.tiers[0].commit(number)


def entries_in(sizes: Sequence[int], capacity: int) -> int:
    """About how many entries find room."""
    return capacity * len(sizes) // sum(sizes)


def made_up(sizes: Sequence[int], memory: int, disk: int, choices: Choices) -> Hierarchy:
    """RAM and one disk tier with other choices than Shield's."""
    policy = MadeUp(choices, entries_in(sizes, disk))
    return Hierarchy(sizes, memory, [DiskTier(sizes, disk, policy)])
