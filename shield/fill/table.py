"""All fills of a worker, and which of them a request shares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from shield.fill.buffer import FillMemory
from shield.fill.fill import Fill, FillPolicy, Phase, Reader
from shield.messages import Request
from shield.origin.origins import Origins, Want
from shield.rules import conditional
from shield.rules.routes import Resource
from shield.store.entry import Entry
from shield.store.memory import MemoryTier


@dataclass(frozen=True, slots=True)
class FillStatistics:
    in_flight: int
    started: int
    collapsed: int
    broken: int
    memory_used_bytes: int
    memory_capacity_bytes: int
    hit_for_miss: int


class FillTable:
    """All fills of a worker. `join` has no await between looking and adding: one key has one shared fill.

    Made and used within one event loop.
    """

    def __init__(
        self,
        origins: Origins,
        store: MemoryTier,
        memory: FillMemory,
        *,
        policy: FillPolicy,
        via: bytes,
        clock: Callable[[], float],
    ) -> None:
        self.origins = origins
        self.store = store
        self.memory = memory
        self.policy = policy
        self.via = via
        self.clock = clock
        self.loop = asyncio.get_running_loop()  # asked for once: it costs a system call before Python 3.12
        self.broken = 0
        self._shared: dict[tuple[bytes, bytes], Fill] = {}
        self._alive: set[Fill] = set()
        self._hit_for_miss: dict[bytes, float] = {}
        self._started = 0
        self._collapsed = 0

    def join(
        self, resource: Resource, request: Request, reader: Reader, stored: Entry | None = None
    ) -> tuple[Fill, bool]:
        """The fill that brings `resource`, joined by `reader`, and whether it was under way already.

        `stored` is what is there but may not be served as it is: it is validated rather than fetched.
        """
        fill = self._find(resource, request.method)
        under_way = fill is not None
        if fill is not None:
            self._collapsed += 1
        elif resource.key.text in self._hit_for_miss and self._known_uncacheable(resource.key.text):
            return self.alone(resource, request, reader), False
        else:
            fill = self._start(resource, request, _validation(resource, request.method, stored), shared=True)
            fill.stored = stored
        fill.join(reader)
        return fill, under_way

    def alone(self, resource: Resource, request: Request, reader: Reader, want: Want | None = None) -> Fill:
        """A fill for one reader only."""
        fill = self._start(
            resource, request, want or Want(request.method, resource.path, resource.query), shared=False
        )
        fill.join(reader)
        return fill

    def refresh(self, resource: Resource, request: Request, stored: Entry) -> None:
        """Bring `resource` anew while nobody waits, unless that is under way."""
        if self._find(resource, b"GET") is None:
            fill = self._start(resource, request, _validation(resource, b"GET", stored), shared=True)
            fill.stored = stored
            fill.background = True

    def _find(self, resource: Resource, method: bytes) -> Fill | None:
        """A GET under way serves a HEAD too."""
        text = resource.key.text
        fill = self._shared.get((text, b"GET"))
        if fill is None and method == b"HEAD":
            fill = self._shared.get((text, b"HEAD"))
        return fill

    def _start(self, resource: Resource, request: Request, want: Want, *, shared: bool) -> Fill:
        fill = Fill(self, resource, request, want, shared=shared)
        self._started += 1
        self._alive.add(fill)
        if shared:
            self._shared[resource.key.text, want.method] = fill
        fill.open()
        return fill

    def forget(self, fill: Fill) -> None:
        """No later request joins this fill."""
        name = (fill.resource.key.text, fill.want.method)
        if self._shared.get(name) is fill:
            del self._shared[name]
        if fill.phase in (Phase.COMPLETE, Phase.FAILED):
            self._alive.discard(fill)

    def mark_hit_for_miss(self, text: bytes) -> None:
        """Remember that answers under this key can't be shared, so that the next ones needn't wait to find out."""
        self._hit_for_miss.pop(text, None)
        self._hit_for_miss[text] = self.clock() + self.policy.hit_for_miss_seconds
        while len(self._hit_for_miss) > 10_000:
            del self._hit_for_miss[next(iter(self._hit_for_miss))]

    def forget_hit_for_miss(self, text: bytes) -> None:
        self._hit_for_miss.pop(text, None)

    def _known_uncacheable(self, text: bytes) -> bool:
        if self._hit_for_miss[text] > self.clock():
            return True
        del self._hit_for_miss[text]
        return False

    def cancel_all(self) -> None:
        for fill in list(self._alive):
            fill.cancel()

    def statistics(self) -> FillStatistics:
        return FillStatistics(
            in_flight=len(self._alive),
            started=self._started,
            collapsed=self._collapsed,
            broken=self.broken,
            memory_used_bytes=self.memory.used,
            memory_capacity_bytes=self.memory.capacity,
            hit_for_miss=len(self._hit_for_miss),
        )


def _validation(resource: Resource, method: bytes, stored: Entry | None) -> Want:
    """A fetch of the resource, conditional on what is stored if that has a validator (RFC 9111 §4.3.1)."""
    if stored is None or stored.head.status != 200 or method == b"HEAD":
        return Want(method, resource.path, resource.query)
    validators = conditional.validators(stored.etag, stored.last_modified)
    return Want(method, resource.path, resource.query, etag=stored.etag, validators=validators)
