"""The private directory of a running node, for its workers' sockets: only the node's user gets in.

It goes with the node. A node that was killed leaves it behind; then the next start removes it: its lock file isn't
held any more, since that is held by the parent and all workers for as long as one of them lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from shield.errors import ConfigError

_PREFIX = "shield-"
_LOCK = "lock"
_SOCKET = "worker-"


@contextlib.contextmanager
def private_directory() -> Iterator[Path]:
    """Made below $RUNTIME_DIRECTORY, or where temporary files are. Raises ConfigError."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    parent = Path(runtime or tempfile.gettempdir())
    _remove_stale(parent)
    try:
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _lock_new(made)
    except OSError as error:
        raise ConfigError([f"{parent}: no place for sockets: {error.strerror}"]) from None
    try:
        yield made
    finally:
        _empty(made)
        os.close(lock)


def socket_path(directory: Path, number: int) -> Path:
    """Where a worker listens for the others."""
    return directory / f"{_SOCKET}{number}"


def leave(path: Path) -> None:
    """Remove a worker's socket where no parent will; the last worker takes the directory away."""
    with contextlib.suppress(OSError):
        path.unlink()
        if os.listdir(path.parent) == [_LOCK]:  # noqa: PTH208
            _empty(path.parent)


def _lock_new(directory: Path) -> int:
    """A held lock, under its name from the first moment on: else another start could take it for stale."""
    unnamed = directory / f"{_LOCK}.new"
    lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unnamed.rename(directory / _LOCK)
    return lock


def _remove_stale(parent: Path) -> None:
    """Directories of nodes that are no more, if they are ours."""
    with contextlib.suppress(OSError):
        for found in parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError):
                state = found.lstat()
                if stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid():
                    _remove_if_stale(found)


def _remove_if_stale(directory: Path) -> None:
    """Raises OSError where it is in use, or isn't a node's."""
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _empty(directory)
    finally:
        os.close(lock)


def _empty(directory: Path) -> None:
    """Remove it with what a node keeps there, and nothing else."""
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if path.name == _LOCK or path.name.startswith(_SOCKET):
                path.unlink()
        directory.rmdir()
