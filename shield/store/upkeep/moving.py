"""A hot set in one file, for warming another node: written newest first, and read in again.

    header | record | record | ... | end

Records are encoded as in segments, at multiples of ALIGN, with a seed of the file's own and their position in it. So
a damaged record is always detected, and the one after it is found. Only the end marks the file as complete: if it is
cut short, its whole records can still be taken.
"""

from __future__ import annotations

import errno
import secrets
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import IO

import xxhash

from shield.errors import ShieldError
from shield.messages import Part
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.files import Files
from shield.store.directory.index import Found
from shield.store.directory.log import Coming, Draft
from shield.store.directory.reading import latest
from shield.store.directory.record import (
    ALIGN,
    BLOCK,
    FORMAT,
    MAGIC,
    DamagedError,
    Header,
    RecordKind,
    decode,
    encode,
    lengths,
    padding,
)
from shield.store.directory.segments import Segment
from shield.store.upkeep.listing import live_records, newest_first

VERSION = 1
"""Of the file. A file of another version is refused; so is one whose records are of another format."""

_MAGIC = b"ShExport"
_HEADER = Struct("<8sHHIQ")  # magic, version, format of records, nothing, salt
_END_MAGIC = b"ShExpEnd"
_END = Struct("<8sQQ")  # magic, records, bytes before it
_CHECKSUM = 8
_MASK = (1 << 64) - 1
_READ = 1 << 20
_PIECE = 16 * BLOCK  # of a body; a longer one is never held whole


class NoExportError(ShieldError):
    """A file that can't be imported at all."""


@dataclass(frozen=True, slots=True)
class Movable:
    """A record worth exporting. Holds its segment, so it stays readable whatever happens to it."""

    found: Found
    segment: Segment


def movable(directories: Sequence[CacheDirectory], now: float) -> Iterator[Movable]:
    """Records of all directories, the newest written first; of several copies the first directory's. Raises OSError.

    The head of a large entry comes before its slices. Left out are entries too old even to be revalidated, and
    slices without an entry.
    """
    segments = [
        (_written_at(directory, number), number, directory)
        for directory in directories
        for number in newest_first(directory)
    ]
    heads: set[bytes] = set()
    for _, number, directory in sorted(segments, key=lambda segment: segment[:2], reverse=True):
        keys = [(live.record.key.digest, live.slice_number) for live in live_records(directory, number)]
        for digest, slice_number in reversed(keys):
            here = _first(directories, digest, slice_number)
            if here is None or here[0] is not directory or here[1].segment != number:
                continue
            entry = here if slice_number is None else _first(directories, digest, None)
            if entry is None or entry[1].identity != here[1].identity or _is_useless(entry[1], now):
                continue
            if entry[1].kind == RecordKind.HEAD:
                if digest not in heads:
                    heads.add(digest)
                    yield from _readable(*entry)
                if slice_number is None:
                    continue
            yield from _readable(*here)


class Export:
    """Writes records to a stream, at most `limit_bytes` bytes. Raises OSError."""

    def __init__(self, stream: IO[bytes], *, limit_bytes: int | None = None) -> None:
        self._stream = stream
        self._limit = limit_bytes
        self._salt = secrets.randbits(64)
        self.written_bytes = 0
        self.records = 0
        self.damaged = 0
        header = _HEADER.pack(_MAGIC, VERSION, FORMAT, 0, self._salt)
        self._put(header + xxhash.xxh3_64_digest(header))

    def add(self, record: Movable, files: Files) -> bool:
        """Write a record, unless it is damaged; False when it would go beyond the limit."""
        found = record.found
        most = found.length + len(found.head) + 2 * ALIGN
        if self._limit is not None and self.written_bytes + most > self._limit:
            return False
        data = bytearray(found.header_length)
        try:
            if files.read(record.segment.fd, [data], found.offset) < found.header_length:
                raise DamagedError("cut short")
            header = decode(data, seed=record.segment.seed(found.offset))
            # All pieces are checked before one is written; a long body is read a second time for that.
            body: Iterable[bytearray] = deque(_pieces(record, header, files), maxlen=1)
        except DamagedError:
            self.damaged += 1
            return True
        seed = (self._salt + self.written_bytes) & _MASK
        start = encode(latest(header.record, found), header.body_length, header.table, seed=seed)
        if header.body_length > _PIECE:
            body = _pieces(record, header, files)
        try:
            self._put(start, body)
        except DamagedError as error:
            raise OSError(errno.EIO, f"a body changed while it was read: {error}") from error
        self.records += 1
        return True

    def finish(self) -> None:
        """Write the end."""
        end = _END.pack(_END_MAGIC, self.records, self.written_bytes)
        self._put(end + xxhash.xxh3_64_digest(end, seed=self._salt))
        self._stream.flush()

    def _put(self, start: bytes, body: Iterable[bytearray] = ()) -> None:
        length = len(start)
        self._stream.write(start)
        for piece in body:
            self._stream.write(piece)
            length += len(piece)
        self._stream.write(bytes(padding(length)))
        self.written_bytes += length + padding(length)


class Import:
    """Reads records from a stream. `complete` once the end was found; `damaged` counts skipped pieces."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Raises NoExportError for a file that is no export, or one of another version."""
        self._source = _ExportStream(stream)
        self.damaged = 0
        self.too_large = 0
        self.complete = False
        header = self._source.peek(_HEADER.size + _CHECKSUM)
        if len(header) < _HEADER.size + _CHECKSUM or header[:8] != _MAGIC:
            raise NoExportError("this is no file that `shield store export` wrote")
        _, version, record_format, _, self._salt = _HEADER.unpack_from(header)
        if xxhash.xxh3_64_digest(header[: _HEADER.size]) != header[_HEADER.size :]:
            raise NoExportError("the file's first bytes are damaged: export it anew")
        if (version, record_format) != (VERSION, FORMAT):
            raise NoExportError(
                f"this file is of version {version}.{record_format}, this shield reads {VERSION}.{FORMAT}: "
                "export it anew with this version"
            )
        self._source.skip(ALIGN)

    @property
    def read_bytes(self) -> int:
        return self._source.offset

    def drafts(self, most_bytes: int) -> Iterator[Draft]:
        """Whole records, checked to the last bit. Raises OSError.

        A long body is `coming`: it has to be taken before the next draft is asked for, and its pieces raise
        DamagedError, which is counted here, for what isn't whole.
        """
        source = self._source
        in_damage = False  # a run of damaged bytes counts once
        while data := source.peek(ALIGN):
            if self._is_end(data):
                self.complete = True
                return
            try:
                header = self._header()
            except DamagedError:
                self.damaged += not in_damage
                in_damage = True
                source.skip(ALIGN)
                source.skip_to_magic()
                continue
            in_damage = False
            length = header.header_length + header.body_length
            end = source.offset + length + padding(length)
            if length > most_bytes:
                self.too_large += 1
            elif header.body_length > _PIECE:
                source.skip(header.header_length)
                yield Draft(header.record, coming=Coming(header.body_length, header.table, self._coming(header)))
            else:
                body = memoryview(source.peek(length))[header.header_length :]
                if len(body) < header.body_length:
                    return  # cut short
                try:
                    header.check(body)
                except DamagedError:
                    self.damaged += 1
                else:
                    yield Draft(header.record, (body,) if body else ())
            source.skip(end - source.offset)
        self.damaged -= in_damage  # it was no damage but the cut

    def _coming(self, header: Header) -> Iterator[Part]:
        """The pieces of the body that is next in the stream."""
        for at in range(0, header.body_length, _PIECE):
            wanted = min(_PIECE, header.body_length - at)
            piece = self._source.peek(wanted)
            if len(piece) < wanted:
                raise DamagedError("cut short")  # which the missing end tells already
            try:
                header.check(piece, at)
            except DamagedError:
                self.damaged += 1
                raise
            self._source.skip(wanted)
            yield piece

    def _header(self) -> Header:
        header_length, _ = lengths(self._source.peek(4 * ALIGN))
        seed = (self._salt + self._source.offset) & _MASK
        header = decode(self._source.peek(header_length), seed=seed)
        key, kind = header.record.key, header.record.kind
        if xxhash.xxh3_128_digest(key.text) != key.digest or kind is RecordKind.REMOVED:
            raise DamagedError("no record of an export")
        return header

    def _is_end(self, data: bytes) -> bool:
        if len(data) < ALIGN or data[:8] != _END_MAGIC:
            return False
        checksum = xxhash.xxh3_64_digest(data[: _END.size], seed=self._salt)
        return checksum == data[_END.size : _END.size + _CHECKSUM] and _END.unpack_from(data)[2] == self.read_bytes


class _ExportStream:
    """A stream with look-ahead."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._ahead = bytearray()
        self._at = 0  # of the next byte in `_ahead`
        self.offset = 0

    def peek(self, length: int) -> bytes:
        """The next bytes; fewer at the end."""
        if len(self._ahead) - self._at < length:
            del self._ahead[: self._at]
            self._at = 0
            while len(self._ahead) < length and (more := self._stream.read(max(_READ, length - len(self._ahead)))):
                self._ahead += more
        return bytes(memoryview(self._ahead)[self._at : self._at + length])

    def skip(self, length: int) -> None:
        """Move on by at most this much, up to the end."""
        while length > 0 and (have := len(self._ahead) - self._at or len(self.peek(_READ))):
            step = min(length, have)
            self._at, self.offset, length = self._at + step, self.offset + step, length - step

    def skip_to_magic(self) -> None:
        """Move to the next position where a record, or the end, may begin."""
        while data := self.peek(_READ):
            for at in range(0, len(data), ALIGN):
                if data[at + 8 : at + 12] == MAGIC or data[at : at + 8] == _END_MAGIC:
                    self.skip(at)
                    return
            self.skip(len(data))


def _pieces(record: Movable, header: Header, files: Files) -> Iterator[bytearray]:
    """A record's body as it lies on a disk, checked. Raises DamagedError and OSError."""
    start = record.found.offset + header.header_length
    for at in range(0, header.body_length, _PIECE):
        piece = bytearray(min(_PIECE, header.body_length - at))
        if files.read(record.segment.fd, [piece], start + at) < len(piece):
            raise DamagedError("cut short")
        header.check(piece, at)
        yield piece


def _first(
    directories: Sequence[CacheDirectory], digest: bytes, slice_number: int | None
) -> tuple[CacheDirectory, Found] | None:
    """The directory in which a node would look for it first."""
    for directory in directories:
        found = directory.index.peek(digest, slice_number)
        if found is not None:
            return directory, found
    return None


def _is_useless(entry: Found, now: float) -> bool:
    return now > entry.born + entry.lifetime + max(entry.keep, entry.grace, entry.error_grace)


def _readable(directory: CacheDirectory, found: Found) -> Iterator[Movable]:
    try:
        yield Movable(found, directory.segments.open(found.segment))
    except (DamagedError, FileNotFoundError):
        return


def _written_at(directory: CacheDirectory, number: int) -> int:
    try:
        return directory.segments.path(number).stat().st_mtime_ns
    except FileNotFoundError:
        return 0
