"""Whether the cost of a hit grows with anything but its bytes: connections, entries, routes, fields of requests.

    python -m loadtest.growth [--only connections,entries,routes,fields,fresh,handshakes] [--rounds 3] [--seconds 2]

CPU per request of Shield in times nginx's, in one run: a cost that grows with load grows at both. `fresh` are
requests that have a connection each, `handshakes` the same over TLS 1.3. The result is kept in loadtest/results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.client import HEADERS
from loadtest.kept import RESULTS, circumstances, keep
from loadtest.peers import BASELINE, CLIENT_CORE, SERVER_CORE, get, note
from loadtest.processes import Process, free_port, raise_descriptor_limit
from loadtest.servers import CACHE_MIB, SERVERS, Place, installed
from tests.doubles.certificates import Authority

OBJECT_BYTES = 2000
FILES_MIB = 2048  # nginx counts whole pages
SHM = Path("/dev/shm")
HERE = Path(__file__).resolve().parent.parent
_SCRIPT = """
local fields = {%(fields)s}
function request()
  return wrk.format("GET", %(path)s, fields)
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d\\n", summary.requests, e.status + e.connect + e.read + e.write + e.timeout))
end
"""
_FILL = """
local number = 0
function request()
  number = number + 1
  return wrk.format("GET", "%s" .. number)
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d\\n", summary.requests, e.status + e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """What requests are like: connections, different objects, routes of the node, fields; one connection for each, by
    TLS.
    """

    connections: int = 64
    entries: int = 1
    routes: int = 1
    fields: int = 12
    fresh: bool = False
    tls: bool = False


SHAPES: dict[str, Sequence[Shape]] = {
    "connections": [Shape(connections=number) for number in (8, 64, 512, 4000)],
    "entries": [Shape(entries=number) for number in (1, 1_000, 20_000, 200_000)],
    "routes": [Shape(routes=number) for number in (1, 100, 1_000)],
    "fields": [Shape(fields=number) for number in (5, 12, 30)],
    "fresh": [Shape(fresh=True)],
    "handshakes": [Shape(fresh=True, tls=True)],
}


class Pair:
    """Shield, with so many routes, and nginx, on one origin."""

    def __init__(self, servers: Sequence[Process], directory: Path) -> None:
        self._servers = servers
        self._directory = directory
        self._filled = 1

    def ratio(self, shape: Shape, seconds: float) -> float:
        """What a hit costs at Shield, in times nginx's. Raises RuntimeError for answers that aren't good."""
        costs = {server.name: self._cost(server, shape, seconds) for server in self._servers}
        return costs["shield"] / costs[BASELINE]

    def fill(self, entries: int) -> None:
        """Have both keep so many objects."""
        if entries <= self._filled:
            return
        note(f"filling {entries} entries")
        script = self._directory / "fill.lua"
        script.write_text(_FILL % _path(""))
        for server in self._servers:
            seconds = max(2.0, entries / 4000)
            for _ in range(5):
                requests, _ = self._wrk(server, script, Shape(), seconds)
                if requests >= entries:  # each run begins with the first
                    break
                seconds *= 1.2 * entries / max(1, requests)
            else:
                raise RuntimeError(f"{server.name}: {entries} entries can't be filled")
        self._filled = entries

    def _cost(self, server: Process, shape: Shape, seconds: float) -> float:
        fields = list(HEADERS.items())[: shape.fields]
        fields += [
            (f"X-Field-{number}", f"value {number} of a field") for number in range(shape.fields - len(fields))
        ]
        if shape.fresh:
            fields.append(("Connection", "close"))
        said = ", ".join(f'["{name}"] = "{value}"' for name, value in fields)
        path = f'"{_path("")}" .. math.random({shape.entries})' if shape.entries > 1 else f'"{_path("1")}"'
        script = self._directory / "shape.lua"
        script.write_text(_SCRIPT % {"fields": said, "path": path})
        get(server.port, _path("1"), tls=shape.tls)
        spent = server.cpu_seconds()
        requests, bad = self._wrk(server, script, shape, seconds)
        if bad or not requests:
            raise RuntimeError(f"{server.name}, {shape}: {bad} of {requests} answers weren't good")
        return (server.cpu_seconds() - spent) / requests

    def _wrk(self, server: Process, script: Path, shape: Shape, seconds: float) -> tuple[int, int]:
        command = ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", f"-c{shape.connections}", f"-d{round(seconds)}s"]
        scheme = "https" if shape.tls else "http"
        command += ["--timeout", "10s", "-s", str(script), f"{scheme}://127.0.0.1:{server.port}/"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in said.stdout.splitlines():
            if line.startswith("RESULT "):
                requests, bad = line.split()[1:]
                return int(requests), int(bad)
        return 0, 0


def _path(name: str) -> str:
    return f"/o/{OBJECT_BYTES}/{name}"


@contextlib.contextmanager
def pair(routes: int, *, tls: bool) -> Iterator[Pair]:
    descriptors, started = raise_descriptor_limit(), []
    directory = Path(tempfile.mkdtemp(prefix="shield-growth-", dir=SHM if SHM.is_dir() else None))
    try:
        origin_port = free_port()
        command = [sys.executable, "-m", "loadtest.origin", str(origin_port)]
        started.append(Process("origin", command, core=CLIENT_CORE, port=origin_port, log=directory / "origin.log"))
        started[0].wait_until_it_listens()
        if tls:
            Authority().write_server(directory, "images.example.com")
        for name in ("shield", BASELINE):
            certified = directory if tls else None
            place = Place(directory / name, free_port(), free_port(), origin_port, descriptors, tls=certified)
            place.directory.mkdir()
            command = SERVERS[name](place)
            if name == "shield":
                _prepare(Path(command[-1]), routes)
            else:
                config = Path(command[-1])
                text = config.read_text().replace(f"max_size={CACHE_MIB}m", f"max_size={FILES_MIB}m")
                config.write_text(text.replace("ssl_certificate ", "ssl_protocols TLSv1.3; ssl_certificate ", 1))
            log = directory / f"{name}.log"
            started.append(Process(name, command, core=SERVER_CORE, port=place.port, log=log))
            started[-1].wait_until_it_listens()
        yield Pair(started[1:], directory)
    finally:
        for process in reversed(started):
            process.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _prepare(config: Path, routes: int) -> None:
    """Room for any number of clients, all of one address; routes that don't match, beside the one that does."""
    settings = json.loads(config.read_text())
    settings["limits"] = {"connections_per_address": 0}
    settings["routes"] = {f"other-{number}": {"match": f"/other/{number}"} for number in range(routes - 1)}
    settings["routes"]["all"] = {"match": "/"}
    config.write_text(json.dumps(settings))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=",".join(SHAPES), help=", ".join(SHAPES))
    parser.add_argument("--rounds", type=int, default=3, help="the median of these counts")
    parser.add_argument("--seconds", type=float, default=2.0, help="per server, shape and round (whole seconds)")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(SHAPES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SHAPES)}")
    if not installed(BASELINE) or shutil.which("wrk") is None or len(os.sched_getaffinity(0)) < 2:
        note("wrk and nginx must be installed, and two cores are needed")
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(130))
    os.sched_setaffinity(0, {CLIENT_CORE})
    ratios: dict[str, dict[str, list[float]]] = {}
    try:
        for routes, tls in sorted({(shape.routes, shape.tls) for name in names for shape in SHAPES[name]}):
            shapes = {
                name: [shape for shape in SHAPES[name] if (shape.routes, shape.tls) == (routes, tls)]
                for name in names
            }
            with pair(routes, tls=tls) as servers:
                for name, each in shapes.items():
                    for shape in each:
                        servers.fill(shape.entries)
                        taken = [servers.ratio(shape, arguments.seconds) for _ in range(arguments.rounds)]
                        at = "" if shape.fresh else str(getattr(shape, name))
                        ratios.setdefault(name, {})[at] = taken
                        spread = f"({min(taken):.2f} - {max(taken):.2f})"
                        print(f"{name:12}{at:>8}   {statistics.median(taken):.2f} {spread}", flush=True)
    except RuntimeError as error:
        note(str(error))
        return 1
    now = circumstances(HERE)
    kept = keep(RESULTS / f"{now['at'][:19].replace(':', '')}-growth-{now['commit']}.json", {**now, "ratios": ratios})
    print(f"kept in {kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
