"""Lines of files that people name: packed by gzip or not, or of standard input."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shield.errors import ShieldError


@contextmanager
def lines_of(path: Path | None, failure: type[ShieldError]) -> Iterator[IO[str]]:
    """The lines of a file, or of standard input. Raises `failure` if it can't be read, or breaks off."""
    if path is None:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # as of files, whatever the locale is
        yield sys.stdin
        return
    try:
        with path.open("rb") as raw:
            packed = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            yield io.TextIOWrapper(packed, encoding="utf-8", errors="surrogateescape")
    except (OSError, EOFError, zlib.error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise failure(f"{path}: can't be read: {said}") from None
