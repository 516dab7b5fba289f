"""Two workers beside one: CPU per request, how evenly the work is spread, and what a worker's limit lets through.

The load generator needs one of the two cores, so two workers can't show twice the throughput by themselves. What can
be told: whether a request costs more with two (both on one core), and, where control groups can be made, the rates of
one and of two workers that may each use the same part of a core.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from loadtest.client import Rate, Wrk
from loadtest.disk.bench import GIB, Bench, Server, median, small_objects, table
from loadtest.peers import SERVER_CORE, note, times
from loadtest.processes import cpu_seconds
from loadtest.servers import OnDisk

COUNTS = (1, 2)
CONNECTIONS = 64
QUOTA = 0.15  # of a core, for each worker
PERIOD_US = 20_000
MEMORY = 1 << 30
_OLD, _NEW = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")  # version 1 and 2 of control groups

ROWS = ("RAM hits", "disk hits", "misses")
LIMITED = ROWS[:2]  # a limited worker doesn't write what it has no time for, which misses would seem to gain by
COLUMNS = ("1 worker", "2 workers", "times", "busier one", "rate of 1", "rate of 2", "times ")

Act = Callable[[], Rate]


def run(bench: Bench, options: argparse.Namespace) -> None:
    costs: dict[tuple[str, int], list[float]] = defaultdict(list)
    shares: dict[str, list[float]] = defaultdict(list)
    rates: dict[tuple[str, int], list[float]] = defaultdict(list)
    limits = _can_limit()
    if not limits:
        note("control groups can't be made here: no rates of limited workers")
    everywhere = ",".join(str(core) for core in sorted(_cores()))
    for row in ROWS:
        with contextlib.ExitStack() as stack:
            running = {}
            for count in COUNTS:
                memory = MEMORY if row == "RAM hits" else 0
                disk = OnDisk(bench.fresh(f"{row} {count}"), 16 * GIB, memory=memory, workers=count)
                core = everywhere if limits and row in LIMITED else SERVER_CORE
                server = stack.enter_context(bench.serving("shield", disk, core=core))
                running[count] = (server, _act(bench, server, row, options))
            for number in range(1, options.rounds + 1):
                for count, (server, act) in running.items():
                    _pin(server, {SERVER_CORE})
                    before = [cpu_seconds(pid) for pid in _workers(server)]
                    sample = bench.sample(server, act)
                    spent = [cpu_seconds(pid) - b for pid, b in zip(_workers(server), before, strict=True)]
                    costs[row, count].append(sample.cost)
                    said = ""
                    if count > 1:
                        shares[row].append(max(spent) / (sum(spent) or 1.0))
                    if limits and row in LIMITED:
                        _pin(server, _cores())
                        with _limited(_workers(server)):
                            rates[row, count].append(bench.sample(server, act).rate)
                        said = f"  {rates[row, count][-1]:.0f}/s with {QUOTA:.0%} of a core each"
                    note(f"round {number}  {row:10} {count} workers {sample}{said}")
    cells: dict[tuple[str, str], str] = {}
    for row in ROWS:
        one, two = (median(costs[row, count]) for count in COUNTS)
        values = [f"{one:.1f} us", f"{two:.1f} us", f"{times(two, one)}", f"{median(shares[row]):.0%}"]
        if limits and row in LIMITED:
            one, two = (median(rates[row, count]) for count in COUNTS)
            values += [f"{one:.0f}/s", f"{two:.0f}/s", f"{times(two, one)}"]
        cells |= {(row, column): value for column, value in zip(COLUMNS, values, strict=False)}
    title = f"CPU per request, all on one core; then requests a second with {QUOTA:.0%} of a core for each worker"
    table(title, ROWS, COLUMNS, cells)


def _act(bench: Bench, server: Server, row: str, options: argparse.Namespace) -> Act:
    """What is asked of a server, once it is ready for that."""
    wrk: Wrk = bench.wrk(CONNECTIONS, core=",".join(str(core) for core in sorted(_cores())))
    url = f"http://127.0.0.1:{server.port}"
    if row == "misses":
        return partial(wrk.run, f"{url}/o/10000/{server.port}", options.seconds, unique=True)
    objects = small_objects(500 if row == "RAM hits" else options.objects)
    bench.fill(server, objects)
    return partial(wrk.run_any, url, bench.listed(objects), options.seconds)


def _workers(server: Server) -> list[int]:
    """Its workers' processes: all but the first, which looks after them, unless that is the only one."""
    pids = server.process.pids()
    return pids[1:] or pids


def _cores() -> set[int]:
    return set(range(os.cpu_count() or 2)) & {0, 1}


def _pin(server: Server, cores: set[int]) -> None:
    for pid in server.process.pids():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(thread.name), cores)


def _can_limit() -> bool:
    with contextlib.suppress(OSError), _limited([]):
        return True
    return False


@contextlib.contextmanager
def _limited(pids: Sequence[int]) -> Iterator[None]:
    """Let each process use a part of a core only. Raises OSError where that can't be done."""
    old = (_OLD / "cpu.cfs_quota_us").exists() or (_OLD / "cgroup.procs").exists()
    root = _OLD if old else _NEW
    quota = round(QUOTA * PERIOD_US)
    made: list[Path] = []
    try:
        for at, pid in enumerate([*pids, 0]):
            group = root / f"shield-bench-{os.getpid()}-{at}"
            group.mkdir()
            made.append(group)
            if old:
                (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (group / "cpu.cfs_quota_us").write_text(str(quota))
            else:
                (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
            if pid:
                (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(OSError):
                (root / "cgroup.procs").write_text(str(pid))
        for group in made:
            with contextlib.suppress(OSError):
                group.rmdir()
