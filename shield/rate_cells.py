"""Budgets of rate limits (`rules.rate_limit`) in the memory that all workers share.

A bounded hash table: a budget is in one of the eight cells of its neighbourhood. A cell whose time has passed is
free, since that budget is full; if all are in use, the one that is full soonest gives way. So the table is bounded
whatever clients do, and an attacker with many addresses wins back at most what others hardly used.

One worker at a time changes a neighbourhood: with each worker's own share of a limit, a client whose connections all
lead to one worker would get a fraction of it; and without a lock, two workers could admit two requests on one place.
The lock costs two system calls, some 2 us, and only requests that a limit concerns pay it; a refusal needs none, nor
does a node with a single worker. The kernel releases it when a worker dies.

Each cell counts what was taken from its budget, so that nodes of a cluster can tell each other (`spread.limits`).
"""

from __future__ import annotations

import fcntl
from collections.abc import Sequence

from shield.rules.rate_limit import RequestPace, bounded, spent, wait_of

_NEIGHBOURS = 8
CELLS = 1 << 16
"""Budgets that aren't full, at a time: clients that sent requests within the time of their burst."""

_WORDS = 3  # of a cell: the number of its budget, its due time, and the cost of all requests that were taken from it
RATE_BYTES = CELLS * _WORDS * 8
"""The bytes of zeroed memory that it needs."""

FLOW_CELLS = 256
FLOW_BYTES = FLOW_CELLS * _WORDS * 8
"""Those of the caps of origins (`origin.flow`), which no client's budget may displace."""

_STEP = _NEIGHBOURS * _WORDS
_CHUNK = 32 * _STEP * 8  # bytes that are compared at a time


class RateCells:
    """`memory` is shared by all workers. `lock` is a file whose bytes from `first_byte` on lock neighbourhoods; None:
    there is one worker. Times are nanoseconds since the epoch."""

    __slots__ = ("_first", "_lock", "_mask", "_words")

    def __init__(self, memory: memoryview | None = None, *, lock: int | None = None, first_byte: int = 0) -> None:
        self._words = (memoryview(bytearray(RATE_BYTES)) if memory is None else memory).cast("q")
        self._mask = len(self._words) // _STEP - 1  # the number of neighbourhoods is a power of two
        self._lock = lock
        self._first = first_byte

    def wait(self, budget: int, now: int, pace: RequestPace) -> int:
        """Nanoseconds until a budget admits a request; 0: it does now. Takes nothing."""
        at = self._found(budget)
        if at is None:
            return 0
        wait = wait_of(bounded(self._words[at + 1], now, pace), now, pace)
        return wait if self._words[at] == budget else 0  # another budget's by now

    def take(self, budget: int, now: int, pace: RequestPace) -> int:
        """Take a request out of a budget; returns 0, or else the nanoseconds until it admits one."""
        words, at = self._words, (budget & self._mask) * _STEP
        if words[at] == budget:  # most often; this is on the way of a hit, so it is `_take` written out
            due = words[at + 1]
            over = due - now - pace.tolerance
            if 0 < over <= pace.interval and words[at] == budget:
                return over
            if self._lock is None and over <= 0:
                words[at + 1] = (due if due > now else now) + pace.interval
                words[at + 2] += pace.interval
                return 0
        if self._lock is None:
            return self._take(budget, now, pace)
        place = self._first + (budget & self._mask)
        fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, place)
        try:
            return self._take(budget, now, pace)
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, place)

    def add(self, budget: int, now: int, cost: int) -> int:
        """Move the due time of a budget by a cost, which may be negative; returns by how much it is after now then.

        For costs that are known afterwards: nothing is refused.
        """
        if self._lock is None:
            return self._add(budget, now, cost)
        place = self._first + (budget & self._mask)
        fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, place)
        try:
            return self._add(budget, now, cost)
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, place)

    def used(self, now: int) -> int:
        """Cells in use. Reads the whole table: for operators, not for requests."""
        return sum(due > now for due in self._words[1::_WORDS])

    def raise_to(self, budget: int, now: int, ahead: int) -> None:
        """Let a budget be whole again no sooner than so many nanoseconds from now, if it is in use here."""
        at = self._found(budget)
        if at is None or self._words[at + 1] >= now + ahead:
            return None
        if self._lock is None:
            return self._raise(budget, now + ahead)
        place = self._first + (budget & self._mask)
        fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, place)
        try:
            return self._raise(budget, now + ahead)
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, place)

    def taken(self, before: bytes) -> tuple[bytes, list[tuple[int, int]]]:
        """A copy of the table, and the budgets in cells that differ from an earlier copy (b"": all cells), each with
        the cost of all that was taken from it. A fraction of a millisecond.
        """
        copy, found = self._words.tobytes(), []
        words = memoryview(copy).cast("q")
        for start in range(0, len(copy), _CHUNK):
            if copy[start : start + _CHUNK] == before[start : start + _CHUNK]:
                continue
            for at in range(start // 8, min(start + _CHUNK, len(copy)) // 8, _WORDS):
                if words[at + 2] and copy[8 * at : 8 * (at + _WORDS)] != before[8 * at : 8 * (at + _WORDS)]:
                    found.append((words[at], words[at + 2]))
        return copy, found

    def _raise(self, budget: int, due: int) -> None:
        at = self._found(budget)
        if at is not None:
            self._words[at + 1] = max(self._words[at + 1], due)

    def _found(self, budget: int) -> int | None:
        words = self._words
        first = (budget & self._mask) * _STEP
        for at in range(first, first + _STEP, _WORDS):
            if words[at] == budget:
                return at
        return None

    def _add(self, budget: int, now: int, cost: int) -> int:
        words, at = self._words, self._place_of(budget)
        due = words[at + 1] = max(words[at + 1], now) + cost
        return due - now

    def _place_of(self, budget: int) -> int:
        """The cell of a budget, which gets one if it has none."""
        words, at = self._words, self._found(budget)
        if at is None:
            at = self._freed(words, (budget & self._mask) * _STEP)
            words[at + 1] = words[at + 2] = 0  # before its name is there, so that nobody reads another's time
            words[at] = budget
        return at

    def _take(self, budget: int, now: int, pace: RequestPace) -> int:
        words, at = self._words, self._place_of(budget)
        due = bounded(words[at + 1], now, pace)
        wait = wait_of(due, now, pace)
        words[at + 1] = due if wait else spent(due, now, pace)
        if not wait:
            words[at + 2] += pace.interval
        return wait

    @staticmethod
    def _freed(words: Sequence[int], first: int) -> int:
        """The cell of a neighbourhood that is full soonest; those that never were used come first."""
        return min(range(first, first + _STEP, _WORDS), key=lambda at: words[at + 1])
