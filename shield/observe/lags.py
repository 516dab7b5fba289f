"""Metrics of the replication lag of copies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from shield.observe.metrics import Family, Sample
from shield.rules.lag import BOUNDS


def lag_families(copies: Sequence[tuple[str, float, Sequence[int], float]]) -> list[Family]:
    """Of each copy its name, how long it is behind, and counts and sum of the replication times (`rules.lag`)."""
    bounds, arrivals = [*map(str, BOUNDS), "+Inf"], []
    for name, _, arrived, seconds in copies:
        counts = list(accumulate(arrived))
        arrivals += [Sample(n, {"origin": name, "le": le}) for le, n in zip(bounds, counts, strict=True)]
        arrivals.append(Sample(seconds, {"origin": name, "le": "sum"}))
    return [
        Family(
            "origin_lag_seconds",
            "For how long an object that the primary has is known to be missing or older at a copy; 0: none is",
            [Sample(behind, {"origin": name}) for name, behind, _, _ in copies],
            gauge=True,
            alike=True,
        ),
        Family(
            "origin_replication_seconds",
            "Time until objects of the primary were seen at a copy, of those that were looked for",
            arrivals,
        ),
    ]
