"""The ground under a cache directory: file system, free space, owner; and notes on problems with them."""

from __future__ import annotations

import os
import pwd
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from shield.store.directory.files import MOUNTS, mounts_in

_NETWORK = re.compile(
    r"(nfs\d?|cifs|smb\d?|smbfs|9p|ceph|afs|lustre|gpfs|beegfs|glusterfs|virtiofs|fuse(\..+)?)"
).fullmatch
_VIRTUAL = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "devpts", "securityfs", "debugfs", "tracefs"})
_TEMPORARY = frozenset({"tmpfs", "ramfs", "devtmpfs", "overlay", "overlayfs", "aufs"})


class Mount(NamedTuple):
    point: str
    kind: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Ground:
    """The facts about a path, or about the nearest existing directory above it."""

    exists: bool
    mount: Mount | None  # None when the system doesn't report it
    device: int
    owner: int
    writable: bool  # by this process
    free_bytes: int
    used_bytes: int  # already taken by the directory


@dataclass(frozen=True, slots=True)
class Wish:
    """The intended use of a directory."""

    tier: str
    path: Path
    capacity: int
    free_floor: int


def survey(path: Path, mounts: Path = MOUNTS) -> Ground:
    """Examine a path without changing anything. Raises OSError."""
    there = path.resolve()
    while not there.exists():
        there = there.parent
    status, room = there.stat(), os.statvfs(there)
    exists = path.exists()
    try:
        mount = mount_of(there, mounts.read_text(errors="surrogateescape"))
    except OSError:
        mount = None
    return Ground(
        exists,
        mount,
        status.st_dev,
        status.st_uid,
        os.access(there, os.W_OK | os.X_OK),
        room.f_bavail * room.f_frsize,
        _used(there) if exists else 0,
    )


def impossible(path: Path) -> str | None:
    """Why no user could ever make a directory there; None if some may."""
    try:
        for place in (path, *path.parents):
            if place.exists():
                kind = None if (mount := survey(place).mount) is None else mount.kind
                if not place.is_dir():
                    return "it is no directory" if place == path else f"{place} is no directory"
                return f"nothing can be stored on {kind}" if kind in _VIRTUAL else None
    except OSError:
        pass  # another user may see more
    return None


def mount_of(path: Path, mountinfo: str) -> Mount | None:
    """The mount that holds a resolved path, from text as in /proc/self/mountinfo; of several the last one, on top."""
    best = None
    for mount in mounts_in(mountinfo):
        if path.is_relative_to(mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = Mount(mount.point, mount.kind, mount.read_only)
    return best


def notes(
    wishes: Sequence[Wish],
    *,
    user: int,
    show: Callable[[int], str],
    look: Callable[[Path], Ground] = survey,
) -> Iterator[str]:
    """One line for each problem, each beginning with a path. `show` formats sizes."""
    grounds: dict[Path, Ground] = {}
    for wish in wishes:
        try:
            grounds[wish.path] = look(wish.path)
        except OSError as error:
            yield f"{wish.path}: can't be examined: {error.strerror}"
    known = [(wish, grounds[wish.path]) for wish in wishes if wish.path in grounds]
    for wish, ground in known:
        for said in _alone(wish, ground, user, show):
            yield f"{wish.path}: {said}"
    yield from _one_device(known)
    yield from _together(known, show)


def _alone(wish: Wish, ground: Ground, user: int, show: Callable[[int], str]) -> Iterator[str]:
    mount = ground.mount
    if mount is not None and _NETWORK(mount.kind):
        yield f"lies on a network file system ({mount.kind}): locks and writes must be reliable; use a local disk"
    elif mount is not None and mount.kind in _TEMPORARY:
        yield f"lies on {mount.kind}, which isn't a disk: entries there are lost with a restart"
    if mount is not None and mount.read_only:
        yield f"its file system is mounted read-only at {mount.point}"
    elif ground.exists and ground.owner != user:
        yield (
            f"belongs to user {user_name(ground.owner)}, and this is {user_name(user)}: a node runs as the owner "
            "of its directories"
        )
    elif not ground.writable:
        what = "can't be written" if ground.exists else "isn't there and can't be made"
        yield f"{what} by user {user_name(user)}"
    if (lacking := _lacking([(wish, ground)])) > 0:
        yield (
            f"its file system has {show(ground.free_bytes)} free, {show(lacking)} less than capacity and free_floor "
            "take: entries will be evicted before the capacity is reached"
        )


def _one_device(known: Sequence[tuple[Wish, Ground]]) -> Iterator[str]:
    """Directories of one tier that share a disk's speed and its faults."""
    seen: dict[tuple[str, int], Wish] = {}
    for wish, ground in known:
        first = seen.setdefault((wish.tier, ground.device), wish)
        if first is not wish:
            yield (
                f"{wish.path}: lies on the same file system as {first.path}, of the same tier: one directory for "
                "each disk is intended"
            )


def _together(known: Sequence[tuple[Wish, Ground]], show: Callable[[int], str]) -> Iterator[str]:
    """Capacities that fit individually, but not together."""
    by_device: dict[int, list[tuple[Wish, Ground]]] = defaultdict(list)
    for wish, ground in known:
        by_device[ground.device].append((wish, ground))
    for shared in by_device.values():
        lacking = _lacking(shared)
        if len(shared) > 1 and lacking > 0 and all(_lacking([one]) <= 0 for one in shared):
            others = ", ".join(str(wish.path) for wish, _ in shared[1:])
            yield (
                f"{shared[0][0].path}: shares its file system with {others}: together they lack {show(lacking)}; "
                "entries will be evicted before the capacities are reached"
            )


def _lacking(shared: Sequence[tuple[Wish, Ground]]) -> int:
    """Bytes missing on a file system for these directories; space that they take already is theirs."""
    wanted = sum(wish.capacity for wish, _ in shared) + max(wish.free_floor for wish, _ in shared)
    return wanted - min(ground.free_bytes for _, ground in shared) - sum(ground.used_bytes for _, ground in shared)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _used(path: Path) -> int:
    """Bytes that a cache directory takes on its disk: all its files are one or two levels down."""
    total = 0
    for place in (path, path / "segments", path / "index"):
        with suppress(OSError), os.scandir(place) as found:
            for one in found:
                with suppress(OSError):  # it may go meanwhile
                    total += one.stat(follow_symlinks=False).st_blocks * 512
    return total
