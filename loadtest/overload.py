"""Hits and misses beside each other, more than a busy core can bear, and what became of each request.

    python -m loadtest.overload [--seconds 11] [--hits 8000] [--misses 2600] [--entries 34000] [--bytes 1000]

A node of one worker on core 0, its origin and the clients on core 1. Answers that aren't good are kept with their
heads, times and the node's log and state in loadtest/results; then it ends with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from loadtest.kept import keep, new_directory
from loadtest.open_loop import Flow, Played, play
from loadtest.peers import CLIENT_CORE, SERVER_CORE, get, note
from loadtest.processes import Process, free_port, raise_descriptor_limit
from loadtest.servers import Place, shield

FILL_RATE = 2000


@contextlib.contextmanager
def node(directory: Path) -> Iterator[tuple[Process, Place]]:
    """A node and its origin; their logs are in the directory."""
    descriptors, started = raise_descriptor_limit(), []
    try:
        origin_port = free_port()
        command = [sys.executable, "-m", "loadtest.origin", str(origin_port)]
        started.append(Process("origin", command, core=CLIENT_CORE, port=origin_port, log=directory / "origin.log"))
        started[0].wait_until_it_listens()
        place = Place(directory, free_port(), free_port(), origin_port, descriptors)
        started.append(
            Process("shield", shield(place), core=SERVER_CORE, port=place.port, log=directory / "node.log")
        )
        started[1].wait_until_it_listens()
        yield started[1], place
    finally:
        for process in reversed(started):
            process.stop()


def run(arguments: argparse.Namespace, directory: Path) -> dict[str, Played]:
    """The two flows; files of what happened are left in the directory."""
    chance, serial = random.Random(7), itertools.count()
    with node(directory) as (process, place):
        note(f"filling {arguments.entries} entries")
        fresh = itertools.cycle(range(arguments.entries))
        fill = Flow("fill", FILL_RATE, lambda: f"/o/{arguments.bytes}/{next(fresh)}", connections=32)
        play(place.port, [fill], arguments.entries / FILL_RATE * 1.1)  # times are random
        note("hits and misses")
        flows = [
            Flow(
                "hits",
                arguments.hits,
                lambda: f"/o/{arguments.bytes}/{chance.randrange(arguments.entries)}",
                arguments.connections,
            ),
            Flow(
                "misses", arguments.misses, lambda: f"/o/{arguments.bytes}/new-{next(serial)}", arguments.connections
            ),
        ]
        began = process.cpu_seconds()
        played = play(place.port, flows, arguments.seconds)
        note(f"the node used {(process.cpu_seconds() - began) / arguments.seconds:.0%} of its core")
        for name, path in (("state.json", "/state"), ("metrics.txt", "/metrics")):
            (directory / name).write_bytes(get(place.admin_port, path, host=f"127.0.0.1:{place.admin_port}"))
    return played


def show(played: dict[str, Played]) -> int:
    """Prints what became of the requests; how many of them weren't good."""
    for name, each in played.items():
        millis = [each.percentile(share) * 1000 for share in (50, 99, 99.9, 100)]
        print(
            f"{name:8}{each.answers:9} answers, {each.bad_count} not good, {each.unsent} requests not sent;"
            f" ms from when they were due: p50 {millis[0]:.1f}, p99 {millis[1]:.1f}, p99.9 {millis[2]:.1f},"
            f" most {millis[3]:.1f}"
        )
        for (why, line), count in Counter((bad.why, _first_line(bad.answer)) for bad in each.bad).most_common():
            print(f"{count:14}  {why}: {line}")
    return sum(each.bad_count for each in played.values())


def _first_line(answer: str) -> str:
    """The status line and the cache's own word on it."""
    head = answer.partition("\r\n\r\n")[0].split("\r\n")
    return "; ".join([head[0], *(line for line in head if line.lower().startswith(("cache-status", "retry-after")))])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=11.0)
    parser.add_argument("--hits", type=float, default=8000.0, help="a second")
    parser.add_argument("--misses", type=float, default=2600.0, help="a second")
    parser.add_argument("--entries", type=int, default=34_000, help="in RAM before it begins")
    parser.add_argument("--bytes", type=int, default=1000, help="of each object")
    parser.add_argument("--connections", type=int, default=64, help="of hits, and as many of misses")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
    os.sched_setaffinity(0, {CLIENT_CORE})
    with tempfile.TemporaryDirectory(prefix="shield-overload-") as name:
        directory = Path(name)
        played = run(arguments, directory)
        bad = show(played)
        if bad:
            kept = new_directory("overload")
            for file in ("node.log", "state.json", "metrics.txt"):
                (kept / file).write_bytes((directory / file).read_bytes())
            keep(kept / "bad.json", {kind: [vars_of(each) for each in one.bad] for kind, one in played.items()})
            print(f"kept in {kept}")
    return 1 if bad else 0


def vars_of(bad: object) -> dict[str, object]:
    """An answer that wasn't good, for a file."""
    return {name: getattr(bad, name) for name in ("path", "due", "ended", "why", "answer")}


if __name__ == "__main__":
    sys.exit(main())
