"""Spikes by the ledger of seven days and the sums of a minute: named within two minutes, by one worker."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from shield.egress.ledger import DAY, HOUR, Ledger, LedgerTerms, WorkerUsage
from shield.egress.meter import EgressAccount, MeterReading
from shield.egress.spikes import LOOK_SECONDS, SpikeSources, SpikeWatch
from shield.rules.budgets import UsageSum
from shield.rules.prices import Price
from shield.rules.spikes import SpikeSights, SpikeTerms
from tests.node import START, FakeClock

MB = 10**6


def add(
    ledger: Ledger, process: str, at: float, received: int, *, reason: str = "miss", requests: int = 3600
) -> None:
    reading = MeterReading(EgressAccount("fra", "images", reason), requests, received, {200: requests})
    ledger.flush([WorkerUsage(process, [reading], {})], at)


class Node:
    """A node with a history of seven days, in each hour of which it got 60 MB a minute."""

    def __init__(self, path: Path, clock: FakeClock, *, days: int = 7) -> None:
        self.clock = clock
        self.ledger = Ledger(LedgerTerms(path, keep=1e9))
        hour = clock() // HOUR * HOUR
        add(self.ledger, "first", hour - days * DAY - HOUR, 1)
        for day in range(1, days + 1):
            add(self.ledger, f"day {day}", hour - day * DAY + 60.0, 3600 * MB)
        self.received, self.conducts = 0, True
        self.watch = SpikeWatch(
            SpikeTerms(),
            SpikeSources(
                lambda: {"fra": UsageSum(self.received, (self.received // MB, 0, 0, 0, 0))},
                lambda: {"fra": Price(0.05, 0.0, "EUR")},
                self._sights,
                lambda: self.conducts,
            ),
            ledger=self.ledger,
            clock=clock,
        )

    async def _sights(self) -> SpikeSights:
        return SpikeSights(clients={"203.0.113.7": 5.0})

    async def run(self, seconds: float, *, megabytes: float) -> None:
        """So much time with so many megabytes a minute."""
        for _ in range(int(seconds / LOOK_SECONDS)):
            self.clock.advance(LOOK_SECONDS)
            self.received += int(megabytes * MB * LOOK_SECONDS / 60.0)
            self.watch.tick()
            if self.watch._work is not None:
                await self.watch._work

    @property
    def said(self) -> list[str]:
        return [each.text for each in self.watch.troubles()]


def break_files(directory: Path) -> None:
    for each in directory.iterdir():
        each.write_bytes(b"no database" * 100)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START // HOUR * HOUR + 300.0)


def test_a_spike_is_named_within_two_minutes_and_over_once_it_is(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        node = Node(tmp_path / "l", clock)
        await node.run(300.0, megabytes=70)
        assert node.said == [] and node.watch.spiking() == {"fra": False}

        add(node.ledger, "now", clock(), 2400 * MB, reason="range")
        await node.run(100.0, megabytes=800)
        [said] = node.said
        assert said.startswith("origin fra: ") and "usually 60 MB" in said and "EUR more an hour" in said
        assert "routes: images 100%" in said and "clients: 203.0.113.7 100%" in said
        assert node.watch.spiking() == {"fra": True}

        await node.run(90.0, megabytes=60)
        assert node.said == []

    asyncio.run(story())


def test_what_isnt_worth_its_money_is_no_spike(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        node = Node(tmp_path / "l", clock)
        await node.run(300.0, megabytes=200)  # 0.42 EUR an hour

        assert node.said == []

    asyncio.run(story())


def test_only_the_conductor_looks(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        node = Node(tmp_path / "l", clock)
        await node.run(300.0, megabytes=800)
        assert node.said != []

        node.conducts = False
        await node.run(LOOK_SECONDS, megabytes=800)
        assert node.said == []

        node.conducts = True
        await node.run(100.0, megabytes=800)
        assert node.said != []

    asyncio.run(story())


def test_a_node_of_two_days_goes_by_its_last_hours(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        node = Node(tmp_path / "l", clock, days=2)
        for hour in range(1, 4):
            add(node.ledger, f"hour {hour}", clock() - hour * HOUR, 120 * 60 * MB)
        await node.run(120.0, megabytes=150)
        assert node.said == []

        await node.run(120.0, megabytes=2000)
        assert "usually 60 MB" in node.said[0]  # half of the six hours before had none

    asyncio.run(story())


def test_an_origin_that_usually_gives_nothing_spikes_with_a_failover(tmp_path: Path, clock: FakeClock) -> None:
    async def story() -> None:
        node = Node(tmp_path / "l", clock)
        node.watch._sources = SpikeSources(
            lambda: {"iad": UsageSum(node.received)},
            lambda: {"iad": Price(0.09)},
            node._sights,
            lambda: True,
        )
        await node.run(60.0, megabytes=0)
        await node.run(100.0, megabytes=500)

        assert "origin iad: " in node.said[0] and "usually 0 B" in node.said[0]

    asyncio.run(story())


def test_a_ledger_that_cant_be_read_is_said(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        node = Node(tmp_path / "l", clock)
        break_files(tmp_path)
        await node.run(300.0, megabytes=800)
        assert node.said == []

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert caplog.text.count("spikes of egress can't be judged: ledger") == 1
