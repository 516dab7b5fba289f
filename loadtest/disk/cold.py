"""Cold reads: is anybody else delayed while records come from the disk itself?

A probe asks for an object in RAM all along, every few milliseconds; inside Shield a timer says how late it is, with
and without the time that others had the core.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtest.disk import lag
from loadtest.disk.bench import (
    GIB,
    Bench,
    Objects,
    Server,
    check,
    compared,
    drop_from_memory,
    equal_objects,
    small_objects,
    table,
)
from loadtest.disk.gets import Got, get_all
from loadtest.peers import CLIENT_CORE, get, note, percentile
from loadtest.servers import OnDisk

PROBE = "/o/1000/probe"
PAUSE_MS = 4
SMALL_RATE, LARGE_RATE = 2000.0, 200.0  # a second: well below what a core can do, so that queues are short
MEMORY = 8 << 20  # of RAM tier: for the probe's object, not for the others
COLUMNS = ("reads/s", "from disk", "probe p50", "p99", "max, ms", "timer p99", "max, ms ", "own p99", "max, ms  ")

Late = tuple[list[float], list[float]]  # as `lag.samples`


@dataclass(slots=True)
class Phase:
    """What was seen in a stretch of time."""

    start: float
    stop: float
    got: Got
    read: int  # bytes from the disk
    probed: list[float]


def run(bench: Bench, options: argparse.Namespace) -> None:
    names = compared(options, "shield", "nginx")
    cells: dict[tuple[str, str], str] = {}
    rows: list[str] = []
    sets = [
        (small_objects(options.objects), SMALL_RATE),
        (equal_objects(1_000_000, max(1, options.objects // 20)), LARGE_RATE),
    ]
    for name in names:
        for objects, rate in sets:
            for phase, late, what in _phases(bench, name, objects, rate, idle=options.seconds):
                row = f"{name} {objects.name}, {what}"
                rows.append(row)
                cells |= {(row, column): cell for column, cell in zip(COLUMNS, _cells(phase, late), strict=True)}
                note(f"{row}: " + ", ".join(cells[row, column] for column in COLUMNS))
    table("Cold reads and who waits for them", rows, COLUMNS, cells)


def _phases(bench: Bench, name: str, objects: Objects, rate: float, *, idle: float) -> list[tuple[Phase, Late, str]]:
    """Nothing to do; the same reads from the page cache; from the disk; and after a start with a cold index."""
    disk = OnDisk(bench.fresh(name), 16 * GIB, objects=2 * len(objects.paths), memory=MEMORY, threads=True)
    order = list(objects.paths)
    random.Random(1).shuffle(order)
    phases: list[tuple[str, Phase]] = []
    logs = [bench.work / f"lag-{name}-{at}" for at in range(2)]
    is_ours = name == "shield"

    def wrapper(at: int) -> tuple[str, ...]:
        return ("loadtest.disk.lag", str(logs[at])) if is_ours else ()

    def read() -> Got:
        return get_all(server.port, order, rate=rate)

    with bench.serving(name, disk, wrapper=wrapper(0)) as server:
        bench.fill(server, objects)
        phases.append(("idle", _phase(server, lambda: _wait(idle))))
        phases.append(("page cache", _phase(server, read)))
        drop_from_memory(disk.directory / "segments" if is_ours else disk.directory)
        phases.append(("disk", _phase(server, read)))
    drop_from_memory(disk.directory)
    with bench.serving(name, disk, wrapper=wrapper(1)) as server:
        phases.append(("disk, after a start", _phase(server, read)))
    found = []
    for what, phase in phases:
        log = logs[1] if "start" in what else logs[0]
        late = lag.samples(log, phase.start, phase.stop) if is_ours else ([], [])
        found.append((phase, late, what))
    return found


def _phase(server: Server, act: Callable[[], Got]) -> Phase:
    """What happens while `act` goes on; the probe begins before it and ends with it."""
    for _ in range(3):
        get(server.port, PROBE)
    command = ["taskset", "-c", str(CLIENT_CORE), sys.executable, "-m", "loadtest.disk.gets"]
    command += [str(server.port), PROBE, str(PAUSE_MS)]
    probe = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    try:
        time.sleep(0.5)
        before, start = server.process.read_and_written()[0], time.monotonic()
        got = check(act())
        stop = time.monotonic()
        seen, _ = probe.communicate(b"end\n", timeout=10)
    finally:
        probe.kill()
        probe.wait()
    read = server.process.read_and_written()[0] - before
    probed = sorted(took for moment, took in json.loads(seen) if start <= moment < stop)
    return Phase(start, stop, got, read, probed)


def _wait(seconds: float) -> Got:
    time.sleep(seconds)
    return Got(seconds=seconds)


def _cells(phase: Phase, late: Late) -> list[str]:
    got = phase.got
    cells = [f"{len(got.latencies) / (phase.stop - phase.start):.0f}", f"{phase.read / max(1, got.bytes):.0%}"]
    for values, shares in ((phase.probed, (50, 99, 100)), (late[0], (99, 100)), (late[1], (99, 100))):
        cells += [f"{percentile(values, share) * 1000:.2f}" if values else "" for share in shares]
    return cells
