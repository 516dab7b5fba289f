"""The system as the store sees it, with faults: errors, sudden ends, and power cuts."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from shield.messages import Part
from shield.store.directory.files import Files

SECTOR = 512


class KilledError(BaseException):
    """The process is no more: nothing may catch this."""


class FaultyFiles(Files):
    """Fails one call: the `at`th (from 1) of all, or of those whose name is in `only`.

    `error` is the system's number; None kills instead, after half of what a write was to write. From then on every
    call is refused in the same way if `lasting`, or when killed.
    """

    def __init__(
        self, at: int = 0, *, error: int | None = None, only: frozenset[str] | None = None, lasting: bool = False
    ) -> None:
        super().__init__()
        self.at = at
        self.error = error
        self.only = only
        self.lasting = lasting or error is None
        self.calls: list[str] = []
        self.hit = False

    def _enter(self, name: str) -> bool:
        """Count a call; True when it is the first to fail and is a write that must be torn."""
        if self.only is not None and name not in self.only:
            return False
        self.calls.append(name)
        now = len(self.calls) == self.at
        if not now and not (self.hit and self.lasting):
            return False
        if now and not self.hit and name == "write":
            self.hit = True
            return True
        self.hit = True
        self._refuse()
        return False

    def _refuse(self) -> None:
        if self.error is None:
            raise KilledError
        raise OSError(self.error, os.strerror(self.error))

    def open(self, path: Path, *, write: bool = False, create: bool = False) -> int:
        self._enter("open")
        return super().open(path, write=write, create=create)

    def open_or_create(self, path: Path) -> int:
        self._enter("open")
        return super().open_or_create(path)

    def write(self, fd: int, parts: Sequence[Part], offset: int) -> None:
        if self._enter("write"):
            whole = b"".join(parts)
            super().write(fd, [whole[: len(whole) // 2]], offset)
            self._refuse()
        super().write(fd, parts, offset)

    def read(self, fd: int, parts: Sequence[bytearray | memoryview], offset: int) -> int:
        self._enter("read")
        return super().read(fd, parts, offset)

    def sync(self, fd: int) -> None:
        self._enter("sync")  # no more than counted: what a sync is worth is PowerCut's to say

    def truncate(self, fd: int, length: int) -> None:
        self._enter("truncate")
        super().truncate(fd, length)

    def allocate(self, fd: int, length: int) -> None:
        self._enter("allocate")
        super().allocate(fd, length)

    def size(self, path: Path) -> int:
        self._enter("size")
        return super().size(path)

    def unlink(self, path: Path) -> None:
        self._enter("unlink")
        super().unlink(path)

    def replace(self, source: Path, target: Path) -> None:
        self._enter("replace")
        super().replace(source, target)

    def names(self, path: Path) -> list[str]:
        self._enter("names")
        return super().names(path)

    def make_directory(self, path: Path) -> None:
        self._enter("make_directory")
        super().make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._enter("sync_directory")

    def lock(self, fd: int, *, exclusive: bool, wait: bool = False) -> bool:
        self._enter("lock")
        return super().lock(fd, exclusive=exclusive, wait=wait)

    def step(self, name: str) -> None:
        if self.error is None:  # no call of the system: nothing that could fail
            self._enter(name)


class PowerCut(Files):
    """Remembers what wasn't synced; `cut` makes the directory as a power cut may leave it."""

    def __init__(self) -> None:
        super().__init__()
        self._unsynced: dict[Path, list[tuple[int, int]]] = {}

    def write(self, fd: int, parts: Sequence[Part], offset: int) -> None:
        super().write(fd, parts, offset)
        self._unsynced.setdefault(_path(fd), []).append((offset, sum(len(part) for part in parts)))

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._unsynced.pop(_path(fd), None)

    def cut(self, source: Path, target: Path, chance: random.Random) -> None:
        """Copy the directory; each sector of each unsynced write may be missing, each file short of its tail."""
        shutil.copytree(source, target)
        for path, writes in self._unsynced.items():
            copy = target / path.relative_to(source) if path.is_relative_to(source) else target / "none"
            if not copy.exists():
                continue
            data = bytearray(copy.read_bytes())
            for offset, length in writes:
                fate = chance.choice(["whole", "none", "torn"])
                for at in range(offset, offset + length, SECTOR):
                    stop = min(at + SECTOR, offset + length)
                    if fate == "none" or (fate == "torn" and chance.random() < 0.3):
                        data[at:stop] = bytes(stop - at)
            if chance.random() < 0.3:
                first = min(offset for offset, _ in writes)
                del data[chance.randrange(first, len(data) + 1) :]
            copy.write_bytes(data)
        if chance.random() < 0.7:
            index = target / "index" / "data.mdb"
            index.write_bytes(chance.randbytes(index.stat().st_size))


def _path(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}").readlink()
