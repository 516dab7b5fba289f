"""From a process's start to its first hit, after a clean end, a killed process, and a lost index."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from loadtest.disk.bench import GIB, Bench, Server, drop_from_memory, median, table
from loadtest.disk.gets import get_all
from loadtest.disk.stock import path_of, some_of, stock
from loadtest.peers import get, note
from loadtest.servers import OnDisk

PATIENCE = 300.0
COLUMNS = ("first answer", "first hit", "half are hits", "all are hits", "CPU until then")
ALL = 0.995  # of a sample
SAMPLE = 400  # entries that are asked for to see how many are known; others each time, since asking makes them known
PAUSE = 0.2


def run(bench: Bench, options: argparse.Namespace) -> None:
    count = options.entries
    disk = OnDisk(bench.fresh("stock"), 16 * GIB)
    with bench.serving("shield", disk) as server:
        config = Path(server.place.directory / "shield.yaml")
    note(f"{count} entries written, {stock(config, count):.1f} us each")
    index = disk.directory / "index"
    cases: list[tuple[str, Callable[[Server], None], Callable[[], object]]] = [
        ("clean end", _stop, lambda: None),
        ("clean end, cold disk", _stop, lambda: drop_from_memory(disk.directory)),
        ("killed", _kill, lambda: None),
        ("killed, cold disk", _kill, lambda: drop_from_memory(disk.directory)),
        ("index lost", _kill, lambda: shutil.rmtree(index)),
    ]
    nothing = OnDisk(bench.fresh("nothing"), 16 * GIB)
    rows = ["no entries"]
    cells = {("no entries", COLUMNS[0]): f"{median([_empty(bench, nothing) for _ in range(options.rounds)]):.2f}"}
    seeds = itertools.count(1)
    for row, end, then in cases:
        rows.append(row)
        rounds = []
        for _ in range(options.rounds):
            with bench.serving("shield", disk) as server:
                get_all(server.port, some_of(count, SAMPLE, next(seeds)).paths)
                end(server)
            then()
            rounds.append(_round(bench, disk, count, seeds))
        for column, values in zip(COLUMNS, zip(*rounds, strict=True), strict=True):
            cells[row, column] = f"{median(values):.2f}"
        note(f"{row}: " + ", ".join(cells[row, column] for column in COLUMNS))
    table(f"Starts with {count} entries, in seconds from the process's start, median", rows, COLUMNS, cells)


def _round(bench: Bench, disk: OnDisk, count: int, seeds: Iterator[int]) -> tuple[float, float, float, float, float]:
    began = time.monotonic()
    server = bench.start("shield", disk)
    try:
        answer = _first_answer(server, began)
        hit = half = whole = 0.0
        while not whole:
            sample = some_of(count, SAMPLE, next(seeds)).paths
            got = get_all(server.port, sample, connections=4)
            share, now = got.hits / len(sample), time.monotonic() - began
            if got.hits and not hit:
                hit = answer if share > ALL else now
            if share > 0.5:
                half = half or now
            if share > ALL:
                whole = now
            elif now > PATIENCE:
                raise RuntimeError(f"after {now:.0f} s only {share:.0%} of the entries are known")
            else:
                time.sleep(PAUSE)
        return answer, hit, half, whole, server.process.cpu_seconds()
    finally:
        server.process.stop()


def _empty(bench: Bench, disk: OnDisk) -> float:
    began = time.monotonic()
    server = bench.start("shield", disk)
    try:
        return _first_answer(server, began)
    finally:
        server.process.stop()


def _first_answer(server: Server, began: float) -> float:
    """Seconds until it answers."""
    while time.monotonic() - began < PATIENCE:
        with contextlib.suppress(OSError, http.client.HTTPException):
            get(server.port, path_of(0))
            return time.monotonic() - began
        time.sleep(0.005)
    raise RuntimeError("it doesn't answer")


def _stop(server: Server) -> None:
    server.process.stop()


def _kill(server: Server) -> None:
    server.process.kill()
