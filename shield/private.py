"""The private directory of a running node, for its workers' sockets, and for files that needn't outlast it: only the
node's user has access.

It is removed with the node. A killed node leaves it behind, and the next start removes it, since its lock file is no
longer locked: the parent and all workers hold the lock as long as one of them lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shield.errors import ConfigError

_PREFIX = "shield-"
_LOCK = "lock"
_SOCKET = "worker-"
_FILES = ("figures", "orders-", "edge-purges-")  # of `observe.continuity`, `build.spreading`, `build.edges`


class Private(NamedTuple):
    """The directory, and the descriptor of its lock. It goes to the program that takes over this process."""

    path: Path
    lock: int


@contextlib.contextmanager
def private_directory(kept: Private | None = None) -> Iterator[Private]:
    """Made in $RUNTIME_DIRECTORY, or with temporary files. Raises ConfigError. `kept` is used if it is given."""
    private = kept or _made()
    try:
        yield private
    finally:
        _empty(private.path)
        os.close(private.lock)


def _made() -> Private:
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    parent = Path(runtime or tempfile.gettempdir())
    _remove_stale(parent)
    try:
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _lock_new(made)
    except OSError as error:
        raise ConfigError([f"{parent}: no place for sockets: {error.strerror}"]) from None
    return Private(made, lock)


def socket_path(directory: Path, number: int) -> Path:
    """The path of a worker's socket for the others."""
    return directory / f"{_SOCKET}{number}"


def leave(path: Path) -> None:
    """Remove a worker's socket if no parent will; the last worker removes the directory."""
    with contextlib.suppress(OSError):
        path.unlink()
        if [each.name for each in path.parent.iterdir() if not each.name.startswith(_FILES)] == [_LOCK]:
            _empty(path.parent)


def _lock_new(directory: Path) -> int:
    """A held lock, locked before its name appears: else another start could take it for stale."""
    unnamed = directory / f"{_LOCK}.new"
    lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unnamed.rename(directory / _LOCK)
    return lock


def _remove_stale(parent: Path) -> None:
    """Remove directories of nodes that no longer run, if they are ours."""
    with contextlib.suppress(OSError):
        for found in parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                state = found.lstat()
                if stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid():
                    _remove_if_stale(found)


def _remove_if_stale(directory: Path) -> None:
    """Raises OSError if it is in use, or isn't a node's."""
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _empty(directory)
    finally:
        os.close(lock)


def _empty(directory: Path) -> None:
    """Remove it with the files that a node keeps there, and nothing else."""
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if path.name == _LOCK or path.name.startswith((_SOCKET, *_FILES)):
                path.unlink()
        directory.rmdir()
