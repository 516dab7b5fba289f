"""Reads a segment file from beginning to end, bypassing the page cache where the system allows.

That way the disk itself is read, and a running node's hot pages stay in memory.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from types import TracebackType
from typing import Self

from shield.store.directory.files import Files
from shield.store.directory.segments import Segments

_PAGE = 4096
_WINDOW = 1 << 20


class SegmentReader:
    """One segment, a window at a time. Bytes that the disk can't give are read as zeros.

    Raises DamagedError when the file is no segment, OSError when it is missing. No other code may use `segments`.
    """

    def __init__(self, files: Files, segments: Segments, number: int) -> None:
        segments.close()
        self.segment = segments.open(number)
        self._files = files
        self._size = files.size(segments.path(number))
        self._buffer = mmap.mmap(-1, _WINDOW)  # page-aligned, as direct reads must be
        self._direct = _set_direct(self.segment.fd, on=True)
        self._start = self._stop = 0
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._buffer.close()

    def at(self, offset: int, length: int) -> bytes:
        """Bytes of the file; fewer at its end."""
        parts: list[bytes] = []
        while length > 0 and offset < self._size:
            if not self._start <= offset < self._stop:
                self._fill(offset - offset % _PAGE)
                if offset >= self._stop:
                    break
            first = offset - self._start
            part = self._buffer[first : first + min(length, self._stop - offset)]
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def taken(self) -> int:
        """Bytes read from the disk since the last call."""
        taken, self._taken = self._taken, 0
        return taken

    def _fill(self, start: int) -> None:
        length = min(_WINDOW, self._size - start)
        if self._direct and length % _PAGE:
            # A direct read can't end within a page: the last, partial page is read in the ordinary way.
            if length > _PAGE:
                length -= length % _PAGE
            else:
                self._read_through_cache()
        self._start, self._stop = start, start + self._read(start, length)
        self._taken += self._stop - start

    def _read(self, start: int, length: int) -> int:
        with memoryview(self._buffer) as whole, whole[:length] as view:
            try:
                return self._files.read(self.segment.fd, [view], start)
            except OSError as error:
                if error.errno == errno.EINVAL and self._direct:  # larger blocks there, or no direct reads
                    self._read_through_cache()
                    return self._files.read(self.segment.fd, [view], start)
                if error.errno != errno.EIO:
                    raise
            for at in range(0, length, _PAGE):
                with view[at : at + _PAGE] as page:
                    try:
                        self._files.read(self.segment.fd, [page], start + at)
                    except OSError:
                        page[:] = bytes(len(page))
            return length

    def _read_through_cache(self) -> None:
        self._direct = False
        _set_direct(self.segment.fd, on=False)


def _set_direct(fd: int, *, on: bool) -> bool:
    """Whether reads of this descriptor now bypass the page cache."""
    direct: int = getattr(os, "O_DIRECT", 0)  # Linux only
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | direct if on else flags & ~direct)
    except OSError:
        return False
    return on and direct != 0
