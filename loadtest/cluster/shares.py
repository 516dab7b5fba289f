"""How keys are spread over nodes, and what moves when nodes come and go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shield.rules.ring import BUCKETS, NodeRing


def names(count: int) -> list[str]:
    return [f"fra-{number}" for number in range(count)]


def owners(ring: NodeRing, depth: int = 0) -> list[str]:
    """The owner of each bucket; the second with `depth` 1."""
    return [ring.order(b"\0\0" + bucket.to_bytes(2, "big"))[depth] for bucket in range(BUCKETS)]


@dataclass(frozen=True, slots=True)
class Balance:
    """The least and the greatest share of a node, as a part of what its weight says; and the greatest deviation that
    10^8 keys add to that by chance.
    """

    least: float
    greatest: float
    by_chance: float


def balance(weights: Mapping[str, float], keys: int) -> Balance:
    found = owners(NodeRing(weights))
    whole = sum(weights.values())
    parts = []
    for name, weight in weights.items():
        expected = weight / whole
        parts.append(found.count(name) / BUCKETS / expected)
    smallest = min(weights.values()) / whole
    return Balance(min(parts), max(parts), 4.0 * math.sqrt((1.0 - smallest) / (smallest * keys)))


@dataclass(frozen=True, slots=True)
class Movement:
    """The share of keys whose owner changed, that which had to, and how many moved between nodes that stayed."""

    moved: float
    least: float
    needless: int


def movement(before: Mapping[str, float], after: Mapping[str, float]) -> Movement:
    old, new = owners(NodeRing(before)), owners(NodeRing(after))
    changed = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
    touched = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    needless = sum(one not in touched and other not in touched for one, other in changed)
    least = sum(
        max(0.0, after.get(name, 0.0) / sum(after.values()) - before.get(name, 0.0) / sum(before.values()))
        for name in before.keys() | after.keys()
    )
    return Movement(len(changed) / BUCKETS, least, needless)


def heirs(weights: Mapping[str, float], gone: Sequence[str]) -> float:
    """The greatest share of the keys of nodes that are gone which one node gets, as a multiple of an even one."""
    ring = NodeRing(weights)
    counts: dict[str, int] = {}
    for bucket in range(BUCKETS):
        order = ring.order(b"\0\0" + bucket.to_bytes(2, "big"))
        if order[0] in gone:
            heir = next((name for name in order if name not in gone), "")
            counts[heir] = counts.get(heir, 0) + 1
    lost = counts.pop("", 0)
    return max(counts.values()) / ((sum(counts.values()) + lost) / (len(weights) - len(gone)))
