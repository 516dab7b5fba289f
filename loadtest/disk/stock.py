"""A cache directory with as many entries as one likes, written by the store itself, without a node."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from loadtest.disk.bench import Objects
from loadtest.origin import HEAD, body
from shield.config.loading import load
from shield.rules.freshness import Freshness
from shield.rules.heads import of_fields, split_block
from shield.store.directory.claim import Claim
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.files import Files
from shield.store.directory.log import Draft
from shield.store.directory.premises import DirectoryLimits
from shield.store.directory.record import record_of
from shield.store.volume import boot_id

BODY = 512
_BATCH = 1024
_SAMPLE = 20_000


def path_of(number: int) -> str:
    """An entry's path; the origin has it, too."""
    return f"/o/{BODY}/{number}"


def some_of(count: int, most: int = _SAMPLE, seed: int = 0) -> Objects:
    """Some of the entries, at random."""
    numbers = random.Random(seed).sample(range(count), min(count, most))
    return Objects(f"{BODY} B", [path_of(number) for number in numbers], BODY * len(numbers))


def stock(
    config: Path,
    count: int,
    *,
    path: Callable[[int], str] = path_of,
    tags: Callable[[int], bytes] = lambda number: b"",
) -> float:
    """Write small entries into the first directory of a node's settings; microseconds for each."""
    settings = load(config, environ={}, secret_directories=()).settings
    routes = settings.route_table()
    where = settings.cache.tiers[0].directories[0]
    status, fields = split_block(
        HEAD.partition(b"\r\n\r\n")[0].replace(b"%b", b"Wed, 12 Oct 2022 17:50:00 GMT") + b"\r\n"
    )
    lower = tuple((name.lower(), b"%d" % BODY if value == b"%d" else value) for name, value in fields)
    head = of_fields(status, lower)
    content = [body(BODY)]
    now = time.time()
    freshness = Freshness(now, 86400.0 * 365, 30.0, 86400.0)
    files = Files()
    claim = Claim(where.path, node=settings.node, boot_id=boot_id(), files=files)
    directory = CacheDirectory(claim, DirectoryLimits(capacity=where.capacity), files=files)
    began = time.monotonic()
    try:
        for start in range(0, count, _BATCH):
            drafts = []
            for number in range(start, min(count, start + _BATCH)):
                record = record_of(routes.resolve(path(number).encode()).key, head, freshness)
                record.tags = tags(number)
                record.origin, record.total, record.stored_at = "one", BODY, now
                drafts.append(Draft(record, content))
            directory.commit(drafts)
    finally:
        directory.close()
    return (time.monotonic() - began) / count * 1e6
