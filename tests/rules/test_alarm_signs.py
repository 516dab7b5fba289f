"""What is wrong in a node, by the signs of its workers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from shield.rules.alarm_signs import (
    AlarmLimits,
    OriginSign,
    SignWindow,
    WorkerSigns,
    deaths_after,
    of_budgets,
    of_deaths,
    of_drills,
    of_expiry,
    of_origins,
)
from shield.rules.alarms import AlarmCause, AlarmKind
from shield.rules.budgets import EgressBudget, Period, Spendable, UsageSum, judge_budget
from shield.rules.health import Flag
from shield.rules.zones import Zones

WELL = OriginSign("fra", True, Flag.NONE, "no trouble yet")
OUT = OriginSign("iad", False, Flag.NONE, "probes failed")
ROW = WorkerSigns(0, 100.0, responses=1000, failed=10)


def kinds(troubles: list[AlarmCause]) -> list[tuple[AlarmKind, str]]:
    return [trouble.key for trouble in troubles]


def after_a_minute(*pairs: tuple[WorkerSigns | None, WorkerSigns], limits: AlarmLimits | None = None) -> SignWindow:
    window = SignWindow(limits or AlarmLimits(error_share=0.05, error_requests=100))
    window.add([before for before, _ in pairs if before is not None], 1000.0)
    window.add([after for _, after in pairs], 1060.0)
    return window


def test_an_origin_is_out_while_others_serve() -> None:
    assert kinds(of_origins([WELL, OUT], is_frozen=False)) == [(AlarmKind.ORIGIN_DOWN, "iad")]


def test_no_origin_is_one_alarm_whoever_is_to_blame() -> None:
    assert kinds(of_origins([replace(WELL, is_good=False), OUT], is_frozen=False)) == [(AlarmKind.NO_ORIGIN, "")]
    assert kinds(of_origins([WELL, WELL], is_frozen=True)) == [(AlarmKind.NO_ORIGIN, "")]
    assert of_origins([], is_frozen=False) == []


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        (Flag.AUTH, AlarmKind.ORIGIN_AUTH),
        (Flag.CORRUPT, AlarmKind.ORIGIN_CORRUPT),
        (Flag.LAGGING, AlarmKind.ORIGIN_LAGGING),
        (Flag.DRAINED, None),
        (Flag.THROTTLED, None),
    ],
)
def test_flags_that_people_are_woken_for(flag: Flag, kind: AlarmKind | None) -> None:
    found = kinds(of_origins([replace(WELL, flags=flag)], is_frozen=False))

    assert found == ([] if kind is None else [(kind, "fra")])


@pytest.mark.parametrize(("failed", "is_alarm"), [(50, False), (51, True)])
def test_errors_are_a_share_of_the_responses_of_all_workers_in_a_minute(failed: int, is_alarm: bool) -> None:
    window = after_a_minute(
        (ROW, replace(ROW, responses=1500, failed=10 + failed - 20)),
        (replace(ROW, worker=1), replace(ROW, worker=1, responses=1500, failed=30)),
    )

    assert kinds(window.troubles()) == ([(AlarmKind.ERRORS, "")] if is_alarm else [])


def test_errors_among_few_responses_are_no_alarm() -> None:
    assert after_a_minute((ROW, replace(ROW, responses=1099, failed=60))).troubles() == []


def test_a_worker_that_was_replaced_counts_from_its_start() -> None:
    window = after_a_minute((ROW, WorkerSigns(0, 200.0, responses=100, failed=50)))

    assert kinds(window.troubles()) == [(AlarmKind.ERRORS, "")]


def test_what_takes_a_minute_isnt_known_before() -> None:
    window = SignWindow()
    window.add([ROW], 0.0)
    window.add([replace(ROW, responses=9000, failed=9000)], 59.0)

    assert window.troubles() == [] and AlarmKind.ERRORS in window.unknown
    window.add([replace(ROW, responses=9000, failed=9000)], 60.0)
    assert kinds(window.troubles()) == [(AlarmKind.ERRORS, "")] and not window.unknown


def test_old_readings_are_forgotten() -> None:
    window = SignWindow()
    window.add([ROW], 0.0)
    for second in range(60, 400, 5):
        window.add([replace(ROW, responses=9000, failed=9000)], float(second))

    assert window.troubles() == []
    assert len(window._readings) < 20


def test_lags_and_lost_lines_are_those_of_the_minute() -> None:
    window = after_a_minute((replace(ROW, late=5, dropped=5), replace(ROW, late=15, dropped=6)))

    assert kinds(window.troubles()) == [(AlarmKind.LOOP_LAG, "0"), (AlarmKind.ACCESS_LOG, "")]
    assert after_a_minute((replace(ROW, late=5, dropped=5), replace(ROW, late=14, dropped=5))).troubles() == []


def test_a_workers_own_troubles_count_at_once() -> None:
    window, trouble = SignWindow(), AlarmCause(AlarmKind.DISK, "/a", "out")
    window.add([replace(ROW, troubles=(trouble,)), replace(ROW, worker=1, troubles=(trouble,))], 0.0)

    assert window.troubles() == [trouble, trouble]


def test_signs_are_read_as_they_were_written() -> None:
    signs = replace(ROW, late=3, dropped=4, troubles=(AlarmCause(AlarmKind.DISK, "/a", "out"),))

    assert WorkerSigns.read(json.loads(json.dumps(signs.plain()))) == signs
    with pytest.raises(ValueError, match="no signs"):
        WorkerSigns.read({})


def test_deaths_are_counted_once_and_for_ten_minutes() -> None:
    deaths, seen = deaths_after((), 0, 1, 1000.0)
    assert kinds(of_deaths(deaths)) == [(AlarmKind.WORKER_DIED, "")]

    deaths, seen = deaths_after(deaths, seen, 1, 1300.0)
    assert deaths == (1000.0,)
    deaths, seen = deaths_after(deaths, seen, 3, 1500.0)
    assert kinds(of_deaths(deaths)) == [(AlarmKind.WORKERS_RESTART, "")]
    deaths, seen = deaths_after(deaths, seen, 3, 2200.0)
    assert (of_deaths(deaths), seen) == ([], 3)


def test_a_node_that_was_restarted_counts_deaths_from_nothing() -> None:
    assert deaths_after((), 5, 0, 1000.0) == ((), 0)
    assert deaths_after((), 5, 2, 1000.0) == ((1000.0, 1000.0), 2)


def test_a_drill_that_had_to_be_ended_is_an_alarm_until_the_next() -> None:
    failed, stopped = {"ending": "clients' requests failed"}, {"ending": "it was stopped"}

    assert kinds(of_drills({"fra": failed, "iad": stopped}, {}, is_nightly=False)) == [(AlarmKind.DRILL, "fra")]


def test_an_overdue_drill_is_an_alarm_where_drills_are_wanted() -> None:
    assert kinds(of_drills({}, {"fra": 1e7}, is_nightly=True)) == [(AlarmKind.DRILL, "fra")]
    assert of_drills({}, {"fra": 1e7}, is_nightly=False) == []


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (86400.0 * 6, "it will expire in 6 days"),
        (7200.0, "it will expire in 2 hours"),
        (90.0, "it will expire in 2 minutes"),
        (-1.0, "it expired already"),
    ],
)
def test_what_expires_is_told_before(left: float, text: str) -> None:
    assert [each.text for each in of_expiry(AlarmKind.CERTIFICATE, "", "it", left, 7 * 86400.0)] == [text]
    assert of_expiry(AlarmKind.CERTIFICATE, "", "it", 7 * 86400.0, 7 * 86400.0) == []


@pytest.mark.parametrize(("count", "said"), [(1, "1 worker died in"), (2, "2 workers died in")])
def test_deaths_are_said_as_people_say_them(count: int, said: str) -> None:
    (cause,) = of_deaths([0.0] * count)

    assert cause.text.startswith(said)
    assert cause.text.endswith("was replaced" if count == 1 else "were replaced")


def test_a_budget_is_a_trouble_for_each_share_that_is_reached_and_for_its_burst() -> None:
    budget = EgressBudget("far", ("fra",), Period.DAY, Spendable(1e9), burst=5e8)
    sums = {"fra": {Period.HOUR: UsageSum(500_000_000), Period.DAY: UsageSum(1_000_000_000)}}

    found = of_budgets([judge_budget(budget, sums, {}, Zones(), 3600.0)])

    assert kinds(found) == [
        (AlarmKind.BUDGET, "far 50%"),
        (AlarmKind.BUDGET, "far 80%"),
        (AlarmKind.BUDGET_SPENT, "far"),
        (AlarmKind.BUDGET_SPENT, "far burst"),
    ]
    assert found[2].text == (
        "100% of its amount is reached: budget far: 1 GB of 1 GB a day spent; in force: dearer, pause, stale"
    )
