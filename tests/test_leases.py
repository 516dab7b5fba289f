"""Limits and leases in memory that workers share."""

from __future__ import annotations

import math

import pytest

from shield.leases import GateReport, Leases
from shield.records import SILENT_SECONDS, private
from shield.rules.throttling import START, FetchLimit, Lease

NOW = 1000.0
REPORT = GateReport(used=5, wanted=7, busiest=4, refused=2, paused_until=NOW + 9.0)


@pytest.mark.parametrize(
    "limit",
    [
        FetchLimit(),
        FetchLimit(12.5, was_refused=True, cut_at=NOW, grown_at=NOW - 3.0, closed_until=NOW + 60.0),
    ],
)
def test_what_the_conductor_publishes_all_workers_read(limit: FetchLimit) -> None:
    records = private(2)
    one, other = (Leases(records.of(number, b"fra", b"fra")) for number in range(2))
    assert other.limit == FetchLimit(START)
    assert (one.granted, other.granted) == (None, None) and other.first == START // 2

    one.publish(limit)
    one.grant((3, 4))

    assert other.limit == limit and other.closed_until == limit.closed_until
    assert (one.granted, other.granted) == (3, 4)


def test_each_origin_has_its_own() -> None:
    records = private(2)
    fra, iad = (Leases(records.of(0, name, name)) for name in (b"fra", b"iad"))
    fra.publish(FetchLimit(5.0))
    fra.grant((1, 2))
    fra.report(REPORT)

    assert iad.limit == FetchLimit(START) and iad.granted is None
    records.beat(0, NOW, is_late=False)
    assert iad.held(NOW)[0] == (Lease(0, 0, 0), GateReport(0, 0, 0, 0, -math.inf))


def test_reports_count_as_long_as_their_worker_lives() -> None:
    records = private(2)
    one, other = (Leases(records.of(number, b"fra", b"fra")) for number in range(2))
    one.grant((6, 7))
    other.report(REPORT)
    records.beat(1, NOW, is_late=False)

    awaited, living = one.held(NOW)
    assert awaited == (Lease(6, 0, 0), None)  # it hasn't come yet
    assert living == (Lease(7, 5, 7), REPORT)
    assert one.held(NOW + SILENT_SECONDS)[1] == (Lease(7, wanted=None), None)


def test_a_worker_after_a_dead_one_begins_without_a_lease() -> None:
    records = private(2)
    one = Leases(records.of(0, b"fra", b"fra"))
    one.grant((6, 7))
    one.grant((6, None))

    assert Leases(records.of(1, b"fra", b"fra")).granted is None
