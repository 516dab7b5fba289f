"""Orders exchanged with the other nodes themselves, by HTTP: correct by itself, and all there is without a bus."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from shield.complaints import Complaints
from shield.errors import OriginError, ShieldError
from shield.rules.spreading import SpreadError, SpreadMessage, SpreadOrder, behind
from shield.spread.journal import OrderJournal

log = logging.getLogger("shield.cluster")

TARGET = b"*purge"
"""No object has this target; nodes alone can send it."""

HINTS = "hints"
"""The key of hints in what nodes say to each other."""

_SECONDS = 3.0  # for one message and its answer
_MOST_MESSAGES = 200  # in one exchange: 30 MB of orders

CarryOut = Callable[[Sequence[SpreadOrder]], Awaitable[Sequence[SpreadOrder]]]
"""Carries out orders, and returns those that were: the others are tried again later."""


class OtherNodes(Protocol):
    """The other members of the cluster, as `peers.nodes` knows them."""

    def others(self) -> tuple[str, ...]: ...

    async def send(self, name: str, target: bytes, body: bytes = b"", *, seconds: float = 2.0) -> bytes: ...

    def met(self, name: str, node: str) -> None:
        """The node that goes by this name calls itself so in its messages."""


class OrderExchange:
    """Of one worker. `heard` has what each other node said last, and when, on the clock of `now`."""

    def __init__(
        self,
        journal: OrderJournal,
        nodes: OtherNodes,
        carry_out: CarryOut,
        *,
        now: Callable[[], float],
        say: Callable[[], Mapping[str, Any]] = dict,
        hear: Callable[[str, Mapping[str, Any]], None] = lambda node, said: None,
    ) -> None:
        """`say` is what is told besides, and `hear` what becomes of it there."""
        self._say = say
        self._hear = hear
        self._journal = journal
        self._nodes = nodes
        self._carry_out = carry_out
        self._now = now
        self._under_way: dict[str, asyncio.Task[bool]] = {}
        self._complaints = Complaints(log, seconds=60.0)
        self.heard: dict[str, tuple[float, SpreadMessage]] = {}
        self.calm_until = -math.inf
        """Before that time failures are no news: other nodes may be starting, too."""
        self.failed: dict[str, tuple[float, str]] = {}
        """Nodes to which the last attempt failed: since when, and why."""

    async def answer(self, sender: str, body: bytes) -> bytes:
        """The answer to another node's message, once its orders are carried out. Raises ShieldError."""
        message = SpreadMessage.decoded(body)
        if message.node != sender or sender == self._journal.node:
            raise SpreadError(f"a message of {message.node} came from {sender}: two nodes have the same name?")
        await self._take(message)
        answer = await asyncio.to_thread(self._journal.message, message.positions)
        return self._with_hints(answer).encoded()

    def with_node(self, name: str) -> asyncio.Task[bool]:
        """OrderExchange orders with another node until neither lacks any; whether that worked. One at a time."""
        task = self._under_way.get(name)
        if task is None:
            task = self._under_way[name] = asyncio.get_running_loop().create_task(self._with(name))
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        return task

    def is_under_way(self, name: str) -> bool:
        return name in self._under_way

    async def with_nodes(self, names: Sequence[str]) -> list[str]:
        """The same with several, at the same time; returns those with which it worked."""
        worked = await asyncio.gather(*[self.with_node(name) for name in names])
        return [name for name, has in zip(names, worked, strict=True) if has]

    async def close(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _with(self, name: str) -> bool:
        known: SpreadMessage | None = None  # what it said last, in this exchange
        before: object = None
        try:
            for _ in range(_MOST_MESSAGES):
                positions = None if known is None else known.positions
                said = await asyncio.to_thread(self._journal.message, positions)
                if known is not None and not said.orders and not behind(said.positions, known.positions):
                    break
                body = self._with_hints(said).encoded()
                answer = SpreadMessage.decoded(await self._nodes.send(name, TARGET, body, seconds=_SECONDS))
                self._nodes.met(name, answer.node)
                await self._take(answer)
                if (said.positions, answer.positions) == before:
                    break  # one of the two can't carry out something, or has forgotten it
                known, before = answer, (said.positions, answer.positions)
        except (ShieldError, OSError) as error:
            why = f"{error.fault.value}: {error.detail}" if isinstance(error, OriginError) else str(error)
            self.failed.setdefault(name, (self._now(), why))
            if self._now() >= self.calm_until:
                self._complaints.say(name, self._now(), "orders can't be exchanged with node %s: %s", name, why)
            return False
        self.failed.pop(name, None)
        return True

    def _with_hints(self, message: SpreadMessage) -> SpreadMessage:
        hints = self._say().get(HINTS)
        return replace(message, hints=hints) if hints else message

    async def _take(self, message: SpreadMessage) -> None:
        """Carry out its orders, and note what it has carried out."""
        self.heard[message.node] = self._now(), replace(message, hints={})
        self._hear(message.node, {HINTS: message.hints})
        if message.orders:
            wanted = await asyncio.to_thread(self._journal.add, message.orders)
            done = await self._carry_out(wanted)
            await asyncio.to_thread(self._journal.complete, done)
        position = message.positions.get(self._journal.node, 0)
        if position:
            await asyncio.to_thread(self._journal.acknowledge, message.node, position)
