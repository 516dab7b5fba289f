"""Another node of the cluster, as one worker knows it: its settings, what it has told of itself, and its workers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import lru_cache

from shield.origin.pool import Pool
from shield.rules.beyond import RegionOffer
from shield.rules.rendezvous import Rendezvous


@dataclass(frozen=True, slots=True)
class NodeMember:
    """A node of the cluster: the address of its first worker for other nodes (the others have the ports above), and
    its weight: the share of the keys that it owns, as compared with others.
    """

    name: str
    host: str
    port: int
    weight: float = 1.0
    region: str = ""


@dataclass(frozen=True, slots=True)
class NodeStatistics:
    """Of another node, as this worker sees it. `down` are its workers that don't answer."""

    name: str
    address: str
    region: str
    workers: int
    down: tuple[int, ...]
    ring: str  # "" before it has told
    version: str


class NodeWorker:
    """A worker of another node."""

    __slots__ = ("down_since", "greeting", "heard", "number", "pool", "pool_number", "retry_at", "silences")

    def __init__(self, number: int, pool_number: int, pool: Pool, now: float) -> None:
        self.number = number  # among all asked
        self.pool_number = pool_number  # the worker's
        self.pool = pool
        self.heard = now
        self.down_since: float | None = None
        self.retry_at = 0.0
        self.silences = 0  # greetings in a row to which nothing came
        self.greeting: asyncio.Task[None] | None = None


class OtherNode:
    """Another node: what it has told of itself, and its workers as far as they were asked."""

    __slots__ = (
        "asked",
        "called",
        "greet_at",
        "member",
        "near",
        "offer",
        "refusals",
        "ring",
        "round_trip",
        "secrets",
        "version",
        "workers",
    )

    def __init__(self, member: NodeMember, workers: int) -> None:
        self.member = member
        self.workers = workers  # assumed to be as many as here, until it tells
        self.called = member.name  # until it tells: of members by DNS that is the address
        self.ring = ""
        self.version = ""
        self.asked: dict[int, NodeWorker] = {}
        self.greet_at = 0.0
        self.near: tuple[str, ...] = ()
        self.offer = RegionOffer()
        self.secrets: frozenset[str] = frozenset()  # fingerprints of those that it accepts
        self.refusals = 0  # of our proof, since it told them
        self.round_trip: float | None = None


@lru_cache(maxsize=64)
def _among(workers: int) -> Rendezvous:
    return Rendezvous([b"worker-%d" % number for number in range(workers)])


def worker_of(workers: int, digest: bytes) -> int:
    """The worker that owns a key in a node with so many, as `Owners` computes it there."""
    return 0 if workers == 1 else _among(workers).owner(digest)
