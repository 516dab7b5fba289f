"""Late fetches that are sent to a second origin, too: when, what they cost, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from shield.build.origins import origins_of
from shield.config.settings import Settings
from shield.origin.hedging import Hedge, Hedging
from shield.origin.origin import Origin
from shield.origin.want import Want
from shield.records import LATE_SECONDS, Came, private
from shield.rules.budget import FetchAllowance
from shield.rules.health import Flag, HealthRecord, HealthState
from shield.rules.hedge import CUT_BYTES, LEAST_SAMPLES
from shield.rules.prices import Price
from shield.shared import Seat
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield, settings_of
from tests.test_lag import purge

NOW = 1000.0
UP = HealthRecord()


# on the wire


@pytest.fixture
def hedged(origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock) -> Iterator[Shield]:
    """A node that hedges, and knows that its primary usually takes ten milliseconds."""
    settings = settings_of({"fra": origin, "iad": replica}, hedge={"share": 0.02})
    with Shield(settings, clock=clock) as shield:
        shield.run(shield.node.origins.conductor.close())
        shield.call(lambda: knows(shield.node.origins.get("fra"), asyncio.get_running_loop().time()))
        yield shield


def knows(origin: Origin, now: float) -> None:
    for _ in range(LEAST_SAMPLES):
        origin.seen.succeeded(Came.OK, now, 0.01)
    origin.seen.measure(now)
    origin.seen.spending.may_hedge = True


def test_a_late_fetch_gets_the_response_of_the_second_origin_long_before_the_first_is_given_up(
    hedged: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.serves("/a", b"x" * 1000, lifetime=60)
    origin.spoils("/a", preceded_by(Wait(gate)))
    replica.serves("/a", b"x" * 1000, lifetime=60)

    answer = hedged.get("/a")
    gate.open()
    fra, iad = (hedged.state()["origins"][name] for name in ("fra", "iad"))

    assert answer.body == b"x" * 1000
    assert (iad["extra"]["hedge"], iad["hedges_won"], iad["hedges_lost"]) == (1, 1, 0)
    assert iad["extra"]["failover"] == 0
    assert (fra["hedges_wasted_bytes"], fra["overtaken"]) == (CUT_BYTES, 1)


def test_the_first_origin_may_still_respond_first(
    hedged: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    gate, other = origin.gate(), replica.gate()
    for each, its in ((origin, gate), (replica, other)):
        each.serves("/a", b"x" * 1000, lifetime=60)
        each.spoils("/a", preceded_by(Wait(its)))

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hedged.get, "/a")
        replica.wait_for(lambda: replica.requests_active == 1)
        gate.open()
        answer = waiting.result()
    hedged.wait_for(lambda: hedged.node.origins.get("iad").hedges.lost == 1)
    other.open()
    iad = hedged.state()["origins"]["iad"]

    assert answer.body == b"x" * 1000
    assert (iad["hedges_won"], iad["hedges_wasted_bytes"]) == (0, CUT_BYTES)


# the conditions


class Pair:
    """Two origins that are well; the first one's fetch is late."""

    def __init__(self) -> None:
        settings = Settings.model_validate(
            {
                "node": "test-1",
                "origins": {
                    "fra": {"provider": "http", "endpoint": "http://127.0.0.1:1", "role": "primary"},
                    "iad": {"provider": "http", "endpoint": "http://127.0.0.1:2", "price": {"egress": 0.09}},
                },
                "cache": {"memory": {"capacity": "64MiB"}},
                "hedge": {"share": 0.02},
            }
        )
        self.origins = origins_of(settings, Seat(), FakeClock())
        self.fra, self.iad = self.origins.all()
        self.now = NOW
        self.fra.seen.spending.may_hedge = True
        self.iad.hedges.add_size(20_000)

    def takes(self, *, max_waste: float = 0.0001) -> bool:
        return Hedge(self.fra, self.iad, max_waste, NOW, lambda: self.now).take()


def played(story: Callable[[Pair], object]) -> None:
    async def play() -> None:
        pair = Pair()
        try:
            story(pair)
        finally:
            await pair.origins.close()

    asyncio.run(play())


def test_it_is_sent_while_all_is_well_and_its_budget_lasts() -> None:
    def story(pair: Pair) -> None:
        assert [pair.takes() for _ in range(11)] == [True] * 10 + [False]
        assert pair.fra.seen.spending.late_and_all() == (11, 0)

    played(story)


def test_it_is_not_sent_when_the_conductor_does_not_allow_it() -> None:
    def story(pair: Pair) -> None:
        pair.fra.seen.spending.may_hedge = False
        assert not pair.takes()
        assert pair.fra.seen.spending.late_and_all() == (1, 0)  # by which it is allowed again

    played(story)


def test_it_is_not_sent_when_we_are_late_ourselves() -> None:
    def story(pair: Pair) -> None:
        pair.now = NOW + LATE_SECONDS + 0.01
        assert not pair.takes()

    played(story)


@pytest.mark.parametrize(
    "record",
    [replace(UP, state=HealthState.SUSPECT), replace(UP, flags=Flag.THROTTLED), replace(UP, flags=Flag.DRAINED)],
)
def test_it_is_not_sent_to_an_origin_that_is_not_well(record: HealthRecord) -> None:
    def story(pair: Pair) -> None:
        pair.iad.seen.publish(record)
        assert not pair.takes()

    played(story)


def test_it_is_not_sent_to_an_origin_whose_places_are_taken() -> None:
    def story(pair: Pair) -> None:
        pair.iad.gate.room = pair.iad.gate.used = 4
        assert not pair.takes()
        pair.iad.gate.used = 3
        assert pair.takes()

    played(story)


def test_it_is_not_sent_if_it_costs_too_much() -> None:
    def story(pair: Pair) -> None:
        assert pair.iad.hedges.price == Price(0.09)
        assert not pair.takes(max_waste=0.000001)
        assert pair.takes(max_waste=0.000002)

    played(story)


def test_what_is_late_is_known_by_a_hundred_samples_and_only_if_hedges_are_wanted() -> None:
    seen, other = private().of(0, b"fra"), private().of(0, b"iad")
    seen.allow(FetchAllowance(0.1), FetchAllowance(0.02))
    for each in (seen, other):
        for _ in range(LEAST_SAMPLES - 1):
            each.succeeded(Came.OK, NOW, 0.04)
        each.measure(NOW)
    before = seen.spending.after
    for each in (seen, other):
        each.succeeded(Came.OK, NOW, 0.04)
        each.measure(NOW)

    assert before == float("inf")
    assert seen.spending.after == pytest.approx(0.045, abs=0.001)
    assert other.spending.after == float("inf")


def test_the_conductor_allows_it_until_too_many_are_late_or_the_fault_is_our_own() -> None:
    def story(pair: Pair) -> None:
        records = {"fra": UP, "iad": UP}
        shared = private()
        hedging = Hedging(shared)
        allowed = []

        def look(now: float) -> None:
            hedging.step((pair.fra, pair.iad), records, now)
            allowed.append(pair.fra.seen.spending.may_hedge)

        look(NOW)
        for _ in range(10):
            pair.fra.seen.succeeded(Came.OK, NOW, 0.01)
        for _ in range(3):
            pair.fra.seen.spending.note_late()
        look(NOW + 1.0)
        look(NOW + 20.0)
        shared.frozen_at = NOW
        look(NOW + 21.0)

        assert allowed == [True, False, True, False]

    played(story)


def test_a_fetch_that_needs_the_first_origin_s_response_is_not_hedged() -> None:
    async def story() -> None:
        pair = Pair()
        try:
            knows(pair.fra, asyncio.get_running_loop().time())
            lot = pair.origins._lot
            want = Want(b"GET", b"/a")
            may = pair.origins._hedge(("fra", "iad"), want, lot, NOW)
            may_not = pair.origins._hedge(("fra", "iad"), replace(want, may_hedge=False).whole(), lot, NOW)
            alone = pair.origins._hedge(("fra",), want, lot, NOW)
        finally:
            await pair.origins.close()
        assert may is not None and may.at == pytest.approx(NOW + 0.0113, abs=0.001)
        assert may_not is None and alone is None

    asyncio.run(story())


def test_a_key_that_was_just_purged_is_not_hedged_since_the_replica_may_lag(
    hedged: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    gate = origin.gate()
    for path in ("/a", "/b"):
        origin.serves(path, b"new", lifetime=60)
        origin.spoils(path, preceded_by(Wait(gate)))
        replica.serves(path, b"old", lifetime=60)
    purge(hedged, b"/a")

    with ThreadPoolExecutor(1) as pool:
        purged = pool.submit(hedged.get, "/a")
        origin.wait_for(lambda: origin.fetches("/a") == 1)
        other = hedged.get("/b")  # which is late later
        asked = replica.fetches("/a")
        gate.open()
        answer = purged.result()

    assert (other.body, asked, answer.body) == (b"old", 0, b"new")
