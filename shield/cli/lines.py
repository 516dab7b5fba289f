"""Lines of files that people name: packed by gzip or not, of standard input, or of objects in buckets."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from shield.cli.buckets import BucketError, opened
from shield.errors import ShieldError

_GZIP = b"\x1f\x8b"
_PACKED = {
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"\xfd7zXZ": "packed by xz",
    b"BZh": "packed by bzip2",
    b"PK\x03\x04": "a ZIP archive",
    b"PAR1": "Parquet, which needs a name that ends in .parquet",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


@contextmanager
def lines_of(path: Path | None, failure: type[ShieldError]) -> Iterator[IO[str]]:
    """The lines of a file, or of standard input. Raises `failure` if it can't be read, or breaks off."""
    if path is None:
        if sys.stdin is None:
            raise failure("standard input: can't be read: it is closed")
        with _explained("standard input", failure):
            yield _text(_UnclosedReader(cast(io.RawIOBase, sys.stdin.buffer)))
        return
    with _explained(str(path), failure), path.open("rb") as raw:
        yield _text(raw)


@contextmanager
def lines_in_bucket(name: str, failure: type[ShieldError]) -> Iterator[IO[str]]:
    """The lines of an object, named as `shield.cli.buckets` does. Raises `failure` as `lines_of` does."""
    with _explained(name, failure), opened(name) as raw:
        yield _text(raw)


class _UnclosedReader(io.BufferedReader):
    """Leaves what it reads open."""

    def close(self) -> None:
        """Nothing to do."""


def _text(raw: io.BufferedReader) -> IO[str]:
    """Text that may begin with a mark of UTF-8. Raises OSError for what no text begins with."""
    # Names don't tell: what a bucket has is often packed under any name, and unpacked on its way under the old one.
    begin = raw.peek(8)[:8]
    for magic, name in _PACKED.items():
        if begin.startswith(magic):
            raise OSError(f"it is {name}: expected text, packed by gzip or not")
    unpacked = gzip.GzipFile(fileobj=raw) if begin.startswith(_GZIP) else raw
    return io.TextIOWrapper(unpacked, encoding="utf-8-sig", errors="surrogateescape")


@contextmanager
def _explained(name: str, failure: type[ShieldError]) -> Iterator[None]:
    try:
        yield
    except BucketError as error:
        raise failure(str(error)) from None
    except EOFError:
        raise failure(
            f"{name}: can't be read: its gzip breaks off: leave it out while it is written, or get it again"
        ) from None
    except (OSError, zlib.error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise failure(f"{name}: can't be read: {said}") from None
