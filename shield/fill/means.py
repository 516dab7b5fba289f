"""What fills need: where they fetch from, where they store, by which policy. Each is handed it as one value."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shield.fill.buffer import FillMemory
from shield.fill.settlement import FillTerms
from shield.messages import Field
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.rules.key import CacheKey
from shield.store.entry import OVERHEAD
from shield.store.tiers import Store

UNKEPT_SLICE = 1 << 20
"""Bytes of a slice where there is no disk. Small: those who read it hold it in memory, each at its own speed."""


class Source(Protocol):
    """Where fills fetch from: origins, or the worker of this node that owns a key."""

    def fetch(
        self, key: CacheKey, target: bytes, names: Sequence[str], want: Want, judged: Sequence[Field] | None = ()
    ) -> Coroutine[Any, Any, Fetched | Absent | Failed]:
        """`target` is as a client asked for it, `names` are the origins of its route in order.

        `judged` are the fields of the client's request by which the answer is judged; None: it is for nobody else.
        """


@dataclass(frozen=True, slots=True)
class FillPolicy:
    """When a fill outlives its readers, how long what can't be shared is known as such, and for how long the next
    bytes of a large object are asked for again when their fetches fail.
    """

    linger_seconds: float = 5.0
    small_bytes: int = 1 << 20
    hit_for_miss_seconds: float = 10.0
    persist_seconds: float = 10.0


@dataclass(slots=True, eq=False)
class Means:
    """What every fill of a worker needs. Made on the event loop that they run on. Only `policy` may change."""

    source: Source
    store: Store
    memory: FillMemory
    policy: FillPolicy
    via: bytes
    clock: Callable[[], float]
    chance: Callable[[], float] = random.random  # from 0 to 1, to spread waits
    # asked for once: it costs a system call before Python 3.12
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    terms: FillTerms = field(init=False)

    def __post_init__(self) -> None:
        size, largest = self.store.slice_bytes, self.store.largest
        above = size
        if not size:  # without a disk only what isn't kept as a whole is in slices, while it is read
            size, above = min(UNKEPT_SLICE, max(self.memory.capacity // 16, 1)), largest - OVERHEAD
        self.terms = FillTerms(
            self.via,
            slice_bytes=size,
            largest=largest,
            sliced_above=max(above, size),
            keeps_slices=self.store.slice_bytes > 0,
        )
