"""Keys that were taken down, in a file of the node's state directory, so that they stay so over restarts and kills.

A line for each takedown and each end of one; the last on a key counts. Lines that a crash has torn are skipped. Lines
are only added, by any worker: what one of them has written isn't lost by another's writing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote_from_bytes

from shield.errors import StoreError
from shield.rules.key import CacheKey

log = logging.getLogger("shield.store")

FILE = "takedowns"

_DOWN, _LIFTED = b"+", b"-"


def record(directory: Path, keys: Iterable[CacheKey], now: float, *, lifted: bool = False) -> None:
    """Note the takedown of keys, or its end. It is on the disk once this returns. Blocks. Raises StoreError."""
    sign, path = _LIFTED if lifted else _DOWN, directory / FILE
    lines = [b"%b %.3f %b %b" % (sign, now, key.digest.hex().encode(), _shown(key.text)) for key in keys]
    try:
        _append(path, b"\n" + b"\n".join(lines) + b"\n")  # begins anew after a line that was torn
    except OSError as error:
        said = "taken down until the node restarts" if not lifted else "still taken down"
        raise StoreError(f"{path}: can't be written: {error.strerror}; they are {said}") from None


def recorded(directory: Path) -> list[bytes]:
    """The digests of all keys that are taken down by the file in this directory. Blocks."""
    try:
        lines = (directory / FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        log.error(
            "%s: can't be read: %s; objects that were taken down may come back", directory / FILE, error.strerror
        )
        return []
    down: dict[bytes, bool] = {}
    for line in lines:
        read = _read(line)
        if read is not None:
            down[read[0]] = read[1]
    return [digest for digest, is_down in down.items() if is_down]


def _read(line: bytes) -> tuple[bytes, bool] | None:
    words = line.split(b" ")
    if len(words) != 4 or words[0] not in (_DOWN, _LIFTED):
        return None
    try:
        digest = bytes.fromhex(words[2].decode("ascii"))
    except ValueError:
        return None
    return (digest, words[0] == _DOWN) if len(digest) == 16 else None


def _append(path: Path, data: bytes) -> None:
    is_new = not path.exists()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    if is_new:
        parent = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _shown(text: bytes) -> bytes:
    """A key's text for people, in one word."""
    return quote_from_bytes(text, safe="/:@!$&'()*+,;=[]%?~").encode()
