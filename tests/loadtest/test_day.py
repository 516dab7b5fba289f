"""The parts of the made-up day: its traffic, and the clock that its processes share."""

from __future__ import annotations

from pathlib import Path

from loadtest.day.clock import TrafficClock
from loadtest.day.traffic import MINUTES, MadeDay, flood


def test_a_day_is_the_same_each_time_and_has_as_many_requests_as_wanted() -> None:
    one, other = MadeDay(3000, 200), MadeDay(3000, 200)

    day = [one.minute(minute) for minute in range(MINUTES)]

    assert [other.minute(minute) for minute in range(MINUTES)] == day
    assert 2990 <= sum(map(len, day)) <= 3000
    targets = [each.target for minute in day for each in minute]
    assert 260 < len(set(targets)) < 600  # new ones come all day
    assert {"HEAD", "GET"} == {each.method for minute in day for each in minute}
    evening, night = (sum(map(len, day[hour * 60 : (hour + 4) * 60])) for hour in (14, 1))
    assert evening > 2 * night > 0


def test_queries_of_a_flood_never_come_again() -> None:
    targets = [each.target for minute in range(3) for each in flood(minute, 50)]

    assert len(set(targets)) == 150 and len({target.partition("?")[0] for target in targets}) == 1


def test_all_who_have_the_clock_see_the_same_time(tmp_path: Path) -> None:
    made = TrafficClock.made(tmp_path / "clock", 5.0)
    other = TrafficClock(tmp_path / "clock")

    made.set(65.5)

    assert other() == made() == 65.5
