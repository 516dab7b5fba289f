"""Lines of files that people name: packed by gzip or not, of standard input, or of objects in buckets."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shield.cli.buckets import BucketError, opened
from shield.errors import ShieldError

_GZIP = b"\x1f\x8b"


@contextmanager
def lines_of(path: Path | None, failure: type[ShieldError]) -> Iterator[IO[str]]:
    """The lines of a file, or of standard input. Raises `failure` if it can't be read, or breaks off."""
    if path is None:
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # as of files, whatever the locale is
        yield sys.stdin
        return
    with _explained(str(path), failure), path.open("rb") as raw:
        yield _text(raw, is_packed=path.suffix == ".gz")


@contextmanager
def lines_in_bucket(name: str, failure: type[ShieldError]) -> Iterator[IO[str]]:
    """The lines of an object, named as `shield.cli.buckets` does. Raises `failure` as `lines_of` does."""
    with _explained(name, failure), opened(name) as raw:
        yield _text(raw, is_packed=name.endswith(".gz"))


def _text(raw: io.BufferedReader, *, is_packed: bool) -> IO[str]:
    # What a bucket has is often packed without saying so in its name.
    packed = is_packed or raw.peek(2)[:2] == _GZIP
    return io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if packed else raw, encoding="utf-8", errors="surrogateescape")


@contextmanager
def _explained(name: str, failure: type[ShieldError]) -> Iterator[None]:
    try:
        yield
    except BucketError as error:
        raise failure(str(error)) from None
    except (OSError, EOFError, zlib.error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise failure(f"{name}: can't be read: {said}") from None
