"""`python -m loadtest.locust`: what it concludes from what users noted, and that it runs and fails when it must."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtest.locust.records import BROKEN, REFUSED, STALE, STATUS, WRONG, Record, Run, by_second, percentile
from loadtest.locust.report import Line, plot, report
from loadtest.locust.scenarios import SCENARIOS, VIDEO_BYTES, Bounds, Verdict

ROOT = Path(__file__).parents[2]
PATIENCE = 150.0
BOUNDS = Bounds(p99_seconds=0.5, outage_seconds=3.0)


def record(
    at: float = 0.0, *, late: float = 0.0, took: float = 0.1, hit: bool = False, path: str = "/a", fault: str = ""
) -> Record:
    started = at + late
    return Record("thumbnail", at, started, started + took, 10, hit, path, fault, fault and "something")


def failed(scenario: str, run: Run) -> list[str]:
    return [verdict.text for verdict in SCENARIOS[scenario].judge(run, BOUNDS) if not verdict.passed]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_without_any_answer_never_passes(scenario: str) -> None:
    assert failed(scenario, Run(scenario, origin_gets=0, origin_bytes=0))


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("fault", [BROKEN, WRONG])
def test_wrong_bytes_fail_every_scenario(scenario: str, fault: str) -> None:
    records = [record(fault=fault), record(1.0)]

    assert any("other bytes" in text for text in failed(scenario, Run(scenario, records)))


@pytest.mark.parametrize("fault", [REFUSED, STATUS])
def test_a_request_that_fails_fails_the_scenarios_in_which_none_may(fault: str) -> None:
    run = Run("failover", [record(fault=fault), record(1.0)])

    assert failed("failover", run) == ["no request fails"]


def test_time_counts_from_the_intended_start() -> None:
    slow_from_there = Run("zipf", [record(late=1.0, took=0.01)])

    assert slow_from_there.records[0].service == pytest.approx(0.01)
    assert [text for text in failed("zipf", slow_from_there) if "intended start" in text]


def test_more_fetches_than_objects_fail() -> None:
    records = [record(path="/a"), record(path="/a"), record(path="/b")]

    assert failed("zipf", Run("zipf", records, origin_gets=2)) == []
    assert failed("zipf", Run("zipf", records, origin_gets=3)) == [
        "each object is fetched once, however many request it"
    ]
    assert failed("zipf", Run("zipf", records)) == [], "with an origin that isn't ours it can't be judged"


def test_bytes_that_are_fetched_twice_fail() -> None:
    assert failed("ranges", Run("ranges", [record()], origin_bytes=VIDEO_BYTES)) == []
    assert failed("ranges", Run("ranges", [record()], origin_bytes=2 * VIDEO_BYTES))


def test_a_hit_right_after_a_purge_fails() -> None:
    purge = Record("purge", 0.0, 0.0, 0.1, 0, False, "")

    assert failed("purge", Run("purge", [purge, record(1.0)])) == []
    assert "what was purged is never a hit" in failed("purge", Run("purge", [purge, record(1.0, fault=STALE)]))


def test_a_restart_may_refuse_for_a_while_and_must_not_forget() -> None:
    away = [record(2.0 + tenth / 10, fault=REFUSED) for tenth in range(20)]

    assert failed("restart", Run("restart", [record(), *away, record(5.0, hit=True)])) == []
    assert failed("restart", Run("restart", [record(), *away, record(5.0, hit=False), record(6.0, hit=True)]))
    assert failed("restart", Run("restart", [record(), *away, record(6.0, fault=REFUSED), record(7.0, hit=True)]))


def test_a_killed_worker_takes_what_it_had_in_hand_and_nothing_else() -> None:
    def run(fault: str, *, at: float) -> Run:
        return Run("operate", [record(at, fault=fault), record(9.0)], killed=[5.0])

    assert failed("operate", run(BROKEN, at=4.95)) == []
    assert failed("operate", run(REFUSED, at=5.1)) == []
    assert failed("operate", run(REFUSED, at=6.0)) == ["no request fails but those in the hands of 1 killed workers"]
    assert failed("operate", run(BROKEN, at=3.0))
    assert failed("operate", run(STATUS, at=4.95))
    assert failed("operate", run(WRONG, at=4.95))


def test_users_arrive_over_a_share_of_the_time_or_all_at_once_and_leave_at_the_end() -> None:
    ramped, at_once = SCENARIOS["zipf"], SCENARIOS["flash"]

    assert [ramped.users_at(at, users=20, seconds=40.0) for at in (0.0, 5.0, 10.0, 39.0, 40.0)] == [
        1,
        10,
        20,
        20,
        None,
    ]
    assert at_once.users_at(0.0, users=20, seconds=40.0) == 20


def test_percentiles_are_values_that_were_measured() -> None:
    assert [percentile([3.0, 1.0, 2.0, 4.0], share) for share in (0.0, 0.5, 0.75, 0.99, 1.0)] == [1, 2, 3, 4, 4]
    assert percentile([], 0.5) == 0.0


def test_seconds_without_answers_are_there_too() -> None:
    seconds = by_second([record(100.0), record(100.2), record(103.0)])

    assert [(second, len(records)) for second, records in seconds] == [(0, 2), (1, 0), (2, 0), (3, 1)]


def test_what_was_noted_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Run("zipf", [record(fault=WRONG), record(1.0, hit=True)], origin_gets=2, slow_clients=3, notes=["so"])
    run.save(tmp_path / "records.json")

    assert Run.load(tmp_path / "records.json") == run


def test_the_report_has_verdicts_and_plots_and_no_scripts() -> None:
    run = Run("zipf", [record(second / 10, hit=True) for second in range(50)], notes=["<b>"])

    text = report([(run, [Verdict("what <must> hold", False, "it didn't")])])

    assert "FAILED" in text and "what &lt;must&gt; hold" in text and "&lt;b&gt;" in text
    assert text.count("<svg") == 3 and "<script" not in text


def test_a_plot_is_well_formed_and_stays_in_its_frame() -> None:
    drawn = ElementTree.fromstring(plot("a & b", [Line("x", "#000", [0.0, 5.0, 2.5]), Line("y", "#111", [])]))

    points = [
        tuple(map(float, pair.split(","))) for pair in drawn.iter("polyline").__next__().attrib["points"].split()
    ]
    assert len(points) == 3
    assert all(0 <= x <= 460 and 0 <= y <= 180 for x, y in points)


def run_it(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest.locust", *words], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zipff"], "unknown scenario: zipff; there are zipf, flash"),
        (["--users", "0"], "must be above 0"),
        (["zipf", "--url", "http://192.0.2.1:80"], "--url: expected http://127.0.0.1:PORT"),
        (["zipf", "--url", "https://example.net"], "--url: expected http://127.0.0.1:PORT"),
        (["purge", "--url", "http://127.0.0.1:1"], "purge stop and purge things"),
    ],
)
def test_what_cannot_be_run_is_said(words: list[str], said: str) -> None:
    if "--url" in words:
        _needs_locust()

    ended = run_it(*words)

    assert ended.returncode == 2
    assert said in ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(2 * PATIENCE)
def test_it_runs_against_a_node_that_it_starts_and_fails_when_a_criterion_is_not_met(tmp_path: Path) -> None:
    _needs_locust()
    words = ["flash", "ranges", "--seconds", "3", "--users", "4", "--rate", "5", "--workers", "1"]

    passed = run_it(*words, "--report", str(tmp_path / "passed.html"))
    missed = run_it("zipf", *words[2:], "--p99", "0.000001", "--report", str(tmp_path / "missed.html"))

    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "<svg" in (tmp_path / "passed.html").read_text()
    assert missed.returncode == 1
    assert missed.stdout.count("FAILED") == 1 and "FAILED" in (tmp_path / "missed.html").read_text()


def _needs_locust() -> None:
    if importlib.util.find_spec("locust") is None:
        pytest.skip("locust isn't installed: pip install '.[loadtest]'")
