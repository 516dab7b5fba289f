"""Records, bodies and directories for the tests of the disk store."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from shield.rules.freshness import Freshness
from shield.rules.heads import of_fields
from shield.rules.key import CacheKey
from shield.rules.routes import cache_key
from shield.store.directory.claim import Claim
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.files import Files
from shield.store.directory.log import Draft
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.reading import GoneError, StoredRecord
from shield.store.directory.reclaim import Judge, drop_all
from shield.store.directory.record import Record, RecordKind, record_of
from tests.store.faulty_files import FaultyFiles

SMALL = DirectoryLimits(capacity=4 << 20, segment_bytes=128 << 10)


def key(name: str) -> CacheKey:
    return cache_key(b"", b"/" + name.encode(), b"")


@lru_cache(maxsize=2048)
def body(name: str, size: int) -> bytes:
    """Bytes that no other name has."""
    return random.Random(name).randbytes(size)


def record(name: str, size: int, kind: RecordKind = RecordKind.WHOLE) -> Record:
    fields = ((b"content-type", b"image/webp"), (b"etag", b'"' + name.encode() + b'"'))
    head = of_fields(200, (*fields, (b"content-length", b"%d" % size)))
    made = record_of(key(name), head, Freshness(1000.0, 3600.0, 30.0, 86400.0), kind)
    made.origin, made.total, made.stored_at = "fra", size, 1000.0
    return made


def draft(name: str, size: int, content: bytes | None = None) -> Draft:
    return Draft(record(name, size), [body(name, size) if content is None else content])


def head(name: str, version: str, slices: int, size: int) -> Draft:
    """The head of a large object."""
    made = record(name, slices * size, RecordKind.HEAD)
    return Draft(replace(made, etag=version.encode(), slice_bytes=size))


def piece(name: str, version: str, number: int, slices: int, size: int) -> Draft:
    """One slice of it."""
    made = replace(head(name, version, slices, size).record, kind=RecordKind.SLICE, head=b"", slice=number)
    return Draft(made, [body(f"{name}/{version}/{number}", size)])


def large(name: str, version: str, slices: int, size: int) -> list[Draft]:
    """All of it."""
    return [head(name, version, slices, size), *(piece(name, version, n, slices, size) for n in range(slices))]


def in_slices(name: str, count: int, *, without: Sequence[int] = ()) -> list[Draft]:
    """A large entry of `count` slices of 1000 bytes."""
    made = record(name, 1000 * count, RecordKind.HEAD)
    made.slice_bytes = 1000
    slices = [replace(made, kind=RecordKind.SLICE, head=b"", slice=number) for number in range(count)]
    kept = [Draft(s, [body(f"{name}{s.slice}", 1000)]) for s in slices if s.slice not in without]
    return [Draft(made), *kept]


def opened(
    path: Path,
    limits: DirectoryLimits = SMALL,
    *,
    boot: str = "b1",
    files: Files | None = None,
    judge: Judge = drop_all,
    worker: int = 0,
) -> CacheDirectory:
    files = files or FaultyFiles()
    claim = Claim(path, node="n1", boot_id=boot, files=files)
    try:
        return CacheDirectory(claim, limits, worker=worker, files=files, judge=judge)
    except BaseException:
        claim.release(clean=False)
        raise


def rebuilt(directory: CacheDirectory) -> CacheDirectory:
    while directory.rebuild_step(64 << 10):
        pass
    return directory


def fetched(directory: CacheDirectory, name: str) -> StoredRecord | None:
    """What a request would get: None for a miss."""
    found = directory.lookup(key(name).digest)
    if found is None:
        return None
    try:
        return directory.fetch(found, key(name))
    except GoneError:
        return None


def content(directory: CacheDirectory, name: str) -> bytes | None:
    """The body that a request would get; None for a miss."""
    stored = fetched(directory, name)
    if stored is None:
        return None
    try:
        return bytes(directory.read(stored, 0, stored.header.body_length))
    except GoneError:
        return None


def used_bytes(path: Path) -> int:
    """What lies in the directory."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and file.name != "lock.mdb")


def abandon(directory: CacheDirectory) -> None:
    """End as a killed process does: nothing is closed in order."""
    directory.index.close()
    directory.segments.close()
    os.close(directory._claim._fd)
