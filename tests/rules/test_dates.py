"""HTTP dates, RFC 9110 §5.6.7."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.dates import imf_fixdate, parse


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"sun, 06 nov 1994 08:49:37 gmt",  # RFC 9111 §4.2: a cache doesn't mind case
    ],
)
def test_all_three_formats_are_read(value: bytes) -> None:
    assert parse(value) == 784111777


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"-1",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",  # RFC 9111 §4.2: any zone but GMT is invalid
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b" Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 94 08:49:37 GMT",
        b"Sun 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06  Nov  1994 08:49:37 GMT",
        b"Sun, 06-Nov-1994 08:49:37 GMT",
        b"Sunday, 06-Nov-1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08.49.37 GMT",
        b"Sun, 06 Nov 1994 8:49:37 GMT",
        b"Son, 06 Nov 1994 08:49:37 GMT",
        b'"Sun, 06 Nov 1994 08:49:37 GMT"',
        b"784111777",
        b"Sun Nov 6 08:49:37 1994",
        b"1994-11-06T08:49:37Z",
    ],
)
def test_what_is_no_date_is_none(value: bytes) -> None:
    assert parse(value) is None


def test_a_leap_second_is_the_second_after() -> None:
    assert parse(b"Sat, 31 Dec 2016 23:59:60 GMT") == parse(b"Sun, 01 Jan 2017 00:00:00 GMT")


def test_two_digit_years_turn_at_seventy() -> None:
    assert parse(b"Thursday, 01-Jan-70 00:00:00 GMT") == 0
    assert parse(b"Tuesday, 01-Jan-69 00:00:00 GMT") == parse(b"Tue, 01 Jan 2069 00:00:00 GMT")


def test_times_no_date_can_tell_are_moved_to_the_nearer_end() -> None:
    assert imf_fixdate(-5) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert imf_fixdate(1e18) == b"Fri, 31 Dec 9999 23:59:59 GMT"


@given(st.floats(0, 253402300799))
def test_what_is_written_is_read_back_to_the_second_and_agrees_with_the_standard_library(seconds: float) -> None:
    written = imf_fixdate(seconds)

    assert parse(written) == int(seconds)
    assert written.decode() == formatdate(int(seconds), usegmt=True)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_date_or_none(value: bytes) -> None:
    seconds = parse(value)

    assert seconds is None or isinstance(seconds, int)
