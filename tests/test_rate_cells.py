"""Budgets in shared memory: bounded, and exact over processes."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from shield.rate_cells import _NEIGHBOURS, CELLS, RateCells
from shield.rules.rate_limit import SECOND, RequestPace, bounded, spent, wait_of
from shield.shared import Shared
from tests.depth import tries

PACE = RequestPace(SECOND, 3)
NOW = 1_750_000_000 * SECOND


def test_a_budget_is_spent_and_refilled() -> None:
    cells = RateCells()

    assert [cells.take(7, NOW, PACE) for _ in range(4)] == [0, 0, 0, SECOND]
    assert cells.wait(7, NOW, PACE) == SECOND
    assert cells.take(8, NOW, PACE) == 0
    assert cells.take(7, NOW + SECOND, PACE) == 0
    assert cells.used(NOW) == 2 and cells.used(NOW + 10 * SECOND) == 0


def test_to_ask_takes_nothing() -> None:
    cells = RateCells()

    assert [cells.wait(7, NOW, PACE) for _ in range(9)] == [0] * 9
    assert cells.used(NOW) == 0


def test_budgets_may_be_negative_numbers() -> None:
    cells = RateCells()

    assert [cells.take(-7, NOW, PACE) for _ in range(4)][-1] == SECOND


def test_a_full_neighbourhood_forgets_the_budget_that_is_full_soonest() -> None:
    cells = RateCells()
    crowd = [7 + number * (CELLS // _NEIGHBOURS) for number in range(_NEIGHBOURS + 1)]
    for budget in crowd[:-1]:
        for _ in range(1 if budget == crowd[2] else 3):
            assert cells.take(budget, NOW, PACE) == 0

    assert cells.take(crowd[-1], NOW, PACE) == 0

    waits = [cells.wait(budget, NOW, PACE) for budget in crowd[:-1]]
    assert waits == [0 if budget == crowd[2] else SECOND for budget in crowd[:-1]]
    assert cells.used(NOW) == _NEIGHBOURS


def test_a_clock_that_was_set_back_locks_nobody_out() -> None:
    cells = RateCells()
    assert [cells.take(7, NOW, PACE) for _ in range(3)] == [0, 0, 0]

    before = NOW - 3600 * SECOND

    assert cells.take(7, before, PACE) == SECOND
    assert cells.take(7, before + SECOND, PACE) == 0


class Cells(RuleBasedStateMachine):
    """As long as no neighbourhood is full, they are as a dict of due times."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.due, self.now = RateCells(), dict[int, int](), NOW

    @rule(
        budget=st.integers(-40, 40), pace=st.sampled_from([PACE, RequestPace(SECOND // 10, 1), RequestPace(7, 100)])
    )
    def take(self, budget: int, pace: RequestPace) -> None:
        due = bounded(self.due.get(budget, 0), self.now, pace)
        wait = wait_of(due, self.now, pace)
        if not wait:
            self.due[budget] = spent(due, self.now, pace)
        elif due != self.due[budget]:
            self.due[budget] = due
        assert self.cells.wait(budget, self.now, pace) == wait
        assert self.cells.take(budget, self.now, pace) == wait

    @rule(passed=st.integers(0, 5 * SECOND))
    def wait(self, passed: int) -> None:
        self.now += passed


CellsTest = Cells.TestCase
CellsTest.settings = settings(max_examples=tries(20), stateful_step_count=40, deadline=None)


@pytest.mark.slow
@pytest.mark.busy
def test_processes_together_admit_no_more_than_one_would() -> None:
    shared = Shared(workers=2)
    pace, tries_each = RequestPace(SECOND * 3600, 5000), 4000
    reader, writer = os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            os._exit(_taking(shared.rates, writer, pace, tries_each))
        children.append(child)

    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    counts = struct.unpack("QQ", os.read(reader, 16))
    os.close(reader)
    os.close(writer)

    assert sum(counts) == pace.burst
    shared.close()


def _taking(cells: RateCells, writer: int, pace: RequestPace, count: int) -> int:
    admitted = sum(cells.take(7, NOW, pace) == 0 for _ in range(count))
    os.write(writer, struct.pack("Q", admitted))
    return 0


def test_its_memory_is_that_of_the_node() -> None:
    shared = Shared(workers=2)

    assert shared.rates.take(CELLS - 1, NOW, PACE) == 0
    assert Shared(workers=2, kept=shared.kept).rates.used(NOW) == 1
