"""Hot keys: the load of the busiest owner, and how many requests cross between nodes, with hot copies and without."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from loadtest.cluster.popularity import digest, ranks
from loadtest.cluster.shares import names
from shield.peers.copies import SECONDS, TIMES
from shield.rules.heat import Heat
from shield.rules.ring import NodeRing


@dataclass(frozen=True, slots=True)
class HotKeys:
    """`busiest`: requests that the busiest node answers for others, as a multiple of the mean of all requests.
    `crossing`: the share of requests that another node answers. `copies`: keys of which a node has a copy.
    """

    busiest: float
    crossing: float
    copies: float


def hot_keys(nodes: int, keys: int, *, exponent: float, rate: float, requests: int, with_copies: bool) -> HotKeys:
    """So many requests, which a CDN spreads evenly over the nodes, at a rate of so many a second."""
    ring = NodeRing(dict.fromkeys(names(nodes), 1.0))
    heats = [Heat(times=TIMES, seconds=SECONDS) for _ in range(nodes)]
    copies: list[set[int]] = [set() for _ in range(nodes)]
    place = {name: number for number, name in enumerate(ring.names)}
    answered: Counter[int] = Counter()
    crossing = 0
    for number, rank in enumerate(islice(ranks(keys, exponent, seed=1), requests)):
        asked, key = (number * 7919) % nodes, digest(rank)
        owner = place[ring.order(key)[0]]
        if asked == owner or rank in copies[asked]:
            continue
        crossing += 1
        answered[owner] += 1
        if with_copies and heats[asked].hit(key, number / rate):
            copies[asked].add(rank)
    mean = requests / nodes
    return HotKeys(max(answered.values()) / mean, crossing / requests, sum(map(len, copies)) / nodes)
