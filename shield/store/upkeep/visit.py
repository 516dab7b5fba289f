"""A cache directory opened by a process that is no worker: beside a running node, or while there is none.

Such a visitor is a process of the node like any other: it shares the node's claim, under a worker number that no
worker has. If no other process has the directory open, opening it does the same as a node's start, so the index may
be rebuilt. It never creates a directory, and never leaves files that the node's user can't open.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shield.errors import StoreError
from shield.rules.purge_lines import FILE as LOG_OF_PURGES
from shield.rules.purge_lines import PurgeHistory
from shield.rules.purging import PurgeMarks
from shield.store.directory.claim import Claim, InUseError
from shield.store.directory.directory import CacheDirectory, DirectoryHealth
from shield.store.directory.files import Files, failed
from shield.store.directory.home import FILE, Home, unpacked
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.reclaim import Fate, Judge, NoRoomError, ReclaimCandidate, drop_all
from shield.store.directory.record import FORMAT, Record
from shield.store.disk import screened
from shield.store.upkeep.ground import user_name
from shield.store.volume import boot_id

WORKER = 65535
"""Worker number of a visitor; several at a time count down from it."""

_VISITORS = 16


class AbsentError(StoreError):
    """There is no cache directory at this path."""


@dataclass(frozen=True, slots=True)
class Visit:
    """An open directory. `alone`: no process of the node had it open when we came."""

    path: Path
    directory: CacheDirectory
    alone: bool

    def check(self) -> None:
        """Call now and then during a long visit. Raises StoreError when it must end: others wait for it to leave."""
        if self.directory.tend() is DirectoryHealth.OUT:
            raise StoreError(f"{self.path}: its index is being rebuilt: try again once the node is well")


@contextmanager
def visited(
    path: Path, limits: DirectoryLimits, *, node: str, judge: Judge = drop_all, may_begin: bool = False
) -> Iterator[Visit]:
    """Open a directory for a while. Raises StoreError with a line that states the remedy.

    With `may_begin` also a directory that exists but that no node has used yet.
    """
    _refuse_what_isnt_ours(path, may_begin=may_begin)
    files = Files()
    with _worker_number(path, files) as worker:
        try:
            claim = Claim(path, node=node, boot_id=boot_id(), files=files)
        except InUseError as error:
            raise InUseError(f"{error}; these settings are of node {node}") from error
        alone = claim.first
        try:
            screen = _ScreenByLog(path / LOG_OF_PURGES)
            directory = CacheDirectory(claim, limits, worker=worker, files=files, judge=judge, screen=screen)
        except BaseException:
            claim.release(clean=False)
            raise
        # The visit's end, however it comes, says nothing about the index: so it doesn't count against it.
        directory.settled()
        try:
            yield Visit(path, directory, alone)
        finally:
            directory.close()


def adopt(path: Path) -> None:
    """Have a directory used as it is and where it is, though it isn't the one that the node remembers.

    It may be empty. A running node takes it at its next retry, another one at its start. Raises StoreError.
    """
    _refuse_what_isnt_ours(path, may_begin=True)
    files = Files()
    draft = path / f"{FILE}.new"
    try:
        home = unpacked((path / FILE).read_bytes()) if (path / FILE).exists() else None
        name = secrets.randbits(63) + 1 if home is None else home.name
        fd = files.open_or_create(draft)
        try:
            files.truncate(fd, 0)
            files.write(fd, [Home(name, files.filesystem(path), adopted=True).packed()], 0)
            files.sync(fd)
        finally:
            files.close(fd)
        files.replace(draft, path / FILE)
        files.sync_directory(path)
    except OSError as error:
        raise failed("adopting", path, error) from error


def push_nothing_out(candidate: ReclaimCandidate) -> Fate:
    """A judge that refuses to displace any entry."""
    raise NoRoomError("no free room: only other entries could make way")


def rebuild(visit: Visit, step: Callable[[], object]) -> None:
    """Restore the records of a lost index, unless a running node does it; `step` is called again and again."""
    while visit.alone and visit.directory.rebuild_step():
        step()


class _ScreenByLog:
    """For records from before marks of purges, by a log of these as it is when each record comes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks = PurgeMarks()
        self._as_of: tuple[int, int] | None = None

    def __call__(self, record: Record) -> Record | None:
        try:
            status = self._path.stat()
            if self._as_of != (status.st_ino, status.st_size):
                self._read(self._path.read_bytes())
                self._as_of = (status.st_ino, status.st_size)
        except OSError:
            return None
        return screened(record, self._marks)

    def _read(self, data: bytes) -> None:
        history, marks = PurgeHistory(), PurgeMarks()
        history.read(data)
        for mark in history.marks.values():
            marks.add(mark)
        marks.newest, marks.forgotten = max(marks.newest, history.newest), history.floor
        self._marks = marks


def _refuse_what_isnt_ours(path: Path, *, may_begin: bool) -> None:
    try:
        status = path.stat()
        begun = (path / "lock").exists()
        state = (path / "state").read_bytes() if (path / "state").exists() else b"{}"
    except FileNotFoundError:
        raise AbsentError(f"{path} isn't there: `shield serve` makes it, or make it yourself") from None
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}; {_run_as(path)}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise AbsentError(f"{path} is no directory: check the path in the settings")
    if status.st_uid != os.geteuid():
        # Files that we make there would be ours, and the node couldn't open them.
        raise StoreError(f"{path} belongs to user {user_name(status.st_uid)}; {_run_as(path)}")
    if not begun and not may_begin:
        raise AbsentError(f"{path} is no cache directory yet: no node has used it")
    with suppress(ValueError, RecursionError):
        found = json.loads(state)
        if isinstance(found, dict) and found.get("format", FORMAT) != FORMAT:
            raise StoreError(
                f"{path} is of format {found['format']}, this shield reads {FORMAT}: use the version that wrote it, "
                "or start the node, which empties it"
            )


def _run_as(path: Path) -> str:
    try:
        return f"run this as that user (sudo -u {user_name(path.stat().st_uid)} shield ...)"
    except OSError:
        return "run this as the user that the node runs as"


@contextmanager
def _worker_number(path: Path, files: Files) -> Iterator[int]:
    """A number that no other visitor has: two of one number would take each other's segments for a dead one's."""
    for worker in range(WORKER, WORKER - _VISITORS, -1):
        try:
            fd = files.open_or_create(path / f"visitor-{worker}")
        except OSError as error:
            raise StoreError(f"{path} can't be used: {error.strerror}") from error
        try:
            if files.lock(fd, exclusive=True):
                yield worker
                return
        finally:
            files.close(fd)
    raise StoreError(f"{path}: {_VISITORS} store commands are using it; try again later")
