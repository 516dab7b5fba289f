"""Budgets of egress on real sockets: what clients, other origins and operators notice of one that is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from shield.config.settings import Settings
from shield.rules.budgets import BudgetAct
from tests.client import Answer
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of
from tests.peers.cluster import three

KB = 1000
CAP = {"per": "day", "amount": "100KB", "then": {"refuse": "100%"}}


@pytest.fixture
def second(clock: FakeClock) -> Iterator[FaultyOrigin]:
    with FaultyOrigin(clock=clock) as other:
        yield other


def settings(
    *origins: FaultyOrigin, budget: Mapping[str, Any] | None = None, prices: Sequence[Any] = (), **more: Any
) -> Settings:
    given = {
        name: {"provider": "http", "endpoint": origin.url}
        for name, origin in zip(("far", "near"), origins, strict=False)
    }
    for name, price in zip(given, prices, strict=False):
        given[name]["price"] = price
    budgets = {"cap": {"origins": ["far"], **(CAP if budget is None else budget)}}
    return settings_of({}, origins=given, budgets=budgets, **more)


def judge(shield: Shield) -> None:
    """What the conductor does four times a second."""
    shield.call(lambda: shield.node.origins.thrift.spend(True))


def detail(answer: Answer) -> str:
    return (answer.get("cache-status") or "").partition("detail=")[2]


def spend(shield: Shield, origin: FaultyOrigin, *, kilobytes: int = 150, size: int = 10) -> list[int]:
    """Miss object after object; the statuses."""
    statuses = []
    for number in range(kilobytes // size):
        origin.serves(f"/{number}", bytes(size * KB), lifetime=60, grace=0)
        statuses.append(shield.get(f"/{number}").status)
        judge(shield)
    return statuses


def test_a_cap_on_bytes_of_an_origin_holds_while_hits_and_stale_entries_are_served(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/stale", b"s", lifetime=1, grace=0)
    with Shield(settings(origin), clock=clock) as shield:
        judge(shield)
        shield.get("/stale")
        clock.advance(10.0)

        statuses = spend(shield, origin)

        assert statuses[:9] == [200] * 9 and statuses[-3:] == [503] * 3
        origin.wait_for(lambda: all(each.ended for each in origin.requests))
        assert 100 * KB <= sum(each.sent for each in origin.requests) <= 112 * KB
        assert shield.get("/0").status == 200
        stale = shield.get("/stale")
        assert (stale.status, detail(stale)) == (200, "budget")
        refused = shield.get("/new")
        assert (refused.status, detail(refused)) == (503, '"far=over-budget"')
        assert refused.get("retry-after") == "3600"
        assert refused.body == b"the budget of its origins is spent\n"

        clock.advance(86400.0)
        judge(shield)
        assert shield.get("/12").status == 200


def test_other_origins_are_asked_instead(origin: FaultyOrigin, second: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings(origin, second), clock=clock) as shield:
        spend(shield, origin)
        second.serves("/new", b"n")

        answer = shield.get("/new")

        assert (answer.status, answer.body) == (200, b"n")
        assert shield.get("/nowhere").status == 503  # the first could have it
        assert shield.state()["origins"]["far"]["health"]["state"] == "up"


@pytest.mark.parametrize("choose", ["cheapest", "nearest"])
def test_a_budget_that_is_nearly_spent_makes_its_origins_dearer(
    origin: FaultyOrigin, second: FaultyOrigin, clock: FakeClock, choose: str
) -> None:
    routes = {"default": {"match": "/", "choose": choose}}
    given = settings(origin, second, prices=[{"egress": 0.01}, {"egress": 0.05}], routes=routes)
    with Shield(given, clock=clock) as shield:
        spend(shield, origin, kilobytes=90)
        second.serves("/new", b"n")
        cell = shield.node.origins.get("far").budget
        assert cell.does(BudgetAct.DEARER) and not cell.does(BudgetAct.REFUSE)

        route = shield.node.in_force.regime.targets.resolve(b"/new").route
        if choose == "nearest":
            ranked = shield.call(shield.node.origins.ranked)["default"].origins
            penalty = ranked["far"].penalty_seconds
            assert penalty is None or penalty >= 1.0
            return
        shield.wait_for(lambda: route.order(b"") == ("near", "far"))
        assert shield.get("/new").body == b"n"


def test_what_no_client_waits_for_pauses(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings(origin), clock=clock) as shield:
        spend(shield, origin, kilobytes=100)

        assert shield.call(lambda: shield.node.origins.trouble(["far"])) == "the budget of origin far is nearly spent"
        assert shield.call(lambda: shield.node.origins.thrift.are_paused(["far"]))


def test_operators_see_how_budgets_stand(origin: FaultyOrigin, clock: FakeClock) -> None:
    budget = {"per": "month", "amount": "0.001 EUR", "burst": "0.0009EUR"}
    given = settings(origin, budget=budget, prices=[{"egress": 10.0, "currency": "EUR"}])
    with Shield(given, clock=clock) as shield:
        spend(shield, origin, kilobytes=50)

        found = shield.state()["budgets"]["cap"]
        assert found["unit"] == "EUR" and 0.5 < found["share"] < 0.55 and found["acts"] == []

        families = {family.name: family for family in shield.call(shield.node.figures.families)}
        assert families["budget_spent"].samples[0].value == pytest.approx(found["spent"], abs=1e-6)
        cost = families["origin_cost"].samples[0]
        assert cost.labels == {"origin": "far", "currency": "EUR"}
        assert cost.value == pytest.approx(found["spent"], abs=1e-6)

        shield.run(shield.node.alarms.look())
        alarms = shield.call(shield.node.alarms.shown)["active"]
        assert [(each["kind"], each["subject"]) for each in alarms] == [("budget", "cap 50%")]


def test_a_node_that_is_restarted_goes_on_with_the_same_sums(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    given = settings(origin, ledger={"path": str(tmp_path / "ledger.sqlite")})
    with Shield(given, clock=clock) as shield:
        spend(shield, origin, kilobytes=60)
        before = shield.state()["budgets"]["cap"]["spent"]

    with Shield(given, clock=clock) as shield:
        shield.wait_for(lambda: shield.node.origins.get("far").budget.is_seeded)
        assert shield.state()["budgets"]["cap"]["spent"] == before
        statuses = spend(shield, origin, kilobytes=60)
        assert 503 not in statuses[:3] and statuses[-1] == 503


def test_the_nodes_of_a_cluster_hold_to_a_budget_together(origin: FaultyOrigin, clock: FakeClock) -> None:
    with three(origin, clock, budgets={"cap": {**CAP, "amount": "60KB"}}) as cluster:
        for place, node in enumerate(cluster.nodes):
            path = cluster.path(place)
            origin.serves(path, bytes(25 * KB), lifetime=60)
            assert node.get(path).status == 200  # from the origin, as its owner
        for _ in range(2):
            for node in cluster.nodes:
                watch = node.node.figures.budgets
                node.call(lambda watch=watch: watch.look(True))  # type: ignore[misc]
                node.run(watch._ask_others(watch._others))  # type: ignore[arg-type]

        for place, node in enumerate(cluster.nodes):
            judge(node)
            assert 75 * KB < node.state()["budgets"]["cap"]["spent"] < 80 * KB
            assert node.get(cluster.path(place, number=1)).status == 503
