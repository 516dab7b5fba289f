"""What a failover and other lifetimes would cost, by the last hour."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shield.rules.budgets import UsageSum
from shield.rules.foretold import Takeover, lifetime_note, takeovers
from shield.rules.freshness import FreshnessRules
from shield.rules.prices import GB, Price
from shield.rules.routes import Route

HOUR = FreshnessRules(default_lifetime=3600.0)
PRICES = {"near": Price(0.01), "far": Price(0.09), "eu": Price(0.02, currency="EUR")}


def of(given: int, requests: int = 10) -> UsageSum:
    return UsageSum(given, (requests, 0, 0, 0, 0))


def test_the_next_origin_of_each_route_takes_over_at_its_price() -> None:
    routes = [Route("a", origins=("near", "far")), Route("b", origins=("near",)), Route("c", origins=("far",))]

    found = takeovers("near", {"a": of(100 * GB), "b": of(GB)}, routes, PRICES, {"near", "far"})

    assert found == [
        Takeover("a", "far", 100 * GB, 10, 1.0, 9.0, "USD"),
        Takeover("b", None, GB, 10, 0.01, None, "USD"),
    ]


def test_an_origin_that_is_out_takes_nothing_over() -> None:
    [found] = takeovers("near", {"a": of(GB)}, [Route("a", origins=("near", "far", "eu"))], PRICES, {"eu"})

    assert (found.to, found.before, found.currency) == ("eu", None, "EUR")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (replace(HOUR, default_lifetime=360.0), "rise from 120 an hour to 1,200, 0.81 USD more an hour, at most"),
        (replace(HOUR, default_lifetime=7200.0), "fall from 120 an hour to 60"),
        (replace(HOUR, forced_lifetime=1800.0), "rise from 120 an hour to 240, 0.09 USD more an hour, at most"),
    ],
)
def test_other_lifetimes_are_told_by_the_revalidations_of_the_last_hour(after: FreshnessRules, said: str) -> None:
    note = lifetime_note("a", HOUR, after, {"far": of(GB, 120)}, PRICES)

    assert note is not None and note.endswith(f"revalidations may {said}"), note


def test_what_isnt_known_isnt_told() -> None:
    minute = replace(HOUR, default_lifetime=60.0)

    assert lifetime_note("a", HOUR, HOUR, {}, PRICES) is None
    assert lifetime_note("a", HOUR, replace(HOUR, default_lifetime=None), {}, PRICES) is None
    assert str(lifetime_note("a", HOUR, minute, {}, PRICES)).endswith("in the last hour none was revalidated")
