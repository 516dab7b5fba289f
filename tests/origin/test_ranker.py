"""One worker orders a route's origins by cost for all; another does when it is gone."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import cast

import pytest

from shield.budget_cells import BudgetCell, unbudgeted
from shield.origin.origin import Origin
from shield.origin.ranker import Ranker
from shield.rankings import Rankings, private
from shield.records import Came, Records, Seen
from shield.records import private as private_records
from shield.rules.budgets import BudgetAct
from shield.rules.health import HealthRecord, HealthState
from shield.rules.latency import LEAST_SAMPLES
from shield.rules.prices import Price
from shield.rules.ranking import HOLD_SECONDS, OriginFacts, Strategy
from shield.rules.routes import Route

NOW = 10_200.0


@dataclass
class Place:
    """All that a ranker looks at of an origin."""

    name: str
    seen: Seen
    budget: BudgetCell = field(default_factory=unbudgeted)


class Worker:
    """A worker's ranker and its route over two origins."""

    def __init__(self, number: int, rankings: Rankings, records: Records, **route: object) -> None:
        self.places = [Place(name, records.of(number, name.encode())) for name in ("near", "far")]
        self.ranker = Ranker(rankings, number, origins=lambda: cast(list[Origin], self.places))
        self.use(**route)

    def use(self, **more: object) -> None:
        given = {
            "exchange": 0.0,
            "facts": (OriginFacts("near"), OriginFacts("far")),
            "choose": Strategy.NEAREST,
            **more,
        }
        self.route = Route("default", origins=("near", "far"), **given)  # type: ignore[arg-type]
        self.ranker.use([self.route])

    def looks(self, now: float, *, conducts: bool, times: int = 4) -> None:
        for _ in range(times):
            self.ranker.look(now, conducts)

    def measured(self, near: float, far: float, now: float = NOW) -> None:
        """Both origins gave these times to their first byte."""
        for place, seconds in zip(self.places, (near, far), strict=True):
            for _ in range(10 * LEAST_SAMPLES):
                place.seen.succeeded(Came.OK, now, seconds, 1000)
            place.seen.measure(now)

    @property
    def order(self) -> tuple[str, ...]:
        return self.route.order(b"")


def workers(**route: object) -> tuple[Worker, Worker]:
    rankings, records = private(2), private_records(2)
    return Worker(0, rankings, records, **route), Worker(1, rankings, records, **route)


def test_all_workers_have_the_conductor_s_order(caplog: pytest.LogCaptureFixture) -> None:
    one, other = workers()
    one.measured(0.2, 0.05)

    with caplog.at_level(logging.WARNING, "shield.origin"):
        one.looks(NOW, conducts=True)
        one.looks(NOW + HOLD_SECONDS, conducts=True)
    assert one.order == ("far", "near") and other.order == ("near", "far")
    other.looks(NOW + HOLD_SECONDS, conducts=False, times=1)

    assert other.order == ("far", "near")
    assert caplog.messages == ["route default: its origins are tried in another order now, by cost: far, near"]


def test_a_worker_that_does_not_conduct_changes_nothing() -> None:
    one, other = workers()
    other.measured(0.2, 0.05)

    for now in (NOW, NOW + HOLD_SECONDS, NOW + 3 * HOLD_SECONDS):
        other.looks(now, conducts=False)
    assert one.order == other.order == ("near", "far")


def test_another_conductor_goes_on_from_the_published_order_with_the_same_patience() -> None:
    one, other = workers()
    one.measured(0.2, 0.05)
    one.looks(NOW, conducts=True)
    one.looks(NOW + HOLD_SECONDS, conducts=True)

    one.measured(0.01, 0.2, NOW + 600.0)
    other.looks(NOW + 600.0, conducts=True)
    assert other.order == ("far", "near")
    other.looks(NOW + 600.0 + HOLD_SECONDS, conducts=True)
    one.looks(NOW + 600.0 + HOLD_SECONDS, conducts=False)
    assert one.order == other.order == ("near", "far")


def test_a_worker_that_conducts_again_goes_on_from_what_the_other_has_published() -> None:
    one, other = workers()
    one.measured(0.05, 0.2)
    one.looks(NOW, conducts=True)
    one.looks(NOW + 1.0, conducts=False)
    other.measured(0.9, 0.01, NOW + 600.0)
    for now in (NOW + 600.0, NOW + 600.0 + HOLD_SECONDS):
        other.looks(now, conducts=True)

    one.looks(NOW + 601.0 + HOLD_SECONDS, conducts=True)

    assert one.order == other.order == ("far", "near")


def test_an_origin_that_is_out_keeps_its_place_in_the_order_since_its_health_moves_it() -> None:
    one, _ = workers()
    one.measured(0.05, 0.2)
    one.places[0].seen.publish(HealthRecord(HealthState.OPEN, since=NOW))

    for now in (NOW, NOW + HOLD_SECONDS, NOW + 3 * HOLD_SECONDS):
        one.looks(now, conducts=True)

    assert one.order == ("near", "far")
    found = one.ranker.statistics(NOW)["default"]
    assert list(found.origins) == ["far", "near"] and found.origins["near"].why == "out of service"


def test_prices_count_by_the_sizes_of_the_route_s_responses() -> None:
    facts = (OriginFacts("near", price=Price(0.1)), OriginFacts("far", price=Price(0.0)))
    one, other = workers(facts=facts, exchange=1000.0)
    one.measured(0.05, 0.11)
    assert other.route.choice is not None and one.route.choice is not None

    for _ in range(100):
        other.route.choice.saw(10_000)
    for now in (NOW, NOW + HOLD_SECONDS):
        one.looks(now, conducts=True)
    assert one.order == ("near", "far")
    assert one.ranker.statistics(NOW)["default"].expected_bytes == 10_000

    for _ in range(100):
        one.route.choice.saw(10_000_000)
    for now in (NOW + 100.0, NOW + 100.0 + HOLD_SECONDS):
        one.looks(now, conducts=True)
    assert one.order == ("far", "near")
    near = one.ranker.statistics(NOW)["default"].origins["near"]
    assert near.money_seconds == pytest.approx(1000.0 * 0.1 * 5.005e6 / 1e9, rel=0.01)
    assert near.cost_seconds == pytest.approx(0.05 + 0.5005, rel=0.2)


def test_a_reload_keeps_the_order_and_other_origins_begin_as_listed() -> None:
    one, _ = workers()
    one.measured(0.2, 0.05)
    for now in (NOW, NOW + HOLD_SECONDS):
        one.looks(now, conducts=True)

    one.use(max_variants=7)
    assert one.order == ("far", "near")
    one.ranker.use([Route("default", origins=("far", "near"), choose=Strategy.NEAREST)])
    assert one.ranker.statistics(NOW)["default"].origins.keys() == {"far", "near"}
    one.ranker.use([Route("default", origins=("near", "far"))])
    assert one.ranker.statistics(NOW) == {}


def test_an_origin_that_the_node_does_not_have_any_more_is_not_measured() -> None:
    one, _ = workers()
    one.measured(0.2, 0.05)
    del one.places[1]

    for now in (NOW, NOW + HOLD_SECONDS):
        one.looks(now, conducts=True)

    assert one.order == ("near", "far")
    assert one.ranker.statistics(NOW)["default"].origins["far"].why == "not measured yet"


def test_a_budget_makes_an_origin_a_second_dearer() -> None:
    one, other = workers()
    one.measured(0.010, 0.100)
    one.looks(NOW, conducts=True)
    one.places[0].budget.act(BudgetAct.DEARER, 0.0)

    one.looks(NOW, conducts=True)
    one.looks(NOW + HOLD_SECONDS, conducts=True)
    other.looks(NOW + HOLD_SECONDS, conducts=False)

    assert one.ranker.statistics(NOW)["default"].origins["near"].penalty_seconds == 1.0
    assert other.order == ("far", "near")


def test_by_price_an_origin_with_a_budget_that_is_nearly_spent_comes_last_for_all_workers() -> None:
    facts = (OriginFacts("near", price=Price(0.2)), OriginFacts("far", price=Price(0.1)))
    one, other = workers(choose=Strategy.CHEAPEST, facts=facts)
    assert other.order == ("far", "near")

    one.places[1].budget.act(BudgetAct.DEARER, 0.0)
    one.looks(NOW, conducts=True)
    other.looks(NOW, conducts=False)
    assert other.order == ("near", "far")

    one.places[1].budget.act(BudgetAct(0), 0.0)
    one.looks(NOW, conducts=True)
    other.looks(NOW, conducts=False)
    assert other.order == ("far", "near")
    assert one.ranker.statistics(NOW) == {}  # nothing is measured
