"""Figures of several workers put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from typing import Any

from shield.observe.metrics import Family, Sample
from shield.observe.report import Report, together
from shield.store.directory.directory import DirectoryStatistics


class Health(Enum):
    WELL = "well"
    FAILING = "failing"


def of(*states: Mapping[str, Any]) -> Mapping[str, Any]:
    """Their common state, as it comes from other processes."""
    return together([Report.decoded(Report(state, []).encoded()) for state in states]).state


def values(*reports: list[Family]) -> dict[str, list[tuple[float, dict[str, str]]]]:
    made = together([Report.decoded(Report({}, families).encoded()) for families in reports])
    return {family.name: [(s.value, dict(s.labels)) for s in family.samples] for family in made.families}


def test_numbers_are_summed_at_every_depth() -> None:
    a = {"connections": 3, "memory": {"entries": 10}, "origins": {"fra": {"faults": {"reset": 1}}}}
    b = {"connections": 4, "memory": {"entries": 5}, "origins": {"fra": {"faults": {"connect": 2}}}}

    assert of(a, b) == {
        "connections": 7,
        "memory": {"entries": 15},
        "origins": {"fra": {"faults": {"reset": 1, "connect": 2}}},
        "workers_up": 2,
    }


def test_of_times_the_greatest_counts() -> None:
    a, b = {"uptime_seconds": 10.0, "loop_lag_seconds": 0.5}, {"uptime_seconds": 3.0, "loop_lag_seconds": 0.75}

    assert of(a, b) == {"uptime_seconds": 10.0, "loop_lag_seconds": 0.75, "workers_up": 2}


def test_what_lies_on_disk_is_counted_once_and_what_was_done_is_summed() -> None:
    def state(written: int) -> dict[str, Any]:
        directory = {"entries": 100, "capacity_bytes": 1000, "written_bytes": written}
        return {"tiers": [{"name": "nvme", "hits": 5, "volumes": [{"path": "/c", "directory": directory}]}]}

    assert of(state(7), state(8))["tiers"] == [
        {
            "name": "nvme",
            "hits": 10,
            "volumes": [
                {"path": "/c", "directory": {"entries": 100, "capacity_bytes": 1000, "written_bytes": 15}},
            ],
        }
    ]


def test_each_figure_of_a_directory_is_of_the_process_or_of_all() -> None:
    of_processes = {"health", "written_bytes", "damaged", "errors", "unlinked", "held_bytes"}
    names = [each.name for each in fields(DirectoryStatistics) if each.name not in of_processes]
    tiers = [{"volumes": [{"directory": dict.fromkeys(names, 7)}]}]

    merged = of({"tiers": tiers}, {"tiers": tiers})["tiers"]

    assert merged[0]["volumes"][0]["directory"] == dict.fromkeys(names, 7)


def test_words_that_differ_are_all_said_and_yes_needs_all() -> None:
    a = {"node": "fra-1", "health": Health.WELL, "ready": True, "directory": None}
    b = {"node": "fra-1", "health": Health.FAILING, "ready": False, "directory": {"entries": 1}}

    assert of(a, b) == {
        "node": "fra-1",
        "health": "well, failing",
        "ready": False,
        "directory": {"entries": 1},
        "workers_up": 2,
    }


def test_samples_are_summed_by_their_labels_or_the_greatest_counts() -> None:
    def families(hits: int, lag: float, **others: int) -> list[Family]:
        by_word = {"hit": hits, **others}
        return [
            Family("requests", "Requests", [Sample(count, {"cache": word}) for word, count in by_word.items()]),
            Family("lag", "Lag", [Sample(lag)], gauge=True, alike=True),
        ]

    assert values(families(1, 0.5), families(2, 0.25, miss=3), families(4, 0.0)) == {
        "requests": [(7, {"cache": "hit"}), (3, {"cache": "miss"})],
        "lag": [(0.5, {})],
        "workers_up": [(3, {})],
    }


def test_a_family_keeps_its_kind_on_the_way() -> None:
    family = Family("open", "Open ones", [Sample(1)], gauge=True, alike=True)

    assert list(Report.decoded(Report({}, [family]).encoded()).families) == [family]
