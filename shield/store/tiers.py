"""All tiers of a worker as one store: RAM first, then the disks.

A lookup from the event loop is answered at once: the entry, nothing, or a note that it is on a disk and a thread must
fetch it. An entry that is being written is found here already, one that is being removed no longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shield.messages import Field
from shield.rules.changes import version_of
from shield.rules.freshness import Freshness
from shield.rules.hidden import END, shown
from shield.rules.key import CacheKey
from shield.rules.purging import PurgeMark
from shield.shared import Shared
from shield.store.admission import Admission
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.index import Found
from shield.store.directory.reading import GoneError, StoredRecord, later_head
from shield.store.directory.record import RecordKind, Whole
from shield.store.disk import Disk, Located, Still, TierStatistics, always, softens
from shield.store.entry import OVERHEAD, Entry
from shield.store.fifo import SHARDS
from shield.store.memory import MemoryStatistics, MemoryTier
from shield.store.pending import Pending, record_for
from shield.store.plain import Plain
from shield.store.removals import Purged, Removals
from shield.store.slices import Slices, Unkept
from shield.store.variants import Variants
from shield.store.volume import Volume

_LAST_SECONDS = 10.0  # time that a stop may take to write
_LAST_PENDING = 64

Then = Callable[[Entry | None], None]

_plain: Final = tuple.__new__  # without a call of Python code


@dataclass(slots=True)
class Cold:
    """An entry that is on a disk and not in memory: `Store.read` fetches it."""

    place: Located


@dataclass(frozen=True, slots=True)
class DiskStatistics:
    tiers: Sequence[TierStatistics]
    pending: int
    unwritten: int  # entries that no disk could take
    cold_reads: int
    promoted: int


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    memory: MemoryStatistics
    disk: DiskStatistics | None


class Store:
    """For one event loop only. Without a `disk` it is the RAM tier alone."""

    def __init__(
        self,
        memory: MemoryTier,
        shared: Shared,
        *,
        disk: Disk | None = None,
        slice_bytes: int = 8 << 20,
        admission: Admission | None = None,
    ) -> None:
        self._memory = memory
        self._note_hit = shared.hit
        self._disk = disk
        self.has_disk = disk is not None
        self._admission = admission
        self.variants = Variants()
        self.doubted_before = 0.0
        """Entries that origins last confirmed before this time, epoch seconds, are to be revalidated before use."""
        self._shards = memory.shards
        self.beside = memory.beside
        """As `MemoryTier.beside`; valid only if `is_settled`."""
        self.has_room_beside = memory.has_room_beside
        self._pending = None if disk is None else Pending(disk, slice_bytes=slice_bytes)
        self._removals = Removals(shared, memory, self.variants, disk=disk, pending=self._pending)
        self.marks = self._removals.marks
        self._newest_removal = self._removals.node_sequence
        self._hidden = self._removals.hidden
        self._readings: dict[bytes, list[Then]] = {}
        self.copies: Container[bytes] = frozenset()
        """Texts of keys that another node stores: no disk gets them when they leave RAM."""
        self.slice_bytes = slice_bytes if disk is not None else 0
        self.largest = memory.max_entry if disk is None else max(memory.max_entry, slice_bytes + OVERHEAD)
        if disk is not None and admission is not None:
            memory.tell_evicted(self._write_late)

    # lookups

    def lookup(self, text: bytes) -> Entry | None:
        """The entry under a key's text if it is in RAM, fresh or not. Counts as use."""
        if self._newest_removal[0] != self._removals.settled:
            return self._lookup_with_care(text)
        return self._memory.lookup(text)

    def is_settled(self) -> bool:
        """Whether RAM reflects all that was removed."""
        return self._newest_removal[0] == self._removals.settled

    def _lookup_with_care(self, text: bytes) -> Entry | None:
        """As `lookup` when something was removed that RAM doesn't reflect yet."""
        self.catch_up()
        entry = self._memory.lookup(text)
        if entry is not None and entry.since < self.marks.alive:
            entry = self._removals.checked(entry)
        return entry

    def _is_judged(self, text: bytes) -> bool:
        """Look a key up with care; whether its entry must be judged, though it may be fresh."""
        if self.doubted_before:
            return True
        self._lookup_with_care(text)
        return False

    def on_disk(self, key: CacheKey) -> Entry | Cold | None:
        """The same if it is on disk: at once when it is in the page cache. A large entry has its head only."""
        disk, pending, text = self._disk, self._pending, key.text
        if disk is None or pending is None:
            return None
        entry = pending.get(text)
        if entry is not None:
            return entry if entry.since >= self.marks.alive else self._removals.checked(entry)
        if text in self._hidden:
            return None
        place = disk.lookup(key.digest)
        if place is None:
            return None
        directory = place.directory
        try:
            stored = directory.fetch_nowait(place.found, key)
            if stored is None:
                return Cold(place)
            body = stored.body
            if body is None and place.found.body_length:
                body = directory.read_nowait(stored, 0, place.found.body_length)
                if body is None:
                    return Cold(place)
        except GoneError:
            return None
        return self._took(place, stored, body)

    def plain(self, key: CacheKey, now: float) -> Plain | None:
        """A fresh entry in RAM, or a small one on the fastest disk and in the page cache, for a request without
        special fields.

        None doesn't mean a miss: `lookup` and `on_disk` may still have the entry.
        """
        text = key.text
        if self._newest_removal[0] != self._removals.settled and self._is_judged(text):
            return None
        packed = self._shards[hash(text) % SHARDS].get(text)
        if packed is not None:
            plain = self._memory.plain(text, packed, now)
            if plain is not None and self._disk is not None:
                self._note_hit(key.digest)  # it is worth keeping there; once for each response is enough
            return plain
        disk, pending = self._disk, self._pending
        if disk is None or pending is None or pending.get(text) is not None or text in self._hidden:
            return None
        read = disk.plain(key, now)
        if read is None:
            return None
        found, whole = read
        if self._memory.max_entry:
            self._keep(key, found, whole)
        age = int(now - found.born)
        head = found.head or whole.head
        if head.endswith(END):
            head = shown(bytes(head))
        ttl, length = int(found.lifetime) - age, found.body_length
        return _plain(Plain, (found.status, head, (whole.body,), length, max(age, 0), ttl, disk.first, None, now))

    def _keep(self, key: CacheKey, found: Found, whole: Whole) -> None:
        """Put an entry read from a disk into RAM."""
        if found.body_length + OVERHEAD <= self._memory.max_entry:
            header, freshness = whole.header, found.freshness
            head = later_head(found.head, freshness) if found.head else header.stored_head()
            entry = Entry(key, head, freshness, (whole.body,) if found.body_length else ())
            entry.tags, entry.since = header.tags, self.marks.newest
            entry.origin, entry.stored_at = header.origin, header.stored_at
            self._memory.commit(entry)

    # looks that change nothing

    def shown(self, text: bytes) -> tuple[Entry | None, Entry | None]:
        """The entries under a key's text in RAM, and on the way to a disk. Counts as no use."""
        self.catch_up()
        pending = None if self._pending is None else self._pending.get(text)
        found = [entry and self._removals.checked(entry) for entry in (self._memory.peek(text), pending)]
        return found[0], found[1]

    def size_on_disks(self, key: CacheKey) -> int | None:
        """The length of an object's body by the disks' index; None: they don't have it. Blocks: for any thread."""
        places = () if self._disk is None else self._disk.places(key.digest)
        return next((each.found.total or each.found.body_length for each in places if each.found.status == 200), None)

    def records(self, key: CacheKey) -> list[tuple[Located, StoredRecord, Freshness]]:
        """The heads of an entry's records on all disk tiers, and their freshness. Blocks: for any thread."""
        disk, found = self._disk, []
        for place in () if disk is None else disk.places(key.digest):
            try:
                stored = place.directory.fetch(place.found, key)
            except GoneError:
                continue
            mark = self.marks.verdict(key.text, stored.header.tags, place.found.since, stored.header)
            if mark is None:
                found.append((place, stored, place.found.freshness))
            elif mark.soft and softens(place.found.status):
                found.append((place, stored, place.found.freshness.outdated(mark.at)))
        return found

    def tier_of(self, key: CacheKey) -> str | None:
        """The name of the tier that has an entry, if it isn't in RAM: a disk's; None if it isn't on a disk."""
        place = None if self._disk is None else self._disk.lookup(key.digest)
        return None if place is None else place.tier.name

    def find(self, key: CacheKey) -> Entry | Cold | None:
        """In RAM or on disk."""
        entry = self.lookup(key.text)
        return self.on_disk(key) if entry is None and self.has_disk else entry

    def read(self, cold: Cold, key: CacheKey, then: Then) -> None:
        """Fetch a cold entry, then call back on the loop; one read serves all callers that wait for it."""
        waiting = self._readings.get(key.text)
        if waiting is not None:
            waiting.append(then)
            return
        self._readings[key.text] = [then]
        place, generation, forgotten = cold.place, self.generation, self.marks.forgotten
        assert self._disk is not None

        def work() -> StoredRecord:
            stored = place.directory.fetch(place.found, key)
            if stored.body is None and place.found.body_length:
                stored.body = place.directory.read(stored, 0, place.found.body_length)
            return stored

        def done(stored: object) -> None:
            entry, waiting = None, self._readings.pop(key.text)
            try:
                if isinstance(stored, StoredRecord) and key.text not in self._hidden:
                    header = stored.header
                    is_gone = self.was_removed(key.text, generation, header.tags, header.origin)
                    is_gone |= self.marks.forgotten != forgotten  # it may have fallen under one of those
                    self.catch_up()
                    taken = self._took(place, stored, stored.body) if not is_gone or place.found.kind else None
                    entry = None if is_gone else taken
            finally:  # a bug of ours must not leave requests waiting
                for waiter in waiting:
                    waiter(entry)

        self._disk.wait_for(work, done)

    def slices(self, entry: Entry) -> Slices | Unkept:
        """The body of a large entry, as far as it is stored here."""
        return Unkept(entry) if self._disk is None else Slices(self._disk, entry, hidden=self._hidden)

    # writing

    def commit(self, entry: Entry, *, still: Still = always, to_disk: bool = True) -> bool:
        """Store an entry, replacing what the key held; False when no tier takes it.

        `still` says whether the key hasn't been removed since the body set out.
        """
        entry.since = self.marks.newest  # before `still`, which sees later ones
        if not still():
            return False
        in_memory = self._memory.commit(entry)
        if self._pending is None or not to_disk:
            return in_memory
        if (self._admission is None or self._admits(entry.key)) and self._pending.write(entry, still):
            return True
        self._removals.drop_from_disks(entry.key)  # an older one must not come back
        return in_memory

    def _admits(self, key: CacheKey) -> bool:
        """Whether the entry deserves space on a disk: while there is room, all do."""
        assert self._admission is not None and self._disk is not None
        if self._admission.admit(key.digest) or not self._disk.is_full(key.digest):
            return True
        return self._disk.lookup(key.digest) is not None  # an older version is there

    def freshen(self, entry: Entry, before: Entry, *, still: Still = always, to_disk: bool = True) -> bool:
        """Give the stored entry the later head of this one, which has the same body. `still` as in `commit`.

        `before` is the entry as it was.
        """
        entry.since = self.marks.newest  # before `still`, which sees later ones
        if not still():
            return False
        in_memory = not entry.is_large and self._memory.commit(entry)
        text = entry.key.text
        if self._disk is None or self._pending is None:
            return in_memory
        if not to_disk:
            return in_memory or entry.is_large
        if text in self._pending:
            return self._pending.write(entry, still) or in_memory
        if entry.tags != before.tags:
            self._disk.retag(record_for(entry))
        # An entry validated at each use needn't be rewritten if only times have changed.
        elif not (entry.no_cache and before.no_cache and _lasting(entry) == _lasting(before)):
            self._disk.freshen(record_for(entry))
        return True

    def drop(self, key: CacheKey, *, from_disk: bool = True) -> None:
        """Forget the entry under a key, if any. Its readers keep their bytes."""
        self._memory.remove(key.text)
        if from_disk:
            self._removals.drop_from_disks(key)

    def purge(self, keys: Sequence[CacheKey], then: Callable[[], None]) -> None:
        """Forget keys in all workers and on all disks, durably, then call back."""
        self._removals.remove(keys, then)

    def outdate(self, key: CacheKey, now: float, then: Callable[[], None]) -> None:
        """Make the entry under a key stale in all workers and on disk, durably, then call back (soft purge).

        One that has no grace by nature, as an absence, is forgotten, and so is one with variants.
        """
        found = self.find(key)
        if isinstance(found, Cold):
            self.read(found, key, lambda entry: self._outdate(key, entry, now, then))
        else:
            self._outdate(key, found, now, then)

    def _outdate(self, key: CacheKey, entry: Entry | None, now: float, then: Callable[[], None]) -> None:
        is_pending = self._pending is not None and key.text in self._pending
        if entry is None or not softens(entry.head.status) or is_pending:
            self.purge((key,), then)
        else:
            self._removals.outdate(entry, now, then)

    @property
    def generation(self) -> int:
        """Grows with every removal by any worker, as far as this one has applied them: to every entry that was found
        before, and to none that is found later.
        """
        return self._removals.seen

    def was_removed(
        self, text: bytes, since: int, tags: bytes | None, origin: str | None = None, *, until: int | None = None
    ) -> bool:
        """Whether a key was purged after the generation was `since`, and before it was `until` (None: by now), or an
        entry under it with these tags, one a line, or with bytes of this origin; None: they aren't known yet, and may
        be any.
        """
        return self._newest_removal[0] != since and self._removals.since(text, since, tags, origin, until)

    # purges of many entries

    def in_memory(self) -> Iterator[Entry]:
        """The entries in RAM, without counting as use. Those added or removed meanwhile may be missing or present."""
        return self._memory.entries()

    def tell_purged(self, listener: Purged) -> None:
        """Call `listener` with each entry that turns out to have fallen under a mark."""
        self._removals.tell = listener

    def tell_fallen(self, key: CacheKey, version: int, mark: PurgeMark) -> None:
        """An entry turned out to have fallen under a mark."""
        self._removals.tell(key, version, mark)

    def catch_up(self) -> None:
        """Apply removals by other workers, and marks of purges."""
        if self._newest_removal[0] != self._removals.seen:
            self._removals.catch_up()

    def doubt(self, before: float) -> None:
        """Have what origins confirmed last before this time, epoch seconds, revalidated before it is used; 0.0: it is
        used again. Entries stay as they are.
        """
        self.doubted_before = before
        self._removals.doubt(before > 0.0)

    @property
    def has_lost_marks(self) -> bool:
        """Whether marks were missed. Until they are `restored`, all entries from before count as gone."""
        return self._removals.is_lost

    def restore_marks(self, marks: Iterable[PurgeMark], newest: int) -> None:
        """Take these marks, of which the newest that was published is `newest`, in place of those that are known."""
        self._removals.restore(marks, newest)

    def sweep_memory(self, most: int) -> bool:
        """Look at so many entries in RAM; False once none there falls under a mark."""
        return self._removals.sweep(most)

    @property
    def memory_swept(self) -> int:
        """No entry in RAM falls under a mark up to this one."""
        return self._removals.swept

    def volumes(self) -> Sequence[Volume]:
        """All directories, those out of use too."""
        return () if self._disk is None else tuple(self._disk.volumes())

    def forget_heads(self) -> None:
        """Have the heads of answers made anew, since what they say of the node has changed."""
        self.beside.clear()

    def directories(self) -> list[CacheDirectory]:
        """The directories in use."""
        return [volume.directory for volume in self.volumes() if volume.directory is not None]

    def tick(self) -> None:
        """Call once a second."""
        self._memory.tick()
        if self._disk is not None:
            self._disk.tick()

    async def close(self) -> None:
        """Write the entries that wait, and leave the disks."""
        if self._disk is None:
            return
        if self._admission is not None:
            await self._write_reused()
        await self._disk.close()

    async def _write_reused(self) -> None:
        """Write entries that only RAM has and that were requested again: they would be lost with the process."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LAST_SECONDS
        for entry in self._memory.reused():
            while len(self._pending or ()) > _LAST_PENDING and loop.time() < deadline:  # noqa: ASYNC110  # no event for it
                await asyncio.sleep(0.01)
            if loop.time() >= deadline:
                return
            self._write_late(entry)

    def statistics(self) -> StoreStatistics:
        disk, pending, on_disk = self._disk, self._pending, None
        if disk is not None and pending is not None:
            tiers, waiting = disk.statistics(), len(pending)
            on_disk = DiskStatistics(tiers, waiting, pending.unwritten, disk.cold_reads, disk.promoted)
        return StoreStatistics(memory=self._memory.statistics(), disk=on_disk)

    # between RAM and disk

    def _took(self, place: Located, stored: StoredRecord, body: bytes | bytearray | None) -> Entry | None:
        """An entry as read from a disk; small ones go into RAM. None if it turns out to be purged."""
        assert self._disk is not None
        found, newest = place.found, self.marks.newest
        freshness = found.freshness
        if found.since < self.marks.alive:
            mark = self.marks.verdict(stored.key.text, stored.header.tags, found.since, stored.header)
            if mark is not None:
                etag, length = stored.header.record.etag, found.total or found.body_length
                self._removals.tell(stored.key, version_of(etag, length), mark)
                if not (mark.soft and softens(found.status)):
                    if found.kind == RecordKind.HEAD:  # its slices may have other tags, of before a validation
                        self._removals.drop_from_disks(stored.key)
                    return None
                freshness = freshness.outdated(mark.at)
        self._disk.note_hit(place, stored)
        place.tier.read_bytes += found.body_length
        head = stored.stored_head()
        if found.kind == RecordKind.HEAD:
            slice_bytes = stored.header.record.slice_bytes
            large = Entry.large(stored.key, head, freshness, length=found.total, slice_bytes=slice_bytes)
            large.origin, large.tags, large.since = stored.header.record.origin, stored.header.tags, newest
            large.stored_at = stored.header.stored_at
            return large
        entry = Entry(stored.key, head, freshness, (body,) if body else (), origin=stored.header.record.origin)
        entry.tags, entry.since, entry.stored_at = stored.header.tags, newest, stored.header.stored_at
        if entry.size <= self._memory.max_entry:
            self._memory.commit(entry)
        return entry

    def _write_late(self, entry: Entry) -> None:
        """Evicted from RAM after more than one request: worth space on a disk if it has none."""
        disk, pending = self._disk, self._pending
        if entry.key.text in self.copies:
            return
        if disk is not None and pending is not None and disk.lookup(entry.key.digest) is None:
            generation = self.generation
            text, tags, origin = entry.key.text, entry.tags, entry.origin
            pending.write(entry, lambda: not self.was_removed(text, generation, tags, origin))


def _lasting(entry: Entry) -> list[Field]:
    """The fields of a head that aren't mere times."""
    return [line for line in entry.head.fields if line[0] not in (b"date", b"expires")]
