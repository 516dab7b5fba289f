"""Entries from an origin that turned out to be corrupt, purged at CDNs, too: as URLs while they are found and removed
here, up to a number for each CDN; beyond that everything, or nothing more, as its settings say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from shield.cdn.passing import EdgePurges
from shield.cdn.whole import EdgeWhole
from shield.rules.edge_purge import CorruptTerms
from shield.rules.purge_orders import PurgeOrder
from shield.rules.routes import Routes

log = logging.getLogger("shield.purge")

_BATCH = 500  # keys at a time: some milliseconds of the event loop
_IDLE_SECONDS = 60  # ticks without a new one, after which the sum is said


@dataclass(slots=True)
class _Doubtful:
    """The entries of one origin that one purge removed: keys still to be passed on, and all of them so far."""

    new: list[bytes] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    passed: int = 0
    idle: int = 0
    said: set[str] = field(default_factory=set)  # CDNs that get no more URLs
    batches: int = 0


class EdgeDoubts:
    """Of one worker: what it finds in its RAM, and on the disks that it sweeps. Event loop only.

    `share` is its part of the numbers of URLs in the settings. `clock` is epoch seconds.
    """

    name = "doubtful objects at CDNs"

    def __init__(
        self,
        edges: EdgePurges,
        whole: EdgeWhole,
        routes: Callable[[], Routes],
        *,
        worker: int,
        share: float,
        clock: Callable[[], float],
    ) -> None:
        self._edges = edges
        self._whole = whole
        self._routes = routes
        self._worker = worker
        self._share = share
        self._clock = clock
        self._doubtful: dict[tuple[str, int], _Doubtful] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, key: bytes, origin: str, sequence: int) -> None:
        """An entry with this key's text was removed, since its bytes may be wrong; `sequence` is that of the purge,
        0: of one object alone. May be told again.
        """
        terms = self._edges.corrupt_terms()
        if not terms:
            return
        found = self._doubtful.setdefault((origin, sequence), _Doubtful())
        # One beyond the most is enough to know that there are more.
        most = max([self._most(each) for each in terms.values()])
        if key not in found.seen and len(found.seen) <= most:
            found.seen.add(key)
            found.new.append(key)

    def _most(self, terms: CorruptTerms) -> int:
        return max(1, round(terms.urls * self._share)) if terms.urls else 0

    async def open(self) -> None:
        """Does nothing."""

    def tick(self) -> None:
        """Once a second."""
        if self._doubtful and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._pass_on())

    async def close(self) -> None:
        """Write the findings so far to the file."""
        if self._task is not None:
            await asyncio.wait((self._task,))
        await self._pass_on()

    async def _pass_on(self) -> None:
        for (origin, sequence), found in list(self._doubtful.items()):
            found.idle += 1
            while found.new:
                found.idle = 0
                keys, found.new = found.new[:_BATCH], found.new[_BATCH:]
                await self._send(origin, sequence, found, keys)
            if found.idle > _IDLE_SECONDS:
                del self._doubtful[origin, sequence]
                if found.passed:
                    text = "origin %s: %d objects that had come from it were purged at CDNs (corrupt-%s-%d-...)"
                    log.warning(text, origin, found.passed, origin, sequence)

    async def _send(self, origin: str, sequence: int, found: _Doubtful, keys: Sequence[bytes]) -> None:
        """To each CDN as many as it may get."""
        name = f"corrupt-{origin}-{sequence}"
        targets = [each for key in keys for each in self._targets(key)]
        edges = self._edges.corrupt_terms()
        for edge, terms in edges.items():
            room = self._most(terms) - found.passed
            if targets[:room] and room > 0:
                number = found.batches = found.batches + 1
                order_id = f"{name}-{self._clock() * 1000:.0f}-{self._worker}-{number}"
                await self._edges.pass_on(PurgeOrder(order_id, paths=tuple(targets[:room])), edge)
            if len(targets) > max(0, room) and edge not in found.said:
                found.said.add(edge)
                await self._beyond(origin, name, edge, terms if sequence else replace(terms, everything=False))
        found.passed += len(targets)

    async def _beyond(self, origin: str, name: str, edge: str, terms: CorruptTerms) -> None:
        """There are more than this CDN gets URLs."""
        if terms.everything:
            log.error("origin %s: it may have sent wrong bytes to %s: everything is purged there", origin, edge)
            if node := await self._whole.purge(origin, edge, name):
                log.info("origin %s: node %s has purged everything at %s for all nodes", origin, node, edge)
        else:
            text = (
                "origin %s: it may have sent wrong bytes to %s, of more objects than the %d whose URLs are purged "
                "there: purge everything there, or by tag"
            )
            log.error(text, origin, edge, self._most(terms))

    def _targets(self, key: bytes) -> Iterator[bytes]:
        yield from self._routes().targets(key)
