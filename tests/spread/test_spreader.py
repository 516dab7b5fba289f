"""The worker that spreads orders: what it does about nodes that are away, and about orders that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from shield.bus.bus import Bus
from shield.rules.alarms import AlarmKind
from shield.rules.spreading import SpreadKind, SpreadMessage, met_at
from shield.spread.journal import OrderWish
from shield.spread.outdating import Outdating
from shield.spread.sight import SpreadTerms, WhenBlind
from shield.spread.spreader import Spreader
from tests.doubles.bus import MemoryBus
from tests.spread.parts import Cluster, ClusterNode, quick_directory


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with quick_directory() as directory:
        yield Cluster(Path(directory), ["a", "b", "c"])


class Spread:
    """The spreader of one node, whose rounds the test makes. `shares`: of all keys, which became stale; `doubts`:
    before which times what is stored is doubted.
    """

    def __init__(
        self,
        node: ClusterNode,
        *,
        when_blind: WhenBlind = WhenBlind.SERVE,
        bus: Callable[[], Bus] | None = None,
        conducts: bool = True,
        is_empty: bool = False,
        hints: Any = None,
    ) -> None:
        self.shares: list[int] = []
        self.doubts: list[float] = []
        self.node = node

        async def outdate(share: int) -> None:
            self.shares.append(share)

        async def tell() -> None:
            """There are no other workers."""

        self.spreader = Spreader(
            node.journal,
            node,
            node.carry_out,
            bus=bus,
            conducts=lambda: conducts,
            tell=tell,
            outdating=Outdating(node.journal, outdate, seconds=640.0, clock=node.cluster.clock),
            terms=SpreadTerms(600.0, when_blind),
            now=node.cluster.clock,
            clock=node.cluster.clock,
            doubt=self.doubts.append,
            is_empty=lambda: is_empty,
            hints=hints,
        )
        node.exchange = self.spreader.exchange

    @property
    def reasons(self) -> list[str]:
        """Why everything becomes stale."""
        why = self.spreader.outdating.state.why
        return [why] if why else []

    async def rounds(self, count: int = 3, seconds: float = 2.0) -> None:
        for _ in range(count):
            self.node.cluster.clock.advance(seconds)
            await self.spreader._round()
            under_way = list(self.spreader.exchange._under_way.values())
            if under_way:
                await asyncio.wait(under_way)

    def alarms(self) -> list[str]:
        return [cause.text for cause in self.spreader.troubles() if cause.kind is AlarmKind.CLUSTER]


async def _nothing(after: float = 0.0) -> None:
    """Nothing is carried out."""


def tell(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(make())


def test_what_a_kill_left_undone_is_carried_out_and_spread(cluster: Cluster) -> None:
    a, b, c = cluster.nodes.values()

    async def story() -> None:
        order = a.gives("x")
        spread = Spread(a)
        await spread.rounds(count=2, seconds=61.0)

        assert a.carried_out == b.carried_out == c.carried_out == [order.place]
        assert spread.spreader.statistics().journal.acknowledged == {"b": order.sequence, "c": order.sequence}

    tell(story)


def test_the_receipt_names_who_lacks_an_order(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shield.spread.spreader.RECEIPT_SECONDS", 0.1)
    a = cluster.nodes["a"]
    cluster.down.add("c")

    async def story() -> None:
        spread = Spread(a)
        given = await spread.spreader.give([OrderWish("x", SpreadKind.PURGE, "{}", "me")])
        a.carried_out += [order.place for order in given]
        await spread.spreader.given(given)
        await spread.rounds()
        assert await spread.spreader.missing(given) == ("c",)
        assert set(spread.spreader.statistics().unreachable) == {"c"}

        cluster.down.clear()
        await spread.rounds()
        assert await spread.spreader.missing(given) == ()
        assert spread.spreader.statistics().unreachable == {}

    tell(story)


def test_orders_that_no_node_remembers_make_everything_stale_once_all_were_asked(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = cluster.nodes.values()

    async def story() -> None:
        lost, kept = a.gives("lost"), a.gives("kept")
        a.does(lost, kept)
        for node in (b, c):  # they got the second one alone, and then the disk of the first node was lost
            node.does(*node.journal.add([kept]))
        cluster.nodes.pop("a")
        spread = Spread(b)
        await spread.rounds(count=5)

        assert len(spread.reasons) == 1 and "given to a are lost" in spread.reasons[0]
        assert b.journal.state().positions == {"a": kept.sequence}
        assert spread.spreader.statistics().gaps == 1

        await spread.rounds(count=2, seconds=20.0)
        assert spread.shares == [0, 1, 2]
        assert "29 of 32 parts are left" in spread.alarms()[0]

    tell(story)


def test_orders_that_were_forgotten_everywhere_else_are_a_gap(cluster: Cluster) -> None:
    a, b, c = cluster.nodes.values()

    async def story() -> None:
        a.does(a.gives("old"))
        await a.exchange._with("b")
        cluster.clock.advance(31 * 86400.0)
        new = a.gives("new")
        a.does(new)
        await a.exchange._with("b")
        for node in (a, b):
            node.journal.trim()
        spread = Spread(c)
        await spread.rounds(count=6)

        assert len(spread.reasons) == 1
        assert c.carried_out == [new.place]
        assert c.journal.state().positions == {"a": new.sequence}

    tell(story)


def test_a_new_node_with_empty_disks_lacks_nothing_but_gets_takedowns(cluster: Cluster) -> None:
    a, b, c = cluster.nodes.values()

    async def story() -> None:
        (takedown,) = a.journal.append([OrderWish("down", SpreadKind.PURGE, "{}", "me", holds=True)])
        old = a.gives("old")
        a.does(takedown, old)
        cluster.clock.advance(31 * 86400.0)
        new = a.gives("new")
        a.does(new)
        a.journal.trim()
        await b.exchange._with("a")
        spread = Spread(c, is_empty=True)
        await spread.spreader.open()
        await spread.spreader.close()

        assert set(c.carried_out) == {takedown.place, new.place}
        assert c.journal.state().positions == {"a": new.sequence}
        assert spread.reasons == []

    tell(story)


def test_what_only_a_node_has_that_is_away_is_waited_for(cluster: Cluster) -> None:
    a, b, _ = cluster.nodes.values()

    async def story() -> None:
        first, second = a.gives("x"), a.gives("y")
        a.does(first, second)
        b.does(*b.journal.add([second]))
        cluster.down.add("a")
        spread = Spread(b)
        await spread.rounds(count=5)
        assert spread.reasons == []

        cluster.down.clear()
        await spread.rounds()
        assert set(b.carried_out) == {first.place, second.place} and spread.reasons == []

    tell(story)


def test_an_order_that_takes_long_is_no_gap(cluster: Cluster) -> None:
    a, b, c = cluster.nodes.values()

    async def story() -> None:
        first, second = a.gives("x"), a.gives("y")
        a.does(first, second)
        for node in (b, c):  # another worker is still at the first one
            node.journal.add([first, second])
            node.does(second)
        cluster.nodes.pop("a")
        spread = Spread(b)
        spread.spreader._again = _nothing  # type: ignore[method-assign]
        await spread.rounds(count=8)

        assert spread.reasons == []

    tell(story)


def test_it_isnt_waited_for_longer_than_a_node_may_be_blind(cluster: Cluster) -> None:
    a, b, _ = cluster.nodes.values()

    async def story() -> None:
        first, second = a.gives("x"), a.gives("y")
        a.does(first, second)
        b.does(*b.journal.add([second]))
        cluster.down.add("a")
        spread = Spread(b)
        await spread.rounds(count=6, seconds=150.0)

        assert len(spread.reasons) == 1

    tell(story)


def test_a_node_that_is_cut_off_is_blind_after_a_while_and_says_so(cluster: Cluster) -> None:
    a = cluster.nodes["a"]

    async def story() -> None:
        serves, refuses = Spread(a), Spread(a, when_blind=WhenBlind.NOT_READY)
        for spread in (serves, refuses):
            await spread.rounds()
            assert spread.alarms() == [] and not spread.spreader.sight.is_unready
        cluster.down |= {"b", "c"}
        await serves.rounds(count=2, seconds=200.0)
        assert serves.alarms() == [] and serves.spreader.statistics().blind_for > 0.0
        await serves.rounds(count=2, seconds=200.0)
        await refuses.rounds(count=2, seconds=1.0)

        assert len(serves.alarms()) == 1 and not serves.spreader.sight.is_unready
        assert refuses.spreader.sight.is_unready

        cluster.down.clear()
        await refuses.rounds()
        assert not refuses.spreader.sight.is_unready

    tell(story)


def test_how_long_a_node_has_been_blind_counts_from_the_last_that_it_heard(cluster: Cluster) -> None:
    a = cluster.nodes["a"]

    async def story() -> None:
        spread = Spread(a)
        await spread.rounds()
        cluster.down |= {"b", "c"}
        await spread.rounds(count=32, seconds=2.0)
        first = spread.spreader.statistics().blind_for
        await spread.rounds(count=1, seconds=2.0)

        assert 60.0 <= first <= 70.0  # a node that is heard of once a minute is no sign of blindness
        assert spread.spreader.statistics().blind_for == first + 2.0
        assert met_at(3, [9.0, 5.0, 1.0]) == 5.0 and met_at(2, []) is None and met_at(0, []) is None

    tell(story)


def test_a_blind_node_doubts_what_is_older_than_that_or_than_its_patience_until_it_sees_again(
    cluster: Cluster,
) -> None:
    a, clock = cluster.nodes["a"], cluster.clock

    async def story() -> None:
        spread = Spread(a, when_blind=WhenBlind.REVALIDATE)
        other = Spread(a, when_blind=WhenBlind.REVALIDATE, conducts=False)
        await spread.rounds()
        cluster.down |= {"b", "c"}
        await spread.rounds(count=2, seconds=200.0)
        spread.spreader.sight.apply()
        assert set(spread.doubts) <= {0.0}
        await spread.rounds(count=2, seconds=200.0)
        since = clock() - 200.0  # at the first of these rounds

        for seconds, before in ((100.0, since), (600.0, since + 300.0)):
            clock.advance(seconds)
            spread.spreader.sight.apply()
            await other.spreader.sight.read()
            other.spreader.sight.apply()
            assert spread.doubts[-1] == other.doubts[-1] == before
        assert "revalidated" in spread.alarms()[0]

        cluster.down.clear()
        await spread.rounds()
        await other.spreader.sight.read()
        other.spreader.sight.apply()
        assert spread.doubts[-1] == other.doubts[-1] == 0.0

    tell(story)


def test_one_node_of_three_that_is_down_makes_nobody_blind(cluster: Cluster) -> None:
    cluster.down.add("c")

    async def story() -> None:
        spread = Spread(cluster.nodes["a"])
        await spread.rounds(count=40, seconds=20.0)

        assert spread.spreader.statistics().blind_for == 0.0

    tell(story)


def test_orders_that_cant_be_carried_out_are_an_alarm_until_they_are(cluster: Cluster) -> None:
    a, b, _ = cluster.nodes.values()

    async def story() -> None:
        order = a.gives("x")
        a.does(order)
        b.refuses = True
        spread = Spread(b)
        await spread.rounds(count=5, seconds=40.0)
        assert len(spread.alarms()) == 1 and spread.spreader.statistics().journal.undone == 1

        b.refuses = False
        await spread.rounds(count=2, seconds=10.0)
        assert spread.alarms() == [] and b.carried_out == [order.place]

    tell(story)


def test_a_bus_that_is_away_for_long_is_an_alarm_and_orders_go_on(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.spread.spreader.START_SECONDS", 0.05)
    a, b, c = cluster.nodes.values()
    cluster.engine.is_away = True

    async def story() -> None:
        spread = Spread(a, bus=lambda: MemoryBus(cluster.engine))
        await spread.spreader.open()
        await asyncio.sleep(0.01)
        a.does(a.gives("x"))
        await spread.rounds(seconds=10.0)
        assert b.carried_out == c.carried_out == a.carried_out
        assert len(spread.alarms()) == 1 and "bus" in spread.alarms()[0]
        await spread.spreader.close()

    tell(story)


def test_a_worker_that_doesnt_conduct_leaves_it_to_the_one_that_does(cluster: Cluster) -> None:
    a, b, _ = cluster.nodes.values()

    async def story() -> None:
        spread = Spread(a, conducts=False)
        spread.spreader._is_first = False
        await spread.spreader.open()
        a.does(a.gives("x"))
        spread.spreader.ring()
        await asyncio.sleep(0.05)
        assert b.carried_out == [] and spread.alarms() == []
        await spread.spreader.close()

    tell(story)


class Saying:
    """Hints, as the spreader knows them: what is said here, and what came."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said
        self.came: dict[str, Any] = {}
        self.urge: Callable[[], None] = lambda: None

    def say(self) -> dict[str, Any]:
        return {"hints": self.said}

    def hear(self, node: str, said: Mapping[str, Any]) -> None:
        self.came[node] = said.get("hints")

    def look(self) -> None:
        """Nothing changes."""

    async def begin(self) -> None:
        """There is nothing."""

    async def refresh(self) -> None:
        """There is nothing."""

    async def close(self) -> None:
        """There is nothing."""


@pytest.mark.parametrize("has_bus", [True, False])
def test_hints_go_by_the_bus_and_from_node_to_node_and_at_once_if_they_are_urgent(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *, has_bus: bool
) -> None:
    monkeypatch.setattr("shield.spread.spreader.START_SECONDS", 0.05)
    a, b, _ = cluster.nodes.values()
    cluster.down.add("c")

    async def story() -> None:
        hints = [Saying({"serial": "1"}), Saying({"serial": "2"})]
        bus = (lambda: MemoryBus(cluster.engine)) if has_bus else None
        spreads = [Spread(node, bus=bus, hints=each) for node, each in zip((a, b), hints, strict=True)]
        for spread in spreads:
            await spread.spreader.open()
        while not (hints[0].came.get("b") and hints[1].came.get("a")):
            for each, spread in zip(hints, spreads, strict=True):
                each.urge()
                await spread.rounds(count=1)
            await asyncio.sleep(0.01)
        if has_bus:
            cluster.cut.add(frozenset(("a", "b")))
        hints[0].said = {"serial": "3"}
        hints[0].urge()
        while hints[1].came["a"] != {"serial": "3"}:
            await spreads[1].spreader._round()
            await asyncio.sleep(0.01)
        for spread in spreads:
            await spread.spreader.close()

    tell(story)


def test_a_message_that_comes_while_a_node_opens_is_answered_once_it_can_carry_orders_out(cluster: Cluster) -> None:
    a, b = cluster.nodes["a"], cluster.nodes["b"]

    async def story() -> None:
        spread, order = Spread(a), b.gives("x")
        said = SpreadMessage("b", {}, {}, [order]).encoded()
        answered = asyncio.ensure_future(spread.spreader.answer("b", said))
        await asyncio.sleep(0)
        assert not answered.done() and not a.carried_out

        await spread.spreader.open()

        assert SpreadMessage.decoded(await answered).positions == {"b": order.sequence}
        assert a.carried_out == [order.place]
        await spread.spreader.close()

    tell(story)
