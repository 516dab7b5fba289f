"""Other nodes that lack purges which this one has carried out: what they have stored, or had begun to fetch, isn't
served here if it may have been purged. So a purge holds for the clients of each node that its receipt names, though
the owner of the key was cut off, or can't carry the order out.

While a node has all that was known here two seconds ago, it costs a comparison. Else a key counts as purged if it was
since the node had everything; but not within the last two seconds: an order is on its way for as long, and its
receipt waits for it.
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

    def may_serve(self, name: str, key: CacheKey, told: bytes) -> bool:
        """Whether what a node has stored, or is fetching since earlier, may be served; it has `told` its position in
        the log of purges.
        """
        if self.covers is None or self.covers(told):
            self._had_all[name] = self._generations[0]
            return True
        since, until = self._had_all.get(name, self._began), self._generations[-2]
        if since >= until or not self._store.was_removed(key.text, since, None, until=until):
            return True
        self.refused += 1
        return False

    def tick(self) -> None:
        self._generations.append(self._store.generation)
