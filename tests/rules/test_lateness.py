"""When a body is late: stalls, crawls, and everything that is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.lateness import CRAWL_RATE, CRAWL_SECONDS, LATE_LOOK, Arrival

MUCH = 100 << 20
KIB = 1 << 10


def seen(
    rates: list[float],
    *,
    left: int = MUCH,
    patience: float = 0.5,
    norm: float | None = None,
    held: tuple[int, ...] = (),
) -> list[bool]:
    """Whether a body is late after each second that has brought so many bytes; it isn't read in those `held`."""
    progress, received, late = Arrival(0, 0.0), 0.0, []
    for second, rate in enumerate(rates, 1):
        received += rate
        progress.look(int(received), float(second), is_held=second in held)
        late.append(progress.is_late(left=left, patience=patience, norm=norm))
    return late


@pytest.mark.parametrize(
    ("patience", "after"), [(0.5, 1), (1.0, 1), (2.0, 2), (3.5, 4)], ids=["near", "a second", "unknown", "far"]
)
def test_a_stall_is_late_after_a_second_or_the_time_that_its_origin_may_take(patience: float, after: int) -> None:
    late = seen([1e6, 1e6] + [0.0] * 6, patience=patience)

    assert late.index(True) == 1 + after


def test_while_origins_are_not_judged_nothing_stalls() -> None:
    assert not any(seen([1e6] + [0.0] * 4, patience=float("inf")))


@pytest.mark.parametrize(
    ("rate", "norm", "left", "is_late"),
    [
        (10 * KIB, None, MUCH, True),
        (10 * KIB, 100e6, MUCH, True),
        (CRAWL_RATE + 1, 100e6, MUCH, False),  # slow, but no crawl
        (10 * KIB, 100 * KIB, MUCH, False),  # this origin does no better
        (10 * KIB, 100e6, 50 * KIB, False),  # it is over soon
        (10 * KIB, 100e6, 200 * KIB, True),
    ],
)
def test_a_crawl_is_far_below_the_norm_of_its_origin(
    rate: float, norm: float | None, left: int, is_late: bool
) -> None:
    late = seen([rate] * 8, norm=norm, left=left)

    assert late == [False] * (int(CRAWL_SECONDS) - 1) + [is_late] * (9 - int(CRAWL_SECONDS))


def test_a_slow_reader_is_not_its_origins_fault() -> None:
    assert not any(seen([0.0] * 30, held=tuple(range(1, 31))))
    assert seen([0.0] * 6, held=(1, 2, 3)) == [False, False, False, True, True, True]


def test_a_body_that_has_all_is_never_late() -> None:
    assert not any(seen([0.0] * 9, left=0))


def test_a_blocked_event_loop_is_not_its_origins_fault() -> None:
    progress = Arrival(0, 0.0)
    progress.look(0, LATE_LOOK + 0.1, is_held=False)

    assert not progress.is_late(left=MUCH, patience=0.5, norm=None)
    progress.look(0, LATE_LOOK + 1.2, is_held=False)
    assert progress.is_late(left=MUCH, patience=0.5, norm=None)


def test_the_norm_is_measured_over_some_seconds() -> None:
    progress = Arrival(0, 0.0)

    assert progress.measured(CRAWL_SECONDS - 0.1) is None
    progress.look(500_000, 2.0, is_held=False)
    assert progress.measured(CRAWL_SECONDS) == 500_000 / CRAWL_SECONDS
    assert progress.measured(CRAWL_SECONDS + 1.0) is None


@given(st.lists(st.floats(CRAWL_RATE, 1e9), max_size=40), st.integers(0, MUCH))
def test_what_keeps_coming_well_is_never_late(rates: list[float], left: int) -> None:
    assert not any(seen(rates, left=left))
