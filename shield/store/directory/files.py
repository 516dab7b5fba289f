"""The one seam through which the store calls the operating system; tests inject faults here.

Every method raises `OSError` as the system does; the store's own modules translate it into `StoreError`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shield.errors import StoreError
from shield.messages import Part

GROUPS = Path("/sys/fs/cgroup")
MOUNTS = Path("/proc/self/mountinfo")
FSTAB = Path("/etc/fstab")
UUIDS = Path("/dev/disk/by-uuid")

_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux only
_MAX_WRITE = 1 << 20  # in one call: copying 8 MiB at once costs the kernel two to three times as much
_MAX_PARTS = 512  # of one call; the system's bound is 1024
_UNLIMITED = 1 << 62
_EXT = frozenset({"ext2", "ext3", "ext4"})
_ESCAPE = re.compile(r"\\([0-7]{3})")


class Files:
    """The real system. Stateless except for one flag, so one instance serves any number of directories and threads.

    `groups` is where the system shows its control groups, `fstab` lists the file systems to mount.
    """

    def __init__(self, *, groups: Path = GROUPS, fstab: Path = FSTAB) -> None:
        self._groups = groups
        self._fstab = fstab
        self._can_peek = _NOWAIT is not None

    def open(self, path: Path, *, write: bool = False, create: bool = False) -> int:
        """A descriptor; with `create`, of a file that must not exist yet."""
        flags = os.O_CLOEXEC | (os.O_RDWR if write else os.O_RDONLY)
        return os.open(path, flags | (os.O_CREAT | os.O_EXCL if create else 0), 0o640)

    def open_or_create(self, path: Path) -> int:
        return os.open(path, os.O_CLOEXEC | os.O_RDWR | os.O_CREAT, 0o640)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, parts: Sequence[Part], offset: int) -> None:
        """Write all parts at `offset`, in as many calls as the system needs."""
        views = [memoryview(part) for part in parts]
        pending = [view[at : at + _MAX_WRITE] for view in views for at in range(0, len(view), _MAX_WRITE)]
        while pending:
            written = os.pwritev(fd, _together(pending), offset)
            if written == 0:
                raise OSError(errno.EIO, "the system wrote nothing")
            offset += written
            pending = _without(pending, written)

    def read(self, fd: int, parts: Sequence[bytearray | memoryview], offset: int) -> int:
        """Fill the parts from `offset`; returns the bytes read before the end of the file. May block."""
        done = 0
        pending = [memoryview(part) for part in parts]
        while pending:
            count = os.preadv(fd, pending[:_MAX_PARTS], offset + done)
            if count == 0:
                break
            done += count
            pending = _without(pending, count)
        return done

    def read_nowait(self, fd: int, parts: Sequence[bytearray | memoryview], offset: int) -> int | None:
        """As `read`, in one call that never waits for the disk; None when it would have to.

        Fewer bytes than requested: the end of the file, or of the part in memory.
        """
        if not self._can_peek or _NOWAIT is None:
            return None
        try:
            return os.preadv(fd, parts, offset, _NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            self._can_peek = False  # the file system doesn't support it
            return None

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def allocate(self, fd: int, length: int) -> None:
        """Allocate this much disk space for the file, written or not."""
        os.posix_fallocate(fd, 0, length)

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def modified(self, path: Path) -> float:
        """When a file was last written, as epoch time."""
        return path.stat().st_mtime

    def inode(self, path: Path) -> tuple[int, int]:
        """Tells a file from a later one of the same name."""
        stat = path.stat()
        return stat.st_dev, stat.st_ino

    def disk_bytes(self, fd: int) -> int:
        """Disk space that an open file takes."""
        return os.fstat(fd).st_blocks * 512

    def identity(self, fd: int) -> tuple[int, int, int]:
        """Device, inode and link count of an open file: 0 links when it was removed."""
        stat = os.fstat(fd)
        return stat.st_dev, stat.st_ino, stat.st_nlink

    def exists(self, path: Path) -> bool:
        return path.exists()

    def unlink(self, path: Path) -> None:
        path.unlink()

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def names(self, path: Path) -> list[str]:
        return [entry.name for entry in path.iterdir()]

    def make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self, path: Path) -> int:
        """Space that an ordinary user may still write on the file system."""
        stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize

    def available_memory(self) -> int:
        """Memory that could be taken without evicting anything useful: of the machine, and of our control groups."""
        available = _number_after("MemAvailable:", Path("/proc/meminfo")) << 10
        with suppress(OSError):
            lines = Path("/proc/self/cgroup").read_text().splitlines()
            own = self._groups.joinpath(*[line.removeprefix("0::/") for line in lines if line.startswith("0::/")])
            for group in (own, *own.parents):
                if group.is_relative_to(self._groups):
                    available = min(available, _left_in(group))
        return available

    def device(self, path: Path) -> int:
        """The device of the directory at this path, or of the nearest existing one above it."""
        while True:
            try:
                return path.stat().st_dev
            except FileNotFoundError:
                if path == path.parent:
                    raise
                path = path.parent

    def filesystem(self, path: Path) -> str:
        """An identity of a directory's file system that survives a restart of the machine; "" for none."""
        with suppress(OSError):
            device = path.stat().st_dev
            place = f"{os.major(device)}:{os.minor(device)}"
            for mount in mounts(MOUNTS):
                if mount.device == place and mount.kind in _EXT:  # their numbers come from the UUID
                    return f"ext {os.statvfs(path).f_fsid:016x}"
            for link in UUIDS.iterdir():
                if link.stat().st_rdev == device:
                    return f"uuid {link.name}"
        return ""

    def unmounted(self, path: Path) -> str:
        """The mount point at or above a path that fstab lists but where nothing is mounted; "" for none."""
        with suppress(OSError):
            there = path.resolve()
            points = {mount.point for mount in mounts(MOUNTS)}
            for line in self._fstab.read_text(errors="surrogateescape").splitlines():
                fields = line.split()
                if len(fields) < 4 or fields[0].startswith("#") or "noauto" in fields[3].split(","):
                    continue
                point = plain_path(fields[1])
                if point.startswith("/") and point not in points and there.is_relative_to(point):
                    return point
        return ""

    def max_open(self) -> int:
        """How many descriptors this process may have open."""
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return _UNLIMITED if soft == resource.RLIM_INFINITY else soft

    def lock(self, fd: int, *, exclusive: bool, wait: bool = False) -> bool:
        """Take or change the lock on an open file; False when another process holds it and `wait` isn't set."""
        how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(fd, how if wait else how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def step(self, name: str) -> None:
        """A point between two changes to the store: a test may end the process here."""


class MountPoint(NamedTuple):
    """A mounted file system. `device` as in `8:1`."""

    point: str
    device: str
    kind: str
    read_only: bool


def mounts(mountinfo: Path) -> Iterator[MountPoint]:
    """All mounts, from a file like /proc/self/mountinfo; a later one covers an earlier one. Raises OSError."""
    return mounts_in(mountinfo.read_text(errors="surrogateescape"))


def mounts_in(mountinfo: str) -> Iterator[MountPoint]:
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, more = before.split(" "), after.split(" ")
        if len(fields) >= 6 and len(more) >= 3:
            read_only = "ro" in fields[5].split(",") or "ro" in more[2].split(",")
            yield MountPoint(plain_path(fields[4]), fields[2], more[0], read_only)


def plain_path(escaped: str) -> str:
    """A path as written in the system's tables, where blanks are octal escapes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), escaped)


def failed(doing: str, path: Path, error: OSError) -> StoreError:
    """The store's error for one of the system's; the errno is available from its cause."""
    return StoreError(f"{doing} {path}: {error.strerror or error}")


def _left_in(group: Path) -> int:
    """Memory that a control group may still take, or could reclaim from file pages."""
    most = _number_after("", group / "memory.max")  # the root group has none, and "max" is no bound
    if most == _UNLIMITED:
        return _UNLIMITED
    return most - int((group / "memory.current").read_text()) + _number_after("inactive_file", group / "memory.stat")


def _number_after(name: str, path: Path) -> int:
    """The number in a system file's first line with this prefix; infinite if there is none."""
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.removeprefix(name).split()[0])
    return _UNLIMITED


def _together(parts: list[memoryview]) -> list[memoryview]:
    """As many of the first parts as one call should write."""
    size = 0
    for count, part in enumerate(parts[:_MAX_PARTS]):
        size += len(part)
        if size > _MAX_WRITE and count:
            return parts[:count]
    return parts[:_MAX_PARTS]


def _without(parts: list[memoryview], count: int) -> list[memoryview]:
    """The parts without their first `count` bytes."""
    for index, part in enumerate(parts):
        if count < len(part):
            return [part[count:], *parts[index + 1 :]]
        count -= len(part)
    return []
