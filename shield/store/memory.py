"""The RAM tier: whole entries, bounded in bytes, evicted by S3-FIFO.

Most keys of an image platform are requested once. S3-FIFO (Yang et al., SOSP 2023) lets a new entry in through
a small queue of a tenth of the capacity; only entries requested again there move to the main queue, so a scan
washes through the small queue and leaves the hot set alone. Keys that left the small queue without a hit are
remembered without their bytes (the ghosts): one that returns soon goes to the main queue at once. A hit costs
one dictionary lookup and at most one increment; nothing moves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import Cache

from shield.store.entry import Entry
from shield.store.shares import VariantShares

if TYPE_CHECKING:
    _EntryCache = Cache[bytes, Entry]
else:
    _EntryCache = Cache

MAX_FREQUENCY = 3
_SMALL_SHARE = 10  # the small queue's share of the capacity is one in this many
VARIANTS_SHARE = 8
"""The variants of one key use one in this many bytes of the capacity at most, or one entry of the largest size."""

_MIN_GHOSTS = 16  # ghosts remembered beside one for each entry stored


class S3Fifo(_EntryCache):
    """`cachetools.Cache` of key text to `Entry`, `maxsize` in bytes, with S3-FIFO's choice of victims.

    `find` returns None for a missing key. Raises ValueError for an entry larger than the capacity.
    Every stored key is in exactly one of the two queues.
    """

    def __init__(self, maxsize: int) -> None:
        super().__init__(maxsize, getsizeof=_entry_size)
        self._small: OrderedDict[bytes, int] = OrderedDict()  # text -> size
        self._main: OrderedDict[bytes, None] = OrderedDict()
        self._ghosts: OrderedDict[int, None] = OrderedDict()  # hashes of texts, which may be long
        self._small_size = 0
        self.shares = VariantShares(maxsize)
        self.evictions = 0
        self.on_evict: Callable[[Entry], None] | None = None
        # A lookup without cachetools' own two Python calls, since it is made for each hit. The dict behind it has no
        # public name; should that change, no tier can be made at all, which every test notices.
        self.find: Callable[[bytes], Entry | None] = self._Cache__data.get  # type: ignore[attr-defined]

    def __setitem__(self, key: bytes, entry: Entry) -> None:
        if entry.size > self.maxsize:
            raise ValueError("entry larger than the tier")
        to_main = hash(key) in self._ghosts or key in self._main
        if key in self:
            # The newer entry of a key keeps the standing of the one that it replaces.
            entry.frequency = max(entry.frequency, self[key].frequency)
            del self[key]
        self._ghosts.pop(hash(key), None)
        super().__setitem__(key, entry)
        self.shares.add(key, entry.size)
        if to_main:
            self._main[key] = None
        else:
            self._small[key] = entry.size
            self._small_size += entry.size

    def __delitem__(self, key: bytes) -> None:
        super().__delitem__(key)
        self.shares.remove(key)
        size = self._small.pop(key, None)
        if size is None:
            del self._main[key]
        else:
            self._small_size -= size

    def clear(self) -> None:
        super().clear()
        self.shares.clear()
        self._small.clear()
        self._main.clear()
        self._ghosts.clear()
        self._small_size = 0

    def popitem(self) -> tuple[bytes, Entry]:
        """Evict one entry and return it; KeyError when empty."""
        while self:
            from_small = self._small_size > self.maxsize // _SMALL_SHARE or not self._main
            text = self._next_of_small() if from_small else self._next_of_main()
            if text is not None:
                entry = self[text]
                del self[text]
                self.evictions += 1
                if not from_small and self.on_evict is not None:
                    self.on_evict(entry)
                return text, entry
        raise KeyError("the tier is empty")

    def reused(self) -> list[Entry]:
        """The entries that were requested more than once, in no order."""
        young = [self[text] for text in self._small]
        return [*(self[text] for text in self._main), *(entry for entry in young if entry.frequency)]

    def _next_of_small(self) -> bytes | None:
        """The oldest of the small queue goes, or moves to the main queue (None) if it was requested again."""
        text = next(iter(self._small))
        entry = self[text]
        if entry.frequency > 0:
            entry.frequency = 0
            self._small_size -= self._small.pop(text)
            self._main[text] = None
            return None
        self._ghosts[hash(text)] = None
        while len(self._ghosts) > len(self) + _MIN_GHOSTS:
            self._ghosts.popitem(last=False)
        return text

    def _next_of_main(self) -> bytes | None:
        """The oldest of the main queue goes, or gets another round (None) for each recent use."""
        text = next(iter(self._main))
        entry = self[text]
        if entry.frequency > 0:
            entry.frequency -= 1
            self._main.move_to_end(text)
            return None
        return text


def _entry_size(entry: Entry) -> int:
    return entry.size


@dataclass(frozen=True, slots=True)
class MemoryStatistics:
    entries: int
    used_bytes: int
    capacity_bytes: int
    evictions: int
    refused: int


class MemoryTier:
    """Entries in RAM, at most `capacity` bytes in total, none larger than `max_entry`. One event loop only."""

    def __init__(self, *, capacity: int, max_entry: int) -> None:
        self._cache = S3Fifo(capacity)
        self.find = self._cache.find
        """As `lookup`, but doesn't count as use, and is no call of Python code."""
        self._max_entry = min(max_entry, capacity)
        self._cache.shares.limit = max(capacity // VARIANTS_SHARE, self._max_entry)
        self._refused = 0

    def tell_evicted(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener` with each evicted entry that was requested more than once."""
        self._cache.on_evict = listener

    def reused(self) -> list[Entry]:
        """The entries that were requested more than once."""
        return self._cache.reused()

    @property
    def max_entry(self) -> int:
        """The largest entry taken, in bytes of body and head."""
        return self._max_entry

    def lookup(self, text: bytes) -> Entry | None:
        """The entry under a key's text, fresh or not. Counts as use."""
        entry = self.find(text)
        return None if entry is None else self.use(entry)

    def use(self, entry: Entry) -> Entry:
        """Count a use of an entry that `find` has found."""
        if entry.frequency < MAX_FREQUENCY:
            entry.frequency += 1
        return entry

    def commit(self, entry: Entry) -> bool:
        """Store an entry, replacing the one under its key; False when it is larger than the tier takes."""
        if entry.size > self._max_entry:
            self._refused += 1
            self.remove(entry.key.text)
            return False
        cache, text = self._cache, entry.key.text
        for gone in cache.shares.victims(text, entry.size, lambda each: cache[each].frequency):
            del cache[gone]
        cache[text] = entry
        return True

    def remove(self, text: bytes) -> bool:
        """Drop a key; False when there was none. Readers of the entry keep their bytes."""
        if text not in self._cache:
            return False
        del self._cache[text]
        return True

    def texts(self) -> list[bytes]:
        """Texts of the keys of all entries."""
        return list(self._cache)

    def entries(self) -> list[Entry]:
        """All entries; this is no use of them."""
        return list(self._cache.values())

    def forget_heads(self) -> None:
        """Have the heads of answers made anew, since what they say of the node has changed."""
        for entry in self._cache.values():
            entry.rendered_age = -1

    def clear(self) -> None:
        self._cache.clear()

    def statistics(self) -> MemoryStatistics:
        cache = self._cache
        return MemoryStatistics(
            entries=len(cache),
            used_bytes=int(cache.currsize),
            capacity_bytes=int(cache.maxsize),
            evictions=cache.evictions,
            refused=self._refused,
        )
