"""Other nodes that lack purges which this one has carried out: their entries, and fetches that they had begun, aren't
served here if they may have been purged. So a purge holds for the clients of each node that its receipt names, even
if the owner of the key was cut off, or can't carry the order out.

While a node has all orders that were known here two seconds ago, that costs a comparison. Otherwise a key is refused
if it was purged after the node last had all orders; purges of the last two seconds don't count, since an order takes
that long at most, and its receipt waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shield.rules.key import CacheKey
from shield.store.tiers import Store

_SAMPLES = 3  # ticks


class Behind:
    """Of one worker. `tick` it once a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._generations: deque[int] = deque((store.generation,) * _SAMPLES, maxlen=_SAMPLES)
        self._began = store.generation
        self._had_all: dict[str, int] = {}  # by node: the generation of this one up to which it had everything
        self.refused = 0
        """Responses that weren't used."""
        self.covers: Callable[[bytes], bool] | None = None
        """As of `HotCopies`."""
        self.owes: Callable[[str], bool] = lambda name: False
        """Whether a node lacks orders that were given to this one before its start: their keys aren't known here."""

    def may_serve(self, name: str, key: CacheKey, told: bytes) -> bool:
        """Whether an entry that a node had stored, or had begun to fetch, may be served. `told` is the position of
        that node in the log of purges.
        """
        if self.covers is None or self.covers(told):
            self._had_all[name] = self._generations[0]
            return True
        since, until = self._had_all.get(name, self._began), self._generations[-2]
        is_removed = since < until and self._store.was_removed(key.text, since, None, until=until)
        if not is_removed and (name in self._had_all or not self.owes(name)):
            return True
        self.refused += 1
        return False

    def tick(self) -> None:
        self._generations.append(self._store.generation)
