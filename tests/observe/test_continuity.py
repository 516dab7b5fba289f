"""Counters of a node don't fall when a worker dies or gives no answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.observe.continuity import NAME, Continuity
from shield.observe.metrics import Family, Sample
from shield.observe.report import Report, together


def report(worker: int, process: str, requests: int, *, connections: int = 0) -> Report:
    """As it comes from a worker."""
    families = [
        Family("requests", "Requests", [Sample(requests, {"route": "images", "cache": "hit"})]),
        Family("connections", "Open", [Sample(connections)], gauge=True),
        Family("alarm_messages", "Of the node", [Sample(7)], alike=True),
        Family("process_cpu_seconds", "CPU", [Sample(1.5, {"worker": str(worker)})]),
    ]
    return Report.decoded(Report({}, families, worker, process).encoded())


def values(continuity: Continuity, *reports: Report) -> dict[str, float]:
    """Of the node, by name."""
    made = together(reports, continuity.complete(reports))
    return {family.name: sum([sample.value for sample in family.samples]) for family in made.families}


def test_what_a_worker_had_counted_stays_when_another_process_takes_its_place(tmp_path: Path) -> None:
    continuity = Continuity(tmp_path)
    values(continuity, report(0, "a", 100), report(1, "b", 50))

    restarted = values(continuity, report(0, "a", 110), report(1, "c", 3))
    again = values(continuity, report(0, "a", 110), report(1, "d", 1))

    assert (restarted["requests"], again["requests"]) == (163, 164)


def test_a_worker_that_gives_no_answer_counts_with_its_last_one(tmp_path: Path) -> None:
    continuity = Continuity(tmp_path)
    values(continuity, report(0, "a", 100, connections=5), report(1, "b", 50, connections=3))

    alone = values(continuity, report(0, "a", 110, connections=5))
    back = values(continuity, report(0, "a", 110), report(1, "b", 60))

    assert alone == {
        "requests": 160,
        "connections": 5,
        "alarm_messages": 7,
        "process_cpu_seconds": 1.5,
        "workers_up": 1,
    }
    assert back["requests"] == 170


def test_whichever_worker_answers_knows_it(tmp_path: Path) -> None:
    values(Continuity(tmp_path), report(0, "a", 100), report(1, "b", 50))

    assert values(Continuity(tmp_path), report(1, "b", 51))["requests"] == 151


def test_reports_that_come_late_take_nothing_away(tmp_path: Path) -> None:
    continuity = Continuity(tmp_path)
    values(continuity, report(0, "a", 100), report(1, "b", 50))
    values(continuity, report(0, "a", 90), report(1, "b", 40))

    assert values(continuity, report(0, "a", 100))["requests"] == 150


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "gone": 7}', "null"])
def test_a_file_that_cannot_be_used_is_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    continuity = Continuity(tmp_path)

    assert values(continuity, report(0, "a", 100))["requests"] == 100
    assert values(continuity, report(0, "b", 1))["requests"] == 101


def test_without_a_place_for_it_the_workers_that_answer_are_all_there_is(tmp_path: Path) -> None:
    for continuity in (Continuity(None), Continuity(tmp_path / "gone")):
        values(continuity, report(0, "a", 100), report(1, "b", 50))

        assert values(continuity, report(0, "a", 100))["requests"] == 100
