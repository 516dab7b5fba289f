"""Purges of half of a directory's entries, by prefix and by tag: how long the call takes, whether anything purged is
served afterwards, and what hits cost while the rest of the entries are compared with the purge.
"""

from __future__ import annotations

import argparse
import http.client
import json
import time
from functools import partial
from pathlib import Path

from loadtest.disk.bench import GIB, Bench, Objects, Server, table
from loadtest.disk.gets import get_all
from loadtest.disk.stock import BODY, stock
from loadtest.peers import get, note
from loadtest.servers import OnDisk

PATIENCE = 900.0
SAMPLE = 5000
HALVES = {"prefix": {"prefixes": [f"/o/{BODY}/p"]}, "tag": {"tags": ["half"]}}
COLUMNS = (
    "returned in ms",
    "purged and served",
    "others still hits",
    "us a hit before",
    "while unswept",
    "swept",
    "s",
)


def run(bench: Bench, options: argparse.Namespace) -> None:
    cells: dict[tuple[str, str], str] = {}
    for how in HALVES:
        for column, cell in zip(COLUMNS, _purge(bench, options, how), strict=True):
            cells[how, column] = cell
        note(f"{how}: " + ", ".join(cells[how, column] for column in COLUMNS))
    table(f"Half of {options.entries} entries on disk, purged at once", list(HALVES), COLUMNS, cells)


def _purge(bench: Bench, options: argparse.Namespace, how: str) -> list[str]:
    """The cells of one row."""
    count, disk = options.entries, OnDisk(bench.fresh(how), 16 * GIB)
    with bench.serving("shield", disk) as server:
        config = Path(server.place.directory / "shield.yaml")
    stock(config, count, path=_path, tags=_tags)
    purged, others = _some(count, first=0), _some(count, first=1)
    with bench.serving("shield", disk) as server:
        listed, wrk = bench.listed(others), bench.wrk(options.connections)
        url = f"http://127.0.0.1:{server.port}"
        hits = partial(wrk.run_any, url, listed, options.seconds)
        get_all(server.port, others.paths)
        before = bench.sample(server, hits)
        took = _order(server, HALVES[how])
        began = time.monotonic()
        asked = bench.asked()
        get_all(server.port, others.paths)
        kept = 1.0 - (bench.asked() - asked) / len(others.paths)
        while_unswept = bench.sample(server, hits)
        is_unswept = _metric(server, "shield_purge_unswept") > 0
        asked = bench.asked()
        get_all(server.port, purged.paths)
        served = len(purged.paths) - (bench.asked() - asked)
        while _metric(server, "shield_purge_unswept"):
            if time.monotonic() - began > PATIENCE:
                raise RuntimeError("it isn't swept in time")
            time.sleep(0.5)
        swept = time.monotonic() - began
        after = bench.sample(server, hits)
    costs = [f"{before.cost:.1f}", f"{while_unswept.cost:.1f}" if is_unswept else "-", f"{after.cost:.1f}"]
    return [f"{took * 1000:.1f}", str(served), f"{kept:.1%}", *costs, f"{swept:.0f}"]


def _path(number: int) -> str:
    """Every second one begins with p, the others with o."""
    return f"/o/{BODY}/{'op'[number % 2 == 0]}{number}"


def _tags(number: int) -> bytes:
    return b"all\nhalf" if number % 2 == 0 else b"all"


def _some(count: int, *, first: int) -> Objects:
    numbers = range(first, count, max(2, count // SAMPLE // 2 * 2))
    return Objects(f"{BODY} B", [_path(number) for number in numbers], BODY * len(numbers))


def _order(server: Server, wish: object) -> float:
    """Seconds until the answer to an order is there."""
    connection = http.client.HTTPConnection("127.0.0.1", server.place.admin_port, timeout=60.0)
    try:
        connection.connect()
        began = time.monotonic()
        connection.request("POST", "/purge", json.dumps(wish), {"content-type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        took = time.monotonic() - began
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {said!r}")
        return took
    finally:
        connection.close()


def _metric(server: Server, name: str) -> float:
    text = get(server.place.admin_port, "/metrics", host="localhost").decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.partition("{")[0].split()[0] == name)
