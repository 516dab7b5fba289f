"""The state of a route with `choose: nearest`: the order of its origins by cost, which fetches read, and the
sizes of its responses, which fills note. Pure but for that memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shield.rules.ranking import SIZE_CLASSES, size_class

SIZE_WORDS = 2 * SIZE_CLASSES
"""For each size class the number of responses, and the sum of their bytes."""

MOST_BYTES = 64 << 20
"""Bytes that one response counts with at most: a single huge object says little about the next one."""

MOST_RESPONSES = 1024
"""Of one size class; then all numbers are halved, so that the last responses count most."""


class Choice:
    """The choice of one route. `order` is kept up to date by `origin.ranker`, which also replaces `sizes` by memory
    that all workers can read."""

    __slots__ = ("order", "sizes")

    def __init__(self, order: Sequence[str]) -> None:
        self.order = tuple(order)
        self.sizes: Any = [0] * SIZE_WORDS  # or a memoryview, which a compiled class can't name as a type

    def saw(self, size: int) -> None:
        """A response from an origin brought so many bytes."""
        sizes, at = self.sizes, 2 * size_class(size)
        sizes[at] += 1
        sizes[at + 1] += min(size, MOST_BYTES)
        if sizes[at] >= MOST_RESPONSES:
            for each in range(SIZE_WORDS):
                sizes[each] //= 2
