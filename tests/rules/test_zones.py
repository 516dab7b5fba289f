"""Days and months of zones: whole hours of UTC that follow each other without a gap, also with daylight saving."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.zones import (
    PACIFIC,
    Month,
    Zones,
    day_around,
    day_of,
    month_around,
    month_of,
    running_month,
    zone_fault,
    zones_by,
)

HOUR = 3600.0


def at(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("moment", "zone", "start", "hours"),
    [
        (at(2026, 11, 1, 12), PACIFIC, at(2026, 11, 1, 7), 25),  # daylight saving ends
        (at(2026, 3, 8, 12), PACIFIC, at(2026, 3, 8, 8), 23),  # and begins
        (at(2026, 3, 29, 12), "Europe/Berlin", at(2026, 3, 28, 23), 23),
        (at(2026, 9, 6, 12), "America/Santiago", at(2026, 9, 6, 4), 23),  # clocks go from 24:00 to 1:00
        (at(2026, 11, 1, 12), "America/Havana", at(2026, 11, 1, 4), 25),  # and from 1:00 back to 0:00
        (at(2026, 3, 8, 12), "UTC", at(2026, 3, 8), 24),
    ],
)
def test_a_day_has_the_hours_that_its_clocks_say(moment: float, zone: str, start: float, hours: int) -> None:
    assert day_around(moment, zone) == (start, start + hours * HOUR)


_ZONES = st.sampled_from(
    ["UTC", PACIFIC, "Europe/Berlin", "America/Santiago", "America/Havana", "Asia/Shanghai", "Africa/Casablanca"]
)


@given(moment=st.integers(int(at(2024, 1, 1)), int(at(2036, 1, 1))), zone=_ZONES)
def test_days_and_months_follow_each_other_by_whole_hours(moment: int, zone: str) -> None:
    for around in (day_around, month_around):
        start, stop = around(moment, zone)
        assert start <= moment < stop and start % HOUR == stop % HOUR == 0
        assert around(start, zone) == around(stop - 1, zone) == (start, stop)
        assert around(stop, zone)[0] == stop
    first, end = day_around(moment, zone)
    assert end - first in (23 * HOUR, 24 * HOUR, 25 * HOUR)
    assert day_of(moment, zone) == datetime.fromtimestamp(moment, ZoneInfo(zone)).date()
    # A month begins and ends with one of its days.
    start, stop = month_around(moment, zone)
    assert day_around(start, zone)[0] == start and day_around(stop - 1, zone)[1] == stop
    assert month_of(moment, zone).within(zone) == (start, stop)


def test_a_month_is_of_the_calendar_and_is_elsewhere_at_another_time() -> None:
    month = month_of(at(2026, 12, 1, 7), PACIFIC)

    assert month == Month(2026, 11) and str(month) == "2026-11"
    assert month.within(PACIFIC) == (at(2026, 11, 1, 7), at(2026, 12, 1, 8))
    assert month.within("UTC") == (at(2026, 11, 1), at(2026, 12, 1))
    assert Month(2026, 12).within("UTC")[1] == at(2027, 1, 1)
    assert day_of(at(2026, 12, 1, 7), PACIFIC) == date(2026, 11, 30)


def test_the_month_that_runs_is_the_one_that_isnt_over_everywhere() -> None:
    assert running_month([PACIFIC, "UTC"], at(2026, 12, 1, 7)) == Month(2026, 11)
    assert running_month([PACIFIC, "UTC"], at(2026, 12, 1, 8)) == Month(2026, 12)


@pytest.mark.parametrize("name", ["UTC", PACIFIC, "Etc/GMT+8", "Africa/Casablanca"])
def test_zones_at_whole_hours_can_be_used(name: str) -> None:
    assert zone_fault(name) is None


@pytest.mark.parametrize("name", ["Asia/Kolkata", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_others_cant_not_even_if_they_are_for_half_of_the_year(name: str) -> None:
    assert zone_fault(name) == (
        "expected a time zone at whole hours from UTC, since egress is counted by hours of UTC"
    )


@pytest.mark.parametrize("name", ["Pacific", "", "America", "/etc/passwd", "../UTC", "PST8PDT\0", "UTC+8"])
def test_what_is_no_zone_is_told_how_one_looks(name: str) -> None:
    assert zone_fault(name) == "expected a time zone by its IANA name, as UTC or America/Los_Angeles"


def test_without_any_data_on_zones_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr("shield.rules.zones.ZoneInfo", unknown)
    zone_fault.cache_clear()
    try:
        assert (
            zone_fault("Asia/Shanghai")
            == zone_fault(PACIFIC)
            == ("there is no data on time zones: install tzdata, the system's package or Python's")
        )
        assert zone_fault("UTC") is None
    finally:
        zone_fault.cache_clear()


def test_others_are_in_the_zone_that_all_have_in_common_else_in_utc() -> None:
    alike = zones_by({"a": PACIFIC, "b": PACIFIC})
    assert alike.of("c") == alike.of("") == PACIFIC and alike.all() == [PACIFIC]
    mixed = zones_by({"a": PACIFIC, "b": "Asia/Shanghai"})
    assert mixed.of("c") == "UTC" and mixed.all() == [PACIFIC, "Asia/Shanghai", "UTC"]
    assert zones_by({}) == Zones({}, "UTC")
