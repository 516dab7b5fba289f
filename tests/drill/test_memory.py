"""The memory of a drill that all workers share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shield.drill.memory import OTHERS, DrillMemory, size_for
from shield.rules.drill import DrillMode, DrillOrder, DrillRun

RUN = DrillRun(1, DrillOrder("fra", DrillMode.SLOW), 5.0, 6.0, ("iad", "b2"))


@pytest.fixture
def raw() -> bytearray:
    return bytearray(size_for(2))


@pytest.fixture
def memory(raw: bytearray) -> DrillMemory:
    return DrillMemory(memoryview(raw), workers=2)


def test_at_first_there_is_no_drill(memory: DrillMemory) -> None:
    assert memory.read() is None and memory.version == 0


def test_a_change_is_seen_by_all_who_look(raw: bytearray, memory: DrillMemory) -> None:
    other = DrillMemory(memoryview(raw), workers=2)

    memory.change(lambda last: RUN)

    assert other.read() == RUN and other.version == 1
    ended = replace(RUN, ended=9.0)
    assert other.change(lambda last: replace(last, ended=9.0) if last else None) == ended
    assert memory.read() == ended and memory.version == 2
    assert memory.change(lambda last: None) is None
    assert memory.read() == ended and memory.version == 2


@pytest.mark.parametrize("at", [8, 9, 12, 16, 40])
def test_a_text_torn_by_a_killed_process_is_no_drill(raw: bytearray, memory: DrillMemory, at: int) -> None:
    memory.change(lambda last: RUN)
    raw[at] ^= 0xFF

    assert memory.read() is None
    assert memory.change(lambda last: RUN) == RUN == memory.read()


def test_a_drill_of_many_origins_with_its_report_has_room(memory: DrillMemory) -> None:
    names = tuple([f"{number:063}" for number in range(OTHERS)])
    long = replace(RUN, names=names, report={"origin": "x" * 63, **{f"key_{n}": 1.0 for n in range(30)}})

    memory.change(lambda last: long)

    assert memory.read() == long


def test_workers_count_for_themselves_and_their_figures_are_summed(memory: DrillMemory) -> None:
    first, second = memory.row(0, 1), memory.row(1, 1)
    for row in (first, second):
        row.fault()
        row.elsewhere(1, 0, requests=1)
        row.elsewhere(1, 100)
    first.elsewhere(OTHERS, 7, requests=1)  # not counted
    first.fault()
    first.spare()
    second.requests(40)
    second.request(3.0, is_failed=True, is_late=True)
    second.request(None, is_failed=True, is_late=False)

    figures = memory.figures(RUN)

    assert (figures.faults, figures.spared) == (2, 1)
    assert (figures.requests, figures.failed, figures.late, figures.p99) == (42, 2, 1, None)
    assert figures.elsewhere == {"b2": (2, 200)}


def test_a_percentile_takes_a_hundred_samples(memory: DrillMemory) -> None:
    row = memory.row(0, 1)
    for _ in range(99):
        row.request(0.01, is_failed=False, is_late=False)
    assert memory.figures(RUN).p99 is None

    row.request(5.0, is_failed=False, is_late=True)

    p99 = memory.figures(RUN).p99
    assert p99 is not None and 0.01 <= p99 < 0.02
    for _ in range(5):
        row.request(5.0, is_failed=False, is_late=True)
    late = memory.figures(RUN).p99
    assert late is not None and late >= 5.0


def test_a_worker_that_is_replaced_counts_on_and_a_new_drill_counts_from_zero(memory: DrillMemory) -> None:
    memory.row(0, 1).fault()
    memory.row(0, 1).fault()
    memory.row(1, 1).fault()
    assert memory.figures(RUN).faults == 3

    memory.row(0, 2).fault()

    assert memory.figures(replace(RUN, number=2)).faults == 1  # the other worker hasn't begun yet
