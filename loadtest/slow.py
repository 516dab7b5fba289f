"""What slow clients cost the others: hits alone, and amid a thousand that hardly send or read, beside nginx.

    python -m loadtest.slow [--clients 1000] [--seconds 8] [--rounds 3] [--servers shield,nginx]

A third of them sends a head that never ends, a third a body, a third reads a large object by the kilobyte. Whoever is
cut off comes back. `loadtest/README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import os
import select
import shutil
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.sharedctypes import Synchronized

from loadtest.peers import CLIENT_CORE, Bench, Case, get, note, running, times
from loadtest.processes import Process, raise_descriptor_limit
from loadtest.servers import SERVERS, installed

HOST = b"Host: images.example.com\r\n"
OPENINGS = (
    b"GET /o/1000/same HTTP/1.1\r\n" + HOST,
    b"POST /o/1000/same HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n",
    b"GET /o/5000000/same HTTP/1.1\r\n" + HOST + b"\r\n",
)
READER = 2  # which of them reads rather than sends
STEP_SECONDS = 1.0  # between two bytes of one client
HITS = Case("hits", 10_000)


def main() -> int:
    """Print p99 of hits and CPU for each of them, alone and amid slow clients."""
    arguments = _arguments()
    if shutil.which("wrk") is None or len(os.sched_getaffinity(0)) < 2:
        note("wrk must be installed, and two cores are needed")
        return 2
    raise_descriptor_limit()
    names = [name for name in arguments.servers.split(",") if installed(name)]
    os.sched_setaffinity(0, {CLIENT_CORE})
    with running({name: SERVERS[name] for name in names}, connections=8) as bench:
        for server in bench.servers:
            get(server.port, "/o/5000000/same")
            _compare(bench, server, arguments)
    return 0


def _compare(bench: Bench, server: Process, arguments: argparse.Namespace) -> None:
    found: dict[str, list[tuple[float, float]]] = {"alone": [], "amid": []}
    cut = 0
    for number in range(1, arguments.rounds + 1):
        found["alone"].append(_hits(bench, server, arguments.seconds))
        with _crowd(server.port, arguments.clients) as times_cut:
            time.sleep(2 * STEP_SECONDS)  # so that all are there
            found["amid"].append(_hits(bench, server, arguments.seconds))
            cut = times_cut.value
        note(f"round {number}  {server.name}  {found['alone'][-1]}  {found['amid'][-1]}  {cut} cut off")
    alone, amid = [tuple(map(statistics.median, zip(*found[when], strict=True))) for when in ("alone", "amid")]
    print(
        f"{server.name:8} p99 {alone[0]:7.0f} us, amid {amid[0]:7.0f} ({times(amid[0], alone[0])});"
        f" CPU {alone[1]:6.1f} us a hit, amid {amid[1]:6.1f} ({times(amid[1], alone[1])}); {cut} cut off"
    )


def _hits(bench: Bench, server: Process, seconds: float) -> tuple[float, float]:
    """99th percentile of latency and CPU for each hit, both in microseconds."""
    sample = bench.sample(HITS, server, seconds)
    return sample.p99, sample.cost


@contextlib.contextmanager
def _crowd(port: int, clients: int) -> Iterator[Synchronized[int]]:
    """Slow clients in a process of their own; how many were cut off so far."""
    cut: Synchronized[int] = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=_dawdle, args=(port, clients, cut), daemon=True)
    process.start()
    try:
        yield cut
    finally:
        process.terminate()
        process.join()


def _dawdle(port: int, clients: int, cut: Synchronized[int]) -> None:
    """One step of each client a second, spread evenly."""
    kinds = [number % len(OPENINGS) for number in range(clients)]
    sockets = [_opened(port, kind) for kind in kinds]
    for number in itertools.cycle(range(clients)):
        began = time.monotonic()
        if not _steps(sockets[number], kinds[number]):
            sockets[number].close()
            cut.value += 1
            sockets[number] = _opened(port, kinds[number])
        time.sleep(max(0.0, STEP_SECONDS / clients - (time.monotonic() - began)))


def _opened(port: int, kind: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(10)
    made.connect(("127.0.0.1", port))
    made.sendall(OPENINGS[kind])
    made.setblocking(False)
    return made


def _steps(client: socket.socket, kind: int) -> bool:
    """Send a byte or read a thousand; False once the server has ended it."""
    try:
        if kind == READER:
            return client.recv(1000) != b"" if select.select([client], [], [], 0)[0] else True
        client.send(b"x")
    except BlockingIOError:
        return True
    except OSError:
        return False
    return not (select.select([client], [], [], 0)[0] and client.recv(4096) == b"")


def _arguments(said: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement (whole seconds)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--servers", default="shield,nginx")
    return parser.parse_args(said)


if __name__ == "__main__":
    sys.exit(main())
