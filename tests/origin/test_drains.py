"""Drained origins: what a node fetches from them, and what is left of a drain when it is stopped."""

from __future__ import annotations

import asyncio
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shield.kept import save
from shield.origin.drains import FILE, Drained, Drains, as_json, load
from shield.records import Came
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import START, FakeClock, Shield

PATHS = [f"/{number}" for number in range(20)]


@pytest.fixture
def pair(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> Shield:
    """Two origins with the same objects, and a conductor that looks only when it is told to."""
    for each in (origin, replica):
        for path in PATHS:
            each.serves(path, path.encode(), lifetime=60)
    pair.run(pair.node.origins.conductor.close())
    return pair


def drains_of(shield: Shield, directory: Path | None = None) -> Drains:
    in_force, origins, clock = shield.node.in_force, shield.node.origins, shield.clock

    async def made() -> Drains:
        return Drains(origins, in_force.origins_by_route, clock=clock, directory=directory)

    return shield.run(made())


def look(shield: Shield, seconds: float = 0.0) -> None:
    """What the conductor does, when so much time has passed."""
    shield.call(lambda: shield.node.origins.conductor.look(asyncio.get_running_loop().time() + seconds))


def drain(shield: Shield, name: str = "fra", until: float = math.inf) -> Drained:
    return shield.run(drains_of(shield).drain(name, until))


def restore(shield: Shield, name: str = "fra") -> Drained:
    return shield.run(drains_of(shield).restore(name))


def test_a_drained_origin_gets_no_fetches_until_it_is_restored_and_then_more_and_more(
    pair: Shield, origin: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    assert not drain(pair).problems
    with caplog.at_level(logging.WARNING):
        look(pair)
        answers = [pair.get(path).body for path in PATHS[:10]]
        drained = len(origin.requests)
        restore(pair)
        look(pair)
    pair.wait_for(lambda: not pair.node.fills.statistics().in_flight)
    for path in PATHS[10:]:
        pair.get(path)
    recovering = len(origin.requests)
    look(pair, 31.0)

    assert answers == [path.encode() for path in PATHS[:10]]
    assert drained == 0
    assert 0 <= recovering < 8  # a tenth of the keys
    assert caplog.messages == [
        "origin fra: drained; it gets no new fetches while another can serve",
        "origin fra: restored; its share of keys grows",
        "origin fra: up: no trouble for 31 s",
    ]
    assert pair.state()["origins"]["fra"]["health"]["state"] == "up"


def test_it_is_drained_before_the_conductor_has_looked_and_by_the_state(pair: Shield, origin: FaultyOrigin) -> None:
    drain(pair, until=START + 60.0)

    pair.get("/1")

    health = pair.state()["origins"]["fra"]["health"]
    assert not origin.requests
    assert (health["flags"], health["drained_until"]) == (("drained",), START + 60.0)


def test_a_fetch_that_has_begun_is_finished(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.serves("/a", b"0123456789", lifetime=60)
    origin.spoils("/a", at_body(4, Wait(gate)))

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pair.get, "/a")
        gate.reached()
        drain(pair)
        look(pair)
        gate.open()
        answer = waiting.result()

    assert answer.body == b"0123456789"
    assert (origin.fetches("/a"), replica.fetches("/a")) == (1, 0)


def test_it_is_asked_for_what_no_other_has(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    origin.serves("/only", b"here", lifetime=60)
    drain(pair)

    assert pair.get("/only").body == b"here"
    assert pair.get("/nowhere").status == 404
    replica.fails("/1", status=500, code="InternalError")
    assert pair.get("/1").body == b"/1"
    assert [origin.fetches(path) for path in ("/only", "/nowhere", "/1")] == [1, 1, 1]


def test_it_isn_t_tried_beside_one_that_is_late(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    gate = replica.gate()
    replica.spoils("/1", preceded_by(Wait(gate)))
    seen = pair.node.origins.get("iad").seen

    def answers_fast() -> None:
        for _ in range(50):
            seen.succeeded(Came.OK, asyncio.get_running_loop().time(), 0.001)

    pair.call(answers_fast)
    look(pair)
    drain(pair)

    async def patience_passes() -> None:
        await asyncio.sleep(2.0 * seen.patience)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pair.get, "/1")
        gate.reached()
        pair.run(patience_passes())
        gate.open()
        answer = waiting.result()

    assert answer.body == b"/1"
    assert seen.patience == 0.5
    assert not origin.requests


def test_a_drain_ends_by_itself(pair: Shield, origin: FaultyOrigin, caplog: pytest.LogCaptureFixture) -> None:
    drain(pair, until=START + 60.0)
    with caplog.at_level(logging.WARNING):
        look(pair)
        pair.clock.advance(59.0)
        look(pair)
        assert pair.state()["origins"]["fra"]["health"]["flags"] == ("drained",)
        pair.clock.advance(1.0)
        look(pair)

    health = pair.state()["origins"]["fra"]["health"]
    assert (health["state"], health["flags"], health["drained_until"]) == ("recovering", (), None)
    assert "origin fra: drained until 2025-06-15T15:07:40Z; " in caplog.messages[0]


def test_the_last_origin_isn_t_drained(pair: Shield, shield: Shield) -> None:
    drain(pair)

    refused, alone = drain(pair, "iad"), drain(shield)

    assert refused.problems == ["fra is drained already: restore one of them first, so that another origin can serve"]
    assert alone.problems == ["fra is the only origin of its routes: nothing else could serve them"]
    assert not pair.node.origins.get("iad").seen.is_held
    assert drain(pair, until=START).problems == ["until: this time is over"]
    assert not drain(pair, until=START + 1.0).problems  # another time for the same


def test_a_restore_of_one_that_isn_t_drained_says_so(pair: Shield) -> None:
    assert restore(pair) == Drained(notes=["fra was neither drained nor corrupt"])


def test_what_is_drained_is_written_for_the_next_start(pair: Shield, tmp_path: Path) -> None:
    drains = drains_of(pair, tmp_path)

    assert pair.run(drains.drain("fra", START + 60.0)) == Drained()
    assert load(tmp_path, START) == ({"fra": START + 60.0}, None)
    assert load(tmp_path, START + 60.0) == ({}, None)
    assert pair.run(drains.drain("fra", math.inf)) == Drained()
    assert load(tmp_path, START) == ({"fra": math.inf}, None)
    assert pair.run(drains.restore("fra")) == Drained()
    assert load(tmp_path, START) == ({}, None)


def test_a_drain_that_can_t_be_written_holds_and_says_so(pair: Shield, tmp_path: Path) -> None:
    nowhere = tmp_path / "absent"

    done = pair.run(drains_of(pair, nowhere).drain("fra", math.inf))

    assert done.notes == (
        f"it isn't known after a stop of the node: {nowhere}/drained-origins.json: No such file or directory",
    )
    assert pair.node.origins.get("fra").seen.is_held
    assert restore(pair).notes == (
        "it isn't known after a stop of the node: state_directory names no place to keep it",
    )


@pytest.mark.parametrize("text", ["", "[]", "1", '{"fra": "x"}', '{"fra": true}', "[" * 100_000, "\xff"])
def test_a_file_that_is_none_of_ours_drains_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "drained-origins.json").write_bytes(text.encode("latin-1"))

    found, problem = load(tmp_path, START)

    assert found == {}
    assert problem is not None and problem.endswith("drained-origins.json: isn't a list of drained origins")


def test_no_file_is_no_problem_and_one_that_can_t_be_read_is(tmp_path: Path) -> None:
    assert load(tmp_path, START) == ({}, None)
    (tmp_path / "drained-origins.json").mkdir()
    assert load(tmp_path, START) == ({}, f"{tmp_path}/drained-origins.json: Is a directory")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    save(tmp_path / FILE, as_json({"fra": START}))
    save(tmp_path / FILE, as_json({"iad": math.inf}))

    assert load(tmp_path, 0.0) == ({"iad": math.inf}, None)
    assert [path.name for path in tmp_path.iterdir()] == ["drained-origins.json"]


def test_a_reload_that_changes_an_origin_leaves_it_drained(pair: Shield, clock: FakeClock) -> None:
    drain(pair)
    origins = pair.node.origins
    kept = origins.all()

    pair.call(lambda: origins.adopt(kept, deadline_seconds=10.0, retry_share=0.1))

    assert origins.get("fra").seen.is_held
