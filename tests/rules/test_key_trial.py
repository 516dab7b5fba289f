"""New credentials at an origin: the steps of their introduction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.key_trial import (
    ALARM_FAILURES,
    LONGEST_PAUSE,
    SHARE_SECONDS,
    WATCH_SECONDS,
    KeyTrial,
    TrialEvent,
    TrialStage,
    begun,
)

PROBING, SHARED, IN_USE = TrialStage.PROBING, TrialStage.SHARED, TrialStage.IN_USE


def probing(failures: int = 0) -> KeyTrial:
    return KeyTrial(PROBING, 100.0, failures)


def test_they_are_probed_then_shared_then_in_use_and_then_the_old_ones_are_forgotten() -> None:
    trial: KeyTrial | None = begun(100.0, nothing_to_lose=False)
    assert trial is not None and (trial.stage, trial.due) == (PROBING, 100.0)

    trial = trial.after(TrialEvent.PASSED, 101.0)
    assert (trial.stage, trial.due) == (SHARED, 101.0 + SHARE_SECONDS)
    assert trial.at(trial.due - 0.1) is trial

    trial = trial.at(trial.due)
    assert trial is not None and (trial.stage, trial.is_final) == (IN_USE, False)
    assert trial.at(trial.due - 0.1) is trial
    assert trial.at(trial.due) is None


def test_with_nothing_to_lose_they_are_in_use_at_once() -> None:
    trial = begun(100.0, nothing_to_lose=True)

    assert (trial.stage, trial.due) == (IN_USE, 100.0 + WATCH_SECONDS)
    assert trial.after(TrialEvent.NEW_REFUSED, 101.0) is trial  # there is nothing to go back to


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (PROBING, TrialEvent.PASSED, SHARED),
        (PROBING, TrialEvent.FAILED, PROBING),
        (PROBING, TrialEvent.NEW_REFUSED, PROBING),
        (PROBING, TrialEvent.OLD_REFUSED, IN_USE),
        (SHARED, TrialEvent.PASSED, SHARED),
        (SHARED, TrialEvent.FAILED, SHARED),
        (SHARED, TrialEvent.NEW_REFUSED, PROBING),
        (SHARED, TrialEvent.OLD_REFUSED, IN_USE),
        (IN_USE, TrialEvent.PASSED, IN_USE),
        (IN_USE, TrialEvent.FAILED, IN_USE),
        (IN_USE, TrialEvent.NEW_REFUSED, PROBING),
        (IN_USE, TrialEvent.OLD_REFUSED, IN_USE),
    ],
)
def test_each_event_in_each_stage(before: TrialStage, event: TrialEvent, after: TrialStage) -> None:
    assert KeyTrial(before, 110.0).after(event, 100.0).stage is after


def test_a_failed_probe_is_repeated_after_a_pause_that_grows() -> None:
    trial, pauses = begun(0.0, nothing_to_lose=False), []
    for _ in range(12):
        now = trial.due
        trial = trial.after(TrialEvent.FAILED, now)
        pauses.append(trial.due - now)

    assert pauses[:4] == [2.0, 4.0, 8.0, 16.0] and pauses[-1] == LONGEST_PAUSE


def test_the_operator_is_alerted_after_some_failed_probes_and_at_once_if_traffic_was_refused() -> None:
    trial = probing()
    for count in range(1, ALARM_FAILURES + 1):
        trial = trial.after(TrialEvent.FAILED, 100.0)
        assert trial.alarms is (count == ALARM_FAILURES)

    assert KeyTrial(SHARED, 110.0).after(TrialEvent.NEW_REFUSED, 100.0).alarms
    assert not KeyTrial(SHARED, 110.0, ALARM_FAILURES).alarms


def test_refused_in_turn_they_dont_change_with_each_request() -> None:
    trial = KeyTrial(SHARED, 110.0).after(TrialEvent.NEW_REFUSED, 100.0).after(TrialEvent.OLD_REFUSED, 101.0)
    assert (trial.stage, trial.is_final) == (IN_USE, True)

    assert trial.after(TrialEvent.NEW_REFUSED, 102.0) is trial


def test_there_is_no_way_back_to_old_ones_that_were_refused() -> None:
    trial = KeyTrial(IN_USE, 400.0).after(TrialEvent.OLD_REFUSED, 100.0)

    assert trial.after(TrialEvent.NEW_REFUSED, 101.0).stage is IN_USE


@given(st.lists(st.sampled_from([*TrialEvent, None]), max_size=60), st.booleans())
def test_whatever_is_observed_it_changes_sides_a_few_times_at_most(
    events: list[TrialEvent | None], nothing_to_lose: bool
) -> None:
    """Without time passing: requests that are refused can't make the credentials alternate."""
    trial: KeyTrial | None = begun(0.0, nothing_to_lose=nothing_to_lose)
    changes = 0
    for event in events:
        assert trial is not None
        before = trial
        trial = trial.at(0.0) if event is None else trial.after(event, 0.0)
        assert trial is not None
        assert trial.due >= 0.0 and trial.failures >= 0
        changes += (before.stage is IN_USE) is not (trial.stage is IN_USE)
    assert changes <= 3
