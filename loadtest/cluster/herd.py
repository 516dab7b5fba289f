"""The herd after the loss of a region: its keys are cold at those that take them over, and the origin bears only so
many fetches at once. Each node learns how many by the real rule (`rules.throttling`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from loadtest.cluster.popularity import distinct
from shield.rules.throttling import FetchLimit, LimitEvidence

_STEP = 0.25  # seconds, as the conductor's
_MOST = 4096  # connections of a node to an origin


@dataclass(frozen=True, slots=True)
class Herd:
    """`fetches`: requests to the origin; `refused`: those that it refused as too many; `peak`: at once;
    `seconds` until no miss has waited for longer than a second; `waiting`: misses at most, in all nodes.
    """

    fetches: int
    refused: int
    peak: int
    seconds: float
    waiting: int


@dataclass(slots=True)
class _Node:
    limit: FetchLimit = field(default_factory=FetchLimit)
    waiting: float = 0.0
    in_flight: int = 0
    held: int = 0  # places of refused requests


def herd(
    nodes: int, keys: int, *, exponent: float, rate: float, cold: float, bears: int, seconds: float, shared: bool
) -> Herd:
    """A share of the keys turns `cold` at once, at a rate of so many requests a second for all keys. The origin
    `bears` so many fetches at once, of 0.1 s each. `shared`: each key has one owner; else each node fetches for
    itself, as without a cluster.
    """
    chance = random.Random(1)
    members = [_Node() for _ in range(nodes)]
    fetches = refused = peak = 0
    most_waiting, settled, now, known = 0.0, 0.0, 0.0, 0.0
    per_node = rate if shared else rate / nodes
    while now < 120.0:
        now += _STEP
        so_far = distinct(keys, exponent, round(per_node * now), cold)
        new, known = so_far - known, so_far  # keys that are asked for the first time: by all, or by each node
        for node in members:
            node.waiting += new / nodes if shared else new
        at_once = 0
        for node in members:
            room = max(0, node.limit.room(now) - node.held)
            # Of a quarter of a second, each place serves 2.5 fetches.
            wanted = min(node.waiting, room * _STEP / 0.1)
            node.in_flight = min(room, round(wanted * 0.1 / _STEP + chance.random()))
            at_once += node.in_flight
        peak = max(peak, at_once)
        over = max(0.0, 1.0 - bears / at_once) if at_once else 0.0
        for node in members:
            done = min(node.waiting, node.in_flight * _STEP / 0.1)
            thrown = round(node.in_flight * over)
            fetches += round(done)
            refused += thrown
            node.waiting -= done * (1.0 - over)
            node.held = thrown
            seen = LimitEvidence(
                in_flight=node.in_flight, throttled=thrown, share=over, p95=0.1, is_answering=over < 1.0
            )
            node.limit = node.limit.after(seen, now, most=_MOST)
        waiting = sum(node.waiting for node in members)
        most_waiting = max(most_waiting, waiting)
        served = bears / 0.1
        if waiting > served:
            settled = now
        if now > seconds and settled < now - 5.0:
            break
    return Herd(fetches, refused, peak, settled, round(most_waiting))
