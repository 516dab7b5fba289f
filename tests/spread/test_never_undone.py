"""A purge is never undone: nodes are killed at every step, messages are lost, the engine is emptied, replaced, or
loses its last seconds; and no receipt says that an order holds where it doesn't.

A state machine over real journals, the real exchange and the real way to the bus; only the network, the engine and
the stores are made up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shield.errors import ShieldError
from shield.rules.spreading import SpreadOrder, missing_at
from tests.depth import tries
from tests.spread.parts import Cluster, ClusterNode, quick_directory

NAMES = ("a", "b", "c")
NODES = st.sampled_from(NAMES)


class NeverUndone(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.made = quick_directory()
        self.cluster = Cluster(Path(self.made.name), NAMES)
        self.given: list[SpreadOrder] = []
        self.loop = asyncio.new_event_loop()

    def run(self, story: Coroutine[Any, Any, object]) -> None:
        with suppress(ShieldError):
            self.loop.run_until_complete(story)

    def node(self, name: str) -> ClusterNode | None:
        return None if name in self.cluster.down else self.cluster.nodes[name]

    @rule(name=NODES, killed=st.sampled_from(["", "before", "after"]))
    def give(self, name: str, killed: str) -> None:
        """An order, whose node may be killed before or after it is carried out."""
        node = self.node(name)
        if node is None:
            return None
        order = node.gives(self.cluster.new_id())
        self.given.append(order)
        if killed == "before":
            return self.kill(name)
        node.carried_out.append(order.place)
        if killed == "after":
            return self.kill(name)
        node.journal.complete([order])
        return None

    @rule(name=NODES)
    def kill(self, name: str) -> None:
        self.cluster.down.add(name)

    @rule(name=NODES)
    def start(self, name: str) -> None:
        self.cluster.down.discard(name)
        node = self.cluster.nodes[name]
        node.start()
        if not node.refuses:
            undone = node.journal.undone()
            node.carried_out += [order.place for order in undone]
            node.journal.complete(undone)

    @rule(name=NODES, refuses=st.booleans())
    def refuse(self, name: str, refuses: bool) -> None:
        """A node can't carry out anything, since its disk is full; or it can again."""
        self.cluster.nodes[name].refuses = refuses

    @rule(one=NODES, other=NODES)
    def cut(self, one: str, other: str) -> None:
        self.cluster.cut ^= {frozenset((one, other))}

    @rule(one=NODES, other=NODES, dies=st.sampled_from(["", "before", "between", "after"]))
    def exchange(self, one: str, other: str, dies: str) -> None:
        """An exchange, in which the answering node may be killed at any step."""
        node = self.node(one)
        if node is None or one == other:
            return
        answering = self.cluster.nodes[other]
        whole = answering.carry_out

        async def dying(orders: Any) -> Any:
            if dies == "before":
                self.kill(other)
                raise ShieldError("killed")
            done = await whole(orders)
            if dies == "between":
                self.kill(other)
                raise ShieldError("killed")
            if dies == "after":
                self.kill(other)
            return done

        answering.exchange._carry_out = dying
        try:
            self.run(node.exchange._with(other))
        finally:
            answering.exchange._carry_out = answering.carry_out

    @rule(name=NODES, dies=st.sampled_from(["", "", "", "reading", "publishing"]))
    def by_bus(self, name: str, dies: str) -> None:
        """A turn at the bus; the node may be killed after it has carried out what came, and before it noted that, or
        after a part of what it appends.
        """
        node = self.node(name)
        if node is None:
            return
        if not node.line.state.is_up:
            self.run(node.line.begin())
        if dies == "reading":
            node.journal.complete = _fails  # type: ignore[assignment, method-assign]
        if dies == "publishing":
            node.line._bus.append = _Once(node.line._bus.append)  # type: ignore[assignment, method-assign]
        for step in (node.line.read, node.line.publish, node.line.tick, node.line.read):
            self.run(step())
        if dies:
            self.kill(name)

    @rule(name=NODES)
    def restart(self, name: str) -> None:
        self.start(name)

    @rule(what=st.sampled_from(["away", "empty", "back", "replaced"]))
    def engine(self, what: str) -> None:
        engine = self.cluster.engine
        if what == "away":
            engine.is_away = not engine.is_away
        elif what == "back":
            engine.roll_back(1)
        else:
            engine.empty()

    @rule(seconds=st.sampled_from([0.001, 1.0, 6.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.cluster.clock.advance(seconds)

    @invariant()
    def receipts_are_true(self) -> None:
        """Whoever has acknowledged an order has carried it out, and positions leave nothing out."""
        for order in self.given:
            state = self.cluster.nodes[order.node].journal.state()
            others = self.cluster.nodes[order.node].others()
            missing = missing_at(others, state.acknowledged, order.sequence)
            for name, node in self.cluster.nodes.items():
                has = order.place in node.carried_out
                assert has or name == order.node or name in missing
                if node.journal.state().positions.get(order.node, 0) >= order.sequence:
                    assert has

    def teardown(self) -> None:
        """Once all are back, by the bus or without it, all have everything."""
        for name in NAMES:
            self.refuse(name, False)
            self.start(name)
        by_bus = not self.cluster.engine.is_away
        if by_bus:
            for _ in range(6):
                self.cluster.clock.advance(70.0)
                for node in self.cluster.nodes.values():
                    for story in (node.line.begin, node.line.read, node.line.publish, node.line.tick, node.line.read):
                        self.run(story())
        else:
            self.cluster.cut.clear()
            for one in NAMES:
                for other in NAMES:
                    if one != other:
                        self.run(self.cluster.nodes[one].exchange._with(other))
        for order in self.given:
            for node in self.cluster.nodes.values():
                assert order.place in node.carried_out, (by_bus, order, node.own)
        self.loop.close()
        self.made.cleanup()


def _fails(*_: object) -> None:
    raise ShieldError("killed")


class _Once:
    """Works once, and then fails."""

    def __init__(self, append: Any) -> None:
        self._append = append

    async def __call__(self, *values: Any) -> Any:
        append, self._append = self._append, None
        if append is None:
            raise ShieldError("killed")
        return await append(*values)


TestNeverUndone = pytest.mark.slow(pytest.mark.busy(NeverUndone.TestCase))
TestNeverUndone.settings = settings(max_examples=tries(12), stateful_step_count=50, deadline=None)
