"""What every measurement of the disk store needs: an origin, servers with a cache on disk, and their clients.

Servers have core 0, the origin and the clients core 1, unless a measurement says otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.client import Rate, Wrk
from loadtest.disk.gets import Got, get_all
from loadtest.peers import CLIENT_CORE, SERVER_CORE, get, note
from loadtest.processes import Process, free_port, raise_descriptor_limit
from loadtest.servers import SERVERS, OnDisk, Place, installed, shield_config

GIB = 1 << 30
PATIENCE = 120.0
_SETTLED = 0.1  # between two looks whether a server still writes


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects that are asked for, by their paths at the origin."""

    name: str
    paths: Sequence[str]
    bytes: int

    @property
    def mean(self) -> float:
        return self.bytes / len(self.paths)


def small_objects(count: int, start: int = 0) -> Objects:
    """8 to 60 KB, small ones more often; 25 KB in the mean."""
    dice = random.Random(count)
    sizes = [1000 * int(8 + 52.99 * dice.random() ** 2) for _ in range(count)]
    return Objects("8-60 KB", [f"/o/{size}/{start + at}" for at, size in enumerate(sizes)], sum(sizes))


def equal_objects(size: int, count: int, start: int = 0) -> Objects:
    name = f"{size // 1000} KB" if size < 1_000_000 else f"{size // 1_000_000} MB"
    return Objects(name, [f"/o/{size}/{start + at}" for at in range(count)], size * count)


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU microseconds per request, requests a second, share of a core, GETs at the origin meanwhile."""

    cost: float
    rate: float
    load: float
    fetched: int
    requests: int

    def __str__(self) -> str:
        return f"{self.cost:8.1f} us  {self.rate:8.0f}/s  {self.load:4.0%} of a core  {self.fetched} fetched"


class Server:
    """A server with its cache on disk."""

    def __init__(self, name: str, place: Place, disk: OnDisk, *, core: int | str, command: Sequence[str]) -> None:
        self.name = name
        self.disk = disk
        self.place = place
        self.command = command
        self._log = place.directory / f"{name}.log"
        self.process = Process(name, command, core=core, port=place.port, log=self._log)

    @property
    def port(self) -> int:
        return self.place.port

    def state(self) -> dict[str, object]:
        """Shield's state, as its admin listener shows it."""
        made = json.loads(get(self.place.admin_port, "/state", host="localhost"))
        assert isinstance(made, dict)
        return made

    def settle(self) -> float:
        """Wait until it has written what it has to write; the moment when that was so."""
        moment, last = time.monotonic(), -1
        end = moment + PATIENCE
        while moment < end:
            now = self.process.read_and_written()[1]
            if now == last and not self._pending():
                return moment
            if now != last:
                moment, last = time.monotonic(), now
            time.sleep(_SETTLED)
        raise RuntimeError(f"{self.name} doesn't stop writing")

    def _pending(self) -> bool:
        return self.name.startswith("shield") and bool(self.state().get("pending"))

    def held_bytes(self) -> int:
        """What lies in its directory, as files are long."""
        return sum(file.stat().st_size for file in self.disk.directory.rglob("*") if file.is_file())


class Bench:
    """The origin, and servers that come and go."""

    def __init__(self, directory: Path, work: Path, origin: Process) -> None:
        self.directory = directory  # on the disk that is measured
        self.work = work  # in RAM
        self.origin = origin
        self.descriptors = raise_descriptor_limit()
        self._count = 0

    @contextlib.contextmanager
    def serving(
        self, name: str, disk: OnDisk, *, core: int | str = SERVER_CORE, wrapper: Sequence[str] = ()
    ) -> Iterator[Server]:
        """A server until the block ends. `wrapper`: modules and arguments that take Shield's `shield` as theirs."""
        server = self.start(name, disk, core=core, wrapper=wrapper)
        try:
            server.process.wait_until_it_listens()
            yield server
        finally:
            server.process.stop()

    def start(self, name: str, disk: OnDisk, *, core: int | str = SERVER_CORE, wrapper: Sequence[str] = ()) -> Server:
        """Start a server without waiting for it; who starts it stops it."""
        self._count += 1
        directory = self.work / f"{name}-{self._count}"
        directory.mkdir()
        disk.directory.mkdir(parents=True, exist_ok=True)
        place = Place(directory, free_port(), free_port(), self.origin.port, self.descriptors, disk)
        if wrapper:
            command = [sys.executable, "-m", *wrapper, "serve", "--config", shield_config(place)]
        else:
            command = SERVERS[name.partition("-")[0]](place)
        return Server(name, place, disk, core=core, command=command)

    def wrk(self, connections: int = 32, *, core: int | str = CLIENT_CORE) -> Wrk:
        self._count += 1
        directory = self.work / f"wrk-{self._count}"
        directory.mkdir()
        return Wrk(directory, core=core, connections=connections)

    def listed(self, objects: Objects) -> Path:
        """A file of an object's paths, for wrk."""
        self._count += 1
        path = self.work / f"paths-{self._count}"
        path.write_text("\n".join(objects.paths))
        return path

    def asked(self) -> int:
        """GETs at the origin so far."""
        return int(json.loads(get(self.origin.port, "/asked"))["total"])

    def fetched_bytes(self) -> int:
        """Bytes of bodies that the origin gave so far."""
        return int(json.loads(get(self.origin.port, "/asked"))["bytes"])

    def sample(self, server: Server, act: Callable[[], Rate]) -> Sample:
        """What the requests of `act` cost a server."""
        asked, spent, began = self.asked(), server.process.cpu_seconds(), time.monotonic()
        rate = act()
        spent, took = server.process.cpu_seconds() - spent, time.monotonic() - began
        if rate.refused or rate.broken or not rate.requests:
            raise RuntimeError(f"{server.name}: {rate}")
        cost = spent / rate.requests * 1e6
        return Sample(cost, rate.requests / took, spent / took, self.asked() - asked, rate.requests)

    def fill(self, server: Server, objects: Objects) -> None:
        """Have a server fetch all of the objects, and ask again until it has them."""
        for _ in range(5):
            before = self.asked()
            check(get_all(server.port, objects.paths))
            server.settle()
            if self.asked() - before <= len(objects.paths) // 1000:
                return
        raise RuntimeError(f"{server.name} doesn't keep {objects.name}")

    def fresh(self, name: str) -> Path:
        """An empty directory on the disk that is measured."""
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path


@contextlib.contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    """An origin, and room to work; all of it gone in the end."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    shm = Path("/dev/shm")
    work = Path(tempfile.mkdtemp(prefix="shield-disk-", dir=shm if os.access(shm, os.W_OK) else None))
    on_disk = Path(tempfile.mkdtemp(prefix="shield-disk-", dir=directory))
    port = free_port()
    command = [sys.executable, "-m", "loadtest.origin", str(port)]
    origin = Process("origin", command, core=CLIENT_CORE, port=port, log=work / "origin.log")
    try:
        origin.wait_until_it_listens()
        yield Bench(on_disk, work, origin)
    finally:
        origin.stop()
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(on_disk, ignore_errors=True)


def check(got: Got) -> Got:
    """Complain when answers are wrong."""
    if got.faults:
        raise RuntimeError(f"{len(got.faults)} wrong answers, the first: {got.faults[0]}")
    return got


def compared(options: argparse.Namespace, *names: str) -> Sequence[str]:
    """The servers that are wanted, or else these; without those that aren't installed."""
    wanted = options.servers or names
    if unknown := [name for name in wanted if name not in names]:
        raise RuntimeError(f"unknown: {', '.join(unknown)}; there are {', '.join(names)}")
    for name in (missing := [name for name in wanted if not installed(name.partition("-")[0])]):
        note(f"{name} is not installed")
    return [name for name in wanted if name not in missing]


def drop_from_memory(directory: Path, pattern: str = "*") -> int:
    """Write the files below a directory out and have the system forget their pages; how many bytes those are."""
    total = 0
    for path in directory.rglob(pattern):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                total += os.fstat(fd).st_size
            finally:
                os.close(fd)
    return total


def table(title: str, rows: Sequence[str], columns: Sequence[str], cells: Mapping[tuple[str, str], str]) -> None:
    """Print cells by row and column."""
    first = max(len(row) for row in rows) + 1
    width = max(12, *(len(cell) + 2 for cell in cells.values()), *(len(column) + 2 for column in columns))
    print(f"\n{title}\n\n{'':{first}}" + "".join(f"{column:>{width}}" for column in columns))
    for row in rows:
        print(
            f"{row:{first}}" + "".join(f"{cells.get((row, column), ''):>{width}}" for column in columns), flush=True
        )


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def spread(values: Sequence[float]) -> str:
    return f"{min(values):.1f} - {max(values):.1f}" if values else ""
