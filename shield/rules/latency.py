"""A histogram of times from a request to its response's first byte: its buckets, and quantiles of it. Pure.

Buckets grow by the square root of two from a millisecond, so that a quantile is right within 41 percent from a
millisecond to a quarter of an hour, in a fixed number of integers that workers can add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BUCKETS = 40

LEAST_SAMPLES = 20
"""With fewer, a 95th percentile says nothing: it is the greatest of them, or nearly."""


def bucket_of(seconds: float) -> int:
    """The bucket that a time belongs to."""
    if seconds <= 0.001:
        return 0
    return min(BUCKETS - 1, 1 + int(2.0 * math.log2(seconds * 1000.0)))


def edge(bucket: int) -> float:
    """The longest time, in seconds, that belongs to a bucket (the last one has no end)."""
    return float(0.001 * 2.0 ** (bucket / 2.0))


def quantile(counts: Sequence[int], share: float) -> float | None:
    """A time that at least `share` of the samples don't exceed; None with too few samples."""
    total = sum(counts)
    if total < LEAST_SAMPLES:
        return None
    wanted = share * total
    passed = 0
    for bucket, count in enumerate(counts):
        passed += count
        if passed >= wanted:
            return edge(bucket)
    return edge(BUCKETS - 1)
