"""Files that belong together, such as a key and its token, and whether all of them have been replaced.

Who replaces them does so one after the other, or by a link to another directory (Kubernetes). What is half replaced
isn't used: a set counts as whole once every file is another than before, or once nothing more changes for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path

SETTLE_SECONDS = 2.0
"""After which what has changed is taken to be all that changes: a set is written in far less."""

Mark = tuple[int, int, int, int, int]
Marks = tuple[Mark | None, ...]


class Change(Enum):
    """What has become of a set since it was used."""

    NONE = "none"
    PART = "part"  # perhaps more is to come: wait
    WHOLE = "whole"  # read it
    GONE = "gone"  # a file isn't there, or can't be looked at: wait


class FileWatch:
    """Looks at a file, now and then, for changes that are complete. Without one nothing changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = [] if path is None else [path]
        self._known = self._seen = marks_of(self._path)

    def look(self) -> bool:
        """Whether the file is another than it was, and the same as at the last look. Blocks."""
        now, before = marks_of(self._path), self._seen
        self._seen = now
        if now == self._known or now != before or None in now:
            return False
        self._known = now
        return True


class FileSet:
    """`look` blocks; the others don't. `used` is what a look had shown before the files were read; without it they
    count as replaced at first.
    """

    def __init__(self, files: Sequence[Path], used: Marks = ()) -> None:
        self.files = tuple(files)
        self._used = used
        self._seen: Marks = ()
        self._seen_at = 0.0

    def look(self) -> Marks:
        """What tells each file from another version of it; None where there is none. Links are followed."""
        return marks_of(self.files)

    def missing(self, marks: Marks) -> Path | None:
        """The first file that isn't there."""
        return next((file for file, mark in zip(self.files, marks, strict=True) if mark is None), None)

    def judge(self, marks: Marks, now: float) -> Change:
        """What `marks`, of a look at `now` by any clock that only rises, mean."""
        if marks != self._seen:
            self._seen, self._seen_at = marks, now
        if None in marks:
            return Change.GONE
        if marks == self._used:
            return Change.NONE
        is_whole = not self._used or all(mark != before for mark, before in zip(marks, self._used, strict=True))
        return Change.WHOLE if is_whole or now - self._seen_at >= SETTLE_SECONDS else Change.PART

    def use(self, marks: Marks) -> None:
        """What was there at this look is in use now."""
        self._used = marks


def marks_of(files: Iterable[Path]) -> Marks:
    """As `FileSet.look`."""
    return tuple([_mark(file) for file in files])


def _mark(file: Path) -> Mark | None:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
