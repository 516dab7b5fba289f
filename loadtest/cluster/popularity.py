"""Keys as clients ask for them: Zipf, without a table of 10^8 numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import xxhash


def ranks(count: int, exponent: float, seed: int) -> Iterator[int]:
    """Ranks of keys from 0, each drawn in proportion to (rank + 1) ** -exponent; by the integral, which is exact but
    for the first few.
    """
    draw = random.Random(seed).random
    rest = 1.0 - exponent
    if abs(rest) < 1e-9:
        whole = math.log(count)
        while True:
            yield int(math.exp(draw() * whole)) - 1
    whole = count**rest - 1.0
    while True:
        yield min(count, int((draw() * whole + 1.0) ** (1.0 / rest))) - 1


def digest(rank: int) -> bytes:
    """Of the key with this rank."""
    return xxhash.xxh3_128_digest(rank.to_bytes(8, "little"))


def distinct(count: int, exponent: float, requests: int, share: float = 1.0) -> float:
    """The number of different keys among so many requests, if a share of all keys is looked at: an integral, since it
    can't be counted."""
    rest = 1.0 - exponent
    whole = (count**rest - 1.0) / rest if abs(rest) > 1e-9 else math.log(count)
    found, low, high = 0.0, 1.0, 1.01
    while low < count:
        high = min(float(count), max(low + 1.0, low * 1.01))
        middle = (low + high) / 2.0
        chance = middle**-exponent / whole
        found += (high - low) * -math.expm1(-requests * chance)
        low = high
    return found * share
