"""Segment files: records one after another, written once, read by place, and gone with one unlink.

A process appends to a segment of its own and reads those of all. A segment file lives as long as a reader holds it:
one that was unlinked meanwhile still gives its bytes.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct

import xxhash

from shield.store.files import Files, Part
from shield.store.record import ALIGN, FORMAT, MAGIC, MAX_HEADER, DamagedError, Header, decode, lengths, padding

START = ALIGN
"""Where the first record lies: after the segment's own header."""

_MAGIC = b"ShSegmnt"
_HEADER = Struct("<8sHHIQQ")
_WINDOW = 256 << 10
_MASK = (1 << 64) - 1
_SUFFIX = ".segment"


class Segment:
    """An open segment file; closed when the last one who holds it lets go."""

    __slots__ = ("_files", "epoch", "fd", "number", "salt", "used")

    def __init__(self, files: Files, number: int, fd: int, salt: int, epoch: int) -> None:
        self._files = files
        self.number = number
        self.fd = fd
        self.salt = salt
        self.epoch = epoch
        self.used = True

    def seed(self, offset: int) -> int:
        """What makes a header valid at this place and nowhere else."""
        return (self.salt + offset) & _MASK

    def __del__(self) -> None:
        # By reference count: a reader in the middle of a reclaimed segment keeps it, and nobody keeps a list.
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
        self._open: dict[int, Segment] = {}
        self._guard = threading.Lock()

    def path(self, number: int) -> Path:
        return self._path / f"{number:010d}{_SUFFIX}"

    def numbers(self) -> list[int]:
        """Numbers of the segment files that are there, oldest first."""
        names = [name.removesuffix(_SUFFIX) for name in self._files.names(self._path) if name.endswith(_SUFFIX)]
        return sorted(int(name) for name in names if name.isdigit())

    def opened(self, number: int) -> Segment | None:
        """The segment if it is open already."""
        segment = self._open.get(number)
        if segment is not None:
            segment.used = True
        return segment

    def open(self, number: int) -> Segment:
        """The segment, opened if need be; raises OSError, or DamagedError when the file is no segment of ours."""
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
        """Remove the file, if it is there; readers that hold it keep it."""
        with self._guard:
            self._open.pop(number, None)
        with contextlib.suppress(FileNotFoundError):
            self._files.unlink(self.path(number))

    def close_removed(self) -> int:
        """Let go of open segments whose files others have unlinked; how many. They'd hold their space for nothing."""
        with self._guard:
            gone = [number for number, s in self._open.items() if self._files.identity(s.fd)[2] == 0]
            for number in gone:
                del self._open[number]
        return len(gone)

    def close(self) -> None:
        with self._guard:
            self._open.clear()

    def scan(self, segment: Segment, start: int, stop: int) -> Iterator[tuple[int, Header]]:
        """Records that begin in [start, stop) with their offsets; what is damaged is passed over, never trusted."""
        size = self._files.size(self.path(segment.number))
        window = _Window(self._files, segment.fd, size)
        offset = start
        while offset < min(stop, size):
            try:
                header_length, body_length = lengths(window.at(offset, _WINDOW // 4))
                header = decode(window.at(offset, header_length), seed=segment.seed(offset))
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
            self._open[segment.number] = segment
            while len(self._open) > self._max_open:
                number, oldest = next(iter(self._open.items()))
                del self._open[number]
                if oldest.used:  # another round
                    oldest.used = False
                    self._open[number] = oldest


class SegmentWriter:
    """The segment that this process appends to. One thread."""

    def __init__(self, files: Files, segment: Segment) -> None:
        self._files = files
        self.segment = segment
        self.end = START

    def append(self, parts: Sequence[Part], length: int) -> None:
        """Write a run of records of `length` bytes at the end; on an error nothing of it counts."""
        try:
            self._files.write(self.segment.fd, parts, self.end)
        except OSError:
            self._cut()
            raise
        self.end += length

    def sync(self) -> None:
        self._files.sync(self.segment.fd)

    def _cut(self) -> None:
        try:
            self._files.truncate(self.segment.fd, self.end)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
            # What stays is written over by the next record, and counts for nothing until then.


class _Window:
    """A piece of a file that moves along with who looks through it."""

    def __init__(self, files: Files, fd: int, size: int) -> None:
        self._files = files
        self._fd = fd
        self._size = size
        self._start = 0
        self._data = b""

    def at(self, offset: int, wanted: int) -> memoryview:
        """Bytes from `offset` to the window's end: at least `wanted`, unless the file ends before."""
        stop = min(offset + min(wanted, MAX_HEADER), self._size)
        if offset < self._start or stop > self._start + len(self._data):
            data = bytearray(max(0, min(max(_WINDOW, stop - offset), self._size - offset)))
            count = self._files.read(self._fd, [data], offset)
            self._start, self._data = offset, bytes(data[:count])
        return memoryview(self._data)[offset - self._start :]

    def next_magic(self, offset: int, stop: int) -> int:
        """Where the next record might begin; `stop` when nowhere before it."""
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
