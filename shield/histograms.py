"""Histograms of times: counts in fixed buckets as plain numbers, written by one loop and summed over workers.

Bounds grow by the square root of two, so that a quantile is off by a fifth at most, wherever it lies.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BOUNDS: Final = tuple([round(0.001 * 2.0 ** (step / 2), 6) for step in range(-2, 33)])
"""The upper bounds of the buckets in seconds, 0.5 ms to 65.536 s; one more bucket is for all that is longer."""

LABELS: Final = (*[f"{bound:g}" if bound < 1.0 else f"{bound:.6g}" for bound in BOUNDS], "+Inf")
"""The same as values of the label `le`."""


class Histogram:
    """`counts` are those of each bucket alone, `total` the sum of the values."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(LABELS)
        self.total = 0.0

    def add(self, seconds: float, weight: int = 1) -> None:
        """Note a time; one of `weight` such times of which the others aren't noted."""
        self.counts[bisect_left(BOUNDS, seconds)] += weight
        self.total += seconds * weight

    @property
    def count(self) -> int:
        """How many times were noted."""
        return sum(self.counts)
