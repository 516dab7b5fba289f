"""When an origin is asked in its turn, when after all others, and what brings it back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shield.rules.health import (
    CALM_SECONDS,
    LONGEST_OPEN_SECONDS,
    PROBES_AT_ONCE,
    RECOVERY_SECONDS,
    TRIAL_PROBES,
    Cause,
    EventKind,
    Evidence,
    Flag,
    HealthEvent,
    HealthRecord,
    HealthState,
    find_trouble,
    judge,
    step,
)
from shield.rules.positions import share_of_keys
from tests.depth import tries

NOW = 1000.0
UP = HealthRecord()
SUSPECT = HealthRecord(
    HealthState.SUSPECT, since=NOW, until=NOW + 1.0, bad_since=NOW, reason=Cause.STALL, count=3, seconds=0.4
)
OPEN = replace(SUSPECT, state=HealthState.OPEN, times=1)
TRIAL = replace(SUSPECT, state=HealthState.TRIAL, times=1)
RECOVERING = replace(SUSPECT, state=HealthState.RECOVERING, until=0.0, times=1)
STALLED = Evidence(waiting=[NOW - 0.5] * 3, succeeded=NOW - 1.0, p95=0.05)
DYING = Evidence(failed=5, streak=5, keys=5, succeeded=NOW - 1.0)
WELL = Evidence(ok=50, succeeded=NOW)


def kinds(events: tuple[HealthEvent, ...]) -> list[EventKind]:
    return [event.kind for event in events]


# trouble


@pytest.mark.parametrize(
    ("waits", "p95", "success", "is_stall"),
    [
        ((0.5, 0.5, 0.5), 0.05, 1.0, True),
        ((0.31, 0.31, 0.31), 0.05, 1.0, True),
        ((0.29, 0.29, 0.29), 0.05, 1.0, False),  # below what scatters
        ((0.5, 0.5), 0.05, 1.0, False),  # two may be large objects
        ((0.5, 0.5, 0.1), 0.05, 1.0, False),
        ((0.5, 0.5, 0.5, 0.1), 0.05, 1.0, True),
        ((0.5, 0.5, 0.5), 0.05, 0.2, False),  # others were answered after them
        ((0.5, 0.5, 0.5), 0.2, 1.0, False),  # it is always that slow
        ((0.7, 0.7, 0.7), 0.2, 1.0, True),
        ((1.4, 1.4, 1.4), None, 2.0, False),  # too little is known of it
        ((1.6, 1.6, 1.6), None, 2.0, True),
    ],
)
def test_fetches_that_wait_too_long_without_a_success_are_a_stall(
    waits: tuple[float, ...], p95: float | None, success: float, is_stall: bool
) -> None:
    evidence = Evidence(waiting=[NOW - wait for wait in waits], succeeded=NOW - success, p95=p95)

    found = find_trouble(evidence, NOW)

    assert (found is not None and found[0] is Cause.STALL) is is_stall


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (Evidence(), None),
        (Evidence(ok=1000, failed=200), None),
        (Evidence(ok=70, failed=30), Cause.SHARE),
        (Evidence(ok=7, failed=3), None),  # too few to say
        (Evidence(ok=10, throttled=10), Cause.THROTTLED),
        (Evidence(ok=11, throttled=10), None),
        (Evidence(throttled=19), None),
        (Evidence(failed=5, streak=5, keys=3), Cause.FAILURES),
        (Evidence(failed=5, streak=5, keys=2), None),  # these objects are broken
        (Evidence(failed=4, streak=4, keys=4), None),
        (Evidence(failed=3, streak=3, dials=3, keys=1), Cause.DIALS),
        (Evidence(failed=3, streak=3, dials=2, keys=3), None),
        (Evidence(failed=5, streak=5, refused=5, keys=5), Cause.AUTH),
        (Evidence(failed=5, streak=5, refused=4, keys=5), Cause.FAILURES),
        (Evidence(ok=5, broken=5, broken_streak=5, broken_keys=3), Cause.BODIES),
        (Evidence(ok=5, broken=5, broken_streak=5, broken_keys=2), None),
        (Evidence(ok=4, broken=4, broken_streak=4, broken_keys=4), None),
        (Evidence(ok=20, broken=5), Cause.SHARE),
        (Evidence(ok=20, broken=4), None),
        (Evidence(ok=17, failed=3, broken=2), Cause.SHARE),
    ],
)
def test_failures_are_trouble_if_they_are_many_and_not_of_one_object(
    evidence: Evidence, reason: Cause | None
) -> None:
    found = find_trouble(evidence, NOW)

    assert (None if found is None else found[0]) is reason


# from state to state


def test_an_origin_in_trouble_is_suspect_and_probed_at_once() -> None:
    record, events = step(UP, STALLED, NOW)

    assert (record.state, record.since, record.bad_since) == (HealthState.SUSPECT, NOW, NOW)
    assert record.why == "3 unanswered for 0.5 s"
    assert kinds(events) == [EventKind.CHANGED, EventKind.PROBE]
    assert events[1].count == PROBES_AT_ONCE


@pytest.mark.parametrize(
    ("evidence", "after", "state"),
    [
        (Evidence(), 0.5, HealthState.SUSPECT),
        (Evidence(passed=1), 0.5, HealthState.SUSPECT),
        (Evidence(passed=2), 0.5, HealthState.UP),
        (Evidence(passed=1, missed=1), 0.5, HealthState.OPEN),
        (Evidence(missed=1), 0.5, HealthState.OPEN),
        (Evidence(), 1.0, HealthState.OPEN),
        (Evidence(can_probe=False), 1.0, HealthState.OPEN),
        (Evidence(can_probe=False, succeeded=NOW + 0.3), 1.0, HealthState.UP),
    ],
)
def test_probes_decide_on_a_suspect(evidence: Evidence, after: float, state: HealthState) -> None:
    record, _ = step(SUSPECT, evidence, NOW + after)

    assert record.state is state


def test_it_is_out_for_a_second_then_two_up_to_half_a_minute() -> None:
    record, spells, now = SUSPECT, [], NOW
    for _ in range(8):
        record, _ = step(record, Evidence(missed=2), now)
        assert record.state is HealthState.OPEN
        spells.append(round(record.until - now, 3))
        now = record.until
        assert step(record, Evidence(), now - 0.01)[0].state is HealthState.OPEN
        record, events = step(record, Evidence(), now)
        assert (record.state, kinds(events), events[0].count) == (HealthState.TRIAL, [EventKind.PROBE], TRIAL_PROBES)

    assert spells == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 0.9), (1.0, 1.1)])
def test_spells_are_spread_so_that_nodes_do_not_probe_together(chance: float, seconds: float) -> None:
    record, _ = step(SUSPECT, Evidence(missed=1), NOW, chance=chance)

    assert record.until == pytest.approx(NOW + seconds)


@pytest.mark.parametrize(
    ("evidence", "after", "state"),
    [
        (Evidence(passed=1, missed=1), 0.5, HealthState.TRIAL),
        (Evidence(passed=2, missed=1), 0.5, HealthState.RECOVERING),
        (Evidence(missed=2), 0.5, HealthState.OPEN),
        (Evidence(passed=1), 1.0, HealthState.OPEN),
    ],
)
def test_two_of_three_probes_bring_an_origin_back(evidence: Evidence, after: float, state: HealthState) -> None:
    record, _ = step(TRIAL, evidence, NOW + after)

    assert record.state is state


@pytest.mark.parametrize(("before", "count"), [(SUSPECT, PROBES_AT_ONCE), (TRIAL, TRIAL_PROBES)])
def test_another_conductor_probes_anew_before_it_judges_one_in_doubt(before: HealthRecord, count: int) -> None:
    late = before.until + 1.0
    record, events = step(before, Evidence(is_probed=False), late)

    assert record == replace(before, until=late + 2.0)
    assert (kinds(events), events[0].count) == ([EventKind.PROBE], count)
    assert step(before, Evidence(is_probed=False, can_probe=False), late)[0].state is HealthState.OPEN


def test_what_cannot_be_probed_is_tried_with_a_share_of_the_keys() -> None:
    record, _ = step(OPEN, Evidence(can_probe=False), OPEN.until)

    assert record.state is HealthState.RECOVERING


def test_a_returned_origin_has_more_keys_by_and_by_and_is_up_in_the_end() -> None:
    shares = [share_of_keys(RECOVERING, NOW + seconds) for seconds in (0, 10, 20, 30)]
    record, events = step(RECOVERING, WELL, NOW + RECOVERY_SECONDS)

    assert shares == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert record.state is HealthState.UP
    assert events[0].out == RECOVERY_SECONDS


def test_trouble_while_it_recovers_puts_it_out_for_longer() -> None:
    record, _ = step(RECOVERING, DYING, NOW + 5.0)

    assert (record.state, record.until) == (HealthState.OPEN, NOW + 7.0)
    assert record.bad_since == RECOVERING.bad_since


def test_failures_right_after_probes_passed_put_it_out() -> None:
    record, _ = step(SUSPECT, Evidence(passed=2), NOW)
    record, _ = step(record, DYING, NOW + 2.0)

    assert record.state is HealthState.OPEN


def test_a_stall_right_after_probes_passed_makes_it_suspect_again() -> None:
    record, _ = step(SUSPECT, Evidence(passed=2), NOW - 2.0)
    record, events = step(record, STALLED, NOW)

    assert record.state is HealthState.SUSPECT
    assert kinds(events) == [EventKind.CHANGED, EventKind.PROBE]


def test_after_a_calm_while_it_counts_as_one_that_never_had_any_trouble() -> None:
    record, _ = step(SUSPECT, Evidence(passed=2), NOW)
    record, _ = step(record, WELL, NOW + CALM_SECONDS)

    assert record.times == 0
    assert step(record, DYING, NOW + 40.0)[0].state is HealthState.SUSPECT


def test_refused_credentials_are_flagged_until_a_probe_passes() -> None:
    record, _ = step(UP, Evidence(failed=5, streak=5, refused=5, keys=5), NOW)
    out, _ = step(record, Evidence(missed=1), NOW + 0.1)
    trial, _ = step(out, Evidence(), out.until)
    back, _ = step(trial, Evidence(passed=2), out.until + 0.1)

    assert [each.flags for each in (record, out, trial, back)] == [Flag.AUTH, Flag.AUTH, Flag.AUTH, Flag.NONE]


def test_throttling_is_a_flag_and_no_state() -> None:
    record, events = step(UP, Evidence(ok=50, throttled=5, succeeded=NOW), NOW)

    assert (record.state, record.flags, events) == (HealthState.UP, Flag.THROTTLED, ())
    assert step(record, WELL, NOW)[0].flags is Flag.NONE


def test_one_that_is_held_back_keeps_its_state_and_has_its_keys_back_gradually() -> None:
    drained, told = step(UP, Evidence(held=Flag.DRAINED), NOW)
    again, nothing = step(drained, Evidence(held=Flag.DRAINED), NOW + 1.0)
    restored, last = step(again, Evidence(), NOW + 60.0)

    assert (drained.state, drained.flags) == (HealthState.UP, Flag.DRAINED)
    assert [(event.kind, event.flag) for event in told] == [(EventKind.HELD, Flag.DRAINED)]
    assert (again, nothing) == (drained, ())
    assert (restored.state, restored.since, restored.flags) == (HealthState.RECOVERING, NOW + 60.0, Flag.NONE)
    assert [event.kind for event in last] == [EventKind.HELD]


def test_it_has_none_back_while_it_is_held_back_for_another_reason_or_out() -> None:
    both, _ = step(UP, Evidence(held=Flag.DRAINED | Flag.CORRUPT), NOW)
    one, told = step(both, Evidence(held=Flag.CORRUPT), NOW + 1.0)
    out, _ = step(replace(OPEN, until=NOW + 9.0, flags=Flag.DRAINED), Evidence(), NOW + 1.0)

    assert (one.state, one.flags) == (HealthState.UP, Flag.CORRUPT)
    assert [event.flag for event in told] == [Flag.DRAINED]
    assert (out.state, out.flags) == (HealthState.OPEN, Flag.NONE)


def test_a_drained_origin_in_trouble_is_judged_and_stays_drained() -> None:
    record, _ = step(replace(UP, flags=Flag.DRAINED), replace(DYING, held=Flag.DRAINED), NOW)
    up, _ = step(replace(record, until=NOW + 9.0), Evidence(passed=2, held=Flag.DRAINED), NOW + 0.5)

    assert (record.state, record.flags) == (HealthState.SUSPECT, Flag.DRAINED)
    assert (up.state, up.flags) == (HealthState.UP, Flag.DRAINED)


def test_a_fault_on_our_side_ends_no_drain() -> None:
    evidence = {"fra": replace(STALLED, held=Flag.DRAINED), "iad": STALLED}

    judged = judge({"fra": UP, "iad": UP}, evidence, NOW)

    assert judged.frozen_at == NOW
    assert (judged.records["fra"].flags, judged.records["iad"].flags) == (Flag.DRAINED, Flag.NONE)


def test_a_sole_origin_is_suspected_but_never_out() -> None:
    record, _ = step(UP, STALLED, NOW, is_sole=True)
    probed = 0
    for seconds in range(1, 200):
        record, events = step(record, Evidence(missed=2), NOW + seconds, is_sole=True)
        assert record.state is HealthState.SUSPECT
        probed += kinds(events) == [EventKind.PROBE]
    back, _ = step(record, Evidence(succeeded=NOW + 199.5), NOW + 200.0, is_sole=True)

    assert 5 < probed < 20
    assert back.state is HealthState.UP


# all origins


def test_origins_that_turn_bad_together_are_not_to_blame() -> None:
    records = {"fra": replace(OPEN, bad_since=NOW - 1.0), "iad": UP}

    judged = judge(records, {"fra": Evidence(), "iad": STALLED}, NOW)

    assert judged.frozen_at == NOW
    assert {record.state for record in judged.records.values()} == {HealthState.UP}


def test_one_that_turns_bad_long_after_the_other_is() -> None:
    records = {"fra": replace(OPEN, bad_since=NOW - 10.0), "iad": UP}

    judged = judge(records, {"fra": Evidence(), "iad": STALLED}, NOW)

    assert judged.frozen_at == 0.0
    assert judged.records["iad"].state is HealthState.SUSPECT


def test_none_is_judged_until_one_gives_something_again() -> None:
    records = {"fra": UP, "iad": UP}

    still = judge(records, {"fra": DYING, "iad": DYING}, NOW, frozen_at=NOW - 0.5)
    over = judge(records, {"fra": DYING, "iad": WELL}, NOW, frozen_at=NOW - 0.5)

    assert (still.frozen_at, still.records) == (NOW - 0.5, records)
    assert over.frozen_at == 0.0
    assert {record.since for record in over.records.values()} == {NOW}  # what happened before doesn't count


def test_a_node_of_one_origin_is_judged_all_the_same() -> None:
    assert judge({"fra": UP}, {"fra": STALLED}, NOW).records["fra"].state is HealthState.SUSPECT


class Node(RuleBasedStateMachine):
    """Origins that do as they please, judged four times a second."""

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        self.now = NOW
        self.records = {f"o{place}": HealthRecord(since=NOW) for place in range(count)}
        self.frozen_at = 0.0
        self.probing: set[str] = set()

    @rule(data=st.data(), seconds=st.floats(0.0, 40.0))
    def judge(self, data: st.DataObject, seconds: float) -> None:
        self.now += seconds
        evidence = {}
        for name in self.records:
            probes = name in self.probing
            evidence[name] = data.draw(
                st.builds(
                    Evidence,
                    ok=st.integers(0, 100),
                    failed=st.integers(0, 100),
                    throttled=st.integers(0, 1),
                    broken=st.integers(0, 100),
                    broken_streak=st.integers(0, 8),
                    broken_keys=st.integers(0, 8),
                    streak=st.integers(0, 8),
                    dials=st.integers(0, 8),
                    refused=st.integers(0, 8),
                    keys=st.integers(0, 8),
                    waiting=st.lists(st.floats(self.now - 10.0, self.now), max_size=5),
                    succeeded=st.floats(self.now - 60.0, self.now),
                    p95=st.none() | st.floats(0.001, 2.0),
                    passed=st.integers(0, 3) if probes else st.just(0),
                    missed=st.integers(0, 3) if probes else st.just(0),
                    can_probe=st.booleans(),
                )
            )
        before = self.records
        judged = judge(before, evidence, self.now, frozen_at=self.frozen_at)
        self.records, self.frozen_at = dict(judged.records), judged.frozen_at
        for name, events in judged.events.items():
            for event in events:
                assert event.record == self.records[name]
                if event.kind is EventKind.PROBE:
                    self.probing.add(name)
        for name, record in self.records.items():
            if record.is_good:
                self.probing.discard(name)
            if record.state is not before[name].state and not self.frozen_at:
                assert record.since == self.now

    @invariant()
    def every_record_ends(self) -> None:
        """No state but UP lasts for ever, and each says since when and why."""
        for record in self.records.values():
            assert record.since <= self.now
            assert record.why
            if record.state in (HealthState.SUSPECT, HealthState.OPEN, HealthState.TRIAL):
                assert record.until - self.now <= 1.1 * LONGEST_OPEN_SECONDS
            assert (record.state is HealthState.UP) == (record.bad_since == 0.0)

    @invariant()
    def a_sole_origin_is_never_out(self) -> None:
        if len(self.records) == 1:
            (record,) = self.records.values()
            assert record.state in (HealthState.UP, HealthState.SUSPECT)

    @invariant()
    def all_are_never_put_out_at_once(self) -> None:
        bad = [record for record in self.records.values() if not record.is_good]
        if len(bad) == len(self.records) > 1:
            assert max(record.bad_since for record in bad) - min(record.bad_since for record in bad) > 0.0


TestNode = Node.TestCase
TestNode.settings = settings(max_examples=tries(20), stateful_step_count=20, deadline=None)


def test_a_doubt_that_an_own_probe_confirmed_makes_it_suspect_and_probes_decide() -> None:
    doubted = Evidence(is_doubted=True)
    after, events = step(UP, doubted, NOW)

    assert (after.state, after.reason) == (HealthState.SUSPECT, Cause.PROBES_FAILED)
    assert [event.count for event in events if event.kind is EventKind.PROBE] == [PROBES_AT_ONCE]
    assert step(after, Evidence(passed=PROBES_AT_ONCE), NOW + 0.5)[0].state is HealthState.UP
    assert step(replace(UP, times=3), doubted, NOW)[0].state is HealthState.SUSPECT  # never out at once
