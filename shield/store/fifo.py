"""Which entries stay in RAM: S3-FIFO, bounded in bytes.

Most keys of an image platform are requested once. S3-FIFO (Yang et al., SOSP 2023) lets a new entry in through
a small queue of a tenth of the capacity; only entries requested again there move to the main queue, so a scan
washes through the small queue and leaves the hot set alone. Keys that left the small queue without a hit are
remembered without their bytes (the ghosts): one that returns soon goes to the main queue at once. A hit costs
one dictionary lookup and at most one increment; nothing moves.

A million entries must cost neither much memory nor a pause. So all that is kept of one beside its value is its turn
in a queue; and the tables are divided, since one that grows is copied as a whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, Generic, TypeVar

from shield.store.shares import VariantShares

MARK = Struct("<BqQ")
"""What is kept here of an entry, at the start of its mark: its recent uses, 0 to 3; its place; its size in bytes.

A place is twice the number of its turn in the small queue, or that in the main queue and one.
"""

MAX_FREQUENCY: Final = 3
VARIANTS_SHARE = 8
"""The variants of one key use one in this many bytes of the capacity at most, or one entry of the largest size."""

SHARDS: Final = 64
"""Parts of each table, by the hash of the key's text."""

_SMALL_SHARE: Final = 10  # the small queue's share of the capacity is one in this many
_MIN_GHOSTS: Final = 16  # of each shard, remembered beside one for each entry stored
_STALE: Final = 1024  # turns of keys that are gone, beside one for each entry that is there
_TIDIED: Final = 4  # turns that are looked at for each new one while there are more

_SHORT: Final = (1 << 30) - 1  # of a hash: what fits into the smallest kind of integer is enough

_SIZE_AT: Final = 9
_PLACE: Final = Struct("<q")
_SIZE: Final = Struct("<Q")

_Marked = TypeVar("_Marked")


class S3Fifo(Generic[_Marked]):
    """Key texts and their values, of which `mark_of` returns the mark: a `bytearray` that begins as `MARK` says.

    `size` is set by the caller, the rest here. `on_gone` is called with each that leaves, but by `clear`.
    """

    def __init__(
        self,
        capacity: int,
        *,
        max_entry: int,
        mark_of: Callable[[_Marked], bytearray],
        on_gone: Callable[[bytes, _Marked], None],
    ) -> None:
        self.capacity = capacity
        self.max_entry = min(max_entry, capacity)
        self.used = 0
        self.evictions = 0
        self.refused = 0
        self.on_evict: Callable[[bytes, _Marked], None] | None = None
        """Called with each evicted entry that was requested more than once, before `on_gone`."""
        self.shares = VariantShares(max(capacity // VARIANTS_SHARE, self.max_entry))
        self._mark_of = mark_of
        self._on_gone = on_gone
        self.shards: list[dict[bytes, _Marked]] = [{} for _ in range(SHARDS)]
        self._ghosts = [_Ghosts() for _ in range(SHARDS)]
        self._small = _FifoQueue()
        self._main = _FifoQueue()
        self._small_size = 0

    def __len__(self) -> int:
        return self._small.live + self._main.live

    def find(self, text: bytes) -> _Marked | None:
        """The value under a key's text. No use yet."""
        return self.shards[hash(text) % SHARDS].get(text)

    def put(self, text: bytes, value: _Marked) -> bool:
        """Store a value, in place of the one under its key, whose standing it gets; False, and that one is gone, if
        it is larger than the tier takes.
        """
        mark = self._mark_of(value)
        size = size_of(mark)
        if size > self.max_entry:
            self.refused += 1
            self.remove(text)
            return False
        for gone in self.shares.victims(text, size, self._frequency):
            self.remove(gone)
        mark[0], of_main = 0, self._ghosts[hash(text) % SHARDS].take(text)
        before = self.find(text)
        if before is not None:
            earlier = self._mark_of(before)
            mark[0], of_main = earlier[0], of_main or is_of_main(earlier)
            self._drop(text, before)
        while self.used + size > self.capacity:
            self.evict()
        queue = self._main if of_main else self._small
        _PLACE.pack_into(mark, 1, 2 * queue.push(text) + of_main)
        self.shards[hash(text) % SHARDS][text] = value
        self.used += size
        if not of_main:
            self._small_size += size
        self.shares.add(text, size)
        if len(queue.texts) > 2 * queue.live + _STALE:
            self._tidy(queue, of_main)
        return True

    def remove(self, text: bytes) -> bool:
        """Drop a key; False when there was none."""
        value = self.find(text)
        if value is None:
            return False
        self._drop(text, value)
        return True

    def evict(self) -> tuple[bytes, _Marked]:
        """Drop the least valuable entry, and return it; KeyError when empty."""
        while len(self):
            from_small = self._small_size > self.capacity // _SMALL_SHARE or not self._main.live
            gone = self._next_of_small() if from_small else self._next_of_main()
            if gone is not None:
                self.evictions += 1
                if not from_small and self.on_evict is not None:
                    self.on_evict(*gone)
                self._drop(*gone)
                return gone
        raise KeyError("the tier is empty")

    def clear(self) -> None:
        """Drop everything. `on_gone` isn't called."""
        for shard in self.shards:
            shard.clear()
        self.shares.clear()
        self.used = self._small_size = 0
        self._ghosts = [_Ghosts() for _ in range(SHARDS)]
        self._small, self._main = _FifoQueue(), _FifoQueue()

    def batches(self) -> Iterator[list[tuple[bytes, _Marked]]]:
        """All stored entries, in batches; those added or removed meanwhile may be missing or present."""
        for shard in self.shards:
            yield list(shard.items())

    def reused(self) -> Iterator[tuple[bytes, _Marked]]:
        """The entries requested more than once, in no order."""
        for batch in self.batches():
            for text, value in batch:
                mark = self._mark_of(value)
                if mark[0] or is_of_main(mark):
                    yield text, value

    def _frequency(self, text: bytes) -> int:
        value = self.find(text)
        return 0 if value is None else self._mark_of(value)[0]

    def _drop(self, text: bytes, value: _Marked) -> None:
        mark = self._mark_of(value)
        size = size_of(mark)
        del self.shards[hash(text) % SHARDS][text]
        self.used -= size
        if is_of_main(mark):
            self._main.live -= 1
        else:
            self._small.live -= 1
            self._small_size -= size
        self.shares.remove(text)
        self._on_gone(text, value)

    def _next(self, queue: _FifoQueue, of_main: bool) -> tuple[bytes, _Marked] | None:
        """The entry whose turn it is; None if it is gone, or has another turn by now."""
        text, turn = queue.pop()
        value = self.find(text)
        if value is None or _PLACE.unpack_from(self._mark_of(value), 1)[0] != 2 * turn + of_main:
            return None
        return text, value

    def _next_of_small(self) -> tuple[bytes, _Marked] | None:
        """The oldest of the small queue goes, or moves to the main queue (None) if it was requested again."""
        found = self._next(self._small, False)
        if found is None:
            return None
        text, value = found
        mark = self._mark_of(value)
        if mark[0] > 0:
            mark[0] = 0
            self._small.live -= 1
            self._small_size -= size_of(mark)
            _PLACE.pack_into(mark, 1, 2 * self._main.push(text) + 1)
            return None
        at = hash(text) % SHARDS
        self._ghosts[at].add(text, len(self.shards[at]))
        return found

    def _next_of_main(self) -> tuple[bytes, _Marked] | None:
        """The oldest of the main queue goes, or gets another round (None) for each recent use."""
        found = self._next(self._main, True)
        if found is None:
            return None
        mark = self._mark_of(found[1])
        if mark[0] > 0:
            mark[0] -= 1
            self._again(self._main, found[0], mark, of_main=True)
            return None
        return found

    def _tidy(self, queue: _FifoQueue, of_main: bool) -> None:
        """Look at some turns, most of which are of keys that are gone: the queue mustn't grow with them."""
        for _ in range(_TIDIED):
            found = self._next(queue, of_main)
            if found is not None:
                self._again(queue, found[0], self._mark_of(found[1]), of_main=of_main)

    def _again(self, queue: _FifoQueue, text: bytes, mark: bytearray, *, of_main: bool) -> None:
        """Give an entry that had its turn the last one."""
        queue.live -= 1
        _PLACE.pack_into(mark, 1, 2 * queue.push(text) + of_main)


def use(mark: bytearray) -> None:
    """Count a use of an entry."""
    if mark[0] < MAX_FREQUENCY:
        mark[0] += 1


def uses_of(mark: bytearray) -> int:
    """Recent uses of an entry, 0 to 3."""
    return mark[0]


def size_of(mark: bytearray) -> int:
    """The bytes that an entry counts for."""
    return int(_SIZE.unpack_from(mark, _SIZE_AT)[0])


def is_of_main(mark: bytearray) -> bool:
    """Whether an entry stands in the main queue."""
    return mark[1] & 1 == 1


class _FifoQueue:
    """Key texts by their turns. A key that leaves out of turn keeps its turn, which then means nothing."""

    __slots__ = ("first", "live", "texts")

    def __init__(self) -> None:
        self.texts: deque[bytes] = deque()
        self.first = 0  # the turn of the first of them
        self.live = 0  # turns that mean something

    def push(self, text: bytes) -> int:
        """Its turn."""
        self.texts.append(text)
        self.live += 1
        return self.first + len(self.texts) - 1

    def pop(self) -> tuple[bytes, int]:
        turn = self.first
        self.first += 1
        return self.texts.popleft(), turn


class _Ghosts:
    """The hashes of keys that left the small queue lately, in two generations: texts may be long."""

    __slots__ = ("_older", "_younger")

    def __init__(self) -> None:
        self._younger: dict[int, None] = {}
        self._older: dict[int, None] = {}

    def add(self, text: bytes, entries: int) -> None:
        """`entries` are those of its shard, of which as many are remembered, or half of that."""
        self._younger[hash(text) & _SHORT] = None
        if 2 * len(self._younger) > entries + _MIN_GHOSTS:
            self._older, self._younger = self._younger, {}

    def take(self, text: bytes) -> bool:
        """Whether a key was among them; it isn't any more."""
        key = hash(text) & _SHORT
        was_younger, was_older = key in self._younger, key in self._older
        if was_younger:
            del self._younger[key]
        if was_older:
            del self._older[key]
        return was_younger or was_older

    def __contains__(self, text: bytes) -> bool:
        return hash(text) & _SHORT in self._younger or hash(text) & _SHORT in self._older
