"""Ramps of an origin at a node with real origins: the keys that it serves, its steps, and what outlasts a stop."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.config.settings import Settings
from shield.kept import save
from shield.origin.prober import Doubt
from shield.origin.ramps import FILE, STEP_SECONDS, RampAnswer, Ramps, content_of, load
from shield.ramping import RampView
from shield.records import Came, private
from shield.rules.ramp import LEAST_COMPARED, STEPS, Ramp, RampEnd, RampStatus
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield

PATHS = [f"/{number}" for number in range(40)]


@pytest.fixture
def other() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as started:
        yield started


def settings(fra: FaultyOrigin, iad: FaultyOrigin, **more: Any) -> Settings:
    def origin(at: FaultyOrigin, **more: Any) -> dict[str, Any]:
        keys = {"access_key_id": "AK", "secret_key": "secret"}
        where = {"provider": "ceph", "endpoint": at.url, "region": "eu-central-1", "bucket": "images"}
        return {**where, **keys, **more}

    return Settings.model_validate(
        {
            "node": "test-1",
            "origins": {"fra": origin(fra, role="primary"), "iad": origin(iad)},
            "probes": {"interval": "off"},
            "audit": {"bytes_per_day": 0},  # by HEAD alone
            **more,
        }
    )


@pytest.fixture
def pair(origin: FaultyOrigin, other: FaultyOrigin, clock: FakeClock) -> Iterator[Shield]:
    for each in (origin, other):
        for path in PATHS:
            each.serves(f"/images{path}", path.encode(), lifetime=60)
    with Shield(settings(origin, other), clock=clock) as shield:
        yield shield


def ramps_of(shield: Shield, directory: Path | None = None) -> Ramps:
    node = shield.node

    async def made() -> Ramps:
        return Ramps(node.origins, node.in_force.origins_by_route, clock=shield.clock, directory=directory)

    return shield.run(made())


def put(shield: Shield, ramp: Ramp) -> None:
    shield.call(lambda: shield.node.origins.ramp_of(ramp.origin).store(ramp))


def served_by(origin: FaultyOrigin) -> set[str]:
    return {each.path.removeprefix("/images") for each in origin.requests if each.method == "GET"}


def test_a_newcomer_in_shadow_serves_no_key_even_if_it_is_listed_first(
    pair: Shield, origin: FaultyOrigin, other: FaultyOrigin
) -> None:
    answer = pair.run(ramps_of(pair).start("fra"))
    assert answer.ramp is not None and answer.ramp.is_shadow and not answer.problems

    for path in PATHS[:10]:
        assert pair.get(path).status == 200
    pair.wait_for(lambda: not pair.node.figures.spot_checks._tasks)

    assert {line["origin"] for line in pair.log()} == {"iad"}
    assert sum(pair.state()["audit"]["results"]["fra"].values()) >= 1


def test_its_share_of_the_keys_grows_and_keeps_its_keys(
    pair: Shield, origin: FaultyOrigin, other: FaultyOrigin, clock: FakeClock
) -> None:
    shares = []
    for step in range(len(STEPS)):
        put(pair, Ramp("iad", 0.0, clock.now, step, RampStatus.DONE if step == 5 else RampStatus.RUNNING))
        pair.run(pair.node.purge.prefix((b"/",)))
        other._ledger.requests.clear()
        for path in PATHS:
            pair.get(path)
        shares.append(served_by(other))

    assert not shares[0]
    for fewer, more in itertools.pairwise(shares[:5]):
        assert fewer <= more
    assert len(PATHS) * 0.5 < len(shares[4]) < len(PATHS)
    assert not shares[5]  # done: the order by the settings


def test_it_serves_if_nothing_else_can(pair: Shield, origin: FaultyOrigin) -> None:
    pair.run(ramps_of(pair).start("iad"))
    origin.refuses()
    origin.drops_connections()

    assert pair.get("/1").status == 200


def step(shield: Shield, ramps: Ramps, seconds: float = STEP_SECONDS + 1.0) -> None:
    """What happens as time passes: the clock of the records is moved instead."""
    moved = ramps._now() + seconds
    ramps._now = lambda: moved
    shield.call(ramps.tick)


def test_steps_follow_what_all_workers_have_seen(
    pair: Shield, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ramps, seen = ramps_of(pair, tmp_path), pair.node.origins.get("iad").seen
    pair.wait_for(lambda: pair.node.origins.conducts)
    pair.run(ramps.start("iad"))
    step(pair, ramps)
    for _ in range(LEAST_COMPARED):
        pair.call(lambda: seen.compared(differs=False))
    clock.advance(1000.0)
    with caplog.at_level(logging.WARNING):
        step(pair, ramps)

    ramp = ramps.all()["iad"]
    assert (ramp.step, ramp.share) == (1, 0.05)
    assert "origin iad: its ramp is running: it may serve 5% of the keys" in caplog.text
    pair.run(ramps.close())
    assert load(tmp_path)[0]["iad"].step == 1


def test_differing_copies_abort_it_with_an_alarm(
    pair: Shield, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    ramps, seen = ramps_of(pair), pair.node.origins.get("iad").seen
    pair.wait_for(lambda: pair.node.origins.conducts)
    put(pair, Ramp("iad", 0.0, clock.now, 3))
    doubts: list[Doubt] = []
    ramps.doubted = doubts.append
    step(pair, ramps)
    for _ in range(3):
        pair.call(lambda: seen.compared(differs=True))
    with caplog.at_level(logging.ERROR):
        step(pair, ramps)

    ramp = ramps.all()["iad"]
    assert (ramp.status, ramp.end, ramp.share) == (RampStatus.ABORTED, RampEnd.DIFFERENCES, 0.0)
    assert "its ramp is aborted at step 3: its copies differ; it serves no keys" in caplog.text
    assert doubts == []
    step(pair, ramps, 20.0)
    assert doubts == [Doubt("iad", ramp.since, 0.0)]


@pytest.mark.parametrize(
    ("end", "place", "is_removed"),
    [(RampEnd.DIFFERENCES, 3, True), (RampEnd.DIFFERENCES, 0, False), (RampEnd.ERRORS, 3, False)],
)
def test_entries_of_a_newcomer_whose_copies_differ_are_removed(
    pair: Shield, origin: FaultyOrigin, clock: FakeClock, end: RampEnd, place: int, is_removed: bool
) -> None:
    put(pair, Ramp("iad", clock.now - 100.0, clock.now, 5, RampStatus.DONE))
    origin.absent("/images/1")
    assert not pair.get("/1").hit and pair.get("/1").hit
    pair.get("/2")  # of the other one
    pair.wait_for(lambda: pair.node.origins.conducts)

    put(pair, Ramp("iad", clock.now - 100.0, clock.now, place, RampStatus.ABORTED, end))
    pair.call(pair.node.tick)
    pair.wait_for(lambda: not is_removed or not pair.node.store.find(pair.node.proxy.resolve(b"/1").key))

    assert pair.get("/1").hit is not is_removed and pair.get("/2").hit


def test_fetches_and_failures_are_counted_once_each() -> None:
    records = private()
    seen = records.of(0, b"iad")
    for second in (100, 101, 103):
        seen.begin(float(second))
        seen.succeeded(Came.OK, second + 0.5, 0.1)
    seen.failed(Came.FAILED, 103.9, b"/a")
    seen.failed(Came.BROKEN, 103.9, b"/a")
    seen.failed(Came.THROTTLED, 103.9, b"/a")

    view = RampView(seen.at, records.ramp_of(b"iad"))
    assert view.fetches(100, 102) == (2, 0)
    assert view.fetches(102, 104) == (2, 2)
    assert view.fetches(104, 110) == (0, 0)


@pytest.mark.parametrize(
    ("orders", "problem"),
    [
        (["start", "start"], "iad has a ramp that is running: abort it first"),
        (["pause"], "iad has no ramp"),
        (["start", "abort", "resume"], "the ramp of iad is aborted"),
        (["clear"], "iad has no ramp"),
        (["start", "pause", "resume", "abort", "start"], None),
        (["start", "clear", "start"], None),
    ],
)
def test_orders(pair: Shield, orders: list[str], problem: str | None) -> None:
    ramps, answer = ramps_of(pair), RampAnswer()
    for order in orders:
        answer = pair.run(getattr(ramps, order)("iad"))

    assert list(answer.problems) == ([] if problem is None else [problem])


def test_an_origin_that_is_alone_cant_be_ramped(origin: FaultyOrigin, other: FaultyOrigin, clock: FakeClock) -> None:
    routes = {"default": {"match": "/", "origins": ["fra"]}, "more": {"match": "/more/", "origins": ["fra", "iad"]}}
    with Shield(settings(origin, other, routes=routes), clock=clock) as shield:
        answer = shield.run(ramps_of(shield).start("fra"))

    assert answer.problems == ["route default has no other origin than fra: all keys are its own"]


def test_a_cleared_ramp_leaves_all_keys(pair: Shield, origin: FaultyOrigin) -> None:
    ramps = ramps_of(pair)
    pair.run(ramps.start("fra"))
    pair.run(ramps.clear("fra"))
    pair.get("/1")

    assert served_by(origin) == {"/1"}


# the file


def test_a_ramp_outlasts_a_stop(tmp_path: Path) -> None:
    ramps = {"iad": Ramp("iad", 5.0, 7.0, 2, RampStatus.PAUSED, None, 400, 3, 9000, 9, 20, 1, 2)}
    save(tmp_path / FILE, content_of(ramps))

    assert load(tmp_path) == (ramps, None)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "unknown"},
        {"end": "unknown"},
        {"step": 99},
        {"began": -1.0},
        {"fetches": "1"},
        {"more": 1},
        {"step": None},
    ],
)
def test_a_damaged_file_says_so(tmp_path: Path, change: Mapping[str, Any]) -> None:
    save(tmp_path / FILE, content_of({"iad": Ramp("iad", 5.0, 7.0)}))
    file = tmp_path / "ramps.json"
    content = json.loads(file.read_text())
    content["iad"].update(change)
    file.write_text(json.dumps(content))

    assert load(tmp_path) == ({}, f"{file}: isn't a list of ramps")


@given(st.binary(max_size=100))
def test_any_file_is_read_or_complained_of(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "ramps.json").write_bytes(data)
        ramps, problem = load(Path(directory))
    assert ramps == {} and (problem is not None or data.strip() in (b"{}",))


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert load(tmp_path) == ({}, None)
