"""The part of the memory shared by all workers about routes that order their origins by cost: the order that the
conductor has published, and for each worker the sizes of the responses that it got.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import xxhash

from shield.rules.choice import SIZE_WORDS
from shield.rules.ranking import MOST_RANKED

PLACES = 64
"""Routes with a place; each worker orders the origins of further ones by itself."""

# Where things are. A change here raises `shared.LAYOUT`.
_NAME, _ORDER = 0, 1
_PLACE_WORDS = 2
_WORD = 8
_BITS = 4  # of a position in the word of an order


def size_for(workers: int) -> int:
    """The bytes of zeroed memory that `Rankings` for this number of workers need."""
    return _WORD * PLACES * (_PLACE_WORDS + workers * SIZE_WORDS)


class Rankings:
    """`memory` is shared by all workers; `alone` excludes other processes."""

    def __init__(
        self,
        memory: memoryview,
        *,
        workers: int = 1,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._words = memory.cast("q")
        self._workers = workers
        self._alone = alone

    def of(self, worker: int, identity: bytes) -> RankingPlace:
        """This worker's place for a route; `identity` distinguishes it from all others."""
        name = _hash(identity)
        with self._alone():
            names = [self._words[place * _PLACE_WORDS + _NAME] for place in range(PLACES)]
            if name not in names and 0 not in names:
                return RankingPlace(*_memory_of_its_own(), is_shared=False)
            place = names.index(name if name in names else 0)
            rows = [self._row(each, place) for each in range(self._workers)]
            at = place * _PLACE_WORDS
            if name not in names:
                for row in rows:
                    row[:] = memoryview(bytes(_WORD * SIZE_WORDS)).cast("q")
                self._words[at + _ORDER], self._words[at + _NAME] = 0, name
        return RankingPlace(self._words[at : at + _PLACE_WORDS], rows, rows[worker])

    def free(self, identities: Sequence[bytes]) -> None:
        """Free the places of all other routes."""
        names = {_hash(each) for each in identities}
        with self._alone():
            for place in range(PLACES):
                at = place * _PLACE_WORDS + _NAME
                if self._words[at] not in names:
                    self._words[at] = 0

    def _row(self, worker: int, place: int) -> memoryview:
        start = PLACES * _PLACE_WORDS + (worker * PLACES + place) * SIZE_WORDS
        return self._words[start : start + SIZE_WORDS]


class RankingPlace:
    """One route: the published order, the sizes of all workers' responses, and the row that this worker writes."""

    __slots__ = ("_place", "_rows", "is_shared", "own")

    def __init__(
        self, place: memoryview, rows: Sequence[memoryview], own: memoryview, *, is_shared: bool = True
    ) -> None:
        self._place = place
        self._rows = rows
        self.own = own
        self.is_shared = is_shared
        """False: no other worker sees it, so that each orders for itself."""

    @property
    def word(self) -> int:
        """The published order as a number, for noticing a change; 0: there is none yet."""
        word: int = self._place[_ORDER]
        return word

    def order(self, names: Sequence[str]) -> tuple[str, ...]:
        """The published order of these origins, which are in the order of the settings; that one without any."""
        word, order = self.word, []
        while word:
            order.append(names[(word & (1 << _BITS) - 1) - 1])
            word >>= _BITS
        return tuple(order) or tuple(names)

    def publish(self, order: Sequence[str], names: Sequence[str]) -> None:
        """Publish an order of these origins, `MOST_RANKED` at most, in one word."""
        assert len(names) <= MOST_RANKED
        word = 0
        for name in reversed(order):
            word = word << _BITS | names.index(name) + 1
        self._place[_ORDER] = word

    def sizes(self) -> tuple[list[int], list[int]]:
        """The number of responses by size class, and their bytes, of all workers."""
        totals = [sum(column) for column in zip(*[row.tolist() for row in self._rows], strict=True)]
        return totals[::2], totals[1::2]


def private(workers: int = 1) -> Rankings:
    """Rankings in memory of this process alone."""
    return Rankings(memoryview(bytearray(size_for(workers))), workers=workers)


def _memory_of_its_own() -> tuple[memoryview, list[memoryview], memoryview]:
    row = memoryview(bytearray(_WORD * SIZE_WORDS)).cast("q")
    return memoryview(bytearray(_WORD * _PLACE_WORDS)).cast("q"), [row], row


def _hash(identity: bytes) -> int:
    return (xxhash.xxh3_64_intdigest(identity) >> 1) or 1
