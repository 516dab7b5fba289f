"""Server CPU per request, and collapse: Shield beside nginx, Varnish and HAProxy, in one run on one machine.

    python -m loadtest.peers [--seconds 3] [--rounds 3] [--only hits,misses,collapse] [--servers shield,nginx]

Servers have core 0, the origin and the clients core 1. `loadtest/README.md` says how to read what it prints.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import signal
import ssl
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import NoReturn

from loadtest.client import Crowd, Rate, Wrk, crowd
from loadtest.origin import body
from loadtest.processes import Process, free_port, raise_descriptor_limit
from loadtest.servers import SERVERS, Place, installed, shield_before
from tests.doubles.certificates import Authority

SERVER_CORE = 0
CLIENT_CORE = 1
BASELINE = "nginx"
KINDS = ("hits", "misses", "collapse")
HIT_SIZES = (1_000, 10_000, 50_000, 200_000, 1_000_000)
MISS_SIZES = (10_000, 200_000)
COLLAPSE_DELAY_MS = 1000
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    size: int

    def __str__(self) -> str:
        return f"{self.kind} {self.size // 1000} KB"


@dataclass(frozen=True, slots=True)
class Sample:
    """One server in one case: CPU microseconds per request, requests a second, share of its core that it used, and
    the 99th percentile of latency in microseconds.
    """

    cost: float
    rate: float
    load: float
    p99: int
    doubt: str  # what makes it worthless, if anything does


class Bench:
    """The origin, the servers, and what is measured on them."""

    def __init__(self, origin: Process, servers: Sequence[Process], wrk: Wrk, *, tls: bool = False) -> None:
        self._tls = tls
        self._origin = origin
        self.servers = servers
        self._wrk = wrk
        self._serial = itertools.count()

    def rates(self, cases: Iterable[Case], seconds: float) -> Iterator[tuple[Case, str, Sample]]:
        """One round: each case on all servers, one after the other, so that the machine's noise meets all alike."""
        for case in cases:
            for server in self.servers:
                yield case, server.name, self.sample(case, server, seconds)

    def sample(self, case: Case, server: Process, seconds: float) -> Sample:
        unique = case.kind == "misses"
        path = f"/o/{case.size}/{next(self._serial) if unique else 'same'}"
        for _ in range(2):  # the second says that the first was right
            if not unique and get(server.port, path, tls=self._tls) != body(case.size):
                raise RuntimeError(f"{server.name} gave a wrong body for {path}")
        asked, spent, began = self._asked(), server.cpu_seconds(), time.monotonic()
        url = f"{'https' if self._tls else 'http'}://127.0.0.1:{server.port}{path}"
        rate = self._wrk.run(url, seconds, unique=unique)
        spent, took = server.cpu_seconds() - spent, time.monotonic() - began
        return Sample(
            cost=spent / max(1, rate.requests) * 1e6,
            rate=rate.requests / took,
            load=spent / took,
            p99=rate.p99,
            doubt=_doubt(rate, self._asked() - asked, unique=unique),
        )

    def collapses(self, clients: int, size: int, spread_ms: int) -> Iterator[tuple[str, Crowd, Collapse]]:
        """One round: a cold object on each server."""
        get(self._origin.port, f"/o/{size}/")  # so that it has the bytes, which take a while to make
        for server in self.servers:
            path = f"/slow/{size}/{COLLAPSE_DELAY_MS}/{spread_ms}/{server.name}-{next(self._serial)}"
            server.peak_bytes()
            spent = server.cpu_seconds()
            got = crowd(
                server.port,
                path,
                body(size),
                clients=clients,
                led=lambda path=path: self._asked_slow(path) > 0,  # type: ignore[misc]
                patience=PATIENCE_SECONDS,
            )
            after = Collapse(self._asked_slow(path), server.cpu_seconds() - spent, server.peak_bytes())
            yield server.name, got, after

    def _asked(self) -> int:
        return int(json.loads(get(self._origin.port, "/asked"))["total"])

    def _asked_slow(self, path: str) -> int:
        return int(json.loads(get(self._origin.port, "/asked"))["slow"].get(path, 0))


@dataclass(frozen=True, slots=True)
class Collapse:
    """What a collapse cost: GETs at the origin, the server's CPU seconds and its most memory."""

    gets: int
    cpu_seconds: float
    peak_bytes: int


def get(port: int, path: str, *, host: str = "images.example.com", tls: bool = False) -> bytes:
    """The body of the answer, whatever its status; over TLS from a server that anybody may be."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    if tls:
        connection = HTTPSConnection("127.0.0.1", port, timeout=30, context=ssl._create_unverified_context())
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().read()
    finally:
        connection.close()


def _doubt(rate: Rate, gets: int, *, unique: bool) -> str:
    if rate.refused or rate.broken or not rate.requests:
        return f"{rate.requests} answers, {rate.refused} refused, {rate.broken} socket errors"
    if unique and gets < rate.requests:
        return f"only {gets} of {rate.requests} requests came to the origin"
    if not unique and gets > rate.requests // 1000:
        return f"{gets} of {rate.requests} requests came to the origin"
    return ""


@contextlib.contextmanager
def running(
    servers: Mapping[str, Callable[[Place], list[str]]], connections: int, *, tls: bool = False
) -> Iterator[Bench]:
    """Everything started, and all of it stopped in the end. `servers` are their commands by name."""
    descriptors = raise_descriptor_limit()
    shm = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="shield-peers-", dir=shm if os.access(shm, os.W_OK) else None))
    started: list[Process] = []
    try:
        origin_port = free_port()
        command = [sys.executable, "-m", "loadtest.origin", str(origin_port)]
        started.append(Process("origin", command, core=CLIENT_CORE, port=origin_port, log=directory / "origin.log"))
        started[0].wait_until_it_listens()
        certified = directory if tls else None
        if tls:
            Authority().write_server(directory, "images.example.com")
        for name, command_of in servers.items():
            place = Place(directory / name, free_port(), free_port(), origin_port, descriptors, tls=certified)
            place.directory.mkdir()
            command = command_of(place)
            started.append(Process(name, command, core=SERVER_CORE, port=place.port, log=directory / f"{name}.log"))
            started[-1].wait_until_it_listens()
        yield Bench(started[0], started[1:], Wrk(directory, core=CLIENT_CORE, connections=connections), tls=tls)
    finally:
        for process in reversed(started):
            process.stop()
        shutil.rmtree(directory, ignore_errors=True)


def measure_rates(bench: Bench, cases: Sequence[Case], rounds: int, seconds: float) -> None:
    samples: dict[tuple[str, Case], list[Sample]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for case, name, sample in bench.rates(cases, seconds):
            samples[name, case].append(sample)
            said = f"{sample.cost:8.1f} us  {sample.rate:9.0f}/s  {sample.load:4.0%} of a core  {sample.doubt}"
            note(f"round {number}  {case!s:14}  {name:8} {said}")
    names = list(dict.fromkeys(name for name, _ in samples))
    costs = {at: statistics.median(sample.cost for sample in taken) for at, taken in samples.items()}
    doubtful = {at for at, taken in samples.items() if any(sample.doubt for sample in taken)}
    print(f"\nServer CPU microseconds per request, median of {rounds}; in brackets, times {BASELINE}'s\n")
    print(f"{'':9}" + "".join(f"{case!s:>17}" for case in cases))
    for name in names:
        cells = []
        for case in cases:
            ratio = f"({times(costs[name, case], costs[BASELINE, case])})" if BASELINE in names else ""
            cells.append(f"{costs[name, case]:9.1f}{'?' if (name, case) in doubtful else ' '}{ratio:>7}")
        print(f"{name:9}" + "".join(cells))
    print("\nLowest and highest of the rounds\n")
    for name in names:
        taken = [[sample.cost for sample in samples[name, case]] for case in cases]
        print(f"{name:9}" + "".join(f"{f'{min(of_case):.1f} - {max(of_case):.1f}':>17}" for of_case in taken))
    if doubtful:
        print("? answers were missing, or hits came from the origin, or misses didn't: see above")


def measure_collapses(bench: Bench, rounds: int, clients: int, size: int, spread_ms: int) -> None:
    print(
        f"\nCollapse: {clients} clients, one cold object of {size / 1e6:.0f} MB that the origin sends from"
        f" {COLLAPSE_DELAY_MS / 1000:.1f} s to {(COLLAPSE_DELAY_MS + spread_ms) / 1000:.1f} s after it was asked\n"
    )
    print(f"{'':9} origin   leader's   followers' after it, ms    last byte, s    server  peak   whole and right")
    print(f"{'':9}   GETs first, ms   median    p99     max   leader+   median     max   CPU, s   MB")
    for _ in range(rounds):
        for name, got, cost in bench.collapses(clients, size, spread_ms):
            delays = [delay * 1000 for delay in got.followers] or [float("nan")]
            lasts = got.lasts or [float("nan")]
            print(
                f"{name:9}{cost.gets:7}{got.leader * 1000:11.0f}"
                f"{statistics.median(delays):9.1f}{percentile(delays, 99):8.1f}{max(delays):8.1f}"
                f"{min(lasts):10.2f}{statistics.median(lasts):9.2f}{max(lasts):8.2f}"
                f"{cost.cpu_seconds:9.2f}{cost.peak_bytes / 1e6:6.0f}   {clients - len(got.faults)} of {clients}"
                + (f"; first fault: {got.faults[0]}" if got.faults else "")
            )


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def times(value: float, base: float) -> str:
    """How many times the base it is; `-` when the base is too small to be seen, as in a run of a moment."""
    return f"{value / base:.2f}" if base else "-"


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _words(allowed: Iterable[str], text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := set(words) - set(allowed):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(allowed)}")
    return words


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="per server, case and round (whole seconds)")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these counts")
    parser.add_argument("--only", type=lambda text: _words(KINDS, text), default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--servers", type=lambda text: _words(SERVERS, text), default=None, help=", ".join(SERVERS))
    parser.add_argument("--before", type=Path, help="a checkout of another version of Shield, to run beside this one")
    parser.add_argument("--compiled", type=Path, help="a compiled copy of the source, to run beside it (setup.py)")
    parser.add_argument("--connections", type=int, default=32, help="of wrk")
    parser.add_argument("--tls", action="store_true", help="hits and misses over TLS; not Varnish, which has none")
    parser.add_argument("--clients", type=int, default=1000, help="of the collapse")
    parser.add_argument("--megabytes", type=float, default=20, help="size of the collapse's object")
    parser.add_argument("--spread", type=float, default=2.0, help="seconds that the origin takes to send it")
    parser.add_argument("--collapse-rounds", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    if shutil.which("wrk") is None or len(os.sched_getaffinity(0)) < 2:
        note("wrk must be installed, and two cores are needed")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    wanted = arguments.servers or list(SERVERS)
    names = [name for name in wanted if installed(name) and not (arguments.tls and name == "varnish")]
    for name in set(wanted) - set(names):
        note(f"{name} is left out: it isn't installed, or has no TLS")
    servers = {name: SERVERS[name] for name in names}
    if arguments.before is not None:
        servers["before"] = shield_before(arguments.before)
    if arguments.compiled is not None:
        servers["compiled"] = shield_before(arguments.compiled)
    os.sched_setaffinity(0, {CLIENT_CORE})
    cases = [Case("hits", size) for size in HIT_SIZES if "hits" in arguments.only]
    cases += [Case("misses", size) for size in MISS_SIZES if "misses" in arguments.only]
    try:
        with running(servers, arguments.connections, tls=arguments.tls) as bench:
            if cases:
                measure_rates(bench, cases, arguments.rounds, arguments.seconds)
            if "collapse" in arguments.only and not arguments.tls:
                size, spread = int(arguments.megabytes * 1e6), int(arguments.spread * 1000)
                measure_collapses(bench, arguments.collapse_rounds, arguments.clients, size, spread)
    except RuntimeError as error:
        note(str(error))
        return 1
    except KeyboardInterrupt:
        note("interrupted; all is stopped")
        return 130
    return 0


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
