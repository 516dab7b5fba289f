"""The log of purges: torn lines, copies that differ, and what is dropped from it."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shield.rules.purge_lines import (
    MOST_ORDERS,
    ORDER_SECONDS,
    LoggedPurge,
    PurgeHistory,
    line_of_end,
    lines_of,
)
from shield.rules.purging import MarkKind, PurgeMark

ORDER = LoggedPurge("a-1", 5.0, "deployer", {"paths": 2}, ("/a", "/b"), order='{"paths":["/a","/b"]}', sequence=7)
MARKS = [
    PurgeMark(1, MarkKind.TAG, b"\xc3\xa9", soft=True, at=2.5),
    PurgeMark(1, MarkKind.TAG, b"red", soft=True, at=2.5),
]


def history(*data: bytes) -> PurgeHistory:
    made = PurgeHistory()
    for each in data:
        made.read(each)
    return made


def test_marks_and_orders_are_read_as_they_were_written() -> None:
    found = history(lines_of([*MARKS, ORDER]))

    assert list(found.marks.values()) == MARKS
    assert found.orders == {"a-1": ORDER}
    assert found.newest == 7
    assert history(found.lines()) == found


def test_a_mark_about_an_origin_keeps_its_time() -> None:
    mark = PurgeMark(3, MarkKind.ORIGIN, b"fra", at=9.0, after=2.5)

    assert list(history(lines_of([mark])).marks.values()) == [mark]
    assert not history(lines_of([replace(mark, after=math.nan)])).marks


def test_an_order_is_open_until_its_end_is_logged() -> None:
    found = history(lines_of([ORDER]), line_of_end("a-1"), lines_of([ORDER]))

    assert found.orders["a-1"].completed


@given(st.integers(0, 400))
def test_a_torn_tail_costs_only_itself(cut: int) -> None:
    whole = lines_of(MARKS)
    torn = lines_of([ORDER])

    found = history(whole + torn[: min(cut, len(torn) - 2)] + b"\n" + lines_of([PurgeMark(9, MarkKind.ALL)]))

    assert [mark.sequence for mark in found.marks.values()] == [1, 1, 9]
    assert not found.orders


def test_copies_of_a_log_are_put_together() -> None:
    first, second = lines_of([MARKS[0], ORDER]), lines_of([MARKS[1], PurgeMark(9, MarkKind.ALL)])

    assert history(first, second).marks == history(second, first).marks
    assert len(history(first, second).marks) == 3


def test_marks_go_once_all_is_swept_and_they_are_old_and_the_floor_tells_so() -> None:
    found = history(
        lines_of([*MARKS, PurgeMark(9, MarkKind.ALL, at=2.5), PurgeMark(10, MarkKind.ALL, at=ORDER_SECONDS)])
    )

    found.trim(ORDER_SECONDS + 3.0, 8)
    assert (sorted(mark.sequence for mark in found.marks.values()), found.floor) == ([9, 10], 1)
    found.trim(ORDER_SECONDS + 3.0, 10)

    assert (sorted(mark.sequence for mark in found.marks.values()), found.floor) == ([10], 9)
    again = history(found.lines())
    assert (again.floor, again.newest) == (9, 10)


def test_so_many_orders_are_remembered_and_no_older_ones() -> None:
    found = PurgeHistory()
    for number in range(MOST_ORDERS + 5):
        found.add(LoggedPurge(str(number), float(number), "x", sequence=number))

    found.trim(10.0, 0)
    assert len(found.orders) == MOST_ORDERS and "4" not in found.orders
    found.trim(ORDER_SECONDS + MOST_ORDERS, 0)

    assert len(found.orders) == 4
