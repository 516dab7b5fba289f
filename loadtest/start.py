"""A node's start: CPU and time to its first answer, until a killed worker is replaced, and its memory at rest.

    python -m loadtest.start [--before ../older] [--compiled build/compiled] [--rounds 7] [--workers 1]

Versions take turns. Each has its byte code ready, as an installation has, from a start that isn't measured. Workers
are killed once they have served for long enough to be replaced at once. CPU depends less on other load than times do:
compare columns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from loadtest.peers import note
from loadtest.processes import Process, cpu_seconds, free_port, raise_descriptor_limit
from loadtest.servers import Place, shield_before, shield_config

HERE = Path(__file__).resolve().parent.parent
STARTS = 3  # in a round
PROVEN_SECONDS = 10.5  # a worker that has served for ten is replaced at once
START_SECONDS = 120.0
LOOK_SECONDS = 0.001
REQUEST = b"GET /o/1000/1 HTTP/1.1\r\nHost: bench\r\n\r\n"

WORDS = {
    "cpu": ("CPU to the first answer", "ms"),
    "first": ("first answer", "ms"),
    "replaced": ("a killed worker's successor answers", "ms"),
    "successor": ("CPU of it until then", "ms"),
    "worker": ("memory of a worker, its part of what is shared included", "MB"),
    "own": ("of which its own", "MB"),
    "parent": ("memory of the supervisor, likewise", "MB"),
}


class Node:
    """A version of Shield with one origin, in a directory of its own."""

    def __init__(
        self, name: str, command: Callable[[Place], list[str]], directory: Path, origin: int, workers: int
    ) -> None:
        directory.mkdir()
        self.name = name
        self._place = Place(directory, free_port(), free_port(), origin, raise_descriptor_limit())
        self._command = command(self._place)
        settings = json.loads(Path(shield_config(self._place)).read_text())
        self._place.write("shield.yaml", json.dumps(settings | {"workers": workers}))
        runtime = directory / "run"
        runtime.mkdir()
        own = {"PYTHONPYCACHEPREFIX": str(directory / "bytecode"), "RUNTIME_DIRECTORY": str(runtime)}
        self._environ = os.environ | own
        self._environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def start(self) -> dict[str, float]:
        """Its CPU and time to the first answer, in ms."""
        began = time.perf_counter()
        with (self._place.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(self._command, env=self._environ, stdout=log, stderr=log)
        while True:
            try:
                answer(self._place.port)
                break
            except ConnectionRefusedError:
                if self._process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                    self.stop()
                    said = (self._place.directory / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self.name} doesn't start; it said:\n{said}") from None
                time.sleep(LOOK_SECONDS)
        return {"first": (time.perf_counter() - began) * 1000, "cpu": 1000 * sum(map(cpu_seconds, self._pids()))}

    def rest(self) -> dict[str, float]:
        """Its memory, in MB."""
        parent, worker = (_rollup(pid) for pid in self._pids()[:2])
        own = worker["Private_Clean"] + worker["Private_Dirty"]
        return {"worker": worker["Pss"], "own": own, "parent": parent["Pss"]}

    def kill_workers(self) -> dict[str, float]:
        """The time until one that replaces them answers, and the CPU of one of these, in ms."""
        workers = self._pids()[1:]
        began = time.perf_counter()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        while True:
            try:
                answer(self._place.port)  # it waits in the socket's queue for the successor
                took = time.perf_counter() - began
                return {"replaced": took * 1000, "successor": _on_cpu(self._pids()[1])}
            except ConnectionError:  # it had come to the one that was killed
                continue

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _pids(self) -> list[int]:
        """The supervisor's, and those of its workers."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [self._process.pid, *map(int, children.split())]


def answer(port: int) -> None:
    """One request. Raises ConnectionError if there is no answer, RuntimeError if it isn't 200."""
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as client:
        client.sendall(REQUEST)
        got = client.recv(4096)
    if not got:
        raise ConnectionResetError
    if not got.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"got {got.splitlines()[0]!r}")


def _on_cpu(pid: int) -> float:
    """The time that a process has run, in ms, if the kernel counts it (CONFIG_SCHED_INFO); else 0."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    return 0.0


def _rollup(pid: int) -> dict[str, float]:
    """Memory of a process by kind, in MB."""
    rows = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    return {row[0].rstrip(":"): int(row[1]) / 1000 for row in rows}


def measure(nodes: Sequence[Node], rounds: int, served: float) -> dict[str, dict[str, list[float]]]:
    """Figures by their name and the node's; one for each start, or round."""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def keep(node: Node, found: Mapping[str, float]) -> None:
        for name, value in found.items():
            figures[name][node.name].append(value)

    for node in nodes:  # makes their byte code
        node.start()
        node.stop()
    for number in range(rounds):
        turn = nodes if number % 2 == 0 else list(reversed(nodes))
        running: list[Node] = []
        try:
            for again in range(STARTS):
                for node in turn:
                    keep(node, node.start())
                    if again < STARTS - 1:
                        node.stop()
                    else:
                        running.append(node)
            time.sleep(served)
            for node in turn:
                keep(node, node.rest())
                keep(node, node.kill_workers())
        finally:
            for node in running:
                node.stop()
        note(f"round {number + 1} of {rounds}")
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of another version")
    parser.add_argument("--compiled", type=Path, help="a compiled copy of this one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--served", type=float, default=PROVEN_SECONDS, help="seconds, until workers are killed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
    versions = {"this": shield_before(HERE)}
    versions |= {"before": shield_before(options.before)} if options.before else {}
    versions |= {"compiled": shield_before(options.compiled)} if options.compiled else {}
    with tempfile.TemporaryDirectory(prefix="shield-start-") as name:
        port = free_port()
        command = [sys.executable, "-m", "loadtest.origin", str(port)]
        origin = Process(
            "origin", command, core=max(os.sched_getaffinity(0)), port=port, log=Path(name) / "origin.log"
        )
        try:
            origin.wait_until_it_listens()
            nodes = [
                Node(version, command_of, Path(name) / version, port, options.workers)
                for version, command_of in versions.items()
            ]
            show(measure(nodes, options.rounds, options.served), list(versions))
        finally:
            origin.stop()
    return 0


def show(figures: Mapping[str, Mapping[str, Sequence[float]]], names: Sequence[str]) -> None:
    """Prints medians, and in times the first version's."""
    print(f"{'median (least)':60}" + "".join(f"{name:>26}" for name in names))
    for kind, (words, unit) in WORDS.items():
        first = statistics.median(figures[kind][names[0]])
        cells = []
        for name in names:
            values = figures[kind][name]
            median = statistics.median(values)
            cells.append(
                f"{median:.0f} ({min(values):.0f}) {unit}"
                + (f" {median / (first or 1):5.2f}x" if name != names[0] else "")
            )
        print(f"{words:60}" + "".join(f"{cell:>26}" for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
