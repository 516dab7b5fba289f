"""Bytes written to disk for each byte served, when most keys are asked for once: what admission is for."""

from __future__ import annotations

import argparse
from dataclasses import replace

from loadtest.disk.bench import Bench, check, compared, table
from loadtest.disk.gets import get_all
from loadtest.peers import note
from loadtest.servers import OnDisk
from loadtest.traces import platform_size, trace

SKEW = 0.9
WONDERS = 0.6
REQUESTS_OF_OBJECT = 4
DISK_SHARE = 0.2  # of the bytes of all objects that come again
MEMORY_OF_DISK = 20
LEAST_CAPACITY = 128 << 20
COLUMNS = ("hits", "bytes hit", "written/served", "CPU us/request", "in the end, MB")


def run(bench: Bench, options: argparse.Namespace) -> None:
    names = compared(options, "shield", "nginx")
    count = options.requests
    objects = max(1, count // REQUESTS_OF_OBJECT)
    made = trace("wonders", SKEW, requests=count, objects=objects, wonders=WONDERS, size=platform_size)
    paths = [f"/o/{_rounded(made.sizes[number])}/{number}" for number in made.requests]
    capacity = int(made.population * DISK_SHARE)
    if capacity < LEAST_CAPACITY:
        note(f"so few fit in {LEAST_CAPACITY >> 20} MiB, the least that a disk tier takes: nothing is reclaimed")
        capacity = LEAST_CAPACITY
    base = OnDisk(bench.directory, capacity, objects=objects, memory=capacity // MEMORY_OF_DISK)
    cases = {
        "shield, all": ("shield", replace(base, directory=bench.fresh("all"))),
        "shield, repeated": ("shield", replace(base, directory=bench.fresh("repeated"), admission="repeated")),
        "nginx": ("nginx", replace(base, directory=bench.fresh("nginx"))),
    }
    cells: dict[tuple[str, str], str] = {}
    rows = [row for row, (name, _) in cases.items() if name in names]
    for row in rows:
        name, disk = cases[row]
        with bench.serving(name, disk) as server:
            half = len(paths) // 2
            check(get_all(server.port, paths[:half]))
            server.settle()
            before, spent = server.process.read_and_written()[1], server.process.cpu_seconds()
            fetched = bench.fetched_bytes()
            got = check(get_all(server.port, paths[half:]))
            server.settle()
            written = server.process.read_and_written()[1] - before
            held = server.held_bytes()
            spent, fetched = server.process.cpu_seconds() - spent, bench.fetched_bytes() - fetched
        answered = len(paths) - half
        values = (
            f"{got.hits / answered:.1%}",
            f"{1 - fetched / got.bytes:.1%}",
            f"{written / got.bytes:.2f}",
            f"{spent / answered * 1e6:.0f}",
            f"{held / 1e6:.0f} of {capacity / 1e6:.0f}",
        )
        cells |= {(row, column): value for column, value in zip(COLUMNS, values, strict=True)}
        note(f"{row}: {', '.join(values)}")
    title = f"Zipf {SKEW}, {WONDERS:.0%} one-hit wonders, disk for {DISK_SHARE:.0%} of the objects that come again"
    table(title, rows, COLUMNS, cells)


def _rounded(size: int) -> int:
    """The origin keeps a body for each size in memory."""
    step = 1000 if size < 100_000 else 100_000
    return size // step * step
