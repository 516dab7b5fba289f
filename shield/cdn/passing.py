"""Orders to purge passed on to CDNs: queued with the order, sent after it is carried out, and once more later.

    hold ──the order is carried out──> release ──> sent ──`again`──> sent again
      └──it is refused──> withdraw

A held order is on disk before anything is purged, and due after a while by itself: a kill in between doesn't lose it,
and the node carries the order out again before then. It is sent twice since the CDN's own machines race: a response
that began before the purge may reach one of them after it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from shield.cdn.outbox import EdgeOutbox, EdgeStatus, EdgeWish, QueuedCall
from shield.cdn.posting import EdgePoster, EdgeTarget
from shield.chance import draw
from shield.complaints import Complaints
from shield.errors import StoreError
from shield.rules.alarms import AlarmCause, AlarmKind
from shield.rules.edge_purge import LONGEST_WAIT, CorruptTerms, EdgeCall, is_purge, merged, next_wait, plan
from shield.rules.purge_orders import PurgeOrder

log = logging.getLogger("shield.purge")

HOLD_SECONDS = 60.0
"""For which an order that is being carried out, or whose node was killed meanwhile, isn't sent."""

_BATCH = 200
_PRUNE_SECONDS = 3600.0
_LOSS_SECONDS = 3600.0  # for which a call that was given up is a trouble


@dataclass(slots=True)
class EdgeCounts:
    """Calls for one CDN, by this worker: `sent`, attempts that were `retried`, calls that `failed` for good.
    `waiting` are those of the node, as of the last look.
    """

    sent: int = 0
    retried: int = 0
    failed: int = 0
    waiting: int = 0


@dataclass(slots=True)
class _EdgeTrouble:
    since: float
    text: str


@dataclass(slots=True)
class _Edge:
    """One CDN, in the worker that sends."""

    counts: EdgeCounts = field(default_factory=EdgeCounts)
    task: asyncio.Task[None] | None = None
    rests_until: float = 0.0
    fault: _EdgeTrouble | None = None
    loss: _EdgeTrouble | None = None


class EdgePurges:
    """A service of the node. Made and used within one event loop."""

    name = "purges at CDNs"

    def __init__(
        self,
        outbox: EdgeOutbox,
        targets: Iterable[EdgeTarget],
        *,
        conducts: Callable[[], bool],
        clock: Callable[[], float],
        chance: Callable[[], float] = draw,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`conducts` says whether this worker sends. `clock` gives epoch seconds; `rest` waits between two calls."""
        self._outbox = outbox
        self._targets: Mapping[str, EdgeTarget] = {}
        self._conducts = conducts
        self.clock = clock
        self._chance = chance
        self._rest = rest
        self._edges: dict[str, _Edge] = {}
        self._poster = EdgePoster(clock=clock)
        self._complaints = Complaints(log)
        self._pruned_at: float | None = None
        self._is_leaving = False
        self.use(targets)

    def use(self, targets: Iterable[EdgeTarget]) -> None:
        """Hold to these from now on. What waits for one of the same name goes to its new place."""
        self._targets = {target.edge.name: target for target in targets}
        wanted = {name: target.corrupt for name, target in self._targets.items()}
        self._corrupt = {name: terms for name, terms in wanted.items() if terms.urls or terms.everything}
        self._edges = {name: self._edges.get(name) or _Edge() for name in self._targets}

    async def open(self) -> None:
        """Does nothing: `tick` does."""

    # orders

    async def hold(self, order: PurgeOrder) -> bool:
        """Queue an order for all CDNs, before it is carried out. Whether it is new: then it needs a `release`, or a
        `withdraw`.
        """
        if not self._targets:
            return False
        return await asyncio.to_thread(self._hold, order, tuple(self._targets.values()), self.clock())

    def _hold(self, order: PurgeOrder, targets: Sequence[EdgeTarget], now: float) -> bool:
        wishes, due = list[EdgeWish](), now + HOLD_SECONDS
        for target in targets:
            plans = [plan(order, target.edge, f"{order.id}-{now:.0f}-{each}") for each in (1, 2)]
            times = (due, due + target.again) if target.again else (due,)
            wishes.append(EdgeWish(target.edge.name, tuple(plans), times))
        try:
            is_new, full = self._outbox.add(order.id, wishes, now)
        except StoreError as error:
            log.error("purge %s isn't passed on to CDNs: %s. Purge it there", order.id, error)
            return False
        for name in full:
            log.error("purge %s isn't passed on to %s: too many calls wait. Purge it there", order.id, name)
        return is_new

    async def pass_on(self, order: PurgeOrder, edge: str) -> None:
        """Send an order of this node's own to a CDN now."""
        target = self._targets.get(edge)
        if target is not None and await asyncio.to_thread(self._hold, order, (target,), self.clock()):
            await self.release(order.id)

    def again(self, edge: str) -> float:
        """Seconds after which orders are sent to a CDN once more; 0.0: they aren't, or there is no such CDN."""
        target = self._targets.get(edge)
        return 0.0 if target is None else target.again

    def corrupt_terms(self) -> Mapping[str, CorruptTerms]:
        """The parts of possibly wrong objects that CDNs get; those that get none are left out."""
        return self._corrupt

    async def release(self, order_id: str) -> None:
        """The nodes have it: send it now."""
        try:
            await asyncio.to_thread(self._outbox.release, order_id, self.clock())
        except StoreError as error:
            log.warning("purge %s is passed on to CDNs %.0f s later: %s", order_id, HOLD_SECONDS, error)

    async def withdraw(self, order_id: str) -> None:
        """It wasn't carried out, and won't be."""
        try:
            await asyncio.to_thread(self._outbox.withdraw, order_id)
        except StoreError as error:
            log.warning("purge %s was refused here, but is passed on to CDNs: %s", order_id, error)

    async def statuses(self, order_ids: Sequence[str]) -> Mapping[str, Mapping[str, EdgeStatus]]:
        """The outcome of orders at CDNs, by id and name."""
        if not self._targets:
            return {}
        try:
            return await asyncio.to_thread(self._outbox.statuses, order_ids)
        except StoreError as error:
            self._complaints.say("statuses", self.clock(), "%s", error)
            return {}

    async def status(self, order_id: str) -> Mapping[str, EdgeStatus]:
        """Of an order that was just given: `lost` at CDNs of which nothing is known."""
        known = (await self.statuses((order_id,))).get(order_id, {})
        lost = EdgeStatus("lost", ("it couldn't be queued, as the log says: purge it at the CDN",))
        return {name: known.get(name, lost) for name in self._targets}

    # sending

    def tick(self) -> None:
        """Call once a second."""
        if not self._targets or not self._conducts():
            return
        now = self.clock()
        for name, edge in self._edges.items():
            is_resting = now < edge.rests_until <= now + 2.0 * LONGEST_WAIT  # else the clock was put back
            if edge.task is None and not is_resting:
                edge.task = asyncio.get_running_loop().create_task(self._send(name, edge))

    async def _send(self, name: str, edge: _Edge) -> None:
        try:
            await self._prune()
            while batch := await asyncio.to_thread(self._outbox.due, name, self.clock(), _BATCH):
                for call, queued in _together(batch):
                    target = self._targets.get(name)
                    if target is None or not await self._make(call, queued, target, edge):
                        return
                    await self._rest(call.pace)
            waiting = await asyncio.to_thread(self._outbox.waiting)
            edge.counts.waiting = waiting.get(name, 0)
        except StoreError as error:
            self._complaints.say("outbox", self.clock(), "purges aren't passed on to %s: %s", name, error)
            edge.fault = edge.fault or _EdgeTrouble(self.clock(), str(error))
        finally:
            edge.task = None

    async def _make(self, call: EdgeCall, queued: Sequence[QueuedCall], target: EdgeTarget, edge: _Edge) -> bool:
        """Whether the next call may follow this one, which stands for all that is `queued` here."""
        answer = await self._poster.post(target, call)
        name, now = target.edge.name, self.clock()
        if answer.problem is None:
            edge.counts.sent += 1
            await asyncio.to_thread(self._outbox.made, queued)
            if edge.fault is not None:
                log.warning("purges are passed on to %s again, after %.0f s", name, now - edge.fault.since)
            edge.fault = None
            return True
        attempts = queued[0].attempts + 1
        wait = next_wait(attempts, answer, self._chance())
        if wait is None:
            await asyncio.to_thread(self._outbox.given_up, queued)
            edge.counts.failed += 1
            edge.fault, edge.loss = None, _EdgeTrouble(now, f"purge {queued[0].id}: {answer.problem}")
            said = "purge %s isn't passed on to %s, after %d attempts: %s. Purge it there"
            log.error(said, queued[0].id, name, attempts, answer.problem)
            return True
        await asyncio.to_thread(self._outbox.delayed, queued)
        edge.counts.retried += 1
        edge.rests_until = now + wait
        edge.fault = _EdgeTrouble(now if edge.fault is None else edge.fault.since, answer.problem)
        said = "purges aren't passed on to %s: %s; tried again in %.0f s"
        self._complaints.say(name, now, said, name, answer.problem, wait)
        return False

    async def _prune(self) -> None:
        now = self.clock()
        if self._pruned_at is None or abs(now - self._pruned_at) >= _PRUNE_SECONDS:
            self._pruned_at = now
            late = await asyncio.to_thread(self._outbox.prune, now)
            if late:
                log.error("%d calls of purges at CDNs are given up: they failed for a week", late)

    # for operators

    def troubles(self) -> Iterator[AlarmCause]:
        """CDNs that don't take purges."""
        now = self.clock()
        for name, edge in self._edges.items():
            if edge.fault is not None:
                text = f"{name}: purges aren't passed on, for {now - edge.fault.since:.0f} s: {edge.fault.text}"
                yield AlarmCause(AlarmKind.EDGE_PURGES, name, text)
            elif edge.loss is not None and now - edge.loss.since < _LOSS_SECONDS:
                yield AlarmCause(AlarmKind.EDGE_PURGES, name, f"{name}: given up: {edge.loss.text}")

    def statistics(self) -> Mapping[str, EdgeCounts]:
        return {name: edge.counts for name, edge in self._edges.items()}

    def state(self) -> dict[str, object]:
        """By CDN, as JSON has it."""
        return {
            name: {**asdict(edge.counts), "problem": None if edge.fault is None else edge.fault.text}
            for name, edge in self._edges.items()
        }

    # the end

    def begin_to_leave(self) -> bool:
        """The node is about to stop; whether this worker has calls to see to."""
        self._is_leaving = bool(self._targets) and self._conducts()
        return self._is_leaving

    def open_edges(self) -> list[str]:
        """The CDNs that didn't ask to be left alone, nor fail, a moment ago."""
        now = self.clock()
        return [name for name, edge in self._edges.items() if now >= edge.rests_until]

    def is_purge(self, edge: str, call: EdgeCall) -> bool:
        """Whether a call from another node is one that purges at this CDN."""
        target = self._targets.get(edge)
        return target is not None and is_purge(target.edge, call)

    def places(self) -> Mapping[str, str]:
        """The name of each CDN's configuration at the CDN, by its name here."""
        return {name: f"{each.edge.provider.value}:{each.edge.place}" for name, each in self._targets.items()}

    async def close(self) -> None:
        """Stop sending; unsent calls are in the file."""
        tasks = [edge.task for edge in self._edges.values() if edge.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._poster.close()
        if self._is_leaving:
            await self._say_what_is_left()

    async def _say_what_is_left(self) -> None:
        try:
            waiting = await asyncio.to_thread(self._outbox.waiting)
        except StoreError as error:
            log.error("%s", error)
            return
        for name, count in waiting.items():
            if not count:
                continue
            if self._outbox.is_kept:
                log.warning("calls for %s that aren't made yet, but after the next start: %d", name, count)
            else:
                log.error("calls for %s that are lost, without a state_directory: %d. Purge it there", name, count)


def _together(batch: Sequence[QueuedCall]) -> Iterator[tuple[EdgeCall, list[QueuedCall]]]:
    """Calls that stand for several. One that failed before goes alone: it may be the one that the CDN can't take."""
    for each in batch:
        if each.attempts:
            yield each.call, [each]
    fresh = [each for each in batch if not each.attempts]
    for call, places in merged([each.call for each in fresh]):
        yield call, [fresh[place] for place in places]
