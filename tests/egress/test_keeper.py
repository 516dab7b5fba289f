"""One worker writes for all; a file that can't be written costs history, and no request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from shield.egress.keeper import EVERY_SECONDS, LedgerKeeper
from shield.egress.ledger import SERVED, Ledger, LedgerTerms, WorkerUsage
from shield.egress.meter import EgressAccount, MeterReading
from shield.rules.sites import OriginSite
from shield.rules.zones import Zones
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of


class Worker:
    """One worker's keeper, and its counts."""

    def __init__(self, path: Path, *, conducts: bool = True, others: Sequence[WorkerUsage] = ()) -> None:
        self.clock = FakeClock()
        self.received = 0
        self.ledger = Ledger(LedgerTerms(path, keep=400 * 86400.0))
        self._others = others
        self.keeper = LedgerKeeper(
            self.ledger, own=self._own, others=self._of_others, conducts=lambda: conducts, clock=self.clock
        )

    def _own(self) -> WorkerUsage:
        return WorkerUsage("own", [MeterReading(EgressAccount("fra", "a", "miss"), 1, self.received, {200: 1})], {})

    async def _of_others(self) -> list[bytes]:
        return [each.encoded() for each in self._others]

    @property
    def kept(self) -> int:
        return sum(row.received for row in self.ledger.rows(0, 1e11))

    async def tick(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.keeper.tick()
        if self.keeper._flushing is not None:
            await self.keeper._flushing


def test_where_origins_are_is_noted_by_the_conductor_and_not_by_a_worker_that_ends(tmp_path: Path) -> None:
    async def story() -> None:
        conductor, other = Worker(tmp_path / "l.sqlite"), Worker(tmp_path / "l.sqlite", conducts=False)
        conductor.keeper.use(Zones(), {"fra": OriginSite("aws", "eu-west-1")})
        other.keeper.use(Zones(), {"fra": OriginSite("aws", "us-east-1")})
        await conductor.tick(0.0)
        await other.keeper.close()

        assert [note.site.region for note in conductor.ledger.sites()] == ["eu-west-1"]

    asyncio.run(story())


def test_the_conductor_writes_the_counts_of_all_every_few_seconds(tmp_path: Path) -> None:
    async def story() -> None:
        other = WorkerUsage("other", [MeterReading(EgressAccount("iad", "a", "miss"), 1, 10, {200: 1})], {})
        worker = Worker(tmp_path / "l.sqlite", others=[other])
        worker.received = 100
        await worker.tick(0.0)
        worker.received = 150
        await worker.tick(EVERY_SECONDS - 1.0)
        assert worker.kept == 110

        await worker.tick(1.0)
        assert worker.kept == 160

    asyncio.run(story())


def test_another_worker_writes_only_its_last_counts_at_its_end(tmp_path: Path) -> None:
    async def story() -> None:
        worker = Worker(tmp_path / "l.sqlite", conducts=False)
        worker.received = 100
        await worker.tick(EVERY_SECONDS)
        assert worker.kept == 0

        await worker.keeper.close()
        assert worker.kept == 100

    asyncio.run(story())


def test_a_place_that_cant_be_written_is_said_and_its_counts_come_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        worker = Worker(tmp_path / "away" / "l.sqlite")
        worker.received = 100
        await worker.tick(EVERY_SECONDS)
        await worker.tick(EVERY_SECONDS)
        assert worker.keeper.failures == 2

        (tmp_path / "away").mkdir()
        await worker.tick(EVERY_SECONDS)
        assert worker.kept == 100

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert caplog.text.count("usage can't be written down yet: ledger") == 1


def test_a_node_keeps_what_its_origins_sent_and_what_its_clients_got(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", bytes(5000), lifetime=100)
    path = tmp_path / "ledger.sqlite"
    with Shield(settings_of({"fra": origin}, ledger={"path": str(path)}), clock=clock) as shield:
        for _ in range(3):
            shield.get("/a")
    origin.wait_for(lambda: all(each.ended for each in origin.requests))

    rows = Ledger(LedgerTerms(path, keep=1e9)).rows(0, 1e11)

    found = {(row.origin, row.reason): (row.requests, row.received) for row in rows}
    assert found == {
        ("fra", "miss"): (1, sum(each.sent for each in origin.requests)),
        (SERVED, "miss"): (1, 5000),
        (SERVED, "hit"): (2, 10_000),
    }


def test_failures_are_a_metric(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    ledger = {"path": str(tmp_path / "away" / "ledger.sqlite")}
    with Shield(settings_of({"fra": origin}, ledger=ledger), clock=clock) as shield:
        figures = shield.node.figures
        shield.run(figures.keeper.flush())

        families = {family.name: family for family in shield.call(figures.families)}

        assert [sample.value for sample in families["ledger_failures"].samples] == [1]
