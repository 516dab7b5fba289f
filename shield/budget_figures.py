"""Families of metrics of the cost of egress, and of its budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from shield.observe.metrics import Family, Sample
from shield.rules.budgets import ACTS, BudgetStanding


def budget_families(standings: Sequence[BudgetStanding], costs: Mapping[tuple[str, str], float]) -> list[Family]:
    """Of the cost of what this worker has counted, by origin and currency; and of budgets, which all see alike."""
    return [
        Family(
            "origin_cost",
            "Price of bytes and requests from an origin, by its configured price, with tiers and free bytes",
            [Sample(cost, {"origin": name, "currency": currency}) for (name, currency), cost in costs.items()],
        ),
        _gauge("budget_amount", "Amount of a budget of egress", standings, lambda each: each.budget.amount.value),
        _gauge("budget_spent", "What of a budget is spent in this day or month", standings, lambda each: each.spent),
        _gauge(
            "budget_projected_share",
            "Share of a budget that is spent at the end of its day or month if it goes on like this",
            standings,
            lambda each: each.projected,
        ),
        Family(
            "budget_act",
            "1 for what a budget does now: dearer, pause, stale, refuse",
            [
                Sample(float(bool(each.acts & act)), {"budget": each.budget.name, "act": word})
                for each in standings
                for word, act in ACTS.items()
            ],
            gauge=True,
            alike=True,
        ),
    ]


def _gauge(
    name: str, text: str, standings: Sequence[BudgetStanding], value: Callable[[BudgetStanding], float]
) -> Family:
    samples = [
        Sample(value(each), {"budget": each.budget.name, "unit": each.budget.amount.currency or "bytes"})
        for each in standings
    ]
    return Family(name, text, samples, gauge=True, alike=True)
