"""Hot copies: what other nodes own, kept in this worker's RAM while it is asked for often.

A copy has the age of the entry that it is of, and is purged like all entries. But the other node may not know yet of
a purge that this one has carried out, and send what must not come back: so a copy is only made if nothing about its
key was removed here in the last minute, and, where that can be told, the other node has carried out all that this one
has (`covers`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from shield.origin.want import Fetched, Want
from shield.rules.heat import Heat, RoomForCopies
from shield.rules.key import CacheKey, key_of_text
from shield.store.entry import OVERHEAD
from shield.store.tiers import Store

TIMES = 3
"""Hits at another node, within `SECONDS`, by which a key is hot."""

SECONDS = 10.0

SHARE = 8
"""Copies take one byte in so many of the RAM tier, at most."""

_SAMPLES = 60  # seconds


@dataclass(frozen=True, slots=True)
class CopyStatistics:
    made: int
    entries: int  # as far as they weren't evicted or purged
    bytes: int
    refused: int  # since a purge may be missing at the other node


class HotCopies:
    """Of one worker, in `capacity` bytes. `tick` it once a second."""

    def __init__(self, store: Store, *, capacity: int) -> None:
        self._store = store
        self._budget = RoomForCopies(capacity)
        self._heat = Heat(times=TIMES, seconds=SECONDS)
        self._generations: deque[int] = deque((store.generation,), maxlen=_SAMPLES)
        store.copies = self._budget
        self._made = self._refused = 0
        self.covers: Callable[[bytes], bool] | None = None
        """Whether a node that has told this position has carried out all purges that this one has; None: it can't
        be told."""

    def admits(self, key: CacheKey, want: Want, fetched: Fetched, now: float, *, told: bytes, hot: bool) -> bool:
        """Whether to keep a copy of an entry that another node had stored, which has `told` its position in the log
        of purges, and whether the key is hot there.
        """
        if not self._heat.hit(key.digest, now) and not hot:
            return False
        head = fetched.response.head
        if head.length is None or want.span is not None or want.method != b"GET" or head.status != 200:
            return False
        if not self.is_safe(key, told):
            self._refused += 1
            return False
        given_up = self._budget.take(key.text, head.length + OVERHEAD)
        if given_up is None:
            return False
        for text in given_up:
            self._store.drop(key_of_text(text), from_disk=False)
        self._made += 1
        return True

    def is_safe(self, key: CacheKey, told: bytes) -> bool:
        """Whether a node that has `told` this position knows of all purges of the key that were carried out here."""
        if self._store.was_removed(key.text, self._generations[0], None):
            return False  # by any worker; what others have carried out is known a second later
        return self.covers is None or self.covers(told)

    def tick(self) -> None:
        self._generations.append(self._store.generation)

    def statistics(self) -> CopyStatistics:
        return CopyStatistics(self._made, len(self._budget), self._budget.used, self._refused)
