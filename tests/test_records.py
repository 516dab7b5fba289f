"""What workers tell each other of origins: each writes its own row, all read all, and dead ones don't count."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import pytest

from shield.records import LATE_SECONDS, PLACES, SILENT_SECONDS, SLOTS, Came, Records, Seen, private, size_for
from shield.rules.health import Cause, Flag, HealthRecord, HealthState
from shield.shared import Shared

NOW = 10_000.0


def two(records: Records | None = None) -> tuple[Records, Seen, Seen]:
    """An origin as two workers see it, both alive."""
    records = records or private(2)
    for worker in (0, 1):
        records.beat(worker, NOW, is_late=False)
    return records, records.of(0, b"fra"), records.of(1, b"fra")


def test_all_workers_fetches_count_together() -> None:
    _, one, other = two()
    one.succeeded(Came.OK, NOW + 1, 0.02)
    other.succeeded(Came.ABSENT, NOW + 1, 0.02)
    other.failed(Came.FAILED, NOW + 2, b"/a")
    one.failed(Came.DIALLED, NOW + 3, b"/b")
    one.failed(Came.AUTH, NOW + 3, b"/b")
    one.failed(Came.THROTTLED, NOW + 3, b"/c")

    seen = other.evidence(NOW, NOW + 4)

    assert (seen.ok, seen.failed, seen.throttled) == (2, 3, 1)
    assert (seen.streak, seen.dials, seen.refused, seen.keys) == (3, 1, 1, 2)
    assert seen.succeeded == NOW + 1
    assert one.evidence(NOW, NOW + 4) == seen


def test_counts_are_of_ten_seconds_and_of_the_time_since_the_last_change() -> None:
    _, one, _ = two()
    for second in range(30):
        one.succeeded(Came.OK, NOW + second, 0.02)

    assert one.evidence(0.0, NOW + 29.5).ok == 10
    assert one.evidence(NOW + 25.5, NOW + 29.5).ok == 4
    assert one.evidence(0.0, NOW + 60.0).ok == 0


def test_a_success_of_any_worker_ends_a_streak() -> None:
    _, one, other = two()
    for second in range(20):
        one.failed(Came.FAILED, NOW + second, b"/%d" % second)

    assert one.evidence(NOW - 1, NOW + 20).streak == 16  # as many as are remembered
    assert one.evidence(NOW + 15.5, NOW + 20).streak == 4
    other.succeeded(Came.OK, NOW + 17.5, 0.1)
    assert one.evidence(NOW - 1, NOW + 20).streak == 2


def test_fetches_wait_from_when_they_were_sent_until_they_end() -> None:
    records, one, other = two()
    first, second = one.begin(NOW + 1), other.begin(NOW + 2)
    one.begin(NOW + 3, slot=first)

    assert sorted(one.evidence(0.0, NOW).waiting) == [NOW + 2, NOW + 3]
    one.end(first)
    assert list(one.evidence(0.0, NOW).waiting) == [NOW + 2]
    assert one.evidence(NOW + 2.5, NOW).waiting == []
    other.end(second)
    assert one.evidence(0.0, NOW).waiting == []
    assert records.row(1, 0)[1][-1] == 0.0


def test_more_fetches_than_there_are_slots_are_not_known_and_end_all_the_same() -> None:
    _, one, _ = two()

    for _ in range(3):
        slots = [one.begin(NOW) for _ in range(SLOTS + 5)]
        assert len(one.evidence(0.0, NOW).waiting) == SLOTS
        for slot in slots:
            one.end(slot)
    assert one.evidence(0.0, NOW).waiting == []


def test_a_worker_that_is_silent_says_nothing_of_what_waits() -> None:
    records, one, other = two()
    other.begin(NOW)
    records.beat(0, NOW + SILENT_SECONDS, is_late=False)

    assert one.evidence(0.0, NOW + SILENT_SECONDS).waiting == []


def test_what_a_worker_had_no_time_to_read_does_not_count_as_unanswered() -> None:
    records, one, other = two()
    other.begin(NOW)
    records.beat(1, NOW + 0.5 + LATE_SECONDS, is_late=True)
    records.beat(1, NOW + 0.9, is_late=False)

    assert list(one.evidence(0.0, NOW + 1.0).waiting) == [NOW + 0.5 + LATE_SECONDS]


def test_the_lowest_worker_that_is_alive_conducts() -> None:
    records, _, _ = two(private(3))

    assert records.conductor(NOW) == 0
    records.beat(1, NOW + 0.9, is_late=False)
    assert records.conductor(NOW + SILENT_SECONDS) == 1
    assert records.conductor(NOW + 9.0) is None


def test_first_bytes_of_all_workers_make_a_percentile_which_stays_when_there_are_few() -> None:
    _, one, other = two()
    for _ in range(100):
        one.succeeded(Came.OK, NOW, 0.04)
        other.succeeded(Came.OK, NOW + 300, 0.04)
    other.measure(NOW + 300)
    assert one.p95 == pytest.approx(0.045, abs=0.001)
    assert one.patience == 0.5

    for _ in range(8):  # a twentieth of the last 100, but not of all 200
        other.succeeded(Came.OK, NOW + 600, 0.4)
    one.measure(NOW + 600)
    assert one.p95 is not None and one.p95 > 0.4  # those before the last two spans of five minutes are gone
    one.measure(NOW + 10_000)
    assert one.p95 > 0.4


def test_no_origin_is_tried_beside_another_while_the_fault_is_our_own() -> None:
    records, one, other = two()
    records.frozen_at = NOW

    assert one.patience == other.patience == math.inf


def test_a_record_is_the_same_for_all() -> None:
    _, one, other = two()
    record = HealthRecord(HealthState.TRIAL, 1.5, 2.5, 0.5, 7, Flag.AUTH | Flag.THROTTLED, Cause.STALL, 12, 0.4)

    one.publish(record)

    assert other.record() == record
    assert not other.is_up


def test_any_worker_may_raise_a_suspicion_until_the_conductor_has_judged_it() -> None:
    _, one, other = two()
    one.publish(replace(HealthRecord(), since=NOW))
    assert other.is_up

    one.suspect(NOW + 1)

    assert not other.is_up and other.is_raised
    assert other.treated().state is HealthState.SUSPECT
    assert other.record().state is HealthState.UP
    one.publish(other.record())
    assert other.is_up and other.treated().state is HealthState.UP


def test_a_worker_in_another_s_place_begins_anew_and_the_record_stays() -> None:
    records, one, other = two()
    one.publish(replace(HealthRecord(), state=HealthState.OPEN))
    other.begin(NOW)
    other.failed(Came.FAILED, NOW, b"/a")

    again = records.of(1, b"fra")

    assert one.evidence(0.0, NOW).waiting == []
    assert again.evidence(0.0, NOW).failed == 0
    assert again.record().state is HealthState.OPEN


def test_places_of_origins_that_are_gone_are_free_for_others() -> None:
    records = private()
    for number in range(PLACES):
        records.of(0, b"%d" % number).publish(replace(HealthRecord(), state=HealthState.OPEN))

    beyond = records.of(0, b"one more")
    beyond.publish(replace(HealthRecord(), state=HealthState.OPEN))
    records.free([b"%d" % number for number in range(PLACES - 1)])
    fresh = records.of(0, b"another")

    assert fresh.is_up
    assert not records.of(0, b"3").is_up
    fresh.publish(replace(HealthRecord(), state=HealthState.OPEN))
    assert not records.of(0, b"another").is_up


def test_what_has_no_place_is_never_suspect_since_nobody_would_judge_it() -> None:
    records = private()
    for number in range(PLACES):
        records.of(0, b"%d" % number)
    beyond, last = records.of(0, b"one more"), records.of(0, b"31")

    for seen in (beyond, last):
        seen.suspect(NOW)

    assert (beyond.is_up, last.is_up) == (True, False)
    assert beyond.treated().state is HealthState.UP
    assert (beyond.is_judged, last.is_judged) == (False, True)


def test_it_works_across_processes() -> None:
    shared = Shared(workers=2, slots=1 << 10, log_bytes=1 << 10)
    try:
        mine = shared.records.of(0, b"fra")
        pid = os.fork()
        if pid == 0:
            theirs = shared.records.of(1, b"fra")
            shared.records.beat(1, NOW, is_late=False)
            theirs.begin(NOW)
            theirs.failed(Came.FAILED, NOW, b"/a")
            theirs.suspect(NOW)
            os._exit(0)
        os.waitpid(pid, 0)

        seen = mine.evidence(0.0, NOW)
        assert (seen.failed, list(seen.waiting), mine.is_up) == (1, [NOW], False)
        assert shared.publish([b"key"]) == (0, 11)  # its own memory is elsewhere
        assert mine.record() == HealthRecord()
    finally:
        shared.close()


def test_more_workers_than_before_find_the_same_records() -> None:
    memory = memoryview(bytearray(size_for(4)))
    one = Records(memory, workers=1, room=4).of(0, b"fra")
    one.begin(NOW)
    one.publish(replace(HealthRecord(), state=HealthState.OPEN))

    more = Records(memory, workers=4, room=4)
    more.beat(0, NOW, is_late=False)
    other = more.of(3, b"fra")

    assert other.record().state is HealthState.OPEN
    assert list(other.evidence(0.0, NOW).waiting) == [NOW]


def test_it_takes_no_more_memory_than_it_says() -> None:
    assert size_for(256) < 64 << 20  # untouched pages take none


def test_a_drain_holds_for_all_workers_at_once_whatever_is_published() -> None:
    _, one, other = two()
    one.drain.set(math.inf)

    assert other.is_held and not other.is_up
    assert other.treated().flags is Flag.DRAINED
    one.publish(HealthRecord(HealthState.UP, since=NOW))
    assert other.is_held and not other.is_up
    other.drain.set(0.0)
    assert one.is_up and not one.is_held


def test_a_flag_that_is_published_holds_it_back_without_a_drain() -> None:
    _, one, other = two()
    one.publish(HealthRecord(HealthState.UP, since=NOW, flags=Flag.CORRUPT))

    assert other.is_held and not other.is_up and not other.drain.until
    one.publish(HealthRecord(HealthState.UP, since=NOW, flags=Flag.THROTTLED | Flag.AUTH))
    assert other.is_up and not other.is_held


def test_a_drain_is_of_a_name_until_it_ends_or_no_origin_has_it() -> None:
    records = private(1)
    records.of(0, b"fra here", b"fra").drain.set(NOW)
    assert records.of(0, b"fra there", b"fra").drain.until == NOW

    records.free([b"fra there", b"iad"], [b"fra", b"iad"])
    moved = records.of(0, b"fra elsewhere", b"fra")
    assert moved.drain.until == NOW
    moved.drain.expire(NOW - 1.0)
    assert moved.is_held
    moved.drain.expire(NOW)
    assert not moved.is_held
    moved.drain.set(NOW)
    records.free([b"iad"], [b"iad"])
    assert not records.of(0, b"fra elsewhere", b"fra").is_held


def test_a_drain_can_be_there_before_its_origin() -> None:
    records = private(1)
    records.drain(b"fra", math.inf)

    assert records.of(0, b"fra here", b"fra").is_held
    assert not records.of(0, b"iad here", b"iad").is_held


def test_with_too_many_origins_one_without_a_place_is_drained_in_its_worker() -> None:
    records = private(1)
    for number in range(PLACES):
        records.of(0, b"%d" % number)
    seen = records.of(0, b"one more")
    seen.drain.set(math.inf)

    assert seen.is_held and not seen.is_up and seen.treated().flags is Flag.DRAINED


def test_bodies_that_break_off_count_until_a_whole_one_of_any_worker() -> None:
    _, one, other = two()
    for second in range(6):
        one.succeeded(Came.OK, NOW + second, 0.02)
        one.failed(Came.BROKEN, NOW + second + 0.5, b"/%d" % (second // 2))

    seen = other.evidence(NOW, NOW + 6)
    assert (seen.ok, seen.broken, seen.broken_streak, seen.broken_keys) == (6, 6, 6, 3)
    assert (seen.failed, seen.streak, seen.keys) == (0, 0, 0)

    other.whole(NOW + 3.7)
    seen = one.evidence(NOW, NOW + 6)
    assert (seen.broken_streak, seen.broken_keys) == (2, 1)
    assert one.evidence(NOW + 5.5, NOW + 6).broken_streak == 0


def test_drains_of_origins_that_are_gone_keep_none_from_being_judged() -> None:
    records = private(1)
    for number in range(PLACES):
        records.drain(b"gone %d" % number, math.inf)

    seen = records.of(0, b"fra")

    assert seen.is_judged and not seen.is_held
    seen.drain.set(math.inf)
    assert seen.is_held
