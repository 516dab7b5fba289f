"""The node's figures as a stream, for people who watch: read once a second for all viewers of a worker together, and
not at all while there are none.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from shield.complaints import Complaints
from shield.observe.report import Report

log = logging.getLogger("shield.admin")

MOST_VIEWERS = 32
"""Streams of one worker at a time; the next one is refused."""

Reporting = Callable[[], Awaitable[Report]]


class CrowdedError(Exception):
    """There are too many viewers already."""


@dataclass(slots=True, eq=False)
class _Viewer:
    """The newest snapshot that a viewer hasn't taken yet: one who reads slowly misses those between."""

    newest: bytes | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class LiveFeed:
    """Snapshots of the whole node, of one worker's viewers. Event loop only.

    `histograms` are the names of the families that a snapshot has besides the state. `most` viewers are let in.
    `pause` waits between two readings, and is asyncio's sleep except in tests.
    """

    def __init__(
        self,
        report: Reporting,
        *,
        histograms: frozenset[str] = frozenset(),
        clock: Callable[[], float],
        most: int = MOST_VIEWERS,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._report = report
        self._histograms = histograms
        self._clock = clock
        self._most = most
        self._pause = pause
        self._viewers: set[_Viewer] = set()
        self._reading: asyncio.Task[None] | None = None
        self._complaints = Complaints(log)

    @property
    def viewers(self) -> int:
        """How many watch now."""
        return len(self._viewers)

    def watch(self) -> AsyncIterator[bytes]:
        """Snapshots as JSON, about one a second. It begins at the first use; CrowdedError is raised at once."""
        if len(self._viewers) >= self._most:
            raise CrowdedError
        return self._snapshots()

    async def close(self) -> None:
        """End all streams."""
        for viewer in tuple(self._viewers):
            self._leave(viewer)
            viewer.newest = None
            viewer.arrived.set()

    async def _snapshots(self) -> AsyncIterator[bytes]:
        viewer = _Viewer()
        self._viewers.add(viewer)
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read())
        try:
            while True:
                await viewer.arrived.wait()
                viewer.arrived.clear()
                newest, viewer.newest = viewer.newest, None
                if newest is None:
                    return  # closed
                yield newest
        finally:
            self._leave(viewer)

    def _leave(self, viewer: _Viewer) -> None:
        self._viewers.discard(viewer)
        if not self._viewers and self._reading is not None:
            self._reading.cancel()
            self._reading = None

    async def _read(self) -> None:
        while True:
            try:
                snapshot = _encoded(await self._report(), self._histograms, self._clock())
            except Exception as error:  # the next reading may succeed; the viewers see that the figures stand still
                self._complaints.say("feed", self._clock(), "the live figures can't be read: %s", error)
            else:
                for viewer in self._viewers:
                    viewer.newest = snapshot
                    viewer.arrived.set()
            await self._pause(1.0)


def _encoded(report: Report, histograms: frozenset[str], now: float) -> bytes:
    found: dict[str, list[dict[str, Any]]] = {
        family.name: [{"value": sample.value, **sample.labels} for sample in family.samples]
        for family in report.families
        if family.name in histograms
    }
    return json.dumps({"at": now, "state": report.state, "families": found}, default=str).encode()
