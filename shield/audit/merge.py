"""The merge of several sorted listings into rows, one for each key. Pure; keeps only the objects it was fed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shield.audit.listing import ListedObject


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key, and its copy in each listing, None if a listing lacks it."""

    key: bytes
    copies: tuple[ListedObject | None, ...]


class ListingMerge:
    """Rows in the order of their keys, from `count` listings that arrive in pieces.

    Feed each listing that is `wanted`, then take `rows`: these end as soon as a listing must be fed again.
    """

    __slots__ = ("_ended", "_queues")

    def __init__(self, count: int) -> None:
        self._queues: list[deque[ListedObject]] = [deque() for _ in range(count)]
        self._ended = [False] * count

    def wanted(self) -> list[int]:
        """The listings that the next row depends on and that must be fed; [] at the end."""
        return [at for at, queue in enumerate(self._queues) if not queue and not self._ended[at]]

    @property
    def is_over(self) -> bool:
        """Whether all rows have been taken."""
        return all(self._ended) and not any(self._queues)

    def feed(self, listing: int, objects: Iterable[ListedObject], *, is_last: bool) -> None:
        """The next objects of a listing, in order."""
        self._queues[listing].extend(objects)
        self._ended[listing] = is_last

    def rows(self) -> Iterator[KeyRow]:
        """The rows that are complete."""
        while not self.wanted():
            firsts = [queue[0].key for queue in self._queues if queue]
            if not firsts:
                return
            key = min(firsts)
            yield KeyRow(key, tuple([self._next(queue, key) for queue in self._queues]))

    def _next(self, queue: deque[ListedObject], key: bytes) -> ListedObject | None:
        return queue.popleft() if queue and queue[0].key == key else None
