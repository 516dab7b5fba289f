"""Times of origins in memory that workers share: which responses count where, and for how long."""

from __future__ import annotations

import pytest

from shield.records import Seen, private
from shield.rules.distance import LEAST_BODIES
from shield.rules.latency import LEAST_SAMPLES
from shield.rules.ranking import SIZE_CLASSES
from shield.timings import BODY_BYTES, FRESH_SECONDS, PROBED

NOW = 10_200.0  # the beginning of a span of five minutes
MIB = 1 << 20


def two() -> tuple[Seen, Seen]:
    """An origin as two workers see it."""
    records = private(2)
    return records.of(0, b"fra"), records.of(1, b"fra")


def first_bytes(seen: Seen) -> list[float]:
    return [round(each.first_byte, 3) for each in seen.timings.timings()]


def test_first_bytes_of_all_workers_count_in_their_size_class() -> None:
    one, other = two()
    for _ in range(LEAST_SAMPLES // 2):
        for seen in (one, other):
            seen.timings.came(NOW, 0.045, 1000)
            seen.timings.came(NOW, 0.181, 4 * MIB)
    one.timings.measure(NOW)

    assert first_bytes(other) == pytest.approx([0.038, 0.0, 0.152, 0.0], abs=0.001)
    assert not any(each.is_probed or each.excess_at for each in other.timings.timings())


def test_probes_count_for_all_size_classes_and_only_where_there_are_no_fetches() -> None:
    one, other = two()
    for _ in range(LEAST_SAMPLES):
        one.timings.came(NOW, 0.045, 1000)
        other.timings.came(NOW, 0.011, 4096 if _ % 2 else BODY_BYTES, PROBED)
    p95, samples = one.timings.measure(NOW)

    found = other.timings.timings()
    assert [each.is_probed for each in found] == [False, True, True, True]
    assert found[0].excess == pytest.approx(found[0].first_byte - found[1].first_byte)
    assert found[0].excess_at == NOW and not found[1].excess_at
    assert p95 == pytest.approx(0.045, abs=0.001), "of all"
    assert samples == 2 * LEAST_SAMPLES


def test_an_origin_that_gets_no_more_fetches_is_measured_by_its_probes() -> None:
    one, _ = two()
    for _ in range(LEAST_SAMPLES):
        one.timings.came(NOW, 0.2, 1000)
        one.timings.came(NOW, 0.011, 4096, PROBED)
    one.timings.measure(NOW)
    one.timings.measure(NOW + FRESH_SECONDS - 1.0)
    assert not one.timings.timing(0).is_probed

    one.timings.measure(NOW + FRESH_SECONDS)
    assert one.timings.timing(0).is_probed and one.timings.timing(0).excess_at == NOW + FRESH_SECONDS - 1.0
    one.timings.came(NOW + FRESH_SECONDS, 0.2, 1000)
    one.timings.measure(NOW + FRESH_SECONDS)
    assert not one.timings.timing(0).is_probed


def test_measurements_are_of_the_last_two_spans_of_five_minutes_and_stay_while_there_are_too_few() -> None:
    one, _ = two()
    for _ in range(LEAST_SAMPLES):
        one.timings.came(NOW, 0.045)
    one.timings.measure(NOW + 599.0)
    before = first_bytes(one)
    for _ in range(LEAST_SAMPLES - 1):
        one.timings.came(NOW + 600.0, 2.0)
    assert one.timings.measure(NOW + 600.0) == (None, LEAST_SAMPLES - 1)
    assert first_bytes(one) == before != [0.0] * SIZE_CLASSES

    one.timings.came(NOW + 600.0, 2.0)
    one.timings.measure(NOW + 600.0)
    assert one.timings.timing(0).first_byte > 1.0


def test_goodput_is_bytes_by_seconds_of_enough_bodies_of_the_size_class() -> None:
    one, other = two()
    for at in range(LEAST_BODIES):
        one.timings.measure(NOW)
        assert other.timings.timing(2).goodput == 0.0
        seen = one if at % 2 else other
        seen.timings.came(NOW, 0.04, 4 * MIB)
        seen.timings.carried(NOW, 4 * MIB, 0.5)
    one.timings.measure(NOW)

    assert [each.goodput for each in other.timings.timings()] == [0.0, 0.0, 8.0 * MIB, 0.0]
    for _ in range(LEAST_BODIES):
        one.timings.came(NOW, 0.04, BODY_BYTES, PROBED)
        one.timings.carried(NOW, BODY_BYTES, 0.25, PROBED)
    one.timings.measure(NOW)
    assert other.timings.timing(1).goodput == MIB


def test_a_body_of_which_nothing_came_in_its_span_is_not_counted() -> None:
    one, _ = two()
    for _ in range(2 * LEAST_BODIES):
        one.timings.carried(NOW, 4 * MIB, 0.5)
    one.timings.measure(NOW)

    assert one.timings.timing(2).goodput == 0.0


def test_throttling_costs_something_for_some_time() -> None:
    one, other = two()
    one.timings.measure(NOW, throttled=0.25)
    assert other.timings.penalty == pytest.approx(1.0)

    other.timings.measure(NOW + 10.0)
    assert one.timings.penalty == pytest.approx(1.0 / 2.718281828)
    other.timings.measure(NOW + 100.0)
    assert one.timings.penalty == 0.0
