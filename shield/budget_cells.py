"""The part of the memory shared by all workers about egress: what each origin has given in the present hour, day and
month of its provider's zone, and what budgets do to it.

Each worker adds what it has counted to its own row, so that a row outlasts its worker; the conductor keeps the
offsets by which the sum over all rows becomes that of a period, what other nodes of a cluster have read in it, and
the acts. So a reload, or another conductor, changes no sum.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext

import xxhash

from shield.rules.budgets import PERIODS, BudgetAct, OriginSums, Period, UsageSum
from shield.rules.prices import CLASSES

PLACES = 64
"""Origins with a place; the egress of further ones counts in no budget."""

NUMBERS = 1 + len(CLASSES)
"""Bytes, and requests by class of status."""

# Where things are. A change here raises `shared.LAYOUT`.
_NAME, _ACTS, _UNTIL, _PERIODS = 0, 1, 2, 3
# When it began, what is to be subtracted from the sum of all rows, and what other nodes have read.
_PERIOD_WORDS = 1 + 2 * NUMBERS
_PLACE_WORDS = _PERIODS + len(PERIODS) * _PERIOD_WORDS
_WORD = 8


def size_for(workers: int) -> int:
    """The bytes of zeroed memory that `BudgetCells` for this number of workers need."""
    return _WORD * PLACES * (_PLACE_WORDS + workers * NUMBERS)


class BudgetCells:
    """`memory` is shared by all workers; `alone` excludes other processes."""

    def __init__(
        self,
        memory: memoryview,
        *,
        workers: int = 1,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._words = memory.cast("q")
        self._times = memory.cast("d")
        self._workers = workers
        self._alone = alone

    def of(self, worker: int, origin: str) -> BudgetCell:
        """This worker's view of an origin."""
        name = _hash(origin)
        with self._alone():
            names = self._words[: PLACES * _PLACE_WORDS : _PLACE_WORDS].tolist()
            if name not in names and 0 not in names:
                return unbudgeted()
            place = names.index(name if name in names else 0)
            at = place * _PLACE_WORDS
            rows = [self._row(each, place) for each in range(self._workers)]
            if name not in names:
                self._words[at : at + _PLACE_WORDS] = memoryview(bytes(_WORD * _PLACE_WORDS)).cast("q")
                for row in rows:
                    row[:] = memoryview(bytes(_WORD * NUMBERS)).cast("q")
                self._words[at + _NAME] = name
        span = slice(at, at + _PLACE_WORDS)
        return BudgetCell(self._words[span], self._times[span], rows, rows[worker])

    def free(self, origins: Collection[str]) -> None:
        """Free the places of all other origins."""
        names = {_hash(each) for each in origins}
        with self._alone():
            for at in range(_NAME, PLACES * _PLACE_WORDS, _PLACE_WORDS):
                if self._words[at] not in names:
                    self._words[at] = 0

    def _row(self, worker: int, place: int) -> memoryview:
        start = PLACES * _PLACE_WORDS + (worker * PLACES + place) * NUMBERS
        return self._words[start : start + NUMBERS]


class BudgetCell:
    """One origin: the bytes that it has sent, and the measures of budgets. Fetches read `acts[0]`, 0 for none."""

    __slots__ = ("_rows", "_times", "_words", "acts", "own")

    def __init__(
        self, words: memoryview, times: memoryview[float], rows: Sequence[memoryview], own: memoryview
    ) -> None:
        self._words = words
        self._times = times
        self._rows = rows
        self.own = own
        self.acts = words[_ACTS : _ACTS + 1]

    @property
    def until(self) -> float:
        """When refusals end, in epoch seconds."""
        return self._times[_UNTIL]

    def does(self, act: BudgetAct) -> bool:
        """Whether a budget does this now."""
        return bool(self.acts[0] & act)

    def add(self, numbers: Sequence[int]) -> None:
        """By a worker: this much more was counted."""
        own = self.own
        for at, number in enumerate(numbers):
            own[at] += number

    def act(self, acts: BudgetAct, until: float) -> bool:
        """By the conductor: do this from now on; whether that is something else than before."""
        self._times[_UNTIL] = until
        before, self.acts[0] = self.acts[0], int(acts)
        return before != int(acts)

    def sums(self) -> OriginSums:
        """The amounts that it has sent in the present periods, also to other nodes of the cluster."""
        others = [self._numbers(at, NUMBERS) for at in range(len(PERIODS))]
        own = self.own_sums()
        return {period: _plus(own[period], more) for period, more in zip(PERIODS, others, strict=True)}

    def own_sums(self) -> OriginSums:
        """The same to this node alone; since the start, as long as the periods' beginnings aren't known."""
        total = self.total()
        return {period: _sum_of(total, self._numbers(at, 0)) for at, period in enumerate(PERIODS)}

    def note_others(self, others: OriginSums) -> None:
        """By the conductor: what other nodes have read in the present periods. It never falls: one that can't be
        asked has read it all the same.
        """
        for at, period in enumerate(PERIODS):
            given = others.get(period, UsageSum())
            start = self._start(at) + 1 + NUMBERS
            for place, number in enumerate([given.received, *given.statuses], start):
                self._words[place] = max(self._words[place], number)

    def begun(self, period: Period) -> int:
        """When the present one began, in epoch seconds; 0: it isn't known yet."""
        begun: int = self._words[self._start(PERIODS.index(period))]
        return begun

    def total(self) -> list[int]:
        """The amounts that it has sent since this memory was made."""
        return [sum(column) for column in zip(*[row.tolist() for row in self._rows], strict=True)]

    @property
    def is_seeded(self) -> bool:
        """Whether what it gave before this memory was made is included."""
        return bool(self._words[_PERIODS])

    def is_of(self, zone: str) -> bool:
        """Whether its periods are those of this zone: another one holds after a change of the settings."""
        begun = [(period, self.begun(period)) for period in PERIODS]
        return all(period.around(start, zone)[0] == start for period, start in begun)

    def seed(self, before: OriginSums, total: Sequence[int], now: float, zone: str) -> None:
        """By the conductor: what is known from elsewhere of the present periods, with as much as `total` of what was
        added here.
        """
        for at, period in enumerate(PERIODS):
            known = before.get(period, UsageSum())
            numbers = [known.received, *known.statuses]
            self._set(at, period.around(now, zone)[0], [a - b for a, b in zip(total, numbers, strict=True)])

    def roll(self, now: float, zone: str) -> None:
        """By the conductor: begin the periods that are due. A clock that was set back changes nothing."""
        for at, period in enumerate(PERIODS):
            begins = int(period.around(now, zone)[0])
            if begins > self._words[self._start(at)]:
                self._set(at, begins, self.total())

    def move(self, now: float, zone: str) -> None:
        """By the conductor: its periods are those of this zone from now on, with what was counted so far."""
        for at, period in enumerate(PERIODS):
            self._words[self._start(at)] = int(period.around(now, zone)[0])

    def _set(self, at: int, begins: float, offsets: Sequence[int]) -> None:
        start = self._start(at)
        for place, number in enumerate([*offsets, *[0] * NUMBERS], start + 1):
            self._words[place] = number
        self._words[start] = int(begins)

    def _start(self, at: int) -> int:
        return _PERIODS + at * _PERIOD_WORDS

    def _numbers(self, at: int, after: int) -> list[int]:
        start = self._start(at) + 1 + after
        return self._words[start : start + NUMBERS].tolist()


def unbudgeted() -> BudgetCell:
    """A cell in memory of its own, in which no budget does anything."""
    words = memoryview(bytearray(_WORD * (_PLACE_WORDS + NUMBERS))).cast("q")
    row = words[_PLACE_WORDS:]
    return BudgetCell(words[:_PLACE_WORDS], words[:_PLACE_WORDS].cast("B").cast("d"), [row], row)


def private(workers: int = 1) -> BudgetCells:
    """Cells in memory of this process alone."""
    return BudgetCells(memoryview(bytearray(size_for(workers))), workers=workers)


def _sum_of(total: Sequence[int], offsets: Sequence[int]) -> UsageSum:
    received, *statuses = [max(0, number - offset) for number, offset in zip(total, offsets, strict=True)]
    return UsageSum(received, tuple(statuses))


def _plus(own: UsageSum, others: Sequence[int]) -> UsageSum:
    received, *statuses = others
    return UsageSum(own.received + received, tuple(map(sum, zip(own.statuses, statuses, strict=True))))


def _hash(origin: str) -> int:
    return (xxhash.xxh3_64_intdigest(origin.encode()) >> 1) or 1
