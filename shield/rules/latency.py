"""A histogram of times to first byte: its buckets and quantiles. Pure.

Buckets grow by the square root of two from a millisecond on, up to a quarter of an hour, in a fixed number of
integers that workers can add up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

BUCKETS: Final = 40

LEAST_SAMPLES = 20
"""With fewer samples a 95th percentile is meaningless: it is the greatest of them, or nearly. A median is off by a
fifth or more."""

EDGES: Final = tuple([0.001 * 2.0 ** (bucket / 2.0) for bucket in range(BUCKETS - 1)])
"""The upper bounds of all buckets but the last, in seconds: `bisect_left(EDGES, seconds)` is the bucket of a time."""


def bucket_of(seconds: float) -> int:
    """The bucket of a time in seconds."""
    return bisect_left(EDGES, seconds)


def edge(bucket: int) -> float:
    """The upper bound of a bucket in seconds (the last one has none)."""
    return float(0.001 * 2.0 ** (bucket / 2.0))


def quantile(counts: Sequence[int], share: float) -> float | None:
    """An upper bound, in seconds, for the quantile `share` (0 to 1) of the samples; None with too few samples.

    It is accurate to 41 percent, the width of a bucket.
    """
    found = _position(counts, share)
    return None if found is None else edge(found[0])


def median(counts: Sequence[int]) -> float | None:
    """An estimate of the median in seconds; None with too few samples.

    Within its bucket the samples are taken to be spread evenly on a logarithmic scale, so that two medians can be
    compared more closely than by a bucket's width.
    """
    found = _position(counts, 0.5)
    if found is None:
        return None
    bucket, inside = found
    return edge(bucket) * float(2.0 ** ((inside - 1.0) / 2.0))


def _position(counts: Sequence[int], share: float) -> tuple[int, float] | None:
    """The bucket of a quantile, and the share of the bucket's samples up to it."""
    total = sum(counts)
    if total < LEAST_SAMPLES:
        return None
    wanted = share * total
    passed = 0
    for bucket, count in enumerate(counts):
        if count and passed + count >= wanted:
            return bucket, max(0.0, wanted - passed) / count
        passed += count
    return BUCKETS - 1, 1.0
