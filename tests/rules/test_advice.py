"""Which changes of settings are tried, and which of those that were tried are advised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shield.rules.advice import (
    AdviceKind,
    AdvisedNode,
    AdvisedRoute,
    AdvisedTier,
    SettingsChange,
    TriedChange,
    best,
    changes,
    counted,
    laid_over,
    together,
)
from shield.rules.prices import PRESETS, Price

GIB = 1 << 30
NODE = AdvisedNode(4 * GIB, (), (AdvisedRoute("all", ("fra",), 3600.0),), {"fra": Price(0.08)})
SSD = AdvisedTier(
    "ssd",
    (100 * GIB, 50 * GIB),
    {"name": "ssd", "directories": [{"path": "/a", "capacity": "100GiB", "free_floor": "1GiB"}, {"path": "/b"}]},
)


def of_kind(kind: AdviceKind, node: AdvisedNode = NODE) -> list[SettingsChange]:
    return [each for each in changes(node) if each.kind is kind]


def test_ram_and_disks_grow_by_powers_of_two_and_the_settings_say_so() -> None:
    assert [each.settings for each in of_kind(AdviceKind.MEMORY)] == [
        {"cache": {"memory": {"capacity": size}}} for size in ("8GiB", "16GiB", "32GiB")
    ]
    first = of_kind(AdviceKind.DISK)[0]
    assert first.settings["cache"]["tiers"][0]["directories"] == [{"path": "/var/cache/shield", "capacity": "40GiB"}]

    first = of_kind(AdviceKind.DISK, replace(NODE, tiers=(SSD,)))[0]
    assert first.settings["cache"]["tiers"][0]["directories"] == [
        {"path": "/a", "capacity": "200GiB", "free_floor": "1GiB"},
        {"path": "/b", "capacity": "100GiB"},
    ]
    assert first.needs == "150GiB more disk"


def test_lifetimes_that_are_longer_than_those_of_routes_are_tried_where_settings_have_them() -> None:
    short, long = AdvisedRoute("a", ("fra",), 3600.0), AdvisedRoute("b", ("fra",), 2 * 86400.0)
    day, week, _ = of_kind(AdviceKind.LIFETIME, replace(NODE, routes=(short, long, replace(short, lifetime=None))))

    assert day.settings == {"routes": {"a": {"freshness": {"default_lifetime": "1d"}}}}
    assert set(week.settings["routes"]) == {"a", "b"}
    (first, *_) = of_kind(AdviceKind.LIFETIME, replace(NODE, has_routes=False, states_lifetimes=True))
    assert first.settings == {"freshness": {"forced_lifetime": "1d"}}


def test_query_parameters_without_effect_go() -> None:
    route = AdvisedRoute("all", ("fra",), 3600.0, ("h", "t", "w"), idle=("t",), other=("h", "w"))
    (change,) = of_kind(AdviceKind.QUERY, replace(NODE, routes=(route,)))
    assert change.settings == {"routes": {"all": {"query": {"allow": ["h", "w"]}}}}

    (change,) = of_kind(AdviceKind.QUERY, replace(NODE, routes=(replace(route, query=None),)))
    assert change.settings == {"routes": {"all": {"query": {"allow": ["h", "w"]}}}}


def test_the_cheapest_comes_first_only_where_all_prices_are_known_and_differ() -> None:
    route = AdvisedRoute("all", ("fra", "iad"), 3600.0)
    node = replace(NODE, routes=(route,), prices={"fra": Price(0.09), "iad": Price(0.01)})

    assert [each.settings for each in of_kind(AdviceKind.CHOICE, node)] == [
        {"routes": {"all": {"choose": "cheapest"}}}
    ]
    assert not of_kind(AdviceKind.CHOICE, replace(node, prices={"fra": Price(0.09), "iad": None}))
    assert not of_kind(AdviceKind.CHOICE, replace(node, prices={"fra": Price(0.09), "iad": Price(0.09)}))


def test_cheaper_providers_of_the_same_currency_are_tried_with_their_caveats() -> None:
    found = {each.settings["origins"]["fra"]["price"]: each.needs for each in of_kind(AdviceKind.PROVIDER)}

    assert set(found) == {"r2", "b2", "wasabi"}
    assert PRESETS["wasabi"].caveat in found["wasabi"]
    assert not of_kind(AdviceKind.PROVIDER, replace(NODE, prices={"fra": Price(0.001, currency="GBP"), "x": None}))


def change(kind: AdviceKind, title: str = "", **settings: object) -> SettingsChange:
    return SettingsChange(kind, title, settings, "")


def test_the_smallest_that_saves_nearly_as_much_as_the_greatest_of_its_kind_is_advised() -> None:
    tried = [
        TriedChange(change(AdviceKind.MEMORY, "2"), 30.0),
        TriedChange(change(AdviceKind.MEMORY, "4"), 41.0),
        TriedChange(change(AdviceKind.MEMORY, "8"), 50.0),
        TriedChange(change(AdviceKind.PROVIDER, "r2"), 90.0),
        TriedChange(change(AdviceKind.QUERY), 0.9),
        TriedChange(change(AdviceKind.LIFETIME), 5.0),
        TriedChange(change(AdviceKind.DISK), 6.0),
    ]

    found = best(tried, bill=100.0, number=3)

    assert [each.change.title or each.change.kind for each in found] == ["r2", "4", AdviceKind.DISK]
    for saves in (0.0, -5.0):
        assert best([TriedChange(change(AdviceKind.DISK), saves)], bill=0.0, number=3) == []


def test_changes_are_laid_over_settings_and_over_each_other() -> None:
    both = together(
        [
            change(AdviceKind.MEMORY, cache={"memory": {"capacity": "8GiB"}}),
            change(AdviceKind.DISK, cache={"tiers": [1]}),
        ]
    )
    assert both == {"cache": {"memory": {"capacity": "8GiB"}, "tiers": [1]}}

    before: dict[str, Any] = {
        "cache": {"memory": {"capacity": "1GiB", "max_entry": 5}},
        "origins": {"fra": {"price": {"egress": 1}}},
    }
    after = laid_over(before, {**both, "origins": {"fra": {"price": "r2"}}})
    assert after["cache"]["memory"] == {"capacity": "8GiB", "max_entry": 5}
    assert after["origins"]["fra"]["price"] == "r2" and before["cache"]["memory"]["capacity"] == "1GiB"


@pytest.mark.parametrize(
    ("month", "interval", "found"),
    [
        ({"probe": 6.0}, 10.0, {AdviceKind.PROBES: 5.0}),
        ({"hedge": 2.0}, None, {AdviceKind.HEDGES: 2.0}),
        ({"probe": 6.0}, 60.0, {}),
    ],
)
def test_probes_and_hedges_are_judged_by_the_ledger(
    month: dict[str, float], interval: float | None, found: dict[AdviceKind, float]
) -> None:
    assert {each.change.kind: each.saves for each in counted(month, interval)} == pytest.approx(found)
