"""Moments as people write and read them: a date, or a time of the day. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

EXPECTED = "a time as 18:30, 2026-03-01T06:00 or 2026-03-01T06:00Z"

_time = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])").fullmatch
_LAST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


def moment(text: str, now: float, zone: tzinfo) -> float | None:
    """Epoch seconds of a date with a time (ISO 8601), or of the next such time of the day; None for anything else.

    Without a zone of its own it is of `zone`.
    """
    found = _time(text)
    try:
        if found is not None:
            here = datetime.fromtimestamp(now, UTC).astimezone(zone)
            then = here.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0, tzinfo=None)
            reached = _seconds(then, zone)
            return reached if reached > now else _seconds(then + timedelta(days=1), zone)
        if ":" not in text:  # a day alone has no time
            return None
        seconds = _seconds(datetime.fromisoformat(text), zone)
    except (ValueError, OverflowError):
        return None
    return seconds if 0.0 < seconds < _LAST else None


def shown(seconds: float) -> str:
    """As `2026-03-01T06:00:00Z`: UTC, so that logs of several machines can be compared."""
    return datetime.fromtimestamp(min(seconds, _LAST), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(when: datetime, zone: tzinfo) -> float:
    return (when.replace(tzinfo=zone) if when.tzinfo is None else when).timestamp()
