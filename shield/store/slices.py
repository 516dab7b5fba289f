"""The slices of one large entry, as far as they are on disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Sequence
from enum import Enum

from shield.messages import Part
from shield.rules.purging import Provenance
from shield.store.directory.index import Found
from shield.store.directory.reading import GoneError, StoredRecord
from shield.store.directory.record import RecordKind, identity_of, record_of
from shield.store.disk import Disk, Located, Still
from shield.store.entry import Entry

_OPENED = 16  # slices whose headers are kept at hand


class Where(Enum):
    """Why the bytes of a slice aren't returned at once."""

    MISSING = "missing"  # not on disk
    COLD = "cold"  # on disk and not in memory: `Slices.read` waits for them


class Unkept:
    """The slices of an entry where there is no disk: none is ever here, and none is taken."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def length(self, number: int) -> int:
        """Bytes of a slice; all but the last are of one size."""
        return min(self.entry.slice_bytes, self.entry.length - number * self.entry.slice_bytes)

    def has(self, number: int) -> bool:
        return False

    def read_nowait(self, number: int, start: int, stop: int) -> bytearray | Where:
        return Where.MISSING

    def read(self, number: int, start: int, stop: int, then: Callable[[bytearray | None], None]) -> None:
        """Never called: `read_nowait` says that there is nothing to wait for."""

    def commit(
        self,
        number: int,
        parts: Sequence[Part],
        done: Callable[[bool], None],
        *,
        still: Still,
        filled: Provenance | None = None,
    ) -> bool:
        return False


class Slices:
    """One version of an object. Slices of another version are never found here. Event loop only.

    `hidden` are texts of keys that the disks are forgetting: nothing is found under these.
    """

    def __init__(self, disk: Disk, entry: Entry, *, hidden: Container[bytes] = ()) -> None:
        self.entry = entry
        self.count = -(-entry.length // entry.slice_bytes)
        self._disk = disk
        self._hidden = hidden
        self._identity = identity_of(entry.etag, entry.length)
        self._opened: OrderedDict[int, tuple[Located, StoredRecord]] = OrderedDict()
        self._unreadable: dict[int, int] = {}  # the index may still list them for a while; with their sequences
        self._head_written = False

    def length(self, number: int) -> int:
        """Bytes of a slice; all but the last are of one size."""
        return min(self.entry.slice_bytes, self.entry.length - number * self.entry.slice_bytes)

    def has(self, number: int) -> bool:
        """Whether a slice seems to be on disk: it may still turn out to be damaged."""
        return number in self._opened or self._place(number) is not None

    def read_nowait(self, number: int, start: int, stop: int) -> bytearray | Where:
        """Checked bytes of a slice if they are in memory."""
        opened = self._opened.get(number)
        place = self._place(number) if opened is None else opened[0]
        if place is None:
            return Where.MISSING
        try:
            if opened is None:
                stored = place.directory.fetch_nowait(place.found, self.entry.key, number)
                if stored is None:
                    return Where.COLD
                if self._disk.is_purged(stored):
                    self._lose(number, place.found)
                    return Where.MISSING
                opened = self._keep(number, place, stored)
            data = opened[0].directory.read_nowait(opened[1], start, stop)
        except GoneError:
            self._lose(number, place.found)
            return Where.MISSING
        return Where.COLD if data is None else self._counted(opened, data, start)

    def read(self, number: int, start: int, stop: int, then: Callable[[bytearray | None], None]) -> None:
        """Read in a thread, then call back on the loop; None when the bytes turn out to be unavailable."""
        opened = self._opened.get(number)
        place = self._place(number) if opened is None else opened[0]
        if place is None:
            self._disk.call_soon(then, None)
            return
        found, key = place, self.entry.key
        kept: list[StoredRecord] = [] if opened is None else [opened[1]]

        def work() -> bytearray:
            if not kept:
                kept.append(found.directory.fetch(found.found, key, number))
                if self._disk.is_purged(kept[0]):
                    raise GoneError("purged")
            return found.directory.read(kept[0], start, stop)

        def done(data: object) -> None:
            if not isinstance(data, bytearray):
                self._lose(number, found.found)
                then(None)
                return
            then(self._counted(self._keep(number, found, kept[0]), data, start))

        self._disk.wait_for(work, done)

    def commit(
        self,
        number: int,
        parts: Sequence[Part],
        done: Callable[[bool], None],
        *,
        still: Still,
        since: int | None = None,
        filled: Provenance | None = None,
    ) -> bool:
        """Queue a whole slice to be written; False, and `done` is never called, when no disk takes it.

        `still` as in `Disk.write`; `since`: up to where it is known to fall under no mark of a purge; None: `still`
        tells. `filled`: where its bytes came from; None: as the entry. The caller accounts for the bytes until
        `done`: that is how a slow disk holds it back.
        """
        entry = self.entry
        since = self._disk.marks.newest if since is None else since  # before `still`, which sees later ones
        if not self._head_written and not self._has_head():
            head = record_of(entry.key, entry.head, entry.freshness, RecordKind.HEAD)
            head.origin, head.total, head.slice_bytes = entry.origin, entry.length, entry.slice_bytes
            head.tags, head.since, head.stored_at = entry.tags, since, entry.stored_at
            if not self._disk.write(head, (), self._head_done, still=still, bounded=True):
                return False
            self._head_written = True
        record = record_of(entry.key, entry.head, entry.freshness, RecordKind.SLICE)
        record.head = b""  # it is in the record of its own
        record.total, record.slice, record.slice_bytes = entry.length, number, entry.slice_bytes
        record.tags, record.since, filled = entry.tags, since, filled or entry
        record.origin, record.stored_at = filled.origin, filled.stored_at
        return self._disk.write(record, parts, done, still=still, bounded=True)

    def _has_head(self) -> bool:
        place = self._disk.lookup(self.entry.key.digest)
        if place is None or self.entry.key.text in self._hidden:
            return False
        if place.found.kind != RecordKind.HEAD or place.found.identity != self._identity:
            return False
        return place.found.since >= self._disk.marks.alive  # else it may have fallen under a mark

    def _head_done(self, well: bool) -> None:
        self._head_written = well
        if well:
            self._disk.outdate(self.entry.key, self._identity)

    def _lose(self, number: int, found: Found) -> None:
        self._opened.pop(number, None)
        self._unreadable[number] = found.sequence

    def _place(self, number: int) -> Located | None:
        place = self._disk.lookup(self.entry.key.digest, number)
        if place is None or self.entry.key.text in self._hidden:
            return None
        found = place.found
        if self._unreadable.get(number) == found.sequence:
            return None
        return place if found.identity == self._identity and found.body_length == self.length(number) else None

    def _keep(self, number: int, place: Located, stored: StoredRecord) -> tuple[Located, StoredRecord]:
        opened = self._opened[number] = (place, stored)
        while len(self._opened) > _OPENED:
            self._opened.popitem(last=False)
        return opened

    def _counted(self, opened: tuple[Located, StoredRecord], data: bytearray, start: int) -> bytearray:
        """A slice counts as hit once for each reading of its first bytes."""
        place, stored = opened
        place.tier.read_bytes += len(data)
        if start == 0:
            self._disk.note_hit(place, stored)
        return data
