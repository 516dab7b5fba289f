"""Many clients, two origins that misbehave, objects that change: is every answer right, or visibly broken?

    python -m loadtest.chaos [--seconds 30] [--seed 1] [--clients 40] [--disk]

A node in this process with a small cache, so that all that can happen does: evictions, collapsing, ranges,
revalidation, windows, clients that leave. Origins reset, truncate, send garbage, stop and return. With `--disk` there
is next to no RAM tier but two small ones on disk, so that everything is in slices, on its way up or down, or being
reclaimed; disks fail and return, entries are purged, pages are cold. Each body is compared with the versions of the
object; it ends with an error for wrong bytes with a clean end, bytes of two versions in one answer, a 404 for what
exists, or anything left behind (`tests.node.Shield` looks for that).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import random
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
    at_body,
    chunked,
    followed_by,
    huge_head,
    preceded_by,
    says,
    until_close,
)
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Bytes, Close, Head, Reset
from tests.node import FakeClock, Shield, settings_of

SIZES = (0, 1, 100, 5_000, 65_536, 200_000, 1_048_576, 1_048_577, 3_000_000)
OBJECTS = 60
PATIENCE = 20.0
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


class Visitor:
    """One client after the other, each with a few requests on one connection."""

    def __init__(self, world: World, port: int, dice: random.Random, counts: Counter[str]) -> None:
        self._world = world
        self._port = port
        self._dice = dice
        self._counts = counts

    async def come(self, until: float) -> None:
        while time.monotonic() < until:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
                try:
                    for _ in range(self._dice.randrange(1, 5)):
                        if not await self._ask(reader, writer):
                            break
                finally:
                    writer.close()
                    with contextlib.suppress(ConnectionError):
                        await writer.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection can carry another."""
        dice = self._dice
        path = dice.choice(list(self._world.versions))
        length = len(self._world.versions[path][-1])
        fields = []
        if length and dice.random() < 0.3:
            first = dice.randrange(length)
            last = first + dice.randrange(length)
            fields.append(("range", dice.choice((f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{first + 1}"))))
        method = "HEAD" if dice.random() < 0.1 else "GET"
        writer.write(request(path, fields, method=method))
        status, interims = 0, 0
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
        if dice.random() < 0.08:
            self._counts["left"] += 1
            writer.transport.abort()
            return False
        body, clean = await _body(reader, told)
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


async def _body(reader: asyncio.StreamReader, told: dict[str, str]) -> tuple[bytes, bool]:
    """The body, and whether it ended cleanly."""
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
        if options.disk:
            dice = random.Random(f"{options.seed} disks")
            group.create_task(disk_havoc(shield, files, world, dice, until))
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Misbehaving origins, and answers that must be right all the same.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--disk", action="store_true")
    options = parser.parse_args()
    files = Failing()
    sys.setswitchinterval(0.0005)  # clients, origins and node are threads of one process
    logging.disable(logging.WARNING)  # thousands of faults, each with its line
    clock = FakeClock()
    with (
        FaultyOrigin(clock=clock) as fra,
        FaultyOrigin(clock=clock) as iad,
        tempfile.TemporaryDirectory(dir="/var/tmp") as directory,
    ):
        world = World((fra, iad), random.Random(options.seed))
        settings = settings_of(
            {"fra": fra, "iad": iad},
            cache=_disks(Path(directory)) if options.disk else {"memory": {"capacity": "24MiB"}, "fills": FILLS},
            access_log={"format": "off"},
        )
        with Shield(settings, clock=clock, files=files) as shield:
            counts = asyncio.run(_run(shield, files, world, options))
            shield.wait_for(lambda: shield.connections == 0)
            state = shield.state()
    print("answers ", dict(counts.most_common()))
    print("requests", state["requests"])
    print("fills   ", state["fills"])
    print("memory  ", state["memory"])
    print("disk    ", state["disk"])


if __name__ == "__main__":
    main()
