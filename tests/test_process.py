"""Figures of the process, as the system has them."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import resource
from pathlib import Path

from shield.process import Pauses, process_statistics


def test_they_are_those_of_the_system(tmp_path: Path) -> None:
    before = process_statistics(Pauses(lambda: 0.0))
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        found = process_statistics(Pauses(lambda: 0.0))

    assert found.descriptors == before.descriptors + 2
    assert found.descriptors_limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found.resident_bytes % os.sysconf("SC_PAGE_SIZE") == 0
    assert 10 << 20 < found.resident_bytes <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + (64 << 20)
    assert 0.0 < before.cpu_seconds <= found.cpu_seconds


def test_the_time_of_collections_counts_until_it_ends() -> None:
    clock = itertools.count()
    pauses = Pauses(lambda: float(next(clock)))

    pauses.begin()
    pauses.begin()  # twice is once
    before = process_statistics(pauses)
    gc.collect()
    found = process_statistics(pauses)
    asyncio.run(pauses.end())
    gc.collect()

    assert found.collections[2] == before.collections[2] + 1
    assert found.collection_seconds >= before.collection_seconds + 1.0
    assert pauses.seconds == found.collection_seconds
