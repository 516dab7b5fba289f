"""HTTP dates (RFC 9110 §5.6.7) to epoch seconds and back, without a clock."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH_NUMBERS = {name.lower(): number for number, name in enumerate(MONTHS, 1)}

_EPOCH = date(1970, 1, 1).toordinal()
_LAST = 253402300799  # 9999-12-31 23:59:59: a year has four digits
LONGEST: Final = 40
"""Bytes of a value that may be a date. An rfc850-date with "Wednesday" has 33; nothing longer is cached."""

_TIME = rb"(?P<hour>[01]\d|2[0-3]):(?P<minute>[0-5]\d):(?P<second>[0-5]\d|60)"
_MONTH = rb"(?P<month>" + b"|".join(MONTHS) + rb")"
_FORMATS = tuple(
    # Caches ignore case, and any zone other than GMT makes a date invalid (RFC 9111 §4.2).
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>\d\d) " + _MONTH + rb" (?P<year>\d{4}) " + _TIME + b" GMT",
        rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>\d\d)-"
        + _MONTH
        + rb"-(?P<year>\d\d) "
        + _TIME
        + b" GMT",
        rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) " + _MONTH + rb" (?P<day>\d\d| \d) " + _TIME + rb" (?P<year>\d{4})",
    )
)


def parse(value: bytes) -> int | None:
    """Epoch seconds of an IMF-fixdate, rfc850-date or asctime-date; None for anything else.

    A wrong day of the week is ignored. Two-digit years from 70 on are in the 20th century: RFC 9110 puts the pivot
    fifty years from now, but that takes a clock, and the format has been obsolete since 1995.
    """
    return epoch_of(value) if len(value) <= LONGEST else None


@lru_cache(maxsize=1024)
def epoch_of(value: bytes) -> int | None:
    """`parse` of at most `LONGEST` bytes: remembers the last values, each of which fills a second of responses."""
    for format_ in _FORMATS:
        if match := format_.fullmatch(value):
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        year += 1900 if year >= 70 else 2000
    try:
        day = date(year, _MONTH_NUMBERS[match["month"].lower()], int(match["day"]))
    except ValueError:
        return None
    seconds = int(match["hour"]) * 3600 + int(match["minute"]) * 60 + int(match["second"])
    return (day.toordinal() - _EPOCH) * 86400 + seconds


def imf_fixdate(seconds: float) -> bytes:
    """Epoch seconds as an IMF-fixdate (RFC 9110 §5.6.7); fractions are dropped.

    Times outside the years 1970 to 9999 become the nearer end of that range.
    """
    return _imf_fixdate(int(min(max(seconds, 0), _LAST)))


@lru_cache(maxsize=1024)
def _imf_fixdate(seconds: int) -> bytes:
    days, rest = divmod(seconds, 86400)
    hour, rest = divmod(rest, 3600)
    day = date.fromordinal(_EPOCH + days)
    return b"%s, %02d %s %04d %02d:%02d:%02d GMT" % (
        _DAYS[day.weekday()],
        day.day,
        MONTHS[day.month - 1],
        day.year,
        hour,
        rest // 60,
        rest % 60,
    )
