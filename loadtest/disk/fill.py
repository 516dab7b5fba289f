"""Fills: what comes from an origin, goes to a client and to the disk, beside nginx."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass

from loadtest.disk.bench import GIB, Bench, Objects, check, compared, equal_objects, median, spread, table
from loadtest.disk.gets import get_all
from loadtest.peers import get, note, times
from loadtest.servers import OnDisk


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one run: seconds until the clients have all, and until the server has written; CPU seconds; bytes."""

    served: float
    written: float
    cpu: float
    bytes: int
    stored: int

    @property
    def cost(self) -> float:
        """CPU milliseconds per MB."""
        return self.cpu * 1000 / (self.bytes / 1e6)

    def __str__(self) -> str:
        megabytes = self.bytes / 1e6
        served, written = megabytes / self.served, megabytes / self.written
        kept = self.stored / self.bytes
        return (
            f"{served:6.0f} MB/s served  {written:6.0f} written  {self.cost:6.2f} ms CPU per MB  {kept:4.0%} stored"
        )


def run(bench: Bench, options: argparse.Namespace) -> None:
    names = compared(options, "shield", "nginx")
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    sets = [
        (equal_objects(50_000, options.objects // 2), 16),
        (equal_objects(1_000_000, max(1, options.objects // 40)), 16),
        (equal_objects(int(options.megabytes * 1e6), max(2, options.objects // 4000)), 2),
    ]
    for objects, _ in sets:
        get(bench.origin.port, objects.paths[0])  # so that it has the bytes, which take a while to make
    for number in range(1, options.rounds + 1):
        for objects, connections in sets:
            for name in names:
                sample = _sample(bench, name, objects, connections)
                samples[name, objects.name].append(sample)
                note(f"round {number}  {objects.name:8} {name:8} {sample}")
    columns = [objects.name for objects, _ in sets]
    cells: dict[tuple[str, str], str] = {}
    for at, taken in samples.items():
        cells[at] = f"{median([sample.cost for sample in taken]):.2f}"
        if "nginx" in names:
            nginx = median([sample.cost for sample in samples["nginx", at[1]]])
            cells[at] += f" ({times(median([sample.cost for sample in taken]), nginx)})"
    table("Server CPU milliseconds per MB filled; in brackets, times nginx's", names, columns, cells)
    costs = {at: spread([sample.cost for sample in taken]) for at, taken in samples.items()}
    table("Lowest and highest", names, columns, costs)
    rates = {
        at: f"{median([s.bytes / 1e6 / s.served for s in taken]):.0f} / "
        f"{median([s.bytes / 1e6 / s.written for s in taken]):.0f}"
        for at, taken in samples.items()
    }
    table("MB/s until the clients have it / until the server has written it", names, columns, rates)
    shares = {at: f"{median([s.stored / s.bytes for s in taken]):.0%}" for at, taken in samples.items()}
    table("Bytes in the directory, of those served", names, columns, shares)


def _sample(bench: Bench, name: str, objects: Objects, connections: int) -> Sample:
    """Empty directories, all of the objects once."""
    disk = OnDisk(bench.fresh("fill"), 32 * GIB, objects=len(objects.paths))
    os.sync()
    with bench.serving(name, disk) as server:
        get(server.port, "/o/1000/first")
        server.settle()
        empty, spent, began = server.held_bytes(), server.process.cpu_seconds(), time.monotonic()
        got = check(get_all(server.port, objects.paths, connections=connections))
        served = time.monotonic() - began
        written = max(served, server.settle() - began)
        cpu, stored = server.process.cpu_seconds() - spent, server.held_bytes() - empty
    shutil.rmtree(disk.directory)
    return Sample(served, written, cpu, got.bytes, stored)
