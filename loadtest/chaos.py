"""Many clients, two origins that misbehave, objects that change: is every answer right, or visibly broken?

    python -m loadtest.chaos [--seconds 30] [--seed 1] [--clients 40] [--disk] [--origins 2] [--rate 20MB/s]

A node in this process with a small cache, so that all that can happen does: evictions, collapsing, ranges,
revalidation, windows, clients that leave, that read slowly, or that ask for several objects at once. Origins reset,
truncate, send garbage, stop and return; their heads and bodies come in pieces, with too many bytes behind them, or
with lengths that contradict each other. Entries are purged. With `--disk` there is next to no RAM tier but two small
ones on disk, so that everything is in slices, on its way up or down, or being reclaimed; disks fail and return, pages
are cold. `--rate` is the origins' `max_rate`.

Each body is compared with the versions of the object. It ends with an error for wrong bytes with a clean end, bytes
of two versions in one answer, a 404 for what exists, an answer that doesn't come, or anything left behind: fills,
connections and places at origins once nobody waits any more, and reference cycles.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import logging
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.client import request
from tests.disks import Failing
from tests.doubles.faults import (
    Fault,
    adds,
    at_body,
    at_head,
    chunked,
    followed_by,
    huge_head,
    preceded_by,
    says,
    until_close,
)
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Bytes, Close, Head, Pause, Reset
from tests.garbage import cycles, uncollected
from tests.node import FakeClock, Shield, settings_of

SIZES = (0, 1, 100, 5_000, 65_536, 200_000, 1_048_576, 1_048_577, 3_000_000)
OBJECTS = 60
BORDERS = (0, 1, 16_384, 65_536, 131_072, 262_144, 1_048_576)  # of buffers, blocks and slices
PATIENCE = 20.0
SETTLED_SECONDS = 15.0
MOST_HEADS = 12  # of one answer: an origin may say as much before it as a node takes, and the answer itself
FILLS = {"memory": "16MiB", "linger": "10ms"}
ALLOWED = frozenset({200, 206, 416, 503, 504})

FAULTS: Sequence[Callable[[random.Random, int], Fault]] = (
    lambda dice, at: at_body(at, Reset()),
    lambda dice, at: at_body(at, Close()),
    lambda dice, at: chunked(dice.choice((100, 5_000, 70_000))),
    lambda dice, at: chunked(5_000, last=False),
    lambda dice, at: until_close(),
    lambda dice, at: huge_head(),
    lambda dice, at: preceded_by(Head(103)),
    lambda dice, at: followed_by(Close()),
    lambda dice, at: followed_by(Bytes(b"junk")),
    lambda dice, at: says(etag=None),
    lambda dice, at: says(cache_control="no-store"),
    lambda dice, at: says(etag='W/"x"', cache_control="private"),
    lambda dice, at: at_body(at, Pause()),
    lambda dice, at: at_body(min(at, dice.choice(BORDERS)), Pause(), Reset()),
    lambda dice, at: at_head(dice.randrange(1, 120), Pause()),
    lambda dice, at: adds(("transfer-encoding", "chunked")),
    lambda dice, at: adds(("content-length", str(at + 1))),
    lambda dice, at: says(vary="accept-encoding"),
)


class WrongError(Exception):
    """What must never happen."""


class World:
    """The objects in all their versions, and the origins that have the latest."""

    def __init__(self, origins: Sequence[FaultyOrigin], dice: random.Random) -> None:
        self.versions: dict[str, list[Pattern]] = {}
        self._origins = origins
        self._dice = dice
        for number in range(OBJECTS):
            self.change(f"/{number}")

    def change(self, path: str) -> None:
        """Another version, perhaps of another length."""
        versions = self.versions.setdefault(path, [])
        made = Pattern(self._dice.choice(SIZES), self._dice.getrandbits(32))
        versions.append(made)
        for origin in self._origins:
            origin.serves(path, made, lifetime=30, grace=10)

    async def havoc(self, clock: FakeClock, until: float) -> None:
        dice = self._dice
        while time.monotonic() < until:
            await asyncio.sleep(0.01)
            origin, path, what = dice.choice(self._origins), dice.choice(list(self.versions)), dice.random()
            if what < 0.6:
                length = len(self.versions[path][-1])
                origin.spoils(path, dice.choice(FAULTS)(dice, dice.randrange(length + 1)), times=1)
            elif what < 0.7:
                origin.fails(path, dice.choice(("SlowDown", "InternalError")), times=1)
            elif what < 0.72:
                await asyncio.to_thread(origin.stops)
                await asyncio.sleep(0.03)
                await asyncio.to_thread(origin.returns)
            elif what < 0.75:
                await asyncio.to_thread(origin.drops_connections)
            elif what < 0.8:
                self.change(path)
            elif what < 0.95:
                clock.advance(dice.choice((1, 20, 70)))


async def disk_havoc(shield: Shield, files: Failing, world: World, dice: random.Random, until: float) -> None:
    """What befalls disks; once a second for the node is a hundredth of one here."""
    while time.monotonic() < until:
        await asyncio.sleep(0.01)
        await asyncio.to_thread(shield.call, shield.node.tick)
        what = dice.random()
        if what < 0.1:
            files.cold = not files.cold
        elif what < 0.15:
            files.broken[dice.choice(("read", "write", "sync", "open"))] = dice.choice((errno.EIO, errno.ENOSPC))
        elif what < 0.3:
            files.broken.clear()
        elif what < 0.35:
            target = dice.choice(list(world.versions)).encode()
            await asyncio.to_thread(shield.run, shield.node.purge.targets([target]))
    files.broken.clear()


async def purges(shield: Shield, world: World, dice: random.Random, until: float) -> None:
    """Single objects, and all of them at once by their common prefix."""
    while time.monotonic() < until:
        await asyncio.sleep(0.05)
        what = dice.random()
        if what < 0.5:
            target = dice.choice(list(world.versions)).encode()
            await asyncio.to_thread(shield.run, shield.node.purge.targets([target]))
        await asyncio.to_thread(shield.call, shield.node.tick)


class Visitor:
    """One client after the other, each with a few requests on one connection."""

    def __init__(self, world: World, port: int, dice: random.Random, counts: Counter[str]) -> None:
        self._world = world
        self._port = port
        self._dice = dice
        self._counts = counts
        self._is_slow = False

    async def come(self, until: float) -> None:
        while time.monotonic() < until:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                self._is_slow = self._dice.random() < 0.1
                reader, writer = await self._connected()
                try:
                    if self._dice.random() < 0.1:
                        await self._ask_together(reader, writer)
                        continue
                    for _ in range(self._dice.randrange(1, 5)):
                        if not await self._ask(reader, writer):
                            break
                finally:
                    writer.close()
                    with contextlib.suppress(ConnectionError):
                        await writer.wait_closed()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection; the kernel keeps little for a client that reads slowly."""
        mine = socket.socket()
        mine.setblocking(False)
        if self._is_slow:
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await asyncio.get_running_loop().sock_connect(mine, ("127.0.0.1", self._port))
        except OSError:
            mine.close()
            raise
        return await asyncio.open_connection(sock=mine, limit=1 << 14 if self._is_slow else 1 << 22)

    async def _ask_together(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Several requests at once, whose answers come one after the other."""
        paths = self._dice.choices(list(self._world.versions), k=self._dice.randrange(2, 6))
        writer.write(b"".join([request(path) for path in paths]))
        for path in paths:
            if not await self._read(reader, writer, path, "GET"):
                return

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection can carry another."""
        dice = self._dice
        path = dice.choice(list(self._world.versions))
        if dice.random() < 0.3:  # many want the same
            path = f"/{int(time.monotonic() * 10) % OBJECTS}"
        length = len(self._world.versions[path][-1])
        fields = []
        if length and dice.random() < 0.3:
            first = dice.randrange(length)
            last = first + dice.randrange(length)
            fields.append(("range", dice.choice((f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{first + 1}"))))
        method = "HEAD" if dice.random() < 0.1 else "GET"
        writer.write(request(path, fields, method=method))
        return await self._read(reader, writer, path, method)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, method: str) -> bool:
        """One answer; whether the connection can carry another."""
        dice, status, interims = self._dice, 0, 0
        while status < 200:  # what an origin says before its answer (102, 103) is handed on
            raw = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode("latin-1")
            line, *rest = raw.split("\r\n")[:-2]
            status, interims = int(line.split()[1]), interims + 1
            if status in (100, 101) or interims > MOST_HEADS:
                raise WrongError(f"{path}: {raw}")
        told = {name.lower(): value for name, _, value in (field.partition(": ") for field in rest)}
        self._counts[str(status)] += 1
        if status not in ALLOWED:
            raise WrongError(f"{path}: {raw}")
        if method == "HEAD":
            return True
        leaves = dice.random() < 0.08
        if leaves and dice.random() < 0.5 and told.get("content-length") != "0":  # within the body
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(dice.randrange(1, 100_000)), PATIENCE)
        if leaves:
            self._counts["left"] += 1
            writer.transport.abort()
            return False
        body, clean = await _body(reader, told, pause=0.002 if self._is_slow else 0.0)
        if status in (200, 206):
            self._compare(path, body, told, clean=clean, whole=status == 200)
        self._counts["whole" if clean else "visibly broken"] += 1
        return clean

    def _compare(self, path: str, body: bytes, told: dict[str, str], *, clean: bool, whole: bool) -> None:
        start, stop, total = 0, None, None
        if not whole:
            span, _, length = told["content-range"].removeprefix("bytes ").partition("/")
            first, _, last = span.partition("-")
            start, stop, total = int(first), int(last) + 1, int(length)
        for version in self._world.versions[path]:
            fits = total is None or total == len(version)
            end = len(version) if stop is None else stop
            if fits and version.check(body, start) and (not clean or start + len(body) == end):
                return
        raise WrongError(f"{path}: {len(body)} bytes that are of no version; clean: {clean}; {told}")


async def _body(reader: asyncio.StreamReader, told: dict[str, str], *, pause: float) -> tuple[bytes, bool]:
    """The body, read with pauses, and whether it ended cleanly."""
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            if told.get("transfer-encoding") == "chunked":
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readexactly(2)
                return bytes(body), True
            left = int(told["content-length"])
            while left and (data := await reader.read(left)):
                body += data
                left -= len(data)
                if pause:
                    await asyncio.sleep(pause)
            return bytes(body), left == 0
    except (asyncio.IncompleteReadError, ConnectionError):
        return bytes(body), False


async def _run(shield: Shield, files: Failing, world: World, options: argparse.Namespace) -> Counter[str]:
    until = time.monotonic() + options.seconds
    counts: Counter[str] = Counter()
    visitors = [
        Visitor(world, shield.port, random.Random(f"{options.seed} {number}"), counts)
        for number in range(options.clients)
    ]
    async with asyncio.TaskGroup() as group:
        group.create_task(world.havoc(shield.clock, until))
        dice = random.Random(f"{options.seed} keeper")
        if options.disk:
            group.create_task(disk_havoc(shield, files, world, dice, until))
        else:
            group.create_task(purges(shield, world, dice, until))
        for visitor in visitors:
            group.create_task(visitor.come(until))
    return counts


def _disks(path: Path) -> dict[str, Any]:
    tiers = [
        {
            "name": name,
            "directories": [
                {"path": str(path / name / place), "capacity": size, "free_floor": 0} for place in ("a", "b")
            ],
        }
        for name, size in (("nvme", "6MiB"), ("hdd", "10MiB"))
    ]
    return {"memory": {"capacity": "1MiB"}, "tiers": tiers, "slice_bytes": "64KiB", "fills": FILLS}


def _under_way(shield: Shield) -> list[str]:
    """What should come to an end by itself once all clients are gone."""
    state = shield.node.state()
    fills: Any = state["fills"]
    origins: Any = state["origins"]
    left = [f"{key}: {fills[key]}" for key in ("in_flight", "readers", "memory_used_bytes") if fills[key]]
    for name, origin in origins.items():
        places = {**origin["pool"], **origin["gate"]}
        left += [f"{name} {key}: {places[key]}" for key in ("busy", "waiting", "in_flight") if places[key]]
    return left + [f"connections: {shield.connections}"] * (shield.connections > 0)


def _settle(shield: Shield) -> None:
    """Wait until nothing is under way; raises WrongError if something stays."""
    left: list[str] = []
    for _ in range(int(SETTLED_SECONDS / 0.1)):
        left = shield.call(lambda: _under_way(shield))
        if not left:
            return
        time.sleep(0.1)
    raise WrongError(f"left behind: {', '.join(left)}")


def _descriptors() -> Counter[str]:
    """Open files of this process, by what they are."""
    names: list[str] = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            names.append(str(each.readlink()).partition(":[")[0])
    return Counter(names)


def main() -> None:
    parser = argparse.ArgumentParser(description="Misbehaving origins, and answers that must be right all the same.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--disk", action="store_true")
    parser.add_argument("--origins", type=int, default=2)
    parser.add_argument("--rate", default=None, help="of each origin, as max_rate")
    options = parser.parse_args()
    files = Failing()
    sys.setswitchinterval(0.0005)  # clients, origins and node are threads of one process
    logging.disable(logging.WARNING)  # thousands of faults, each with its line
    clock = FakeClock()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp"))
        origins = {
            name: stack.enter_context(FaultyOrigin(clock=clock))
            for name in [f"origin-{number}" for number in range(options.origins)]
        }
        world = World(list(origins.values()), random.Random(options.seed))
        cache = _disks(Path(directory)) if options.disk else {"memory": {"capacity": "24MiB"}, "fills": FILLS}
        settings = settings_of(origins, cache=cache, access_log={"format": "off"})
        if options.rate:
            given = settings.model_dump(mode="json", exclude_unset=True)
            for each in given["origins"].values():
                each["max_rate"] = options.rate
            settings = type(settings).model_validate(given)
        before = _descriptors()
        with Shield(settings, clock=clock, files=files) as shield, uncollected():
            counts = asyncio.run(_run(shield, files, world, options))
            _settle(shield)
            left, state = shield.call(cycles), shield.state()
        del shield
        gc.collect()
        descriptors = list((_descriptors() - before).elements())
    print("answers ", dict(counts.most_common()))
    print("requests", state["requests"])
    print("fills   ", state["fills"])
    print("memory  ", state["memory"])
    print("disk    ", state["disk"])
    print("left    ", {"descriptors": descriptors, "cycles": dict(left)})
    if left:
        raise WrongError(f"cycles: {left}")


if __name__ == "__main__":
    main()
