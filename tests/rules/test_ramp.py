"""A new origin's share of keys, step by step."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shield.rules.ramp import (
    LEAST_COMPARED,
    LEAST_FETCHES,
    LEAST_SECONDS,
    STEPS,
    Ramp,
    RampEnd,
    RampSample,
    RampStatus,
    is_in_cohort,
    worse_by,
)

GOOD = RampSample(fetches=600, failed=1, others_fetches=9000, others_failed=15, compared=150)


def ramp(step: int = 1) -> Ramp:
    return Ramp("new", 0.0, 0.0, step)


def test_it_goes_from_shadow_to_all_keys_by_samples_and_time() -> None:
    found, now, shares = Ramp("new", 0.0, 0.0), 0.0, []
    while found.is_open:
        shares.append(found.share)
        now += LEAST_SECONDS
        found = found.after(GOOD, now)

    assert shares == list(STEPS[:-1])
    assert (found.status, found.share) == (RampStatus.DONE, 1.0)


@pytest.mark.parametrize(
    ("seen", "now"),
    [
        (GOOD, LEAST_SECONDS - 1.0),  # too early
        (RampSample(fetches=LEAST_FETCHES - 1, others_fetches=9000), 9e9),  # too few
        (RampSample(compared=9000, others_fetches=9000), 9e9),  # of another kind
    ],
)
def test_a_step_takes_both(seen: RampSample, now: float) -> None:
    assert ramp().after(seen, now).step == 1


def test_shadow_counts_comparisons_and_no_fetches() -> None:
    shadow = ramp(0)

    assert shadow.is_shadow and shadow.share == 0.0
    assert shadow.after(RampSample(fetches=9000), 9e9).step == 0
    assert shadow.after(RampSample(compared=LEAST_COMPARED), LEAST_SECONDS).step == 1


def test_counts_begin_anew_with_each_step_but_those_of_differences() -> None:
    found = ramp().after(RampSample(fetches=600, differing=2), LEAST_SECONDS)

    assert (found.step, found.fetches, found.differing, found.since) == (2, 0, 2, LEAST_SECONDS)
    assert found.after(RampSample(differing=1), 400.0).end is RampEnd.DIFFERENCES


@pytest.mark.parametrize(
    ("seen", "end"),
    [
        (RampSample(differing=3), RampEnd.DIFFERENCES),
        (RampSample(fetches=500, failed=25, others_fetches=9000, others_failed=9), RampEnd.ERRORS),
        (RampSample(is_out=True), RampEnd.OUT),
        (RampSample(differing=2), None),
        (RampSample(fetches=500, failed=5, others_fetches=9000, others_failed=45), None),  # 1 % and 0.5 %
        (RampSample(fetches=4, failed=4, others_fetches=9000), None),  # too few to know
        (RampSample(fetches=500, failed=250, others_fetches=900, others_failed=450), None),  # all fail alike
        (RampSample(fetches=500, failed=500, is_ours=True), None),
    ],
)
def test_trouble_leads_back_to_nothing_at_once(seen: RampSample, end: RampEnd | None) -> None:
    found = ramp(3).after(seen, 1.0)

    assert found.end is end
    assert found.share == (0.0 if end else STEPS[3])
    assert found.status is (RampStatus.ABORTED if end else RampStatus.RUNNING)


def test_slow_windows_count_in_a_row() -> None:
    slow, well = RampSample(p95=0.16, others_p95=0.1), RampSample(p95=0.14, others_p95=0.1)
    found = ramp()
    for seen in (slow, slow, well, slow, slow, RampSample()):
        found = found.after(seen, 1.0)
    assert found.is_open

    assert found.after(slow, 1.0).end is RampEnd.SLOW


def test_out_of_service_in_shadow_is_no_trouble_for_clients() -> None:
    assert ramp(0).after(RampSample(is_out=True), 1.0).is_open


def test_a_paused_one_stays_but_still_goes_back_on_trouble() -> None:
    found = ramp(2).paused(1.0).after(GOOD, 9e9)
    assert (found.step, found.status, found.share) == (2, RampStatus.PAUSED, STEPS[2])

    assert found.after(RampSample(differing=3), 9e9).end is RampEnd.DIFFERENCES


def test_a_resumed_one_begins_its_step_anew() -> None:
    found = ramp(2).after(RampSample(fetches=400), 200.0).paused(200.0).resumed(1000.0)

    assert (found.status, found.step, found.since, found.fetches) == (RampStatus.RUNNING, 2, 1000.0, 0)


def test_what_is_over_cant_be_changed() -> None:
    over = ramp().aborted(5.0)
    assert (over.end, over.share) == (RampEnd.OPERATOR, 0.0)

    for change in (over.paused, over.resumed, over.aborted):
        with pytest.raises(ValueError, match="the ramp of new is aborted"):
            change(6.0)
    assert over.after(GOOD, 9e9) is over


@given(
    st.lists(
        st.builds(
            RampSample,
            fetches=st.integers(0, 1000),
            failed=st.just(0),
            others_fetches=st.integers(0, 1000),
            compared=st.integers(0, 200),
            differing=st.integers(0, 1),
            p95=st.none() | st.floats(0.001, 1.0),
            others_p95=st.none() | st.floats(0.001, 1.0),
            is_out=st.booleans(),
        ),
        max_size=40,
    ),
    st.floats(1.0, 1000.0),
)
def test_a_share_never_falls_but_to_nothing_and_never_skips_a_step(samples: list[RampSample], every: float) -> None:
    found, now = Ramp("new", 0.0, 0.0), 0.0
    for seen in samples:
        now += every
        after = found.after(seen, now)
        if after.status is RampStatus.ABORTED:
            assert after.share == 0.0 and after.end is not None
        else:
            assert after.step - found.step in (0, 1)
        found = after


@given(st.floats(0.0, 1.0, exclude_max=True))
def test_a_key_joins_once_and_stays(spot: float) -> None:
    members = [is_in_cohort(spot, share) for share in STEPS]

    assert members == sorted(members) and members[-1] and not members[0]


# the probability


@pytest.mark.parametrize(
    ("new", "base", "least", "most"),
    [
        ((0, 500), (5, 9000), 0.0, 0.0),
        ((500, 500), (0, 9000), 1.0, 1.0),
        ((10, 500), (9, 9000), 0.97, 1.0),
        ((5, 500), (45, 9000), 0.3, 0.7),
        ((1, 1), (0, 9000), 0.98, 1.0),
        ((0, 0), (0, 0), 0.0, 0.0),
        ((5, 10), (0, 0), 0.0, 0.0),
        ((50, 100_000), (45, 100_000), 0.0, 0.001),
    ],
)
def test_the_probability_of_more_errors(
    new: tuple[int, int], base: tuple[int, int], least: float, most: float
) -> None:
    assert least - 1e-9 <= worse_by(0.005, new, base) <= most + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(60, 3000), st.integers(0, 60), st.integers(60, 9000))
def test_it_agrees_with_draws_from_the_posteriors(failed: int, count: int, base_failed: int, base_count: int) -> None:
    draws, random_ = 4000, random.Random(7)
    above = sum(
        random_.betavariate(failed + 1, count - failed + 1)
        > random_.betavariate(base_failed + 1, base_count - base_failed + 1) + 0.005
        for _ in range(draws)
    )

    assert worse_by(0.005, (failed, count), (base_failed, base_count)) == pytest.approx(above / draws, abs=0.04)


def test_nodes_of_a_cluster_go_on_together() -> None:
    busy = RampSample(fetches=LEAST_FETCHES, others_fetches=9000)

    assert ramp().after(replace(busy, waits=True), LEAST_SECONDS).step == 1
    assert ramp().after(busy, LEAST_SECONDS).step == 2
    idle = RampSample(fetches=1, others_fetches=9000, proved=LEAST_FETCHES - 1)
    assert ramp().after(idle, LEAST_SECONDS - 1.0).step == 1
    assert ramp().after(idle, LEAST_SECONDS).step == 2
    assert ramp().after(replace(idle, proved=LEAST_FETCHES - 2), LEAST_SECONDS).step == 1


def test_trouble_is_judged_by_what_this_node_has_seen_alone() -> None:
    found = ramp().after(RampSample(fetches=600, failed=60, others_fetches=9000, proved=10**6, waits=True), 9e9)

    assert found.end is RampEnd.ERRORS
