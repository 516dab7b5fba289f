"""Weighted rendezvous hashing (Thaler and Ravishankar, 1998): the owner of a key among several members.

Each member has a score for each key, and the highest one wins: a member that is added or removed moves only its own
share. Scores are computed once, for 4096 buckets of digests, so that a lookup is one step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import xxhash

_BITS = 12
_DRAWS = 1 << 53


class Rendezvous:
    """Members are indices of `names`; each owns a share of the keys in proportion to its weight.

    Raises ValueError without members, or for a weight that isn't above 0.
    """

    def __init__(self, names: Sequence[bytes], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(names) if weights is None else weights
        if not names or len(names) != len(weights) or min(weights) <= 0.0:
            raise ValueError("rendezvous needs members, each with a weight above 0")
        self._orders = tuple([_order(bucket, names, weights) for bucket in range(1 << _BITS)])

    def order(self, digest: bytes) -> tuple[int, ...]:
        """All members, the key's owner first; each would own the key if those before it were gone."""
        return self._orders[digest[0] << 4 | digest[1] >> 4]

    def owner(self, digest: bytes) -> int:
        """The member that owns the key."""
        return self._orders[digest[0] << 4 | digest[1] >> 4][0]


def _order(bucket: int, names: Sequence[bytes], weights: Sequence[float]) -> tuple[int, ...]:
    def score(member: int) -> float:
        # With a uniform draw from (0, 1), the score -weight / ln(draw) wins in proportion to the weight.
        draw = (xxhash.xxh3_64_intdigest(names[member], seed=bucket) >> 11) + 0.5
        return -weights[member] / math.log(draw / _DRAWS)

    return tuple(sorted(range(len(names)), key=score, reverse=True))
