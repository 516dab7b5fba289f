"""The cost of many entries on disk, in memory and in the index."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from loadtest.disk.bench import GIB, Bench, Server, table
from loadtest.disk.stock import some_of, stock
from loadtest.peers import note
from loadtest.processes import Resident, resident
from loadtest.servers import OnDisk

INDEX = "/index/data.mdb"
COLUMNS = ("anonymous MB", "more than empty", "per million", "index pages MB", "CPU us/hit")
_TOUCHES = 5  # runs over other parts of the entries


def run(bench: Bench, options: argparse.Namespace) -> None:
    count = options.entries
    cells: dict[tuple[str, str], str] = {}
    rows: list[str] = []
    base = 0.0

    def show(row: str, seen: Resident, cost: float | None) -> None:
        rows.append(row)
        more = seen.anonymous / 1e6 - base
        values = (seen.anonymous / 1e6, more, more / count * 1e6, seen.mapped / 1e6, cost)
        cells.update(
            {
                (row, column): "" if value is None else f"{value:.1f}"
                for column, value in zip(COLUMNS, values, strict=True)
            }
        )

    empty = OnDisk(bench.fresh("empty"), 16 * GIB)
    with bench.serving("shield", empty) as server:
        _touch(bench, server, 1000, 0, options.seconds)
        seen = _worker(server)
        base = seen.anonymous / 1e6
        show("empty", seen, None)
    full = OnDisk(bench.fresh("full"), 16 * GIB)
    with bench.serving("shield", full) as server:
        config = Path(server.place.directory / "shield.yaml")
    cost = stock(config, count)
    note(f"{count} entries written, {cost:.1f} us each")
    with bench.serving("shield", full) as server:
        show(f"{count} entries, just started", _worker(server), None)
        costs = [_touch(bench, server, count, at, options.seconds) for at in range(_TOUCHES)]
        show(f"{count} entries, after hits", _worker(server), costs[-1])
    table("Memory of a worker", rows, COLUMNS, cells)
    index = sum(path.stat().st_size for path in (full.directory / "index").iterdir())
    print(f"\nindex: {index / 1e6:.0f} MB, {index / count:.0f} bytes for each entry")
    segments = sum(path.stat().st_size for path in (full.directory / "segments").iterdir())
    print(f"segments: {segments / count:.0f} bytes for each")


def _worker(server: Server) -> Resident:
    return resident(server.process.pids()[-1], mapped=INDEX)


def _touch(bench: Bench, server: Server, count: int, at: int, seconds: float) -> float:
    """Ask for entries at random; CPU microseconds for each."""
    some = bench.listed(some_of(count, seed=at))
    return bench.sample(server, partial(bench.wrk().run_any, f"http://127.0.0.1:{server.port}", some, seconds)).cost
