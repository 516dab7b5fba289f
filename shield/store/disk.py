"""The disk tiers of a node: the directory of a key, moves between tiers, and reads that may wait.

A key belongs to one directory of a tier, by rendezvous hashing; while that one is out, to the next in its order.
Entries come in at the first tier. When a segment's time has come, entries hit since are written again, the others
move down a tier, and those of the last tier are dropped. An entry hit repeatedly in a lower tier is promoted to the
first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import xxhash

from shield.errors import StoreError
from shield.messages import Part
from shield.rules.key import CacheKey
from shield.rules.purging import PurgeMarks
from shield.rules.rendezvous import Rendezvous
from shield.shared import Shared
from shield.store.backlog import Completion
from shield.store.directory.directory import CacheDirectory, DirectoryHealth
from shield.store.directory.index import Found
from shield.store.directory.log import Draft
from shield.store.directory.reading import GoneError, StoredRecord, latest
from shield.store.directory.reclaim import Fate, Judge, ReclaimCandidate
from shield.store.directory.record import Record, RecordKind, Whole
from shield.store.volume import Volume, VolumeStatistics

log = logging.getLogger("shield.store")

READERS = 8
"""Threads of one worker that wait for disks."""

PLAIN: Final = 1 << 20
"""Bodies up to this size are answered in one write."""

PROMOTE_AT: Final = 2
"""Hits in a lower tier that promote a record."""

Still = Callable[[], bool]


def always() -> bool:
    return True


_RECORD: Final = 1024  # about the overhead of a record over its body
_Look = Callable[[CacheDirectory, bytes, int | None], Found | None]


@dataclass(slots=True)
class Located:
    """Where the index has a record: the tier, and the directory there."""

    tier: Tier
    volume: Volume
    directory: CacheDirectory
    found: Found


class Tier:
    """Directories on disks of one speed."""

    def __init__(self, name: str, level: int, volumes: Sequence[Volume], weights: Sequence[float]) -> None:
        self.name = name
        self.level = level
        self.volumes = tuple(volumes)
        self.hits = 0
        self.read_bytes = 0
        self._ring = Rendezvous([str(volume.path).encode() for volume in volumes], weights)
        self._only = volumes[0] if len(volumes) == 1 else None

    def first(self, digest: bytes) -> CacheDirectory | None:
        """The directory that a key belongs to, if it is in use."""
        volume = self._only or self.volumes[self._ring.owner(digest)]
        return volume.directory

    def lookup(self, digest: bytes, slice_number: int | None) -> Located | None:
        """The loop's thread only."""
        only = self._only
        if only is not None:
            directory = only.directory
            found = None if directory is None else directory.lookup(digest, slice_number)
            return None if directory is None or found is None else Located(self, only, directory, found)
        return self._search(CacheDirectory.lookup, digest, slice_number)

    def peek(self, digest: bytes) -> Located | None:
        """The entry under a digest, for any thread."""
        return self._search(CacheDirectory.peek, digest, None)

    def _search(self, look: _Look, digest: bytes, slice_number: int | None) -> Located | None:
        for volume in self._in_order(digest):
            directory = volume.directory
            if directory is None:
                continue
            found = look(directory, digest, slice_number)
            if found is not None:
                return Located(self, volume, directory, found)
            if directory.health is DirectoryHealth.WELL:
                return None  # none of its records were written elsewhere
        return None

    def writable(self, digest: bytes) -> Volume | None:
        """The volume to which a record under this digest is written now."""
        return next((volume for volume in self._in_order(digest) if volume.writable), None)

    def before(self, volume: Volume, digest: bytes) -> Iterator[Volume]:
        """The directories that would have a key if they weren't out."""
        for other in self._in_order(digest):
            if other is volume:
                return
            yield other

    def _in_order(self, digest: bytes) -> Iterator[Volume]:
        return (self.volumes[place] for place in self._ring.order(digest))


@dataclass(frozen=True, slots=True)
class TierStatistics:
    name: str
    hits: int
    read_bytes: int
    volumes: tuple[VolumeStatistics, ...]


class Disk:
    """All disk tiers of a worker, the fastest first. Event loop only, but for the judges."""

    def __init__(self, shared: Shared, *, clock: Callable[[], float]) -> None:
        self.marks = PurgeMarks()
        """Of purges, under which entries here may fall."""
        self._shared = shared
        self._hit = shared.hit
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="shield-reader")
        self._tiers: tuple[Tier, ...] = ()
        self._promoting: set[tuple[bytes, int | None]] = set()
        self.promoted = 0
        self.cold_reads = 0

    def open(self, tiers: Sequence[Tier]) -> None:
        """Begin with these tiers. Raises InUseError when another node has one of their directories."""
        self._tiers = tuple(tiers)
        self.first = self._tiers[0].name
        for volume in self.volumes():
            volume.open()

    def judge(self, level: int) -> Judge:
        """Decides on the records of the tier at this level when their segment must go."""

        def judge(candidate: ReclaimCandidate) -> Fate:
            return self._judge(candidate, level)

        return judge

    def volumes(self) -> Iterator[Volume]:
        for tier in self._tiers:
            yield from tier.volumes

    # reading

    def plain(self, key: CacheKey, now: float) -> tuple[Found, Whole] | None:
        """A fresh small entry of the first tier, if it is readable without waiting; None doesn't mean a miss."""
        tier, digest = self._tiers[0], key.digest
        directory = tier.first(digest)
        if directory is None:
            return None
        found = directory.lookup(digest)
        if (
            found is None
            or found.kind
            or not found.status
            or now >= found.born + found.lifetime
            or found.body_length > PLAIN
        ):
            return None
        try:
            whole = directory.whole_nowait(found, key)
        except GoneError:
            return None
        if whole is None or whole.no_cache:
            return None
        marks, since = self.marks, found.since
        if since < marks.alive and marks.verdict(key.text, whole.tags, since, whole) is not None:
            return None
        self._hit(digest)
        tier.hits += 1
        tier.read_bytes += found.body_length
        return found, whole

    def lookup(self, digest: bytes, slice_number: int | None = None) -> Located | None:
        """The position of an entry or of one of its slices; the caller still has to compare the key's text, and to
        look whether it falls under a mark of a purge.
        """
        for tier in self._tiers:
            place = tier.lookup(digest, slice_number)
            if place is not None:
                return place
        return None

    def places(self, digest: bytes) -> list[Located]:
        """The positions of an entry in all tiers. Any thread."""
        return [place for tier in self._tiers if (place := tier.peek(digest)) is not None]

    def is_purged(self, stored: StoredRecord) -> bool:
        """Whether a record that was read falls under a hard mark. Any thread."""
        mark = self.marks.verdict(stored.key.text, stored.header.tags, stored.found.since, stored.header)
        return mark is not None and not mark.soft

    def screen(self, record: Record) -> Record | None:
        """A record from before some marks as it may be stored; None if it mustn't be. Any thread."""
        return screened(record, self.marks)

    def wait_for(self, work: Callable[[], object], then: Callable[[object], None]) -> None:
        """Run a blocking read in a thread, then call back on the loop; None when it fails."""
        self.cold_reads += 1

        def run() -> None:
            result: object = None
            try:
                result = work()
            except (StoreError, OSError) as error:
                log.debug("%s", error)
            except Exception:  # a bug of ours must not leave a request waiting
                log.exception("reading from a disk failed")
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(then, result)

        self._readers.submit(run)

    def call_soon(self, call: Callable[[None], None], argument: None) -> None:
        self._loop.call_soon(call, argument)

    def note_hit(self, place: Located, stored: StoredRecord) -> None:
        """A record was read for a client: it is worth keeping, and perhaps promoting to a faster disk."""
        digest, number = stored.key.digest, stored.slice
        hits = self._shared.hit(digest if number is None else slice_digest(digest, number))
        tier = place.tier
        tier.hits += 1
        if tier.level and hits >= PROMOTE_AT:
            self._promote(place, stored)

    # writing

    def write(
        self, record: Record, body: Sequence[Part], done: Completion, *, still: Still = always, bounded: bool = False
    ) -> bool:
        """Queue a record for the first tier that takes it; False, and `done` is never called, if none does.

        `still` says whether its key hasn't been removed since its body set out. `bounded`: the caller bounds it.
        """
        size = 0 if bounded else _RECORD + sum([len(part) for part in body])
        digest = record.key.digest
        for tier in self._tiers:
            volume = tier.writable(digest)
            if volume is None:
                continue
            since = volume.generation()  # before `still`: the commit sees removals from now on
            if not still() or not volume.write(Draft(record, body, since=since), size, done):
                return False
            for other in tier.before(volume, digest):
                other.miss((record.key,))
            return True
        return False

    def is_full(self, digest: bytes) -> bool:
        """Whether an entry added under a digest would push another out of the last tier."""
        volume = self._tiers[-1].writable(digest)
        directory = None if volume is None else volume.directory
        return directory is not None and directory.has_reclaimed()

    def outdate(self, key: CacheKey, identity: int) -> None:
        """A version has been stored: others of its key in lower tiers must not come back when it goes."""
        for tier in self._tiers[1:]:
            place = tier.lookup(key.digest, None)
            if place is not None and place.found.identity != identity:
                place.volume.remove((key,))

    def freshen(self, record: Record, done: Completion | None = None) -> bool:
        """Give the stored entry the later head of this record; its tags stay. False, and `done` is never called, if
        there is none.
        """
        place = self._stored(record)
        if place is not None:
            key, found, head, freshness = record.key, place.found, record.head, record.freshness
            since = record.since
            place.volume.change(lambda directory: directory.freshen(key, found, head, freshness, since=since), done)
        return place is not None

    def retag(self, record: Record) -> None:
        """Give the stored entry the later head of this record, and its tags."""
        place = self._stored(record)
        if place is not None:
            place.volume.change(lambda directory: directory.retag(record))

    def _stored(self, record: Record) -> Located | None:
        """The position of an entry that differs from this record by its head at most."""
        place = self.lookup(record.key.digest)
        return place if place is not None and place.found.identity == record.identity else None

    def drop(self, key: CacheKey, done: Completion) -> bool:
        """Forget a key if it is stored; False, and `done` is never called, when it isn't."""
        places = [place for tier in self._tiers if (place := tier.lookup(key.digest, None)) is not None]
        for place in places[1:]:
            place.volume.remove((key,))
        if places:
            places[0].volume.remove((key,), done)
        return bool(places)

    def purge(self, keys: Sequence[CacheKey], done: Callable[[], None]) -> None:
        """Forget keys wherever they may be, also where none are known yet.

        From the top down, since a record on its way to a lower tier was in an upper one; then the first tier again,
        to which another worker may just have promoted an entry.
        """
        levels = [*self._tiers, *self._tiers[:1]] if len(self._tiers) > 1 else list(self._tiers)
        _WayOut(levels, keys, done).go_on()

    def tick(self) -> None:
        for volume in self.volumes():
            volume.tick()

    async def close(self) -> None:
        """Write the records that wait, the faster tiers first: those that leave them may still go further down."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        for volume in self.volumes():
            await volume.close()

    def statistics(self) -> list[TierStatistics]:
        return [
            TierStatistics(tier.name, tier.hits, tier.read_bytes, tuple(v.statistics() for v in tier.volumes))
            for tier in self._tiers
        ]

    # between tiers

    def _promote(self, place: Located, stored: StoredRecord) -> None:
        """Write a record that was hit again to the first tier, once a thread has read all of it."""
        which = (stored.key.digest, stored.slice)
        volume = self._tiers[0].writable(stored.key.digest)
        if which in self._promoting or volume is None or volume.is_behind:
            return
        since = volume.generation()
        spared = place.directory.spared(stored.found, stored.key, stored.slice)
        if spared is None:
            return
        self._promoting.add(which)
        promotion = _Promotion(self, stored, latest(stored.header.record, spared), volume, since)
        if stored.body is not None:
            promotion.write(stored.body)
        else:
            directory = place.directory
            self.wait_for(lambda: directory.read(stored, 0, stored.found.body_length), promotion.write)

    def promotion_over(self, stored: StoredRecord, *, well: bool) -> None:
        """A record has been written to the first tier, or couldn't be."""
        self._promoting.discard((stored.key.digest, stored.slice))
        self.promoted += well

    def _judge(self, candidate: ReclaimCandidate, level: int) -> Fate:
        """Runs in the thread of the volume that reclaims. Heads come after their slices."""
        record = candidate.record
        number = record.slice if record.kind is RecordKind.SLICE else None
        digest = record.key.digest
        of_head = candidate.found
        mark = self.marks.verdict(record.key.text, record.tags, of_head.since, record)
        if mark is not None and not mark.soft:
            return Fate.DROP
        if number is not None:
            place = self._tiers[level].peek(digest)
            of_head = candidate.found if place is None else place.found  # only there are later 304s known
        if self._clock() > of_head.born + of_head.lifetime + max(of_head.keep, of_head.grace, of_head.error_grace):
            return Fate.DROP
        is_hot = self._shared.cool(digest if number is None else slice_digest(digest, number))
        if is_hot and candidate.can_stay:
            return Fate.KEEP
        if level + 1 < len(self._tiers):
            self._move_down(candidate, level)
        return Fate.DROP

    def _move_down(self, candidate: ReclaimCandidate, level: int) -> None:
        record = latest(candidate.record, candidate.found)
        tier, digest = self._tiers[level], record.key.digest
        source, target = tier.writable(digest), self._tiers[level + 1].writable(digest)
        body = candidate.body()
        if target is None or body is None:
            return

        def may_wait() -> bool:
            return source is None or not source.is_behind

        if record.kind is RecordKind.SLICE:
            # Its head goes along, so that each directory is complete in itself.
            place = tier.peek(digest)
            if place is None or place.found.identity != record.identity:
                return
            with suppress(StoreError):
                head = place.directory.fetch(place.found, record.key)
                if (spared := place.directory.spared(place.found, record.key)) is None:
                    return
                target.move_here(Draft(latest(head.header.record, spared)), _RECORD, wait=may_wait)
        target.move_here(Draft(record, (body,)), _RECORD + len(body), wait=may_wait)


class _Promotion:
    """A record on its way to the first tier."""

    __slots__ = ("_disk", "_record", "_since", "_stored", "_volume")

    def __init__(self, disk: Disk, stored: StoredRecord, record: Record, volume: Volume, since: int | None) -> None:
        self._disk = disk
        self._stored = stored
        self._record = record
        self._volume = volume
        self._since = since

    def write(self, body: object) -> None:
        """Write it with this body; None if that couldn't be read."""
        size = _RECORD + self._stored.found.body_length
        if not isinstance(body, bytearray) or not self._volume.write(
            Draft(self._record, (body,), since=self._since), size, self._written
        ):
            self._written(False)

    def _written(self, well: bool) -> None:
        self._disk.promotion_over(self._stored, well=well)


class _WayOut:
    """The removal of keys from one tier after another, each of which calls back."""

    __slots__ = ("_done", "_keys", "_left", "_levels")

    def __init__(self, levels: list[Tier], keys: Sequence[CacheKey], done: Callable[[], None]) -> None:
        self._levels = levels
        self._keys = keys
        self._done = done
        self._left = 0  # directories of the present tier

    def go_on(self) -> None:
        if not self._levels:
            self._done()
            return
        volumes = self._levels.pop(0).volumes
        self._left = len(volumes)
        for volume in volumes:
            volume.remove(self._keys, self._removed)

    def _removed(self, _: bool) -> None:
        self._left -= 1
        if not self._left:
            self.go_on()


def screened(record: Record, marks: PurgeMarks) -> Record | None:
    """A record from before some marks as it may be stored under them; None if it mustn't be."""
    newest = marks.newest  # first: it falls under none up to this one, whatever is added meanwhile
    mark = marks.verdict(record.key.text, record.tags, record.since, record)
    if record.since < marks.forgotten:
        return None  # it may have fallen under one of those; last, since they may be forgotten meanwhile
    if mark is None:
        return replace(record, since=newest)
    if not mark.soft:
        return None
    if record.kind is RecordKind.SLICE:
        return replace(record, since=newest)
    if not softens(record.status):
        return None
    return replace(record, since=newest, freshness=record.freshness.outdated(mark.at))


def softens(status: int) -> bool:
    """Whether a soft purge leaves an entry of this status, stale: an absence has no grace, a marker no sense."""
    return 0 < status < 400


def slice_digest(digest: bytes, number: int) -> bytes:
    """The digest under which a slice's hits are counted."""
    return xxhash.xxh3_128_digest(digest, seed=number + 1)
