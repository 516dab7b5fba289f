"""Sums of egress in shared memory: of all workers, over periods, and what outlasts whom."""

from __future__ import annotations

from shield.budget_cells import NUMBERS, PLACES, BudgetCells, private, size_for
from shield.rules.budgets import BudgetAct, Period, UsageSum

NOON = 1_750_000_000.0 // 86400.0 * 86400.0 + 43200.0


def numbers(received: int, requests: int = 0) -> list[int]:
    return [received, requests, *[0] * (NUMBERS - 2)]


def test_the_sum_is_of_all_workers_and_of_each_ones_predecessors() -> None:
    cells = private(workers=2)
    first, second = cells.of(0, "fra"), cells.of(1, "fra")
    first.seed({}, first.total(), NOON, "UTC")

    first.add(numbers(100, 1))
    second.add(numbers(10, 1))
    cells.of(0, "fra").add(numbers(1))  # by the process that has replaced the first

    assert second.sums()[Period.DAY] == UsageSum(111, (2, 0, 0, 0, 0))


def test_what_was_read_before_is_part_of_the_sums() -> None:
    cell = private().of(0, "fra")
    cell.add(numbers(5))
    cell.seed({Period.MONTH: UsageSum(1000, (7, 0, 0, 0, 0))}, cell.total(), NOON, "UTC")
    cell.add(numbers(20, 1))

    assert cell.sums()[Period.MONTH] == UsageSum(1020, (8, 0, 0, 0, 0))
    assert cell.sums()[Period.DAY] == UsageSum(20, (1, 0, 0, 0, 0))


def test_a_new_period_begins_with_nothing_and_a_clock_that_is_set_back_begins_none() -> None:
    cell = private().of(0, "fra")
    cell.seed({}, cell.total(), NOON, "UTC")
    cell.add(numbers(100))

    cell.roll(NOON + 3600.0, "UTC")
    assert cell.sums()[Period.HOUR].received == 0
    assert cell.sums()[Period.DAY].received == 100

    cell.roll(NOON + 86400.0, "UTC")
    cell.add(numbers(3))
    cell.roll(NOON, "UTC")
    assert cell.sums()[Period.DAY].received == 3
    assert cell.sums()[Period.MONTH].received == 103


def test_all_workers_see_what_the_conductor_has_decided() -> None:
    cells = private(workers=2)
    conductor, other = cells.of(0, "fra"), cells.of(1, "fra")

    assert conductor.act(BudgetAct.DEARER | BudgetAct.REFUSE, NOON)
    assert not conductor.act(BudgetAct.DEARER | BudgetAct.REFUSE, NOON)

    assert other.does(BudgetAct.REFUSE) and not other.does(BudgetAct.PAUSE) and other.until == NOON


def test_the_place_of_an_origin_that_is_gone_is_another_ones_from_its_beginning() -> None:
    cells = BudgetCells(memoryview(bytearray(size_for(1))))
    for number in range(PLACES):
        cells.of(0, f"o{number}").add(numbers(1))
    without = cells.of(0, "new")
    without.add(numbers(7))  # in memory of its own

    cells.free([f"o{number}" for number in range(1, PLACES)])

    assert without.total()[0] == 7
    assert cells.of(0, "new").total()[0] == 0
    assert cells.of(0, "o1").total()[0] == 1


def test_what_other_nodes_read_is_part_of_the_sums_until_the_period_ends_and_never_falls() -> None:
    cell = private().of(0, "fra")
    cell.seed({}, cell.total(), NOON, "UTC")
    cell.add(numbers(5, 1))

    cell.note_others({Period.DAY: UsageSum(100, (3, 0, 0, 0, 0))})
    cell.note_others({Period.DAY: UsageSum(90, (3, 0, 0, 0, 0))})
    assert cell.sums()[Period.DAY] == UsageSum(105, (4, 0, 0, 0, 0))
    assert cell.own_sums()[Period.DAY] == UsageSum(5, (1, 0, 0, 0, 0))
    assert cell.sums()[Period.MONTH].received == 5

    cell.roll(NOON + 86400.0, "UTC")
    assert cell.sums()[Period.DAY].received == 0


def test_in_another_zone_its_periods_begin_at_other_times() -> None:
    cell = private().of(0, "fra")
    cell.seed({}, cell.total(), NOON, "UTC")
    cell.add(numbers(5))
    assert cell.is_of("UTC") and not cell.is_of("America/Los_Angeles")

    cell.move(NOON, "America/Los_Angeles")

    assert cell.is_of("America/Los_Angeles") and not cell.is_of("UTC")
    assert cell.sums()[Period.DAY].received == 5
    assert cell.begun(Period.DAY) == NOON - 5 * 3600.0  # midnight there, by daylight saving time
