"""Lists the entries in cache directories by the texts of their keys.

The index knows digests only; texts are in the headers of records. So segments are read through, bodies skipped, and
records that the index no longer points to are left out. Any thread, also beside a running node: an entry that moves
or goes meanwhile may be missed, but no entry is listed that isn't there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shield.rules.key import CacheKey
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.index import Found, State
from shield.store.directory.record import DamagedError, Record, RecordKind
from shield.store.directory.segments import START


@dataclass(frozen=True, slots=True)
class Live:
    """A record that the index points to."""

    record: Record
    found: Found

    @property
    def slice_number(self) -> int | None:
        return self.record.slice if self.record.kind is RecordKind.SLICE else None


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry. `slices` of `all_slices` are stored: 0 of 0 for an entry in a single record."""

    key: CacheKey
    found: Found
    record: Record
    slices: int
    all_slices: int

    @property
    def body_bytes(self) -> int:
        """Length of the whole body, whether all of it is stored or not."""
        return self.found.total if self.found.kind == RecordKind.HEAD else self.found.body_length


def newest_first(directory: CacheDirectory) -> list[int]:
    """Numbers of the segments, the most recently begun first."""
    return [number for number, _ in reversed(directory.index.rows())]


def live_records(directory: CacheDirectory, number: int) -> Iterator[Live]:
    """The indexed records of a segment, in the order written. Raises OSError."""
    try:
        segment = directory.segments.open(number)
        size = directory.segments.path(number).stat().st_size
    except (DamagedError, FileNotFoundError):
        return
    for offset, header in directory.segments.scan(segment, START, size):
        record = header.record
        if record.kind is RecordKind.REMOVED:
            continue
        number_of_slice = record.slice if record.kind is RecordKind.SLICE else None
        found = directory.index.peek(record.key.digest, number_of_slice)
        if found is not None and found.segment == number and found.offset == offset:
            yield Live(record, found)


def entries(
    directory: CacheDirectory, all_directories: Sequence[CacheDirectory], prefix: tuple[bytes, ...]
) -> Iterator[Listed]:
    """Entries of a directory whose keys are under a prefix, the newest segments first.

    Leaves out entries that an earlier directory in `all_directories` also has: that one is found first. Slices
    are counted in all of them. Raises OSError.
    """
    before = all_directories[: list(all_directories).index(directory)]
    for number in newest_first(directory):
        for live in live_records(directory, number):
            record, found = live.record, live.found
            if record.kind is RecordKind.SLICE or not is_under(record.key.text, prefix):
                continue
            if any(other.index.peek(record.key.digest) is not None for other in before):
                continue
            slices = _slices(record.key.digest, found, all_directories) if record.kind is RecordKind.HEAD else 0
            yield Listed(record.key, found, record, slices, _all_slices(record, found))


def keys_under(directory: CacheDirectory, prefix: tuple[bytes, ...]) -> Iterator[CacheKey]:
    """Keys under a prefix with any record, each at least once: also slices without an entry, and records that aren't
    indexed again after a loss. Misses nothing that stays in its position or is written again meanwhile. Raises
    OSError.
    """
    done: set[int] = set()
    while waiting := [(number, row) for number, row in directory.index.rows() if number not in done]:
        for number, row in waiting:
            if row.state == State.UNSCANNED:
                yield from _unscanned_keys(directory, number, prefix)
            else:
                for live in live_records(directory, number):
                    if is_under(live.record.key.text, prefix):
                        yield live.record.key
            done.add(number)


def is_under(text: bytes, prefix: tuple[bytes, ...]) -> bool:
    """Whether a key's text has this prefix in one of its spellings: in any space if it is a path, else including the
    space's name.
    """
    if not prefix[0].startswith(b"/"):
        return text.startswith(prefix)
    return text.startswith(prefix, text.find(b":") + 1)


def holds(directory: CacheDirectory, key: CacheKey) -> bool:
    """Whether the index has any record under a key."""
    return directory.index.peek(key.digest) is not None or bool(directory.index.slices(key.digest))


def _unscanned_keys(directory: CacheDirectory, number: int, prefix: tuple[bytes, ...]) -> Iterator[CacheKey]:
    try:
        segment = directory.segments.open(number)
        size = directory.segments.path(number).stat().st_size
    except (DamagedError, FileNotFoundError):
        return
    for _, header in directory.segments.scan(segment, START, size):
        if is_under(header.text, prefix) and header.record.kind is not RecordKind.REMOVED:
            yield header.record.key


def _slices(digest: bytes, entry: Found, directories: Sequence[CacheDirectory]) -> int:
    """Slices of this version of the object, in all directories."""
    numbers = {
        number
        for directory in directories
        for number, found in directory.index.slices(digest)
        if found.identity == entry.identity
    }
    return len(numbers)


def _all_slices(record: Record, found: Found) -> int:
    if record.kind is not RecordKind.HEAD:
        return 0
    return -(-found.total // record.slice_bytes) if record.slice_bytes else 0
