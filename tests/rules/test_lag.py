"""Objects that are sought at copies: when, for how long, and what counts as found."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import ResponseHead
from shield.rules.changes import UNSTATED_LAG_SECONDS
from shield.rules.dates import imf_fixdate
from shield.rules.lag import Sought, lags, sought
from shield.rules.ranking import OriginFacts

NOW = 1_750_000_000.0


def head(etag: str | None = None, modified: float | None = None) -> ResponseHead:
    fields = [] if etag is None else [(b"etag", etag.encode())]
    if modified is not None:
        fields.append((b"last-modified", imf_fixdate(modified)))
    return ResponseHead(200, tuple(fields), 3)


def made(etag: str | None = None, modified: float | None = None, since: float | None = None) -> Sought:
    return sought(b"/a", b"", head(etag, modified), since, NOW, is_missing=False)


@pytest.mark.parametrize(
    ("there", "here", "come"),
    [
        (head('"v"'), head('"v"'), True),
        (head('"v"'), head('W/"v"'), True),
        (head('"v"'), head('"w"'), False),
        (head('"v"', NOW - 50), head('"w"', NOW - 60), False),
        (head('"v"', NOW - 50), head('"w"', NOW - 50), True),  # another storage, another tag
        (head('"v"', NOW - 50), head('"w"', NOW - 10), True),
        (head('"v"', NOW - 50), head('"w"'), False),
        (head(), head('"w"'), True),
    ],
)
def test_a_version_has_come_if_it_is_the_same_or_later(there: ResponseHead, here: ResponseHead, come: bool) -> None:
    assert sought(b"/a", b"", there, None, NOW, is_missing=False).has_come(here) is come


@pytest.mark.parametrize(
    ("modified", "since", "began"),
    [
        (None, None, NOW),
        (NOW - 50, None, NOW - 50),
        (NOW + 50, None, NOW),  # its clock is wrong
        (NOW - 86401, None, NOW),
        (NOW - 50, NOW - 5, NOW - 5),
    ],
)
def test_it_is_as_old_as_its_announcement_or_its_date(
    modified: float | None, since: float | None, began: float
) -> None:
    assert made('"v"', modified, since).since == began


def test_the_primary_still_has_it_if_it_says_the_same() -> None:
    one = made('"v"', NOW - 50)

    assert one.is_of(head('"v"', NOW - 50))
    assert not one.is_of(head('"w"', NOW - 50)) and not one.is_of(head('"v"', NOW - 40))


def test_looks_become_rarer_and_end_after_a_day() -> None:
    one, now, times = made('"v"'), NOW, []
    while True:
        now = one.due
        times.append(now)
        if not one.missed(now):
            break

    waits = [b - a for a, b in pairwise(times)]
    assert waits[:6] == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0] and set(waits[6:]) == {60.0}
    assert 86400.0 <= now - NOW < 86400.0 + 60.0


@given(behind=st.floats(0, 1e6), most=st.none() | st.floats(0, 1e6))
def test_a_copy_lags_beyond_what_it_may(behind: float, most: float | None) -> None:
    facts = OriginFacts("iad", copy_of="fra", max_lag=most)

    assert lags(facts, behind) is (behind > (UNSTATED_LAG_SECONDS if most is None else most))
