"""Budgets judged by the counts of all workers, across restarts, reloads and months."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shield.budget_cells import BudgetCells, private
from shield.egress.budgets import BudgetTerms, BudgetWatch
from shield.egress.ledger import Ledger, LedgerTerms, WorkerUsage
from shield.egress.meter import EgressAccount, MeterReading, Meters
from shield.rules.budgets import BudgetAct, EgressBudget, Period, Spendable
from shield.rules.egress import FetchReason
from shield.rules.prices import GB, Price
from shield.rules.zones import PACIFIC
from tests.node import FakeClock

CAP = {BudgetAct.REFUSE: 1.0}


def terms(amount: float, *, per: Period = Period.MONTH) -> BudgetTerms:
    return BudgetTerms((EgressBudget("far", ("far",), per, Spendable(amount), acts=CAP),))


class Worker:
    """One worker's meters and watch."""

    def __init__(
        self,
        cells: BudgetCells,
        clock: FakeClock,
        given: BudgetTerms,
        *,
        number: int = 0,
        ledger: Ledger | None = None,
        others: Sequence[Worker] = (),
    ) -> None:
        self.meters = Meters()
        self.cell = cells.of(number, "far")
        self.others = list(others)
        self.watch = BudgetWatch(
            given,
            cells=lambda: {"far": self.cell},
            meters=self.meters,
            ledger=ledger,
            clock=clock,
            others=self._ask if others else None,
        )
        self.conducts = number == 0

    async def _ask(self) -> dict[str, bytes]:
        return {f"node-{number}": each.watch.answer() for number, each in enumerate(self.others)}

    async def ask(self) -> None:
        """Look until other nodes have been asked."""
        for _ in range(8):
            await self.look()
            if self.watch._asking is not None:
                await self.watch._asking
        await self.look()

    def reads(self, size: int) -> None:
        meter = self.meters.of("far", "a", FetchReason.MISS)
        meter.requests += 1
        meter.answered(200)
        meter.received += size

    async def look(self) -> None:
        self.watch.look(self.conducts)
        if self.watch._seeding is not None:
            await self.watch._seeding
            self.watch.look(self.conducts)

    @property
    def refuses(self) -> bool:
        return self.cell.does(BudgetAct.REFUSE)


def filled(path: Path, clock: FakeClock, received: int) -> Ledger:
    ledger = Ledger(LedgerTerms(path, keep=1e9))
    usage = WorkerUsage("gone", [MeterReading(EgressAccount("far", "a", "miss"), 1, received, {200: 1})], {})
    ledger.flush([usage], clock())
    return ledger


def test_what_all_workers_read_spends_a_budget(clock: FakeClock) -> None:
    async def story() -> None:
        cells = private(workers=2)
        conductor, other = (Worker(cells, clock, terms(100), number=number) for number in (0, 1))
        await conductor.look()
        conductor.reads(60)
        other.reads(39)
        for worker in (other, conductor):
            await worker.look()
        assert not other.refuses

        other.reads(1)
        for worker in (other, conductor):
            await worker.look()
        assert other.refuses and conductor.refuses

    asyncio.run(story())


def test_a_restart_forgets_nothing(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        ledger = filled(tmp_path / "l", clock, 90)
        worker = Worker(private(), clock, terms(100), ledger=ledger)
        worker.reads(9)
        await worker.look()
        assert worker.watch.standings()[0].spent == 99.0

        worker.reads(1)
        await worker.look()
        assert worker.refuses

    asyncio.run(story())


def test_another_conductor_doesnt_count_twice(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        cells, ledger = private(), filled(tmp_path / "l", clock, 90)
        worker = Worker(cells, clock, terms(100), ledger=ledger)
        await worker.look()

        successor = Worker(cells, clock, terms(100), ledger=ledger)
        successor.reads(5)
        await successor.look()

        assert successor.watch.standings()[0].spent == 95.0

    asyncio.run(story())


def test_another_budget_by_a_reload_counts_from_the_beginning_of_its_period(clock: FakeClock) -> None:
    async def story() -> None:
        worker = Worker(private(), clock, BudgetTerms())
        await worker.look()
        worker.reads(500)
        for _ in range(4):
            await worker.look()

        worker.watch.use(terms(400))
        await worker.look()
        assert worker.refuses

        worker.watch.use(terms(600))
        await worker.look()
        assert not worker.refuses and worker.watch.standings()[0].spent == 500.0

        worker.watch.use(BudgetTerms())
        await worker.look()
        assert worker.cell.acts[0] == 0

    asyncio.run(story())


def test_a_new_day_begins_with_the_whole_budget(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        worker = Worker(private(), clock, terms(100, per=Period.DAY))
        await worker.look()
        worker.reads(100)
        await worker.look()
        assert worker.refuses

        clock.advance(86400.0)
        await worker.look()
        assert not worker.refuses

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert "budget far: 100 B of 100 B a day spent: fetches are refused until" in caplog.text
    assert "nothing is held back any more" in caplog.text


def test_a_month_of_the_providers_zone_begins_when_it_begins_there(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        clock.now = datetime(2026, 12, 1, 3, tzinfo=UTC).timestamp()  # still November there
        ledger = filled(tmp_path / "l", clock, 90)
        worker = Worker(private(), clock, in_zone(terms(100), PACIFIC), ledger=ledger)
        worker.reads(10)
        await worker.look()
        assert worker.refuses

        clock.advance(4 * 3600.0)
        await worker.look()
        assert worker.refuses
        clock.advance(3600.0)
        await worker.look()
        assert not worker.refuses and worker.watch.standings()[0].spent == 0.0

    asyncio.run(story())


@pytest.mark.parametrize("has_ledger", [True, False])
def test_another_zone_by_a_reload_forgets_nothing(tmp_path: Path, clock: FakeClock, has_ledger: bool) -> None:
    async def story() -> None:
        clock.now = datetime(2026, 12, 1, 3, tzinfo=UTC).timestamp()
        ledger = Ledger(LedgerTerms(tmp_path / "l", keep=1e9)) if has_ledger else None
        worker = Worker(private(), clock, terms(1000), ledger=ledger)
        await worker.look()
        worker.reads(70)
        await worker.look()
        if ledger is not None:
            filled(tmp_path / "l", FakeClock(clock.now - 12 * 3600.0), 200)  # in November, in both zones
            ledger.flush([WorkerUsage("w", list(worker.meters.readings()), {})], clock())

        worker.watch.use(in_zone(terms(1000), PACIFIC))
        await worker.look()
        worker.reads(5)
        await worker.look()
        assert worker.watch.standings()[0].spent == (275.0 if has_ledger else 75.0)

        worker.watch.use(terms(1000))
        await worker.look()
        assert worker.watch.standings()[0].spent == (70.0 if has_ledger else 75.0)  # the last five aren't in it yet
        clock.advance(30 * 86400.0)
        await worker.look()
        assert worker.watch.standings()[0].spent > 0.0
        clock.advance(86400.0)
        await worker.look()
        assert worker.watch.standings()[0].spent == 0.0

    asyncio.run(story())


def test_in_another_zone_months_end_though_the_ledger_cant_be_read(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        clock.now = datetime(2026, 12, 1, 3, tzinfo=UTC).timestamp()
        path = tmp_path / "l"
        worker = Worker(private(), clock, terms(100), ledger=Ledger(LedgerTerms(path, keep=1e9)))
        await worker.look()
        worker.reads(100)
        path.write_bytes(b"no database" * 100)
        worker.watch.use(in_zone(terms(100), PACIFIC))
        await worker.look()
        assert worker.refuses

        clock.advance(6 * 3600.0)
        await worker.look()
        assert not worker.refuses

    asyncio.run(story())


def in_zone(given: BudgetTerms, zone: str) -> BudgetTerms:
    return replace(given, prices={"far": Price(0.1, zone=zone)})


def test_a_ledger_that_cant_be_read_is_said_and_tried_again(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        path = tmp_path / "l"
        path.write_bytes(b"no database" * 100)
        worker = Worker(private(), clock, terms(100), ledger=Ledger(LedgerTerms(path, keep=1e9)))
        worker.reads(10)
        await worker.look()
        assert worker.watch.standings()[0].spent == 10.0  # for now

        path.unlink()
        filled(path, clock, 90)
        clock.advance(30.0)
        await worker.look()
        assert worker.watch.standings()[0].spent == 90.0
        worker.reads(10)
        await worker.look()
        assert worker.refuses

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert caplog.text.count("budgets count from the node's start, for now") == 1


def test_the_cost_follows_the_tiers_of_the_month(clock: FakeClock) -> None:
    async def story() -> None:
        price = Price(0.1, 0.0, "EUR", free=1.0 * GB, tiers=((2.0 * GB, 0.05),))
        worker = Worker(private(), clock, BudgetTerms((), {"far": price}))
        for _ in range(3):
            worker.reads(GB)
            worker.watch.publish()

        assert worker.watch.costs == {("far", "EUR"): pytest.approx(0.15)}

    asyncio.run(story())


def test_the_nodes_of_a_cluster_spend_a_budget_together(clock: FakeClock) -> None:
    async def story() -> None:
        other = Worker(private(), clock, terms(100, per=Period.DAY))
        await other.look()
        node = Worker(private(), clock, terms(100, per=Period.DAY), others=[other])
        other.reads(60)
        node.reads(39)
        for each in (other, node):
            await each.ask()
        assert node.watch.standings()[0].spent == 99.0 and not node.refuses

        other.reads(1)
        await other.look()
        await node.ask()
        assert node.refuses
        assert other.watch.standings()[0].spent == 61.0  # it has no other

        node.others.clear()  # it can't be reached any more, and has read that all the same
        await node.ask()
        assert node.refuses
        clock.advance(86400.0)
        await node.ask()
        assert not node.refuses and node.watch.standings()[0].spent == 0.0

    asyncio.run(story())


def test_an_answer_of_another_version_is_said_and_left_out(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        node = Worker(private(), clock, terms(100), others=[Worker(private(), clock, terms(100))])
        node.others[0].watch.answer = lambda: b'{"far": [1]}'  # type: ignore[method-assign]
        await node.ask()
        assert node.watch.standings()[0].spent == 0.0

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert "node node-0: its egress can't be read" in caplog.text
