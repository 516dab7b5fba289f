"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.moments import moment, shown

BERLIN = timezone(timedelta(hours=1))
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18:30", "2026-03-01T17:30:00Z"),
        ("6:05", "2026-03-02T05:05:00Z"),  # the next one
        ("12:00", "2026-03-02T11:00:00Z"),
        ("2026-03-01T18:30", "2026-03-01T17:30:00Z"),
        ("2026-03-01 18:30:15", "2026-03-01T17:30:15Z"),
        ("2026-03-01T18:30Z", "2026-03-01T18:30:00Z"),
        ("2026-03-01T18:30+02:00", "2026-03-01T16:30:00Z"),
    ],
)
def test_a_time_is_of_its_own_zone_or_of_the_writer_s(text: str, expected: str) -> None:
    found = moment(text, NOON, BERLIN)

    assert found is not None and shown(found) == expected


@pytest.mark.parametrize("text", ["", "soon", "24:00", "12:60", "1830", "2026-03-01", "2026-13-01T00:00", "1:2:3:4"])
def test_anything_else_is_no_time(text: str) -> None:
    assert moment(text, NOON, BERLIN) is None


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    found = moment(text, NOON, UTC)

    assert found is None or shown(found)


@given(st.integers(0, 23), st.integers(0, 59))
def test_a_time_of_the_day_is_within_the_next_day(hour: int, minute: int) -> None:
    found = moment(f"{hour:02}:{minute:02}", NOON, BERLIN)

    assert found is not None and NOON < found <= NOON + 86400.0
    assert datetime.fromtimestamp(found, BERLIN).hour == hour


@given(st.integers(1, 4_000_000_000))
def test_what_is_shown_can_be_read(seconds: int) -> None:
    assert moment(shown(seconds), NOON, BERLIN) == seconds
