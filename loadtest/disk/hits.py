"""Hits on disk, pages in memory: CPU per request of Shield's process beside nginx's.

`shield-ram` has the same objects in its RAM tier, too: what it costs less is what the disk costs.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import defaultdict
from functools import partial

from loadtest.disk.bench import (
    GIB,
    Bench,
    Objects,
    Sample,
    compared,
    equal_objects,
    median,
    small_objects,
    spread,
    table,
)
from loadtest.peers import note, times
from loadtest.servers import OnDisk


def run(bench: Bench, options: argparse.Namespace) -> None:
    names = compared(options, "shield", "shield-ram", "nginx")
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    wrk = bench.wrk(options.connections)
    sets = _sets(min(options.objects, bench.descriptors - 2000))  # so that nginx can have all files open
    lists = [bench.listed(objects) for objects in sets]
    with contextlib.ExitStack() as stack:
        servers = []
        for name in names:
            memory = 4 * GIB if name.endswith("-ram") else 0
            disk = OnDisk(bench.fresh(name), 16 * GIB, objects=2 * options.objects, memory=memory)
            servers.append(stack.enter_context(bench.serving(name, disk)))
            for objects in sets:
                bench.fill(servers[-1], objects)
        for number in range(1, options.rounds + 1):
            for objects, listed in zip(sets, lists, strict=True):
                for server in servers:
                    url = f"http://127.0.0.1:{server.port}"
                    sample = bench.sample(server, partial(wrk.run_any, url, listed, options.seconds))
                    samples[server.name, objects.name].append(sample)
                    note(f"round {number}  {objects.name:8} {server.name:11}{sample}")
    costs = {at: [sample.cost for sample in taken] for at, taken in samples.items()}
    columns = [objects.name for objects in sets]
    cells = {at: f"{median(taken):.1f}" for at, taken in costs.items()}
    if "nginx" in names:
        for name, column in costs:
            ratio = times(median(costs[name, column]), median(costs["nginx", column]))
            cells[name, column] += f" ({ratio})"
    title = f"Server CPU microseconds per hit on disk, median of {options.rounds}; in brackets, times nginx's"
    table(title, names, columns, cells)
    table("Lowest and highest", names, columns, {at: spread(taken) for at, taken in costs.items()})


def _sets(count: int) -> list[Objects]:
    return [
        small_objects(count),
        equal_objects(200_000, max(1, count // 10)),
        equal_objects(1_000_000, max(1, count // 50)),
    ]
