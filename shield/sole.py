"""One node at a time: a node locks what outlasts it, for as long as it runs.

The locks are POSIX's: of the process, so that they end with it however it ends, and workers have none. A process that
becomes another program locks anew.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from shield.errors import ConfigError

log = logging.getLogger("shield.sole")

_HELD = (errno.EAGAIN, errno.EACCES)
_LONGEST = 300


def lock_of(state: Path, node: str) -> Path:
    """The lock of a node's files in its directory."""
    return state / f"node-{node}.lock"


@contextlib.contextmanager
def alone(paths: Sequence[Path], node: str, *, is_running: bool = False) -> Iterator[None]:
    """Hold these locks. Raises ConfigError if another node has one; of a node that `is_running` already, as after an
    upgrade, it is only logged.
    """
    held: list[int] = []
    try:
        for path in paths:
            try:
                held.append(_held(path, node))
            except ConfigError as error:
                if not is_running:
                    raise
                log.warning("%s", error)
            except OSError as error:
                log.warning("%s: can't be locked, so that another node could use the same files: %s", path, error)
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


def _held(path: Path, node: str) -> int:
    """Its descriptor. Raises ConfigError or OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _HELD:
            os.close(descriptor)
            raise
        other = os.read(descriptor, _LONGEST).decode("utf-8", "replace").strip() or "unknown"
        os.close(descriptor)
        raise ConfigError(
            [
                f"{path}: another node uses these files now ({other}), and counts and orders of both would be mixed: "
                "stop it, or give one of them another name (node), state_directory or ledger.path"
            ]
        ) from None
    with contextlib.suppress(OSError):  # as on a full disk: it is for people
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"node {node}, pid {os.getpid()}\n".encode())
    return descriptor
