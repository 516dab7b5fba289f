"""Warming: the node requests objects of itself, so that later clients find them stored.

Each URL takes the way of a client's request, so that keys, variants, tiers and the sharing of fetches are the same;
its body is counted and dropped. It waits behind clients: nothing is begun while the origin that comes first is in
trouble or has misses waiting, and at gates these fetches come last. They are no clients' requests, and not counted as
such.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shield.errors import RequestError
from shield.messages import Part, Request
from shield.origin.origins import Origins
from shield.outcome import Outcome
from shield.proxy import Proxy
from shield.reply import Reply, UnderWay
from shield.rules.routes import Resource
from shield.rules.warming import MARK, MOST_AT_ONCE, WarmOrder, WarmResult
from shield.rules.written import target_of
from shield.store.entry import Entry
from shield.store.slices import Slices
from shield.store.tiers import Cold, Store

log = logging.getLogger("shield.warm")

PAUSE_SECONDS = 5.0
"""After which deferred URLs may be ordered again."""

_ABSENT = (404, 410)
_AT_ONCE = 1 << 20  # bytes that a body brings without a pause: those of slices on disk come as fast as memory is
_BUDGET = "the budget of bytes is used up"


@dataclass(frozen=True, slots=True)
class WarmedUrl:
    """What became of one URL. `bytes` came from an origin, which is named if it is known."""

    url: str
    result: WarmResult
    status: int | None = None
    bytes: int = 0
    origin: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class WarmStatistics:
    """URLs by result, and bytes from origins, of this worker so far."""

    results: dict[str, int]
    origin_bytes: int
    under_way: int


class Warmer:
    """Carries out orders to warm, of any number of callers, within one bound on fetches at once."""

    def __init__(self, proxy: Proxy, store: Store, origins: Origins, *, clock: Callable[[], float]) -> None:
        self._proxy = proxy
        self._store = store
        self._origins = origins
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._results: dict[str, int] = {}
        self._bytes = self._under_way = 0

    async def warm(self, order: WarmOrder) -> Sequence[WarmedUrl]:
        """The outcome for each URL, in their order. Cancelled, it ends the fetches in progress."""
        budget, waiting = _WarmBudget(order.max_bytes), list(enumerate(order.urls))
        waiting.reverse()
        found: dict[int, WarmedUrl] = {}

        async def work() -> None:
            while waiting:
                place, url = waiting.pop()
                async with self._places:
                    found[place] = self._counted(await self._one(url, order, budget))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(order.at_once, len(order.urls))):
                group.create_task(work())
        results = [found[place] for place in range(len(order.urls))]
        counts = {each.value: sum(one.result is each for one in results) for each in WarmResult}
        said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        log.info("warm: %d URLs: %s; %d bytes from origins", len(results), said, sum(one.bytes for one in results))
        return results

    def statistics(self) -> WarmStatistics:
        return WarmStatistics(dict(self._results), self._bytes, self._under_way)

    def _counted(self, warmed: WarmedUrl) -> WarmedUrl:
        self._results[warmed.result.value] = self._results.get(warmed.result.value, 0) + 1
        self._bytes += warmed.bytes
        return warmed

    async def _one(self, url: str, order: WarmOrder, budget: _WarmBudget) -> WarmedUrl:
        regime = self._proxy.in_force.regime
        try:
            target = target_of(url)
            resource = regime.targets.resolve(target)
        except RequestError as error:
            return WarmedUrl(url, WarmResult.FAILED, error.status, detail=error.reason)
        request = Request.of(b"GET", target, order.fields)
        request.notable[MARK] = b""
        if resource.route.particular and resource.route.forwarding.any:
            try:
                resource = self._store.variants.of(resource, request)
            except RequestError as error:
                return WarmedUrl(url, WarmResult.FAILED, error.status, detail=error.reason)
        if self._is_there(await self._entry(resource), order):
            return WarmedUrl(url, WarmResult.PRESENT)
        if budget.left <= 0:
            return WarmedUrl(url, WarmResult.DEFERRED, detail=_BUDGET)
        trouble = self._origins.trouble(resource.tried)
        if trouble is not None:
            return WarmedUrl(url, WarmResult.DEFERRED, detail=trouble)
        return await self._requested(url, request, budget)

    async def _requested(self, url: str, request: Request, budget: _WarmBudget) -> WarmedUrl:
        proxy, regime = self._proxy, self._proxy.in_force.regime
        sink = _WarmSink(self._loop, budget)
        reply = proxy.try_hit(request, self._clock(), regime)
        if reply is not None:
            sink.reply(reply)
            return sink.result(url)
        self._under_way += 1
        transfer = sink.transfer = proxy.open(request, sink, regime)
        try:
            await sink.done
        finally:
            transfer.abandon()
            self._under_way -= 1
        return sink.result(url)

    async def _entry(self, resource: Resource) -> Entry | None:
        """The stored entry; of a large one its head."""
        found = self._store.find(resource.key)
        if isinstance(found, Cold):
            read: asyncio.Future[Entry | None] = self._loop.create_future()
            self._store.read(found, resource.key, lambda entry: None if read.done() else read.set_result(entry))
            found = await read
        return None if found is None or found.is_marker else found

    def _is_there(self, entry: Entry | None, order: WarmOrder) -> bool:
        """Whether nothing needs to be fetched."""
        if entry is None or not (order.only_missing or entry.freshness.ttl(self._clock()) > 0.0):
            return False
        if not entry.is_large:
            return True
        slices = self._store.slices(entry)
        return isinstance(slices, Slices) and all(map(slices.has, range(slices.count)))


@dataclass(slots=True)
class _WarmBudget:
    """Bytes that may still come from origins."""

    left: float


class _WarmSink:
    """The client of a request for warming: takes everything, with pauses for the event loop's other work, and keeps
    nothing. Implements `Client`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: _WarmBudget) -> None:
        self.ready = True
        self.done: asyncio.Future[None] = loop.create_future()
        self.transfer: UnderWay | None = None
        self._loop = loop
        self._at_once = 0  # bytes since the last pause
        self._budget = budget
        self._status = 0
        self._outcome = Outcome()
        self._taken = 0
        self._is_whole = True
        self._is_over = False  # the budget

    @property
    def untaken(self) -> int:
        return 0

    def inform(self, block: bytes) -> None:
        pass

    def reply(self, reply: Reply) -> None:
        self._status, self._outcome = reply.status, reply.outcome
        self._take(reply.length)
        self._end()

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        self._status, self._outcome = status, outcome
        if length is not None and not outcome.hit and length > self._budget.left:
            self._is_over = True
            self._end()
        elif data is not None:
            self._take(len(data))

    def write(self, data: Part) -> None:
        self._take(len(data))
        self._at_once += len(data)
        if self._at_once >= _AT_ONCE and self.ready:
            self.ready = False
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self.ready, self._at_once = True, 0
        if self.transfer is not None:
            self.transfer.advance()

    def finish(self, *, clean: bool) -> None:
        self._is_whole = clean
        self._end()

    def _take(self, size: int) -> None:
        is_from_origin = 200 <= self._status < 300 and not self._outcome.hit  # other bodies are our own
        if not is_from_origin or self.done.done():
            return
        self._taken += size
        self._budget.left -= size
        if self._budget.left < 0 and self._budget.left != -math.inf:
            self._is_over = True
            self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def result(self, url: str) -> WarmedUrl:
        """The outcome of the request, once it is `done`."""
        outcome, status = self._outcome, self._status
        result, detail = _result(status, outcome), outcome.detail
        if self._is_over:
            result, detail = WarmResult.DEFERRED, _BUDGET
        elif not self._is_whole:
            result, detail = WarmResult.FAILED, "its body broke off"
        return WarmedUrl(url, result, status, self._taken, outcome.origin or None, detail)


def _result(status: int, outcome: Outcome) -> WarmResult:
    if status in _ABSENT:
        return WarmResult.ABSENT
    if outcome.hit or outcome.word == "revalidated":
        return WarmResult.PRESENT
    if not 200 <= status < 300 or outcome.forward is None:
        return WarmResult.FAILED
    # What another request or worker fetches is stored by that one.
    return WarmResult.WARMED if outcome.stored or outcome.detail is None else WarmResult.UNKEPT
