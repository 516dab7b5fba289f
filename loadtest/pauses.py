"""Memory of an entry in RAM, and how long the garbage collector stops a worker that fills its RAM.

    python -m loadtest.pauses [--entries 1000000] [--bytes 2000] [--room 0]

Entries are made as a miss makes them, and stored in a RAM tier under the collector's settings of a worker. `--room`
is the number of entries after which others have to go. Other load on the machine makes pauses longer.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from shield.heap import calm_collector
from shield.rules.freshness import Freshness
from shield.rules.heads import as_judged, of_fields
from shield.rules.routes import cache_key
from shield.store.entry import Entry
from shield.store.memory import MemoryTier

_DATE = b"Sun, 29 Nov 2026 16:57:33 GMT"


class Watch:
    """The longest collection of each generation, in seconds, and how many there were."""

    def __init__(self) -> None:
        self.longest: dict[int, float] = {}
        self.count = 0
        self._began = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
            return
        took, generation = time.perf_counter() - self._began, info["generation"]
        self.longest[generation] = max(took, self.longest.get(generation, 0.0))
        self.count += 1


def made(number: int, size: int) -> Entry:
    """An entry as of a miss: nothing in it is shared with others but field names."""
    stated = ("image/webp", f'"{number:032x}"', "public, max-age=86400", "bytes", "1.1 shield", str(size))
    names = (b"content-type", b"etag", b"cache-control", b"accept-ranges", b"via", b"content-length")
    fields = [(name, value.encode()) for name, value in zip(names, stated, strict=True)]
    fields += [(name, bytes(bytearray(_DATE))) for name in (b"last-modified", b"date")]
    freshness = Freshness(1000.0 + number / 7.0, 86400.0, 30.0, 604800.0, 86400.0)
    head = as_judged(of_fields(200, tuple(fields)), freshness)
    return Entry(cache_key(b"", b"/o/%d/%d" % (size, number), b""), head, freshness, (bytes(size),), origin="a")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000, help="stored, one after another")
    parser.add_argument("--bytes", type=int, default=2000, help="of each body")
    parser.add_argument("--room", type=int, default=0, help="for so many entries; 0: for all")
    options = parser.parse_args(arguments)

    one = made(0, options.bytes)
    capacity = one.size * (options.room or 2 * options.entries)
    memory = MemoryTier(capacity=capacity, max_entry=max(capacity // 8, one.size))
    calm_collector()
    watch, before = Watch(), _resident()
    for number in range(options.entries):
        memory.commit(made(number, options.bytes))
    there = memory.statistics().entries
    each = (_resident() - before) / there
    beside = each - options.bytes
    own = beside - len(one.head.block) - len(one.key.text)
    print(f"{there} entries, {each:.0f} bytes each; {beside:.0f} beside the body, {own:.0f} beside head and key")
    longest = ", ".join(f"{1000 * watch.longest.get(at, 0.0):.2f} ms" for at in range(3))
    print(f"{watch.count} collections of the worker's own, the longest by generation: {longest}")
    began = time.perf_counter()
    gc.collect()
    print(f"a full one, as in an idle worker: {1000 * (time.perf_counter() - began):.1f} ms")
    return 0


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
