"""Drills: whether one may begin, which keys it concerns, and when it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.drill import (
    BUDGET_REQUESTS,
    PROOF_SECONDS,
    RECOVERY_SECONDS,
    DrillEnding,
    DrillFigures,
    DrillMode,
    DrillOrder,
    DrillOrigin,
    DrillRun,
    DrillSight,
    advance,
    begins_at,
    has_alternative,
    is_drilled,
    is_due,
    is_reportable,
    next_origin,
    objections,
    proofs,
    report,
    text_of,
    unproven,
)
from shield.rules.health import HealthState
from shield.rules.prices import Price

ORDER = DrillOrder("fra", DrillMode.BLACKHOLE)
WELL = {name: DrillOrigin(name) for name in ("fra", "iad", "b2")}
ROUTES = {"images": ("fra", "iad"), "all": ("fra", "iad", "b2"), "old": ("b2",)}
RUN = DrillRun(3, ORDER, began=1000.0, began_at=1_750_000_000.0, names=("iad", "b2"))
QUIET = DrillSight(HealthState.UP, DrillFigures(faults=5, requests=100))


# the order


def test_an_order_needs_no_more_than_an_origin_and_a_mode() -> None:
    assert DrillOrder.read({"origin": "fra", "mode": "5xx"}) == DrillOrder("fra", DrillMode.SERVER)


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({}, "origin: expected the name of an origin"),
        ({"origin": "fra"}, "mode: expected one of blackhole, refuse, 5xx, throttle, slow, corrupt, expired-key"),
        ({"origin": "fra", "mode": ["slow"]}, "mode: expected one of"),
        ({"origin": "fra", "mode": "slow", "seconds": 3601}, "seconds: expected a number from 1 to 3600"),
        ({"origin": "fra", "mode": "slow", "seconds": True}, "seconds: expected a number from 1 to 3600"),
        ({"origin": "fra", "mode": "slow", "scope": 0}, "scope: expected a number from 1e-06 to 1"),
        ({"origin": "fra", "mode": "slow", "budget": float("nan")}, "budget: expected a number from 0 to 1"),
        ({"origin": "fra", "mode": "slow", "is_forced": 1}, "is_forced: expected true or false"),
        ({"origin": "fra", "mode": "slow", "scop": 1}, "scop: unknown; expected budget, is_forced, "),
    ],
)
def test_an_order_that_cant_be_says_what_was_expected(plain: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DrillOrder.read(plain)


orders = st.builds(
    DrillOrder,
    st.text(max_size=5),
    st.sampled_from(DrillMode),
    st.floats(1.0, 3600.0),
    st.floats(1e-6, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.001, 3600.0),
    st.booleans(),
    st.booleans(),
)
times = st.floats(0.0, 1e9)
runs = st.builds(
    DrillRun,
    st.integers(1, 1000),
    orders,
    st.floats(1.0, 1e6),
    times,
    st.lists(st.text(max_size=3)).map(tuple),
    times,
    times,
    times,
    st.none() | st.sampled_from(DrillEnding),
    times,
    st.none() | st.just({"number": 3}),
)


@given(runs)
def test_a_drill_survives_being_written_and_read(run: DrillRun) -> None:
    assert DrillRun.read(json.loads(json.dumps(run.plain()))) == run


# its beginning


def test_an_origin_with_healthy_others_can_be_drilled() -> None:
    assert objections(ORDER, WELL, ROUTES) == []


def ill(**troubles: str) -> dict[str, DrillOrigin]:
    return {name: replace(origin, trouble=troubles.get(name, "")) for name, origin in WELL.items()}


@pytest.mark.parametrize(
    ("origin", "origins", "said"),
    [
        ("lhr", WELL, ["origin lhr: the node has none of this name; it has fra, iad, b2"]),
        ("fra", ill(fra="suspect"), ["origin fra isn't healthy: suspect; wait until it is, or use --force"]),
        (
            "fra",
            ill(iad="open, probes failed"),
            [
                "route images: fra is its only healthy origin (iad: open, probes failed); --force ignores that",
            ],
        ),
        ("b2", WELL, ["route old: b2 is its only healthy origin (it has no other one); --force ignores that"]),
    ],
)
def test_the_only_healthy_origin_is_drilled_by_force_alone(
    origin: str, origins: dict[str, DrillOrigin], said: list[str]
) -> None:
    order = replace(ORDER, origin=origin)

    assert objections(order, origins, ROUTES) == said
    assert objections(replace(order, is_forced=True), origins, ROUTES) == (said if origin == "lhr" else [])
    alone = origin == "b2" or bool(origins.get("iad", DrillOrigin("")).trouble)
    assert has_alternative(origin, origins, ROUTES) is not alone


@pytest.mark.parametrize(
    ("mode", "origin", "said"),
    [
        (DrillMode.EXPIRED_KEY, DrillOrigin("fra", is_signed=False), "a plain web server without keys"),
        (DrillMode.SERVER, DrillOrigin("fra", passes_errors=True), "clients would get the errors of 5xx"),
        (DrillMode.THROTTLE, DrillOrigin("fra", passes_errors=True), "clients would get the errors of throttle"),
        (
            DrillMode.CORRUPT,
            DrillOrigin("fra", states_digests=False),
            "route images: its origin fra states no digests",
        ),
    ],
)
def test_what_would_reach_clients_isnt_begun_even_by_force(mode: DrillMode, origin: DrillOrigin, said: str) -> None:
    order = replace(ORDER, mode=mode, is_forced=True)

    assert objections(order, WELL, ROUTES) == []
    assert said in objections(order, {**WELL, "fra": origin}, ROUTES)[0]
    harmless = replace(order, mode=DrillMode.BLACKHOLE)
    assert objections(harmless, {**WELL, "fra": origin}, ROUTES) == []


def test_there_is_one_drill_at_a_time_and_none_while_the_fault_is_our_own() -> None:
    assert "a drill runs already, drill 3" in objections(ORDER, WELL, ROUTES, running="drill 3")[0]
    assert "a fault of its own" in objections(ORDER, WELL, ROUTES, is_frozen=True)[0]


# its keys


@given(st.integers(0, 1 << 32), st.sampled_from([0.001, 0.1, 0.5]))
def test_a_drill_concerns_its_share_of_the_keys(seed: int, scope: float) -> None:
    paths = [b"/images/%d.webp" % number for number in range(4000)]

    share = sum(is_drilled(path, seed, scope) for path in paths) / len(paths)

    assert abs(share - scope) < 6.0 * (scope * (1.0 - scope) / len(paths)) ** 0.5
    assert all(is_drilled(path, seed, 1.0) for path in paths[:50])


def test_each_drill_concerns_other_keys() -> None:
    paths = [b"/%d" % number for number in range(2000)]
    first, second = ({path for path in paths if is_drilled(path, seed, 0.1)} for seed in (1, 2))

    assert len(first & second) < 0.5 * len(first)


# its end


@pytest.mark.parametrize(
    ("sight", "now", "ending"),
    [
        (QUIET, 1059.9, None),
        (QUIET, 1060.0, DrillEnding.TIME),
        (replace(QUIET, figures=DrillFigures(requests=10, failed=1)), 1001.0, None),
        (replace(QUIET, figures=DrillFigures(requests=10, failed=2)), 1001.0, DrillEnding.FAILURES),
        (replace(QUIET, figures=DrillFigures(requests=10 * BUDGET_REQUESTS, failed=10)), 1001.0, None),
        (replace(QUIET, figures=DrillFigures(requests=9000, failed=10)), 1001.0, DrillEnding.FAILURES),
        (replace(QUIET, figures=DrillFigures(p99=2.0)), 1001.0, None),
        (replace(QUIET, figures=DrillFigures(p99=2.1)), 1001.0, DrillEnding.LATE),
        (replace(QUIET, has_alternative=False), 1001.0, DrillEnding.ALONE),
        (replace(QUIET, is_frozen=True), 1001.0, DrillEnding.OWN_FAULT),
        (replace(QUIET, state=None), 1001.0, DrillEnding.GONE),
        (replace(QUIET, state=HealthState.OPEN), 1001.0, None),
    ],
)
def test_it_ends_at_its_time_or_as_soon_as_it_hurts(
    sight: DrillSight, now: float, ending: DrillEnding | None
) -> None:
    after = advance(RUN, sight, now)

    assert after.ending is ending
    assert after.ended == (now if ending is not None else 0.0)
    assert after.is_on(now) is (ending is None)


def test_a_forced_one_goes_on_without_an_alternative() -> None:
    forced = replace(RUN, order=replace(ORDER, is_forced=True))

    assert advance(forced, replace(QUIET, has_alternative=False), 1001.0).ending is None


def test_a_report_waits_until_the_origin_is_up_again() -> None:
    run = advance(RUN, replace(QUIET, state=HealthState.SUSPECT), 1000.5)
    run = advance(run, replace(QUIET, state=HealthState.OPEN), 1001.5)
    run = advance(run, replace(QUIET, state=HealthState.RECOVERING), 1061.0)
    assert not is_reportable(run, 1061.0) and is_reportable(run, 1061.0 + RECOVERY_SECONDS)

    run = advance(run, QUIET, 1091.0)

    assert is_reportable(run, 1091.0)
    figures = DrillFigures(7, 0, 900, 0, 2, 0.5, {"iad": (10, 5 * 10**9), "b2": (2, 0)})
    said = report(run, figures, {"iad": Price(0.1, 0.5), "b2": Price(9.0, 1.0, "EUR"), "fra": None})
    assert said["detected_seconds"] == 0.5 and said["opened_seconds"] == 1.5
    assert said["lasted_seconds"] == 60.0 and said["recovered_seconds"] == 31.0
    assert (said["extra_fetches"], said["extra_bytes"]) == (12, 5 * 10**9)
    assert said["money"] == {"USD": 0.505, "EUR": 0.002}
    assert said["proved"] is True and "failover is proven" in text_of(said)


@pytest.mark.parametrize(
    ("ending", "faults", "proved"),
    [
        (DrillEnding.TIME, 1, True),
        (DrillEnding.TIME, 0, False),
        (DrillEnding.FAILURES, 9, False),
        (DrillEnding.STOPPED, 9, False),
        (DrillEnding.ALONE, 9, False),
    ],
)
def test_only_a_drill_that_had_faults_and_ran_its_time_proves_something(
    ending: DrillEnding, faults: int, proved: bool
) -> None:
    run = replace(RUN, ended=1060.0, ending=ending)

    assert report(run, DrillFigures(faults=faults), {})["proved"] is proved


sights = st.builds(
    DrillSight,
    st.none() | st.sampled_from(HealthState),
    st.builds(DrillFigures, requests=st.integers(0, 5000), failed=st.integers(0, 5)),
    st.booleans(),
    st.booleans(),
)


@given(orders, st.lists(st.tuples(st.floats(0.0, 2000.0), sights), max_size=30))
def test_a_drill_ends_once_and_never_begins_again(order: DrillOrder, looks: list[tuple[float, DrillSight]]) -> None:
    run, now, ended = replace(RUN, order=order), RUN.began, None
    for seconds, sight in looks:
        now += seconds
        before, run = run, advance(run, sight, now)
        assert not (run.is_on(now) and now >= RUN.began + order.seconds)
        for name in ("suspected", "opened", "ended", "recovered"):
            was = getattr(before, name)
            assert not was or getattr(run, name) == was
        if ended is not None:
            assert (run.ended, run.ending) == ended
        elif run.ended:
            ended = run.ended, run.ending
            assert run.ending is not None and run.ended <= max(now, run.until)
        assert not run.recovered or run.ended


# at night


def test_a_nightly_drill_is_due_once_in_the_hour_after_its_time() -> None:
    half_past_three, midnight = 3.5 * 3600.0, 1_750_032_000.0
    assert midnight % 86400.0 == 0.0
    begin = midnight + half_past_three

    assert begins_at(half_past_three, begin - 1.0) == begin - 86400.0
    assert [is_due(half_past_three, now, 0.0) for now in (begin - 1.0, begin, begin + 3599.0, begin + 3600.0)] == [
        False,
        True,
        True,
        False,
    ]
    assert not is_due(half_past_three, begin + 60.0, begin) and is_due(half_past_three, begin, begin - 86400.0)


def test_origins_take_turns_and_one_without_a_proof_is_noticed() -> None:
    reports = [
        {"origin": "fra", "began_at": 1.0, "proved": True},
        {"origin": "iad", "began_at": 2.0, "proved": True},
        {"origin": "fra", "began_at": 3.0, "proved": False},
        {"origin": "b2", "began_at": 4.0, "refused": ["no"]},
    ]

    assert proofs(reports) == {"fra": 1.0, "iad": 2.0}
    assert next_origin(["fra", "iad", "b2"], {"fra": 3.0, "iad": 2.0, "b2": 4.0}) == "iad"
    assert next_origin(["fra", "new"], {"fra": 3.0}) == "new" and next_origin([], {}) is None
    assert unproven({"fra": 1.0, "iad": 2.0}, 1.5 + PROOF_SECONDS) == {"fra": PROOF_SECONDS + 0.5}
