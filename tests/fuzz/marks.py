"""Marks of purges, as workers tell each other, and the log in which they are kept."""

from __future__ import annotations

import math

from shield.rules.purge_lines import LoggedPurge, PurgeHistory, line_of_end, lines_of
from shield.rules.purging import Filled, MarkKind, PurgeMark, PurgeMarks
from shield.store.notices import mark_of, marking
from tests.fuzz.target import Target

MARKS = (
    PurgeMark(3, MarkKind.TAG, b"red", soft=True, at=5.0),
    PurgeMark(4, MarkKind.GLOB, b"/a*.webp"),
    PurgeMark(5, MarkKind.ALL),
    PurgeMark(6, MarkKind.ORIGIN, b"fra", at=5.0, after=4.0),
    PurgeMark(7, MarkKind.KEY, b"s1:/a.webp"),
)


def check_mark(data: bytes) -> None:
    mark = mark_of(data)
    if mark is None:
        return
    marks = PurgeMarks()
    marks.add(mark)
    found = marks.verdict(b"s1:/a/b.webp", b"red\nx", max(0, mark.sequence - 1), Filled(None, math.inf))
    assert (found is not None) == (mark.sequence > 0 and mark.is_about(b"s1:/a/b.webp", b"red\nx"))
    assert marking(mark)[:11] == data[:11]


def check_log(data: bytes) -> None:
    found = PurgeHistory()
    found.read(data)
    again = PurgeHistory()
    again.read(found.lines())
    assert again.marks == found.marks and again.orders.keys() == found.orders.keys()
    assert (again.floor, again.newest) == (found.floor, found.newest)


TARGETS = {
    "mark": Target(check_mark, tuple(map(marking, MARKS)), (b"*", b"/", b"\0")),
    "purge-log": Target(
        check_log,
        (lines_of(MARKS), lines_of([LoggedPurge("a", 1.0, "me", {"tags": 1}, ("x",))]) + line_of_end("a")),
        (b'"mark":', b'"order":', b'"done":', b'"floor":', b"\n", b"null"),
    ),
}
