"""Days and months as providers bill them: in time zones, some with daylight saving. Pure but for the zones' data,
which `zoneinfo` reads from the system, or from the package tzdata.

Zones are IANA names, as America/Los_Angeles. The ledger counts by hours of UTC, so zones have to be at whole hours
from UTC: each of their days and months is a number of such hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

UTC_NAME = "UTC"
PACIFIC = "America/Los_Angeles"
"""The zone in which Google bills."""

_YEARS = range(2020, 2040)
_MEMORY = 4096  # times of which days and months are remembered: more than a month's hours and two days' minutes


@lru_cache(maxsize=64)
def zone_fault(name: str) -> str | None:
    """The problem with the name of a zone; None if it can be used."""
    try:
        zone = _zone(name)
        starts = [datetime(year, month, 1, tzinfo=zone) for year in _YEARS for month in range(1, 13)]
    except (KeyError, ValueError, OSError):  # unknown, or no name at all, or a directory of zones
        if name == PACIFIC:
            return "there is no data on time zones: install tzdata, the system's package or Python's"
        return zone_fault(PACIFIC) or f"expected a time zone by its IANA name, as UTC or {PACIFIC}"
    if any((start.utcoffset() or timedelta()) % timedelta(hours=1) for start in starts):
        return "expected a time zone at whole hours from UTC, since egress is counted by hours of UTC"
    return None


def day_of(at: float, zone: str) -> date:
    """The day that a time is in."""
    return datetime.fromtimestamp(at, _zone(zone)).date()


@lru_cache(maxsize=_MEMORY)
def day_around(at: float, zone: str) -> tuple[float, float]:
    """The beginning and the end of the day that a time is in, in epoch seconds: 23 to 25 hours."""
    day = day_of(at, zone)
    return _begins(day, zone), _begins(day + timedelta(days=1), zone)


@lru_cache(maxsize=_MEMORY)
def month_around(at: float, zone: str) -> tuple[float, float]:
    """The beginning and the end of the month that a time is in, in epoch seconds."""
    return month_of(at, zone).within(zone)


class Month(NamedTuple):
    """A month of the calendar, in whatever zone. Months are in their order."""

    year: int
    month: int

    def within(self, zone: str) -> tuple[float, float]:
        """Its beginning and its end there, in epoch seconds."""
        later = Month(self.year + self.month // 12, self.month % 12 + 1)
        return _begins(date(*self, 1), zone), _begins(date(*later, 1), zone)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


def month_of(at: float, zone: str) -> Month:
    """The month that a time is in."""
    day = day_of(at, zone)
    return Month(day.year, day.month)


@dataclass(frozen=True, slots=True)
class Zones:
    """The zone of each origin by name, and the `usual` one: of all others, and of bytes that no origin sent."""

    by_origin: Mapping[str, str] = field(default_factory=dict)
    usual: str = UTC_NAME

    def of(self, origin: str) -> str:
        return self.by_origin.get(origin, self.usual)

    def all(self) -> list[str]:
        """Each once, by name."""
        return sorted({self.usual, *self.by_origin.values()})


def zones_by(by_origin: Mapping[str, str]) -> Zones:
    """Zones in which the usual one is that of all origins, if they have only one; else it is UTC."""
    zones = set(by_origin.values())
    return Zones(by_origin, zones.pop() if len(zones) == 1 else UTC_NAME)


def running_month(zones: Iterable[str], now: float) -> Month:
    """The month that isn't over yet in one of these zones at least, the earliest such."""
    return min([month_of(now, zone) for zone in zones])


def _begins(day: date, zone: str) -> float:
    # Where clocks are put forward at midnight, or back to it, this is when they are, or the first of both midnights.
    return datetime(day.year, day.month, day.day, tzinfo=_zone(zone)).timestamp()


def _zone(name: str) -> tzinfo:
    # Days of UTC need no data.
    return UTC if name == UTC_NAME else ZoneInfo(name)
