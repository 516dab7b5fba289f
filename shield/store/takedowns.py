"""Keys that were taken down, kept in a file of each cache directory, so that they stay so over restarts and kills.

A line for each takedown and each end of one; the last on a key counts. Lines that a crash has torn are skipped.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote_from_bytes

from shield.errors import StoreError
from shield.rules.key import CacheKey

log = logging.getLogger("shield.store")

FILE = "takedowns"

_DOWN, _LIFTED = b"+", b"-"


def record(paths: Sequence[Path], keys: Iterable[CacheKey], now: float, *, lifted: bool = False) -> None:
    """Note the takedown of keys, or its end, in these directories. It is on the disks once this returns. Blocks.

    Raises StoreError if none of them takes it; failures of some are logged.
    """
    sign, failures = _LIFTED if lifted else _DOWN, []
    lines = [b"%b %.3f %b %b" % (sign, now, key.digest.hex().encode(), _shown(key.text)) for key in keys]
    data = b"\n" + b"\n".join(lines) + b"\n"  # begins anew after a line that was torn
    for path in paths:
        try:
            _append(path / FILE, data)
        except OSError as error:
            failures.append(f"{path / FILE}: can't be written: {error.strerror}")
    if len(failures) == len(paths):
        raise StoreError("; ".join(failures) or "no cache directory is in use, so that takedowns can't be kept")
    for failure in failures:
        log.warning("%s; other directories have the takedowns", failure)


def recorded(paths: Sequence[Path]) -> list[bytes]:
    """The digests of all keys that are taken down by the files in these directories. Blocks."""
    last: dict[bytes, tuple[float, bool]] = {}
    for path in paths:
        try:
            lines = (path / FILE).read_bytes().split(b"\n")
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning(
                "%s: can't be read: %s; objects that were taken down may come back", path / FILE, error.strerror
            )
            continue
        for line in lines:
            read = _read(line)
            if read is not None:
                digest, at, is_down = read
                if digest not in last or last[digest][0] <= at:
                    last[digest] = at, is_down
    return [digest for digest, (_, is_down) in last.items() if is_down]


def _read(line: bytes) -> tuple[bytes, float, bool] | None:
    words = line.split(b" ")
    if len(words) != 4 or words[0] not in (_DOWN, _LIFTED):
        return None
    try:
        digest, at = bytes.fromhex(words[2].decode("ascii")), float(words[1])
    except ValueError:
        return None
    return (digest, at, words[0] == _DOWN) if len(digest) == 16 else None


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
