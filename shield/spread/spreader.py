"""Spreads the orders of a node to all others, and those of others to it: one worker of the node does that for all.

    an order ──> journal, on disk ──> carried out here ──> bus ──> all nodes ──> acknowledged
                                                  └──> from node to node, where that fails, and without a bus

Nothing waits for the bus or for another node but the receipt of an order, for two seconds; and a node that starts,
for five.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shield.bus.bus import Bus
from shield.complaints import Complaints
from shield.errors import ShieldError, StoreError
from shield.rules.alarms import AlarmCause, AlarmKind
from shield.rules.purging import SHARES
from shield.rules.spreading import SpreadError, SpreadOrder, behind, is_blind, lost, met_at, missing_at
from shield.spread.exchange import CarryOut, OrderExchange, OtherNodes
from shield.spread.hints import Hints
from shield.spread.journal import JournalState, OrderJournal, OrderWish
from shield.spread.latecomers import GRACE_SECONDS, Latecomers
from shield.spread.limits import ClusterLimits
from shield.spread.line import SILENT_SECONDS, BusLine, LineState
from shield.spread.link import BusLink, MakeBus
from shield.spread.outdating import Outdating
from shield.spread.owed import OwedOrders
from shield.spread.sight import Sight, SpreadTerms

log = logging.getLogger("shield.cluster")

RECEIPT_SECONDS = 2.0
"""For which the answer to an order waits for the other nodes."""

START_SECONDS = 5.0
"""For which a node that starts waits for orders that it missed; then it serves."""

_PATIENCE_SECONDS = 3.0  # of other nodes that exchange orders with one that opens
_LOOK_SECONDS = 0.05
_ROUND_SECONDS = 1.0
_DIRECT_SECONDS = 0.5  # for the bus to bring an order; then it goes to the node itself
_RETRY_SECONDS = 1.0  # between two attempts at a node that can't be reached
_OFTEN_SECONDS, _SELDOM_SECONDS = 5.0, 30.0  # between comparisons with some of the others, without a bus and with one
_SOME, _TOLD = 3, 16  # nodes: to compare with at a time, to tell of news
_TRIM_SECONDS = 3600.0
_LASTING_SECONDS = 5.0
_OWN = 12  # times as long for those that are being carried out for their callers: of a million paths, say


@dataclass(frozen=True, slots=True)
class SpreadStatistics:
    """As of the last look. `missing` are the newest of this node's own orders that other nodes lack, by node."""

    nodes: tuple[str, ...] = ()
    journal: JournalState = field(default_factory=JournalState)
    bus: LineState | None = None
    unreachable: Mapping[str, str] = field(default_factory=dict)  # by node: why
    behind: tuple[str, ...] = ()  # nodes that have carried out more than this one
    blind_for: float = 0.0
    gaps: int = 0  # times that orders turned out to be lost


class Spreader:
    """Of one worker. `conducts` says whether it is the one that does the work; `tell` has the others look at once.

    `outdating` makes everything that is stored stale, bit by bit, after orders were lost.
    """

    def __init__(
        self,
        journal: OrderJournal,
        nodes: OtherNodes,
        carry_out: CarryOut,
        *,
        bus: MakeBus | None,
        conducts: Callable[[], bool],
        tell: Callable[[], Awaitable[object]],
        outdating: Outdating,
        terms: SpreadTerms,
        now: Callable[[], float],
        clock: Callable[[], float],
        doubt: Callable[[float], None],
        hints: Hints | None = None,
        is_empty: Callable[[], bool] = lambda: False,
        is_first: bool = True,
        limits: ClusterLimits | None = None,
    ) -> None:
        """`doubt`: as of `Sight`. `is_first`: of the node's workers to be opened: nobody conducts yet. `is_empty`:
        nothing is stored at this node; may block. `limits` need a bus.
        """
        self.journal = journal
        self._nodes = nodes
        self._carry_out_orders = carry_out
        self._conducts = conducts
        self._tell = tell
        self.outdating = outdating
        self._terms = terms
        self._now = now
        self._clock = clock
        self.hints = hints
        self._is_empty = is_empty
        self._is_first = is_first
        self._alone = asyncio.Lock()
        self._say: Callable[[], Mapping[str, Any]] = dict if hints is None else hints.say
        self._hear = _ignore if hints is None else hints.hear
        self.exchange = OrderExchange(journal, nodes, self.carry_out, now=now, say=self._say, hear=self._hear)
        if hints is not None:
            hints.urge = self._speak
        self._begun = asyncio.Event()
        self.owed = OwedOrders(journal, nodes.others)
        self._link = BusLink(bus, self._line_over, limits)
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._work: asyncio.Task[None] | None = None
        self._digests = b"", b""
        self._reading: asyncio.Task[None] | None = None
        self._complaints = Complaints(log, seconds=60.0)
        self._state = JournalState()
        self._stuck: tuple[Mapping[str, int], float] | None = None  # orders that others have, and since when
        self._tried: dict[str, float] = {}
        self._compared_at = self._trimmed_at = -float("inf")
        self._new_since: float | None = None  # own orders that others lack are there
        self._failing_since: float | None = None
        self._latecomers = Latecomers()
        self._undone: dict[tuple[str, int], float] = {}  # orders to be carried out, and since when that is known
        self._gaps = 0
        self.sight = Sight(journal, terms, conducts=conducts, doubt=doubt, now=now, clock=clock)

    # for all workers

    def others(self) -> tuple[str, ...]:
        """The names of the other nodes."""
        return self._nodes.others()

    async def give(self, wishes: Sequence[OrderWish]) -> list[SpreadOrder]:
        """Give orders to this node: once this returns they are on its disk, and will be carried out everywhere.

        The caller carries them out here, and then says so (`given`). Raises StoreError.
        """
        return await asyncio.to_thread(self.journal.append, wishes)

    async def given(self, orders: Sequence[SpreadOrder]) -> None:
        """These orders were carried out here: let the others have them."""
        await asyncio.to_thread(self.journal.complete, orders)
        self._wake()
        if not self._conducts():
            task = asyncio.get_running_loop().create_task(self._told())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def missing(self, orders: Sequence[SpreadOrder]) -> tuple[str, ...]:
        """The nodes that haven't carried out all of these orders of this node, two seconds from now at the latest."""
        if not orders:
            return ()
        loop, newest = asyncio.get_running_loop(), max(order.sequence for order in orders)
        until = loop.time() + RECEIPT_SECONDS
        while True:
            state = await asyncio.to_thread(self.journal.state)
            missing = missing_at(self._nodes.others(), state.acknowledged, newest)
            if not missing or loop.time() >= until:
                return missing
            await asyncio.sleep(_LOOK_SECONDS)

    async def carry_out(self, orders: Sequence[SpreadOrder]) -> Sequence[SpreadOrder]:
        """Carry out orders, unless that was done meanwhile; returns those that were. One call at a time."""
        if not orders:
            return ()
        async with self._alone:
            wanted = await asyncio.to_thread(self.journal.wanted, orders)
            done = await self._carry_out_orders(wanted)
            await asyncio.to_thread(self.journal.complete, done)
            self._latecomers.carried_out([order for order in done if order.node != self.journal.node])
        return done

    async def answer(self, sender: str, body: bytes) -> bytes:
        """As `OrderExchange.answer`, which waits a while for this node to open. Raises ShieldError."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._begun.wait()
        except TimeoutError:
            raise SpreadError("this node is starting, and can't carry out orders yet") from None
        return await self.exchange.answer(sender, body)

    def ring(self, query: bytes = b"") -> bytes:
        """Another worker of this node has a new order."""
        self._wake()
        return b"{}"

    def use_bus(self, make: MakeBus) -> None:
        """Have another bus from now on. There must have been one before."""
        self._link.use(make)
        self._wake()

    # for copies of what other nodes have

    def position(self) -> bytes:
        """What this node has carried out, as of a second ago; b"" if that isn't known."""
        return self._digests[0]

    def covers(self, position: bytes) -> bool:
        """Whether a node with this position has carried out all orders that were known here a second ago."""
        return bool(position) and position == self._digests[1]

    # as a service

    @property
    def name(self) -> str:
        return "orders from other nodes"

    async def open(self) -> None:
        """Carry out what this node missed: for five seconds at most, then it serves all the same."""
        if self.hints is not None:
            await self.hints.begin()
        await self._read_digests()
        is_new = self._is_first and await self._is_new()  # before others bring it orders
        self._begun.set()
        self._work = asyncio.get_running_loop().create_task(self._run())
        if not self._is_first:
            return
        started = self._clock()
        self.exchange.calm_until = self._now() + GRACE_SECONDS
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.sight.begin()
                await self._again(0.0)
                reached = await self.exchange.with_nodes(self._nodes.others())
                if is_new and reached:
                    await self._begin_at_floors()
                await self._link.caught_up()
        except TimeoutError:
            pass
        except StoreError as error:
            log.error("orders of other nodes can't be carried out: %s", error)
        away = [node for node in self._nodes.others() if node not in self.exchange.heard]
        self._latecomers.begin(away, self._now(), started=started, is_new=is_new)

    async def _is_new(self) -> bool:
        """Whether it knows of no orders, and has nothing stored."""
        try:
            is_known = bool((await asyncio.to_thread(self.journal.state)).positions)
        except StoreError:
            return False
        return not is_known and await asyncio.to_thread(self._is_empty)

    async def _begin_at_floors(self) -> None:
        """A node that has nothing stored needn't know what the others have forgotten."""
        floors: dict[str, int] = {}
        for _, said in self.exchange.heard.values():
            for node, floor in said.floors.items():
                floors[node] = max(floors.get(node, 0), floor)
        await asyncio.to_thread(self.journal.skip, floors)

    def tick(self) -> None:
        """Once a second."""
        self.sight.apply()
        if self.hints is not None:
            self.hints.look()
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read_digests())
        if self._work is not None and self._work.done() and not self._work.cancelled():
            log.error("orders are spread no longer, and this begins anew", exc_info=self._work.exception())
            self._work = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Let the others have what is new, if that takes no time, and end."""
        tasks = [*self._tasks, *([] if self._reading is None else [self._reading])]
        if self._work is not None:
            tasks.append(self._work)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.exchange.close()
        if self.hints is not None:
            await self.hints.close()
        await self._link.close()

    def statistics(self) -> SpreadStatistics:
        state, others = self._state, self._nodes.others()
        return SpreadStatistics(
            others,
            state,
            self._link.state,
            {node: why for node, (_, why) in self.exchange.failed.items() if node in others},
            tuple(sorted(self._behind())),
            self.sight.blind_for(),
            self._gaps,
        )

    def troubles(self) -> list[AlarmCause]:
        """What people are woken for."""
        found = []
        blind_for = self.sight.blind_for()
        if blind_for >= self._terms.blind_seconds:
            text = f"cut off from the other nodes for {blind_for:.0f} s: purges of others aren't carried out here"
            text += "; what is stored is revalidated before it is used" if self.sight.revalidates else ""
            found.append(AlarmCause(AlarmKind.CLUSTER, "", text))
        elif self._failing_since is not None and self._now() - self._failing_since > _SELDOM_SECONDS:
            text = f"{self._state.undone} orders of other nodes can't be carried out here; the log says why"
            found.append(AlarmCause(AlarmKind.CLUSTER, "", text))
        elif (trouble := self._link.trouble(self._now())) is not None and trouble[0] >= SILENT_SECONDS:
            text = f"the bus is away for {trouble[0]:.0f} s: purges go from node to node. {trouble[1]}"
            found.append(AlarmCause(AlarmKind.CLUSTER, "bus", text))
        outdating = self.outdating.state
        if outdating.left and self._conducts():
            text = f"{outdating.why}: what is stored becomes stale, {outdating.left} of {SHARES} parts are left"
            found.append(AlarmCause(AlarmKind.CLUSTER, "gap", text))
        return found

    # the worker that conducts

    async def _run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._news.clear()
                is_acting = self._is_acting()
                await self._link.keep(wanted=is_acting)
                if is_acting:
                    await self._round()
                wait = _DIRECT_SECONDS if self._new_since is not None else _ROUND_SECONDS
                try:
                    async with asyncio.timeout(wait):  # wait_for may swallow a cancellation
                        await self._news.wait()
                except TimeoutError:
                    continue
        finally:
            await self._link.end()

    def _line_over(self, bus: Bus) -> BusLine:
        return BusLine(bus, self.journal, self.carry_out, say=self._say, now=self._now, hear=self._hear)

    async def _round(self) -> None:
        """See who lacks what, and bring it to them."""
        try:
            now, others = self._now(), self._nodes.others()
            await self._again()
            await self.outdating.go_on()
            self._state = await asyncio.to_thread(self.journal.state)
            await self._close_gaps(now, others)  # by what the exchanges of earlier rounds have brought
            lacking = missing_at(others, self._state.acknowledged, self._state.positions.get(self.journal.node, 0))
            by_bus = self._link.is_up
            if not lacking:
                self._new_since = None
            elif self._new_since is None:
                self._new_since = now
            wanted = set(lacking) if not by_bus or now - (self._new_since or now) >= _DIRECT_SECONDS else set()
            wanted |= self._latecomers.away & set(others)
            wanted |= (self._behind() if self._stuck is None else set(others)) & set(others)
            every = _SELDOM_SECONDS if by_bus else _OFTEN_SECONDS
            if now - self._compared_at >= every:
                self._compared_at = now
                wanted |= set(random.sample(others, min(_SOME, len(others))))
            for node in sorted(wanted):
                self._bring(node, now)
            self._latecomers.look(self.exchange.heard, now)
            for node, told in self._link.said.items():
                self._hear(node, told)
            await self._look_around(now, others, by_bus=by_bus)
            if now - self._trimmed_at >= _TRIM_SECONDS:
                self._trimmed_at = now
                await asyncio.to_thread(self.journal.trim)
        except ShieldError as error:
            self._complaints.say("round", self._now(), "orders can't be spread: %s", error)

    def _bring(self, node: str, now: float) -> None:
        """OrderExchange orders with a node, unless it failed just now."""
        if node in self.exchange.failed and now - self._tried.get(node, -_RETRY_SECONDS) < _RETRY_SECONDS:
            return
        self._tried[node] = now
        is_late = self.exchange.is_under_way(node)  # what is new may have missed it
        task = self.exchange.with_node(node)
        if is_late:
            task.add_done_callback(lambda _: self._news.set())

    async def _again(self, after: float = _LASTING_SECONDS) -> None:
        """Carry out what is in the journal and wasn't, for so long: after a kill, or since it failed. Meanwhile
        another worker may be about to.
        """
        now = self._now()
        orders = await asyncio.to_thread(self.journal.undone)
        self._undone = {order.place: self._undone.get(order.place, now) for order in orders}
        own = self.journal.node
        lasting = [
            order
            for order in orders
            if now - self._undone[order.place] >= (min(after * _OWN, 60.0) if order.node == own else after)
        ]
        await self.carry_out(lasting)
        if not await asyncio.to_thread(self.journal.wanted, lasting):
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now

    def _behind(self) -> set[str]:
        """Nodes that have carried out something that this one lacks."""
        found = {
            node for node, (_, said) in self.exchange.heard.items() if behind(self._state.positions, said.positions)
        }
        for node, told in self._link.said.items():
            positions = told.get("positions")
            if isinstance(positions, dict) and behind(self._state.positions, positions):
                found.add(node)
        return found - {self.journal.node}

    async def _look_around(self, now: float, others: Sequence[str], *, by_bus: bool) -> None:
        """See whether this node is blind."""
        heard = sorted([at for node, (at, _) in self.exchange.heard.items() if node in others], reverse=True)
        sees = by_bus or not is_blind(len(others), len([at for at in heard if now - at < 60.0]))
        await self.sight.look(sees=sees, met_at=now if by_bus else met_at(len(others), heard))

    async def _close_gaps(self, now: float, others: Sequence[str]) -> None:
        """Go on without orders that no node has any more: what was stored before them may be out of date."""
        said = {node: message for node, (_, message) in self.exchange.heard.items() if node in others}
        ahead: dict[str, int] = {}
        for message in said.values():
            for node, position in behind(self._state.positions, message.positions).items():
                ahead[node] = max(ahead.get(node, 0), position)
        holes = await asyncio.to_thread(self.journal.gaps)
        stuck = {**ahead, **holes}
        if not stuck or self._failing_since is not None:
            self._stuck = None
            return
        if self._stuck is None or any(self._state.positions.get(node, 0) > at for node, at in self._stuck[0].items()):
            self._stuck = {node: self._state.positions.get(node, 0) for node in stuck}, now
            return
        since = self._stuck[1]
        asked = {node for node, (at, _) in self.exchange.heard.items() if at > since}
        if any(self.exchange.is_under_way(node) for node in asked):
            return  # what it said is being carried out
        is_final = now - since >= self._terms.blind_seconds
        if not asked.issuperset(others) and not (is_final and asked):
            return  # it may be at one that can't be reached
        places = lost(self._state.positions, [said[node] for node in said if node in asked])
        for node, until in holes.items():
            if all(message.positions.get(node, 0) < until for message in said.values()):
                places[node] = max(places.get(node, 0), until)
        if places:
            named = ", ".join(sorted(places))
            await self.outdating.begin(f"orders given to {named} are lost: no node remembers them")
            await asyncio.to_thread(self.journal.skip, places)
            self._gaps += 1
        self._stuck = None

    def _is_acting(self) -> bool:
        """Whether this worker does the work: the first one before anybody conducts, too."""
        if self._conducts():
            self._is_first = False
            return True
        return self._is_first

    async def _read_digests(self) -> None:
        try:
            self._digests = await asyncio.to_thread(self.journal.digests)
            await self.sight.read()
            await self.owed.read()
        except StoreError:
            self._digests = b"", b""
        if self.hints is not None:
            await self.hints.refresh()

    def _speak(self) -> None:
        """Some hints mustn't wait: to all by the bus, to some of the others without."""
        if self._link.speak():
            return
        others = self._nodes.others()
        for node in random.sample(others, min(_TOLD, len(others))):
            self._bring(node, self._now())

    async def _told(self) -> None:
        await self._tell()

    def _wake(self) -> None:
        self._news.set()
        self._link.ring()


def _ignore(node: str, said: Mapping[str, Any]) -> None:
    """Nobody makes anything of hints."""
