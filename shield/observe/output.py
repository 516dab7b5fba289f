"""The place of access log lines: standard output, or a file that others may move away at any time."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

_MODE = 0o640


class LogOutput:
    """Takes whole lines, from one thread at a time. With a `path` they are appended to that file.

    The file is made if it isn't there, and opened anew if it was replaced or removed since the last write: so it may
    be rotated by renaming it, without a signal. Several processes may append to it. The context from `alone` is held
    during each write, for streams shared by several processes.
    """

    def __init__(self, stream: IO[str], *, alone: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.path: Path | None = None
        self._stream = stream
        self._alone = alone
        self._file = -1
        self._identity = (0, 0)  # device and inode of the open file
        self._is_torn = False  # its last line is incomplete

    def write(self, lines: str) -> None:
        """Write lines, each with its end. Raises OSError, or ValueError for a closed stream: some may be written."""
        path = self.path
        with self._alone():
            if path is None:
                self.close()
                self._stream.write(lines)
                self._stream.flush()
            else:
                self._follow(path)
                self._append(lines.encode())

    def close(self) -> None:
        """Close the file, until something is written."""
        file, self._file, self._is_torn = self._file, -1, False
        if file >= 0:
            os.close(file)

    def _follow(self, path: Path) -> None:
        """Have that file open which now has this path."""
        try:
            state = os.stat(path)  # noqa: PTH116  # half the cost, once a second and worker
            identity = (state.st_dev, state.st_ino)
        except FileNotFoundError:
            identity = (0, 0)
        if self._file >= 0 and identity == self._identity:
            return
        self.close()
        self._file = opened(path)
        state = os.fstat(self._file)
        self._identity = (state.st_dev, state.st_ino)

    def _append(self, data: bytes) -> None:
        if self._is_torn:
            data = b"\n" + data
        while data:
            written = os.write(self._file, data)
            self._is_torn = data[written - 1 : written] != b"\n"
            data = data[written:]


def opened(path: Path) -> int:
    """A log file's descriptor, to append to it. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, _MODE)
