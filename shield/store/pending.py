"""Entries on their way to a disk: found here until the disk has them."""

from __future__ import annotations

from shield.rules.conditional import is_strong
from shield.store.backlog import BACKLOG
from shield.store.directory.record import Record, RecordKind, record_of
from shield.store.disk import Disk, Still
from shield.store.entry import BLOCK, Entry
from shield.store.slices import Slices

WHOLE = BLOCK
"""Bodies up to this size are kept in one record with their head, and answered in one write.

So are longer ones, up to a slice, without a strong ETag: parts of two versions couldn't be told apart.
"""


class Pending:
    """Of one worker. `unwritten` counts entries that no disk took."""

    def __init__(self, disk: Disk, *, slice_bytes: int) -> None:
        self.unwritten = 0
        self._disk = disk
        self._slice_bytes = slice_bytes
        self._entries: dict[bytes, Entry] = {}
        self._bytes = 0
        self.get = self._entries.get  # None for other entries; without a call of Python code

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, text: bytes) -> bool:
        return text in self._entries

    def forget(self, text: bytes) -> None:
        """Remove it from here, whatever becomes of the write."""
        self._entries.pop(text, None)

    def write(self, entry: Entry, still: Still) -> bool:
        """Queue an entry to be written; False when no disk takes it now. `still` as in `Disk.write`."""
        disk = self._disk
        if entry.length > WHOLE and is_strong(entry.etag):
            is_taken = self._write_sliced(entry, still)
        else:
            record = record_for(entry)

            def done(well: bool) -> None:
                self._written(entry, well)
                if well:
                    disk.outdate(record.key, record.identity)

            is_taken = disk.write(record, entry.blocks, done, still=still)
        if is_taken:
            self._entries[entry.key.text] = entry
            self._bytes += entry.size
        else:
            self.unwritten += 1
        return is_taken

    def _write_sliced(self, entry: Entry, still: Still) -> bool:
        """Queue an entry that RAM may hold whole to be written in slices."""
        if self._bytes > BACKLOG:
            return False
        slice_bytes = self._slice_bytes
        large = Entry.large(entry.key, entry.head, entry.freshness, length=entry.length, slice_bytes=slice_bytes)
        large.origin, large.tags, large.stored_at = entry.origin, entry.tags, entry.stored_at
        slices = Slices(self._disk, large)
        written, since = lambda well: self._written(entry, well), entry.since
        return slices.commit(0, entry.blocks, written, still=still, since=since)

    def _written(self, entry: Entry, well: bool) -> None:
        self._bytes -= entry.size
        self.unwritten += not well
        if self._entries.get(entry.key.text) is entry:
            del self._entries[entry.key.text]


def record_for(entry: Entry) -> Record:
    """An entry's record, without its body."""
    record = record_of(
        entry.key, entry.head, entry.freshness, RecordKind.HEAD if entry.is_large else RecordKind.WHOLE
    )
    record.origin, record.total, record.slice_bytes = entry.origin, entry.length, entry.slice_bytes
    record.tags, record.since, record.stored_at = entry.tags, entry.since, entry.stored_at
    return record
