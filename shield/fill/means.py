"""The dependencies of fills as one value: their source, the store, their policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shield.chance import draw
from shield.changed import ChangedKeys
from shield.fill.buffer import FillMemory
from shield.fill.settlement import FillTerms
from shield.fill.spotchecks import SpotChecks
from shield.fill.versions import Versions
from shield.messages import Request
from shield.origin.plain import Fetching, FetchTaker
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.rules.key import CacheKey
from shield.store.entry import OVERHEAD
from shield.store.tiers import Store
from shield.trace import FetchTrace

UNKEPT_SLICE = 1 << 20
"""Bytes of a slice without a disk. Small: each reader holds its slice in memory, at its own speed."""


class Source(Protocol):
    """The source of fills: origins, or the worker of this node that owns a key."""

    def fetch(self, names: Sequence[str], want: Want) -> Coroutine[Any, Any, Fetched | Absent | Failed]:
        """`names` are the origins in the order in which they are tried."""

    def begin(self, names: Sequence[str], want: Want, taker: FetchTaker) -> Fetching | None:
        """Begin the same without a task, if it is as nearly all are, and tell `taker` later; None: use `fetch`."""


class Lag(Protocol):
    """The lag of copies behind their primary."""

    def sighted(
        self, want: Want, fetched: Fetched, *, since: float | None = None, among: Collection[str] | None = None
    ) -> None:
        """The primary, or another origin, has sent an object that changed then and belongs to a route with these
        origins.
        """

    def late(self) -> Collection[str]:
        """Copies that lag for longer than they may."""


class Traces(Protocol):
    """Traces of fetches."""

    def begin(
        self, request: Request, key: CacheKey, path: bytes, *, is_background: bool = False
    ) -> FetchTrace | None:
        """A fetch begins, for this request; None: it isn't traced."""


@dataclass(frozen=True, slots=True)
class FillPolicy:
    """When a fill outlives its readers, how long a hit-for-miss marker holds, and how long failed fetches of the next
    bytes of a large object are repeated.
    """

    linger_seconds: float = 5.0
    small_bytes: int = 1 << 20
    hit_for_miss_seconds: float = 10.0
    persist_seconds: float = 10.0


@dataclass(slots=True, eq=False)
class Means:
    """The dependencies of all fills of a worker. Made on their event loop. Only `policy` and `traces` may change."""

    source: Source
    store: Store
    memory: FillMemory
    policy: FillPolicy
    via: bytes
    clock: Callable[[], float]
    spot_checks: SpotChecks | None = None
    traces: Traces | None = None  # may change; None: there are none
    changes: ChangedKeys = field(default_factory=ChangedKeys)
    lag: Lag | None = None  # of copies; None: it isn't measured
    chance: Callable[[], float] = draw  # from 0 to 1, to spread waits
    are_cut_off: Callable[[Sequence[str]], bool] = lambda _: False  # whether all of these origins are known to be bad
    are_paused: Callable[[Sequence[str]], bool] = lambda _: False  # whether a budget of the first of them says so
    are_saving: Callable[[Sequence[str]], bool] = lambda _: False  # whether budgets spare all of these origins
    # looked up once: a system call before Python 3.12
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    versions: Versions = field(default_factory=Versions)
    terms: FillTerms = field(init=False)

    def __post_init__(self) -> None:
        size, largest = self.store.slice_bytes, self.store.largest
        above = size
        if not size:  # without a disk only objects too large to be kept are in slices, while they are read
            size, above = min(UNKEPT_SLICE, max(self.memory.capacity // 16, 1)), largest - OVERHEAD
        self.terms = FillTerms(
            self.via,
            slice_bytes=size,
            largest=largest,
            sliced_above=max(above, size),
            keeps_slices=self.store.slice_bytes > 0,
        )
