"""Nodes with disk tiers for the tests, and files that fail when they are told to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shield.config.settings import Settings
from shield.messages import Part
from shield.store.directory.files import Files
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import Shield, settings_of

KIB, MIB = 1 << 10, 1 << 20
SLICE = 256 * KIB


def with_disk(origin: FaultyOrigin, path: Path, *, memory: str = "0", **cache: Any) -> Settings:
    """One disk tier of one directory, slices of 256 KiB, and no RAM tier unless asked for."""
    return with_tiers(origin, {"nvme": {path: "64MiB"}}, memory=memory, **cache)


def with_tiers(
    origin: FaultyOrigin, tiers: Mapping[str, Mapping[Path, str]], *, memory: str = "0", **cache: Any
) -> Settings:
    """Tiers by name, each with capacities by directory."""
    listed = [
        {
            "name": name,
            "directories": [{"path": str(path), "capacity": size, "free_floor": 0} for path, size in places.items()],
        }
        for name, places in tiers.items()
    ]
    return settings_of(
        {"fra": origin}, cache={"memory": {"capacity": memory}, "tiers": listed, "slice_bytes": SLICE, **cache}
    )


def settled(shield: Shield) -> None:
    """Wait until all that is to be written is, later heads and removals too."""

    def is_settled() -> bool:
        state: Any = shield.node.state()
        backlogs = [volume["backlog_bytes"] for tier in state["disk"]["tiers"] for volume in tier["volumes"]]
        return not state["disk"]["pending"] and not state["fills"]["in_flight"] and not any(backlogs)

    shield.wait_for(is_settled)
    disk = shield.node.store._disk
    assert disk is not None
    volumes = list(disk.volumes())
    passed: list[bool] = []

    def queue() -> None:
        for volume in volumes:
            volume.change(lambda directory: None, passed.append)

    # These have no bytes that a backlog would count, so something is queued behind them.
    shield.call(queue)
    shield.wait_for(lambda: len(passed) == len(volumes))


def until_well(shield: Shield) -> None:
    """Let time pass until all directories are."""

    def are_well() -> bool:
        shield.node.tick()
        return set(_health(shield.node.state())) == {"well"}

    shield.wait_for(are_well)


def health(shield: Shield) -> list[str]:
    """Of all directories, in order."""
    return _health(shield.state())


def _health(state: Any) -> list[str]:
    return [volume["health"] for tier in state["disk"]["tiers"] for volume in tier["volumes"]]


def tick(shield: Shield, times: int) -> None:
    """Let seconds pass for the disks' keepers."""

    def ticks() -> None:
        for _ in range(times):
            shield.node.tick()

    shield.call(ticks)


class Failing(Files):
    """The real system until a call's name stands in `broken`: then that call fails with the number there.

    `skip` calls are let through first. `cold`: nothing is ever in memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broken: dict[str, int] = {}
        self.skip = 0
        self.failed = 0
        self.cold = False

    def _enter(self, name: str) -> None:
        number = self.broken.get(name)
        if number is None:
            return
        if self.skip:
            self.skip -= 1
            return
        self.failed += 1
        raise OSError(number, os.strerror(number))

    def open(self, path: Path, *, write: bool = False, create: bool = False) -> int:
        self._enter("open")
        return super().open(path, write=write, create=create)

    def open_or_create(self, path: Path) -> int:
        self._enter("open")
        return super().open_or_create(path)

    def write(self, fd: int, parts: Sequence[Part], offset: int) -> None:
        self._enter("write")
        super().write(fd, parts, offset)

    def read(self, fd: int, parts: Sequence[bytearray | memoryview], offset: int) -> int:
        self._enter("read")
        return super().read(fd, parts, offset)

    def read_nowait(self, fd: int, parts: Sequence[bytearray | memoryview], offset: int) -> int | None:
        self._enter("read")
        return None if self.cold else super().read_nowait(fd, parts, offset)

    def sync(self, fd: int) -> None:
        self._enter("sync")
        super().sync(fd)

    def unlink(self, path: Path) -> None:
        self._enter("unlink")
        super().unlink(path)
