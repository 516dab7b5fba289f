"""Objects in buckets that people name (`s3://logs/2026-11-*.gz`), read as text by obstore: with the credentials and
the endpoint of the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on), which are those that Polars uses.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from shield.errors import ShieldError

REMOTE = ("s3://", "gs://", "az://", "https://", "http://")
_WILD = "*?["


class BucketError(ShieldError):
    """A bucket or an object in it that can't be read: its name, and why."""


def is_remote(name: str) -> bool:
    return name.startswith(REMOTE)


def names_of(pattern: str) -> list[str]:
    """The objects that a name with wildcards means, in the order of their names: `*` and `?` stay within a part of
    the path, as in a shell. A name without any means itself; a web server's can't have any. Raises BucketError.
    """
    bucket, key = _split(pattern)
    if not any(sign in key for sign in _WILD):
        return [pattern]
    if pattern.startswith("http"):
        raise BucketError(f"{pattern}: a web server lists nothing: name each file")
    literal = key[: min(at for at in map(key.find, _WILD) if at >= 0)]
    folder = literal.rpartition("/")[0]
    obstore = _obstore(pattern)
    found = []
    with _explained(pattern):
        for batch in obstore.list(_store(bucket), prefix=folder or None):
            keys = [str(each["path"]) for each in batch]
            found += [each for each in keys if each.startswith(literal) and PurePosixPath("/", each).match("/" + key)]
    if not found:
        raise BucketError(f"{pattern}: there is no such object")
    return [f"{bucket}/{each}" for each in sorted(found)]


@contextmanager
def opened(name: str) -> Iterator[io.BufferedReader]:
    """The bytes of an object as they arrive, by one request. Raises BucketError, also if they break off."""
    bucket, key = _split(name)
    obstore = _obstore(name)
    with _explained(name):
        yield io.BufferedReader(_ObjectReader(obstore.get(_store(bucket), key).stream()), 1 << 16)


class _ObjectReader(io.RawIOBase):
    def __init__(self, chunks: Iterator[Any]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(bytes(chunk))
        number = min(len(into), len(self._rest))
        into[:number] = self._rest[:number]
        self._rest = self._rest[number:]
        return number


def _split(name: str) -> tuple[str, str]:
    scheme, _, rest = name.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key:
        raise BucketError(f"{name}: expected {scheme}://{'HOST/PATH' if scheme.startswith('http') else 'BUCKET/KEY'}")
    return f"{scheme}://{bucket}", key


def _store(bucket: str) -> Any:
    from obstore.store import from_url  # of the extra `tables`, which most commands don't need

    # Enough for a hiccup; people wait, and want to know.
    return from_url(bucket, retry_config={"max_retries": 2}, client_options={"allow_http": True})


def _obstore(name: str) -> Any:
    try:
        import obstore
    except ImportError:
        raise BucketError(f"{name}: buckets need obstore: pip install 'shield[tables]'") from None
    return obstore


@contextmanager
def _explained(name: str) -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise BucketError(f"{name}: can't be read: {first}") from None
