"""Reads and checks every record that the index points to, and repairs the index where one isn't whole.

In the order of positions, so that the disk reads ahead. Damaged bytes that nothing points to don't count: no client
ever gets them. Works beside a running node: a record that seems damaged is looked up again, since it may have moved.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

import xxhash

from shield.store.directory.directory import CacheDirectory
from shield.store.directory.files import Files, failed
from shield.store.directory.index import BATCH, Found, IndexChange, State
from shield.store.directory.record import BLOCK, MAX_HEADER, DamagedError, decode
from shield.store.directory.scanning import SegmentReader
from shield.store.directory.segments import Segments

ENTRIES = 1 << 20

_PIECE = 16 * BLOCK
_PLACE = Struct(">II16sI")  # sorts by segment and place; slices count from 1, as in the index
_TEXT_LENGTH = Struct("<24xI")  # of a key, in a header
_TEXT_AT = 144


class _RecordPlace(NamedTuple):
    segment: int
    place: int
    digest: bytes
    slice_number: int | None


@dataclass(frozen=True, slots=True)
class Damage:
    """A disagreement with the index. `entries`: records that are unavailable because of it.

    `key` is the text, or the digest in hex where the text is lost; empty when the segment is damaged as a whole.
    """

    what: str
    segment: int
    offset: int = 0
    key: str = ""
    slice_number: int | None = None
    entries: int = 1


class Scrub:
    """One check of one directory. Repairs damage unless told not to.

    `entries`: the positions of this many are held in memory at a time, about 100 bytes each; for more the index is
    read again.
    """

    def __init__(
        self, directory: CacheDirectory, *, files: Files | None = None, repair: bool = True, entries: int = ENTRIES
    ) -> None:
        self._entries = entries
        self._index = directory.index
        self._path = directory.segments.path(0).parent
        self._files = files or Files()
        self._segments = Segments(self._files, self._path, max_open=1)  # not for reading records
        self._repair = repair
        self.records = 0
        self.total_bytes = self._index.counters().entry_bytes  # about the bytes to read

    def run(self) -> Iterator[Damage | int]:
        """Damages as they are found, and numbers of bytes read since the last item. Raises StoreError."""
        missing: set[int] = set()
        try:
            for numbers in self._groups():
                places = sorted(self._places(numbers))
                at = 0
                while at < len(places):
                    number = _PLACE.unpack(places[at])[0]
                    stop = next((i for i in range(at, len(places)) if places[i][:4] != places[at][:4]), len(places))
                    for found in self._segment(number, places[at:stop]):
                        if isinstance(found, Damage) and not found.key:
                            missing.add(number)
                        yield found
                    at = stop
            yield from self._rows_without_files(missing)
            yield from self._files_without_rows()
        except OSError as error:
            raise failed("checking", self._path, error) from error
        finally:
            self._segments.close()

    def _groups(self) -> Iterator[set[int]]:
        """Segments in groups that hold a bounded number of entries."""
        counts = Counter(found.segment for _, _, found in self._index.entries() if found.length)
        group: set[int] = set()
        entries = 0
        for number in sorted(counts):
            if group and entries + counts[number] > self._entries:
                yield group
                group, entries = set(), 0
            group.add(number)
            entries += counts[number]
        if group:
            yield group

    def _places(self, numbers: set[int]) -> Iterator[bytes]:
        for digest, slice_number, found in self._index.entries():
            if found.segment in numbers and found.length:
                yield _PLACE.pack(found.segment, found.place, digest, slice_number + 1)

    def _segment(self, number: int, places: list[bytes]) -> Iterator[Damage | int]:
        try:
            reader = SegmentReader(self._files, self._segments, number)
        except (DamagedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.EIO):
                raise
            lost = [(place, found) for place, found in self._current(places)]
            if lost:
                self._forget(lost)
                yield Damage(_why(error), number, entries=len(lost))
            return
        with reader:
            for place, found in self._current(places):
                data = reader.at(found.offset, min(found.header_length, MAX_HEADER))
                try:
                    self._check(reader, place, found, data)
                except DamagedError as error:
                    again = self._index.lookup(place.digest, place.slice_number)
                    if again is not None and again.same_record(found):
                        self._forget([(place, again)])
                        text = _text(data, place.digest)
                        yield Damage(str(error), number, found.offset, text, place.slice_number)
                self.records += 1
                if count := reader.taken():
                    yield count

    def _current(self, places: Iterable[bytes]) -> Iterator[tuple[_RecordPlace, Found]]:
        """The records that the index still points to."""
        for packed in places:
            segment, where, digest, slice_number = _PLACE.unpack(packed)
            place = _RecordPlace(segment, where, digest, slice_number - 1 if slice_number else None)
            found = self._index.lookup(digest, place.slice_number)
            if found is not None and (found.segment, found.place) == (segment, where):
                yield place, found

    def _check(self, reader: SegmentReader, place: _RecordPlace, found: Found, data: bytes) -> None:
        """Raise DamagedError unless the intended record is there, and whole."""
        if len(data) < found.header_length:
            raise DamagedError("cut short")
        header = decode(data, seed=reader.segment.seed(found.offset))
        record = header.record
        said = (header.sequence, header.body_length, record.key.digest, record.identity)
        if said != (found.sequence, found.body_length, place.digest, found.identity) or record.kind != found.kind:
            raise DamagedError("not the record that the index means")
        for at in range(0, found.body_length, _PIECE):
            length = min(_PIECE, found.body_length - at)
            piece = reader.at(found.offset + found.header_length + at, length)
            if len(piece) < length:
                raise DamagedError("cut short")
            header.check(piece, at)

    def _forget(self, lost: list[tuple[_RecordPlace, Found]]) -> None:
        if not self._repair:
            return
        for at in range(0, len(lost), BATCH):
            with self._index.write() as change:
                for place, found in lost[at : at + BATCH]:
                    change.delete(place.digest, place.slice_number, found)

    def _rows_without_files(self, reported: set[int]) -> Iterator[Damage]:
        there = set(self._segments.numbers())
        for number, _ in self._index.rows():
            if number in there:
                continue
            # Within a transaction nobody reclaims it; a segment that is about to be created has another state.
            with self._index.write() as change:
                row = change.row(number)
                if row is None or row.state not in (State.SEALED, State.UNSCANNED) or self._is_there(number):
                    continue
                if self._repair:
                    change.set_row(number, None)
            if number not in reported:
                yield Damage("the segment's file is missing", number, entries=0)

    def _files_without_rows(self) -> Iterator[Damage]:
        there = self._segments.numbers()
        known = {number for number, _ in self._index.rows()}
        for number in there:
            if number in known:
                continue
            with self._index.write() as change:
                if not self._is_orphan(change, number):
                    continue
                if self._repair:
                    self._segments.unlink(number)
            yield Damage("a segment's file that the index doesn't know", number, entries=0)

    def _is_orphan(self, change: IndexChange, number: int) -> bool:
        return change.row(number) is None and self._is_there(number)

    def _is_there(self, number: int) -> bool:
        return self._segments.path(number).exists()


def _why(error: DamagedError | OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the segment's file is missing"
    if isinstance(error, OSError):
        return f"the segment can't be read: {error.strerror}"
    return str(error)


def _text(header: bytes, digest: bytes) -> str:
    """The key's text if the remains of a header identify it beyond doubt, else the digest."""
    if len(header) >= _TEXT_AT:
        text = header[_TEXT_AT : _TEXT_AT + _TEXT_LENGTH.unpack_from(header)[0]]
        if xxhash.xxh3_128_digest(text) == digest:
            return text.decode("ascii", "backslashreplace")
    return f"digest {digest.hex()}"
