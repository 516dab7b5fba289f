"""The outages of the load test: each case runs to its end, and a bound that is broken is named."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.origin import body, wrong_body
from loadtest.outage import CASES, MOST_FETCHES, MOST_SLOW, Outcome, count_flaps
from tests.depth import some

ROOT = Path(__file__).parents[2]
BOUNDS = argparse.Namespace(most_slow=MOST_SLOW, most_fetches=MOST_FETCHES)
WELL = Outcome("wrong", 4500, Counter(), 15, 0, 0.9, 1.1, 9.0, (), wrong_before=450, recovery=90.0, back_after=60.0)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", some(CASES, ("hung", "wrong")))
def test_each_case_runs_to_its_end_with_a_verdict(case: str) -> None:
    command = [sys.executable, "-m", "loadtest.outage", "--only", case, "--seconds", "2", "--rate", "10"]
    ended = subprocess.run(
        [*command, "--recovery", "2", "--probes", "1"], cwd=ROOT, capture_output=True, text=True, timeout=110
    )

    assert ended.returncode in (0, 1), ended.stderr
    assert not ended.stderr
    row = next(line for line in ended.stdout.splitlines() if line.startswith(case))
    assert row.endswith("BROKEN" if ended.returncode else "holds")


def test_a_case_that_is_unknown_is_named() -> None:
    command = [sys.executable, "-m", "loadtest.outage", "--only", "hung,flooded"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 2
    assert "unknown: flooded; there are hung, killed" in ended.stderr


def test_an_outcome_at_its_bounds_has_no_problem() -> None:
    assert WELL.problems(BOUNDS) == []


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (replace(WELL, failures=Counter({"cut off": 2})), "2 requests failed"),
        (replace(WELL, slow_first=16), "16 slower than a second in the first minute"),
        (replace(WELL, slow_later=1), "1 later"),
        (replace(WELL, ratio=1.11), "1.11 times the fetches"),
        (replace(WELL, noticed=None), "wasn't noticed"),
        (replace(WELL, wrong_after=1), "1 wrong bodies requested after"),
        (replace(WELL, case="md5"), "450 wrong bodies ended cleanly"),
        (replace(WELL, back_after=61.0), "wasn't back"),
        (replace(WELL, back_after=None), "wasn't back"),
        (replace(WELL, flaps=1), "bad again"),
    ],
)
def test_a_broken_bound_is_named(outcome: Outcome, problem: str) -> None:
    (found,) = outcome.problems(BOUNDS)

    assert problem in found


def test_without_a_recovery_nothing_is_expected_of_it() -> None:
    assert replace(WELL, recovery=0.0, back_after=None).problems(BOUNDS) == []


@pytest.mark.parametrize(
    ("changes", "flaps"),
    [
        ("", 0),
        ("fra: recovering: , fra: up: ", 0),
        ("fra: out: , fra: recovering: , fra: up: ", 0),
        ("fra: recovering: , fra: out: , fra: recovering: , fra: up: ", 1),
        ("fra: not corrupt , fra: corrupt: ", 1),
        ("fra: recovering: , iad: suspect: , iad: up: ", 1),
    ],
)
def test_a_flap_is_a_turn_to_the_worse_after_a_return(changes: str, flaps: int) -> None:
    log = [f"WARNING origin {change}" for change in changes.split(", ") if change]

    assert count_flaps(log) == flaps


def test_a_wrong_body_has_the_length_of_the_right_one_and_none_of_its_bytes() -> None:
    right, wrong = body(1000), wrong_body(1000)

    assert len(right) == len(wrong)
    assert not any(a == b for a, b in zip(right, wrong, strict=True))
