"""When credentials are obtained again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.key_renewal import LEAST_SECONDS, LONGEST_RETRY, SPREAD, next_in


@pytest.mark.parametrize(
    ("expires", "failures", "seconds"),
    [
        (None, 0, 300.0),  # as set
        (1000.0 + 3600.0, 0, 2700.0),  # 15 minutes ahead
        (1000.0 + 1000.0, 0, 500.0),  # half of a short lifetime
        (1000.0 - 50.0, 0, LEAST_SECONDS),  # expired already
        (1000.0 + 3600.0, 1, 5.0),
        (None, 3, 20.0),
        (None, 30, LONGEST_RETRY),
    ],
)
def test_the_wait(expires: float | None, failures: int, seconds: float) -> None:
    assert next_in(1000.0, expires=expires, refresh=300.0, failures=failures, chance=0.0) == seconds


@given(
    st.none() | st.floats(-1e6, 1e6),
    st.floats(5.0, 1e5),
    st.integers(0, 1000),
    st.floats(0.0, 1.0),
)
def test_it_is_never_too_short_and_never_after_the_expiry(
    left: float | None, refresh: float, failures: int, chance: float
) -> None:
    expires = None if left is None else 1e9 + left
    wait = next_in(1e9, expires=expires, refresh=refresh, failures=failures, chance=chance)
    latest = next_in(1e9, expires=expires, refresh=refresh, failures=failures, chance=0.0)

    assert LEAST_SECONDS <= wait <= latest
    assert wait >= latest * (1.0 - SPREAD) - 1e-9
    if left is not None and not failures:
        assert wait <= max(LEAST_SECONDS, left)
