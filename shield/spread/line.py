"""The bus as a way for orders: this node's are appended, those of others are read and carried out, and each node says
every few seconds how far it is.

An engine that lost something, all of it or its last seconds, is told by its epoch, or by its newest entry being older
than the last one that was read. Then its streams are read from the beginning, and what they lack is appended again:
each node appends its own orders, and one of them those of nodes that are away.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shield.bus.bus import BEGINNING, Bus, BusEntry, BusError, LeaseClaim, order_of
from shield.complaints import Complaints
from shield.errors import ShieldError
from shield.rules.spreading import SpreadError, SpreadOrder
from shield.spread.exchange import CarryOut
from shield.spread.journal import OrderJournal

log = logging.getLogger("shield.cluster")

ORDERS = "orders"
NEWS = "news"
"""The stream of what mustn't wait for the next tick: what nodes say then, besides orders."""

TICK_SECONDS = 5.0
SILENT_SECONDS = 15.0
"""Without a tick for so long a node, or the bus, is away."""

_READ_SECONDS = 1.0
_PAUSE_SECONDS = 1.0  # after a failure
_KEPT_ACKS, _KEPT_NEWS = 1000, 200
_REFILL_SECONDS = 60  # for which one node refills the engine
_AT_ONCE = 50  # entries appended at a time
_EPOCH, _CURSOR, _PUBLISHED = "epoch", "cursor", "published"


@dataclass(frozen=True, slots=True)
class LineState:
    """Whether the engine answers, since when that is so, and why not; and what other nodes said last through it."""

    is_up: bool = False
    since: float = 0.0
    why: str = ""
    said: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    resets: int = 0  # times that the engine had lost something


class BusLine:
    """Of the worker that conducts. `run` it as a task; `ring` it when there are new orders of this node.

    `say` returns what other nodes are told with each tick; `hear` is told of their news. `caught_up` is set while all
    that was in the stream at some time since the start was carried out.
    """

    def __init__(
        self,
        bus: Bus,
        journal: OrderJournal,
        carry_out: CarryOut,
        *,
        say: Callable[[], Mapping[str, object]],
        now: Callable[[], float],
        hear: Callable[[str, Mapping[str, Any]], None] = lambda node, said: None,
    ) -> None:
        self._hear = hear
        self._bus = bus
        self._journal = journal
        self._carry_out = carry_out
        self._say = say
        self._now = now
        self._news = asyncio.Event()
        self._word = asyncio.Event()
        self._complaints = Complaints(log, seconds=60.0)
        self._epoch = self._cursor = ""
        self._acks = self._news_cursor = BEGINNING
        self._seen: set[tuple[str, int]] | None = None  # in the stream, since it is read from the beginning
        self._published = 0
        self._appended: dict[int, float] = {}  # own orders that were appended, and when
        self._back: set[int] = set()  # those that were read back
        self.state = LineState(since=now())
        self.caught_up = asyncio.Event()

    def ring(self) -> None:
        """There are new orders, or there is something new to say."""
        self._news.set()

    def speak(self) -> None:
        """There is something new to say that isn't an order: say it now, instead of with the next tick."""
        self._word.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.begin()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._keep_reading())
                    tasks.create_task(self._keep_publishing())
                    tasks.create_task(self._keep_ticking())
            except* ShieldError as errors:
                self._lost(errors.exceptions[0])
            await asyncio.sleep(_PAUSE_SECONDS)

    async def begin(self) -> None:
        """See what the engine has; go on from the cursor, or from the beginning if it has lost something."""
        names = (_EPOCH, _CURSOR, _PUBLISHED)
        epoch, cursor, published = [await asyncio.to_thread(self._journal.fact, name) for name in names]
        state = await asyncio.to_thread(self._journal.state)
        streams = [ORDERS, NEWS]
        tick = await self._bus.tick(self._journal.node, self._said(state.positions), SILENT_SECONDS, streams)
        self._news_cursor = tick.newest.get(NEWS, BEGINNING)  # what was news before isn't
        self._cursor, self._published = cursor or BEGINNING, int(published or 0)
        self._seen = None
        self._appended.clear()
        self._back.clear()
        self._epoch = tick.epoch
        if tick.epoch != epoch or order_of(tick.newest[ORDERS]) < order_of(self._cursor):
            if epoch:
                log.warning("bus %s: it has lost orders, or is another one: they are appended again", self._bus.place)
            resets = self.state.resets + bool(epoch)
            self.state = LineState(self.state.is_up, self.state.since, self.state.why, self.state.said, resets)
            self._cursor, self._published, self._seen = BEGINNING, 0, set()
            await asyncio.to_thread(self._journal.note, {_CURSOR: BEGINNING, _PUBLISHED: "0"})
        self._acks = BEGINNING
        self._found(tick.said)

    async def _keep_reading(self) -> None:
        while True:
            await self.read(0.0 if self._seen is not None else _READ_SECONDS)

    async def read(self, seconds: float = 0.0) -> None:
        """Carry out what comes in so many seconds. Raises ShieldError."""
        acks = f"acks:{self._journal.node}"
        cursors = {ORDERS: self._cursor, acks: self._acks, NEWS: self._news_cursor}
        entries = await self._bus.read_from(cursors, seconds)
        orders = [entry for entry in entries if entry.stream == ORDERS]
        if told := [entry for entry in entries if entry.stream == acks]:
            await self._acknowledged(told)
        for entry in entries:
            if entry.stream == NEWS:
                self._news_cursor = entry.position
                said = _object(entry.data)
                if isinstance(node := said.get("node"), str) and node != self._journal.node:
                    self._hear(node, said)
        if orders:
            await self._take(orders)
            return
        if self._seen is not None:
            await self._refill(self._seen)
            self._seen = None
        self.caught_up.set()

    async def _take(self, entries: Sequence[BusEntry]) -> None:
        orders = []
        for entry in entries:
            try:
                orders.append(SpreadOrder.decoded(entry.data))
            except SpreadError as error:
                self._complaints.say("entry", self._now(), "bus %s: %s: %s", self._bus.place, entry.position, error)
        others = [order for order in orders if order.node != self._journal.node]
        wanted = await asyncio.to_thread(self._journal.add, orders)
        done = await self._carry_out(wanted)
        self._cursor = entries[-1].position
        facts = {_CURSOR: self._cursor}
        own = [order.sequence for order in orders if order.node == self._journal.node]
        if self._seen is not None:
            self._seen |= {order.place for order in orders}
        self._back |= {sequence for sequence in own if sequence > self._published}
        await asyncio.to_thread(self._journal.complete, done, facts)
        if others and self._seen is None:
            state = await asyncio.to_thread(self._journal.state)
            for node in {order.node for order in others}:
                said = {"node": self._journal.node, "position": state.positions.get(node, 0)}
                if said["position"]:
                    await self._bus.append(f"acks:{node}", json.dumps(said).encode(), _KEPT_ACKS)

    async def _acknowledged(self, entries: Sequence[BusEntry]) -> None:
        self._acks = entries[-1].position
        newest: dict[str, int] = {}
        for entry in entries:
            said = _object(entry.data)
            node, position = said.get("node"), said.get("position")
            if isinstance(node, str) and isinstance(position, int):
                newest[node] = max(newest.get(node, 0), position)
        for node, position in newest.items():
            await asyncio.to_thread(self._journal.acknowledge, node, position)

    async def _keep_publishing(self) -> None:
        while True:
            self._news.clear()
            await self.publish()
            try:
                async with asyncio.timeout(TICK_SECONDS):  # wait_for may swallow a cancellation
                    await self._news.wait()
            except TimeoutError:
                continue

    async def publish(self) -> None:
        """Append this node's new orders, and again those that can't be read back. Raises ShieldError."""
        if self._seen is not None:
            return
        now, before = self._now(), self._published
        orders = await asyncio.to_thread(self._journal.own_since, before)
        for order in orders:
            if order.sequence not in self._back:
                break
            self._published = order.sequence
        if self._published != before:
            self._back = {sequence for sequence in self._back if sequence > self._published}
            await asyncio.to_thread(self._journal.note, {_PUBLISHED: str(self._published)})
        self._appended = {number: at for number, at in self._appended.items() if number > self._published}
        for order in orders:
            number = order.sequence
            is_there = number <= self._published or number in self._back
            if not is_there and now - self._appended.get(number, -TICK_SECONDS) >= TICK_SECONDS:
                self._appended[number] = now
                await self._bus.append(ORDERS, order.encoded())

    async def _refill(self, seen: set[tuple[str, int]]) -> None:
        """Append what the engine lacks: own orders, and those of nodes that are away, if no other node does."""
        (granted,) = await self._bus.lease([LeaseClaim("refill", _REFILL_SECONDS * 1_000_000, 0)])
        own, positions, count = self._journal.node, dict[str, int](), 0
        away = granted.is_granted

        def is_ours(node: str) -> bool:
            return node == own or (away and node not in self.state.said)

        while True:
            orders = await asyncio.to_thread(self._journal.since, positions)
            if not orders:
                break
            for order in orders:
                positions[order.node] = max(positions.get(order.node, 0), order.sequence)
            lacking = [order for order in orders if order.place not in seen and is_ours(order.node)]
            self._appended |= {order.sequence: self._now() for order in lacking if order.node == own}
            for at in range(0, len(lacking), _AT_ONCE):
                batch = lacking[at : at + _AT_ONCE]
                await asyncio.gather(*[self._bus.append(ORDERS, order.encoded()) for order in batch])
            count += len(lacking)
        await asyncio.to_thread(self._journal.note, {_EPOCH: self._epoch})
        if count:
            log.warning("bus %s: it lacked %d orders, which were appended again", self._bus.place, count)

    async def _keep_ticking(self) -> None:
        while True:
            if self._word.is_set():
                self._word.clear()
                said = json.dumps({**self._say(), "node": self._journal.node}, separators=(",", ":"))
                await self._bus.append(NEWS, said.encode(), _KEPT_NEWS)
            await self.tick()
            try:
                async with asyncio.timeout(TICK_SECONDS):  # wait_for may swallow a cancellation
                    await self._word.wait()
            except TimeoutError:
                continue

    async def tick(self) -> None:
        """Say how far this node is, and hear it of the others. Raises ShieldError."""
        state = await asyncio.to_thread(self._journal.state)
        cursor = self._cursor  # before the engine answers: it may go on meanwhile
        tick = await self._bus.tick(self._journal.node, self._said(state.positions), SILENT_SECONDS, [ORDERS])
        if tick.epoch != self._epoch or order_of(tick.newest[ORDERS]) < order_of(cursor):
            raise BusError(f"bus {self._bus.place}: it has lost what it had")
        self._found(tick.said)
        for node, said in self.state.said.items():
            position = _position(said, self._journal.node)
            if position > state.acknowledged.get(node, 0) and node != self._journal.node:
                await asyncio.to_thread(self._journal.acknowledge, node, position)

    def _said(self, positions: Mapping[str, int]) -> bytes:
        return json.dumps({**self._say(), "positions": positions}, separators=(",", ":")).encode()

    def _found(self, said: Mapping[str, bytes]) -> None:
        """The engine answers."""
        before = self.state
        if not before.is_up:
            log.info("bus %s: it answers", self._bus.place)
        read = {node: _object(data) for node, data in said.items()}
        since = before.since if before.is_up else self._now()
        self.state = LineState(True, since, "", read, before.resets)

    def _lost(self, error: BaseException) -> None:
        """It doesn't."""
        before = self.state
        self.caught_up.clear()
        since = self._now() if before.is_up else before.since
        self.state = LineState(False, since, str(error), {}, before.resets)
        text = "%s; orders go from node to node meanwhile"
        self._complaints.say("bus", self._now(), text, error)


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _position(said: Mapping[str, Any], node: str) -> int:
    positions = said.get("positions")
    position = positions.get(node, 0) if isinstance(positions, dict) else 0
    return position if isinstance(position, int) else 0
