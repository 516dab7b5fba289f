"""A histogram of times to first byte: its buckets and quantiles. Pure.

Buckets grow by the square root of two from a millisecond on, so that a quantile is accurate to 41 percent up to a
quarter of an hour, in a fixed number of integers that workers can add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BUCKETS = 40

LEAST_SAMPLES = 20
"""With fewer samples a 95th percentile is meaningless: it is the greatest of them, or nearly."""


def bucket_of(seconds: float) -> int:
    """The bucket of a time in seconds."""
    if seconds <= 0.001:
        return 0
    return min(BUCKETS - 1, 1 + int(2.0 * math.log2(seconds * 1000.0)))


def edge(bucket: int) -> float:
    """The upper bound of a bucket in seconds (the last one has none)."""
    return float(0.001 * 2.0 ** (bucket / 2.0))


def quantile(counts: Sequence[int], share: float) -> float | None:
    """An upper bound, in seconds, for the quantile `share` (0 to 1) of the samples; None with too few samples."""
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
