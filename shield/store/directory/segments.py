"""Segment files: records one after another, written once, read by position, removed with one unlink.

A process appends to its own segment and reads all of them. A segment file lives as long as a reader holds it: one
that has been unlinked still gives its bytes.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import Final
from weakref import WeakSet

import xxhash

from shield.messages import Part
from shield.store.directory.files import Files
from shield.store.directory.record import (
    ALIGN,
    FORMAT,
    MAGIC,
    MAX_HEADER,
    DamagedError,
    Header,
    decode,
    lengths,
    padding,
)

START = ALIGN
"""Position of the first record: after the segment's own header."""

SEEDS: Final = (1 << 64) - 1
"""The greatest seed of a checksum."""

_MAGIC = b"ShSegmnt"
_HEADER = Struct("<8sHHIQQ")
_WINDOW = 256 << 10
_PEEK = 4 << 10  # longer than most headers
_SUFFIX = ".segment"


class Segment:
    """An open segment file; closed when its last holder lets go."""

    __slots__ = ("__weakref__", "_files", "epoch", "fd", "number", "salt", "used")

    def __init__(self, files: Files, number: int, fd: int, salt: int, epoch: int) -> None:
        self._files = files
        self.number = number
        self.fd = fd
        self.salt = salt
        self.epoch = epoch
        self.used = True

    def seed(self, offset: int) -> int:
        """Makes a header valid at this position and nowhere else."""
        return (self.salt + offset) & SEEDS

    def __del__(self) -> None:
        # By reference count: a reader of a reclaimed segment keeps it alive, and no list is needed.
        with contextlib.suppress(OSError):
            self._files.close(self.fd)


class Segments:
    """The segment files of one directory, at most `max_open` of them open at a time.

    Any thread may read; `opened` never touches the disk, `open` may.
    """

    def __init__(self, files: Files, path: Path, *, max_open: int = 512) -> None:
        self._files = files
        self._path = path
        self._max_open = max_open
        self.by_number: dict[int, Segment] = {}
        """Those that are open. Who uses one sets `used`, as `opened` does."""
        self._alive: WeakSet[Segment] = WeakSet()  # open here or held by readers
        self._removed: WeakSet[Segment] = WeakSet()  # those whose files are removed
        self._guard = threading.Lock()

    def path(self, number: int) -> Path:
        return self._path / f"{number:010d}{_SUFFIX}"

    def numbers(self) -> list[int]:
        """Numbers of the existing segment files, oldest first."""
        names = [name.removesuffix(_SUFFIX) for name in self._files.names(self._path) if name.endswith(_SUFFIX)]
        return sorted(int(name) for name in names if name.isdigit())

    def opened(self, number: int) -> Segment | None:
        """The segment if it is open already."""
        segment = self.by_number.get(number)
        if segment is not None:
            segment.used = True
        return segment

    def open(self, number: int) -> Segment:
        """The segment, opened if necessary; raises OSError, or DamagedError when the file is no segment of ours."""
        segment = self.opened(number)
        if segment is None:
            fd = self._files.open(self.path(number))
            try:
                segment = self._read_header(number, fd)
            except BaseException:
                self._files.close(fd)
                raise
            self._keep(segment)
        return segment

    def create(self, number: int, *, worker: int, epoch: int) -> SegmentWriter:
        """A new segment, its header on the disk before it is returned."""
        path = self.path(number)
        fd = self._files.open(path, write=True, create=True)
        segment = Segment(self._files, number, fd, secrets.randbits(64), epoch)
        try:
            header = _HEADER.pack(_MAGIC, FORMAT, worker, number, segment.salt, epoch)
            header += xxhash.xxh3_64_digest(header)
            self._files.write(fd, [header.ljust(START, b"\0")], 0)
            self._files.sync(fd)
            self._files.sync_directory(self._path)
        except OSError:
            self.unlink(number)
            raise
        self._keep(segment)
        return SegmentWriter(self._files, segment)

    def unlink(self, number: int) -> None:
        """Remove the file if it exists; readers that hold it keep it."""
        with self._guard:
            segment = self.by_number.pop(number, None)
            if segment is not None:
                self._removed.add(segment)
        with contextlib.suppress(FileNotFoundError):
            self._files.unlink(self.path(number))

    def alive(self) -> set[int]:
        """Numbers of segments open here or held by readers, except those known to be removed."""
        with self._guard:
            return {segment.number for segment in self._alive.difference(self._removed)}

    def close_removed(self, numbers: Collection[int]) -> int:
        """Close segments whose files other processes have unlinked, which hold disk space for nothing; how many."""
        with self._guard:
            alive = [segment for segment in self._alive if segment.number in numbers]
        gone = [segment for segment in alive if self._files.identity(segment.fd)[2] == 0]
        closed = 0
        with self._guard:
            self._removed.update(gone)
            for segment in gone:
                if self.by_number.get(segment.number) is segment:
                    del self.by_number[segment.number]
                    closed += 1
        return closed

    def held(self) -> list[int]:
        """Bytes of each removed segment still held by readers of this process, where known."""
        with self._guard:
            removed = list(self._removed)
        return [self._files.disk_bytes(segment.fd) for segment in removed]

    def close(self) -> None:
        with self._guard:
            self.by_number.clear()

    def scan(self, segment: Segment, start: int, stop: int) -> Iterator[tuple[int, Header]]:
        """Records that begin in [start, stop) with their offsets; damaged bytes are skipped, never trusted."""
        size = self._files.size(self.path(segment.number))
        window = _ScanWindow(self._files, segment.fd, size)
        offset = start
        while offset < min(stop, size):
            try:
                data = window.at(offset, _PEEK)
                header_length, body_length = lengths(data)
                if header_length > len(data):
                    data = window.at(offset, header_length)
                header = decode(data, seed=segment.seed(offset))
            except DamagedError:
                offset = window.next_magic(offset + ALIGN, min(stop, size))
                continue
            length = header_length + body_length
            if offset + length <= size:
                yield offset, header
            offset += length + padding(length)

    def _read_header(self, number: int, fd: int) -> Segment:
        data = bytearray(_HEADER.size + 8)
        self._files.read(fd, [data], 0)
        if xxhash.xxh3_64_digest(data[: _HEADER.size]) != data[_HEADER.size :]:
            raise DamagedError(f"segment {number} has no valid header")
        magic, version, _, own, salt, epoch = _HEADER.unpack_from(data)
        if magic != _MAGIC or version != FORMAT or own != number:
            raise DamagedError(f"segment {number} is another's")
        return Segment(self._files, number, fd, salt, epoch)

    def _keep(self, segment: Segment) -> None:
        with self._guard:
            self._alive.add(segment)
            self.by_number[segment.number] = segment
            while len(self.by_number) > self._max_open:
                number, oldest = next(iter(self.by_number.items()))
                del self.by_number[number]
                if oldest.used:  # used since: another round
                    oldest.used = False
                    self.by_number[number] = oldest


class SegmentWriter:
    """The segment that this process appends to. One thread."""

    def __init__(self, files: Files, segment: Segment) -> None:
        self._files = files
        self.segment = segment
        self.end = START
        self._written = START  # bytes beyond the end are ignored

    def append(self, parts: Sequence[Part], length: int) -> None:
        """Write a run of records of `length` bytes at the end; on an error none of it counts."""
        self._written = max(self._written, self.end + length)
        try:
            self._files.write(self.segment.fd, parts, self.end)
        except OSError:
            self.cut()
            raise
        self.end += length

    def sync(self) -> None:
        self._files.sync(self.segment.fd)

    def cut(self) -> None:
        """Give back the bytes beyond the end: records that weren't appended completely or aren't to be indexed."""
        if self._written == self.end:
            return
        try:
            self._files.truncate(self.segment.fd, self.end)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
            # Anything that stays is overwritten by the next record.
        else:
            self._written = self.end


class _ScanWindow:
    """A piece of a file that moves along with a scan."""

    def __init__(self, files: Files, fd: int, size: int) -> None:
        self._files = files
        self._fd = fd
        self._size = size
        self._start = 0
        self._data = b""

    def at(self, offset: int, wanted: int) -> memoryview:
        """Bytes from `offset` to the window's end: at least `wanted`, unless the file ends before."""
        stop = min(offset + min(wanted, MAX_HEADER), self._size)
        end = self._start + len(self._data)
        if offset < self._start or stop > end:
            # Where bodies are skipped, only headers are worth reading.
            ahead = _WINDOW if offset <= end else _PEEK
            data = bytearray(max(0, min(max(ahead, stop - offset), self._size - offset)))
            count = self._files.read(self._fd, [data], offset)
            self._start, self._data = offset, bytes(data[:count])
        return memoryview(self._data)[offset - self._start :]

    def next_magic(self, offset: int, stop: int) -> int:
        """The next offset where a record may begin; `stop` when there is none before it."""
        while offset < stop:
            self.at(offset, ALIGN)
            found = self._data.find(MAGIC, offset - self._start)
            while found >= 0:
                candidate = self._start + found - 8  # the checksum comes before the magic
                if candidate >= offset and candidate % ALIGN == 0:
                    return candidate
                found = self._data.find(MAGIC, found + 1)
            # The next window begins a little before this one's end: a magic may lie across it.
            offset = max(offset + ALIGN, (self._start + len(self._data)) // ALIGN * ALIGN)
        return stop
