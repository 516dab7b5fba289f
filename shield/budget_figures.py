"""Families of metrics of the cost of egress, of its budgets and its spikes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from shield.observe.metrics import Family, Sample
from shield.rules.budgets import ACTS, BudgetStanding
from shield.rules.spikes import Baseline


def budget_families(standings: Sequence[BudgetStanding], costs: Mapping[tuple[str, str], float]) -> list[Family]:
    """Of the cost of this worker's counts, by origin and currency; and of budgets, which all workers see alike."""
    return [
        Family(
            "origin_cost",
            "Price of bytes and requests from an origin, by its configured price, with tiers and free bytes",
            [Sample(cost, {"origin": name, "currency": currency}) for (name, currency), cost in costs.items()],
        ),
        _gauge("budget_amount", "Amount of a budget of egress", standings, lambda each: each.budget.amount.value),
        _gauge(
            "budget_spent",
            "The part of a budget that is spent in this day or month",
            standings,
            lambda each: each.spent,
        ),
        _gauge(
            "budget_projected_share",
            "Share of a budget that is spent at the end of its day or month if it goes on like this",
            standings,
            lambda each: each.projected,
        ),
        Family(
            "budget_act",
            "1 for each measure of a budget in force: dearer, pause, stale, refuse",
            [
                Sample(float(bool(each.acts & act)), {"budget": each.budget.name, "act": word})
                for each in standings
                for word, act in ACTS.items()
            ],
            gauge=True,
            alike=True,
        ),
    ]


def spike_families(spiking: Mapping[str, bool], usual: Mapping[str, tuple[Baseline, Baseline]]) -> list[Family]:
    """Of spikes, and of the usual amounts at this hour: only the conductor has them."""
    return [
        Family(
            "egress_spike",
            "1 while an origin sends far more than usual at this hour",
            [Sample(float(is_spiking), {"origin": name}) for name, is_spiking in spiking.items()],
            gauge=True,
            alike=True,
        ),
        Family(
            "origin_usual_bytes_per_second",
            "Bytes that an origin usually sends at this hour: the median of other days",
            [Sample(received.median / 60.0, {"origin": name}) for name, (received, _) in usual.items()],
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
