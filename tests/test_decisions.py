"""The record of the basis of decisions: its files, whatever is left of them, and the notes of a node."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shield import decisions as module
from shield.decisions import DecisionFiles
from shield.rules.decisions import EVERY_SECONDS, DecisionBasis, OriginBasis, digest_of
from shield.rules.drill import DrillMode, DrillOrder
from shield.rules.health import HealthRecord, HealthState
from shield.rules.routes import Routes
from shield.shared import Seat
from tests.admin.calls import ask
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import START, FakeClock, Shield, settings_of

HOUR = 3600.0
NOON = 1_750_003_200.0
assert NOON % HOUR == 0.0


def note(at: float, **more: Any) -> DecisionBasis:
    return DecisionBasis(at, "x", {"fra": OriginBasis(HealthRecord(HealthState.SUSPECT, since=at - 1.0))}, **more)


@pytest.fixture
def files(tmp_path: Path) -> DecisionFiles:
    return DecisionFiles(tmp_path, "n1")


def test_the_last_note_before_a_time_is_found(files: DecisionFiles) -> None:
    notes = [note(NOON - 5.0), note(NOON + 1.0), note(NOON + 2.0), note(NOON + 3.0)]
    for each in notes:
        files.append([each])

    assert files.find(NOON - 6.0) is None
    assert files.find(NOON - 5.0) == notes[0] == files.find(NOON + 0.5)
    assert files.find(NOON + 2.5) == notes[2]
    assert files.find(NOON + HOUR - 1.0) == notes[3] == files.find(NOON + HOUR + 1.0)
    assert files.find(NOON + 2 * HOUR) is None


def test_a_day_is_kept_and_nobody_elses_files_are_removed(files: DecisionFiles, tmp_path: Path) -> None:
    (tmp_path / "decisions-n2-1.log").write_text("another node's")
    (tmp_path / "decisions-n1-x.log").write_text("not ours")
    for hour in range(40):
        files.append([note(NOON + hour * HOUR)])

    assert len(list(tmp_path.glob("decisions-n1-4*.log"))) == 26
    assert {path.name for path in tmp_path.glob("decisions-*")} >= {"decisions-n2-1.log", "decisions-n1-x.log"}
    last = NOON + 39 * HOUR
    assert files.find(last - 24 * HOUR) == note(last - 24 * HOUR)


def test_an_hours_file_is_bounded(files: DecisionFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 2000)
    for second in range(200):
        files.append([note(NOON + second)])

    (path,) = tmp_path.iterdir()
    assert 2000 < path.stat().st_size < 2500
    assert files.find(NOON + 3.0) == note(NOON + 3.0)


NOTES = [note(NOON + number, frozen=bool(number % 2)) for number in range(6)]


def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[DecisionFiles, Path]:
    directory = tmp_path_factory.mktemp("decisions")
    files = DecisionFiles(directory, "n1")
    for each in NOTES:
        files.append([each])
    (path,) = directory.iterdir()
    return files, path


@given(st.integers(0, 1200))
@example(18)
def test_whatever_a_kill_leaves_is_read_and_written_on(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    files, path = written(tmp_path_factory)
    whole = path.read_bytes()
    path.write_bytes(whole[:size])

    found = files.find(NOON + 10.0)
    files.append([note(NOON + 20.0)])

    assert found is None or found in NOTES
    lines = whole[:size].count(b"\n") - 1
    assert found is not None or lines < 2
    begin = whole.partition(b"\n")[0]  # a line feed comes before what is written on
    assert size == 0 or size >= len(begin) or files.find(NOON + 30.0) is None
    if size == 0 or size > len(whole.partition(b"\n")[0]):
        assert files.find(NOON + 30.0) == note(NOON + 20.0)


@given(st.data())
def test_damage_loses_the_damaged_and_invents_nothing(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    files, path = written(tmp_path_factory)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)

    for second in range(7):
        found = files.find(NOON + second)
        assert found is None or found in NOTES[: second + 1]


# a node


def basis(shield: Shield, at: object) -> tuple[int, Any]:
    answer = ask(shield, "GET", f"/decisions?at={at}")
    return answer.status_code, answer.json()


@pytest.fixture
def recording(tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock) -> Shield:
    settings = settings_of({"fra": origin, "iad": replica})
    return Shield(settings, clock=clock, place=Seat(state=tmp_path))


def step(shield: Shield) -> None:
    """A step of the conductor, and what the node does once a second."""

    async def step() -> None:
        shield.node.origins.conductor.look(asyncio.get_running_loop().time())
        shield.node.tick()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "_write" in repr(task.get_coro()):
                await task

    shield.run(step())


def lines(tmp_path: Path) -> int:
    return sum(path.read_bytes().count(b'{"at"') for path in tmp_path.glob("decisions-test-1-*.log"))


def test_a_node_notes_changes_and_a_sign_of_life_each_minute(
    recording: Shield, clock: FakeClock, tmp_path: Path
) -> None:
    with recording as shield:
        shield.run(shield.node.origins.conductor.close())
        for _ in range(5):
            step(shield)
        calm = lines(tmp_path)
        clock.advance(EVERY_SECONDS)
        for _ in range(3):
            step(shield)
        later = lines(tmp_path)
        seen = shield.node.origins.get("fra").seen

        def fail() -> None:
            now = asyncio.get_running_loop().time()
            seen.publish(HealthRecord(HealthState.SUSPECT, since=now, until=now + 60.0, bad_since=now, times=1))

        clock.advance(5.0)
        shield.call(fail)
        step(shield)
        status, said = basis(shield, clock.now)
        before = basis(shield, clock.now - 1.0)

    assert (calm, later) == (1, 2)
    then = DecisionBasis.read(said)
    assert status == 200 and then.at == clock.now
    assert then.origins["fra"].record.state is HealthState.SUSPECT
    assert abs(then.origins["fra"].record.since - clock.now) < 60.0  # by the node's clock
    assert then.origins["iad"].record.state is HealthState.UP
    assert DecisionBasis.read(before[1]).origins["fra"].record.state is HealthState.UP


def test_other_settings_are_noticed(recording: Shield, clock: FakeClock) -> None:
    with recording as shield:
        shield.run(shield.node.origins.conductor.close())
        step(shield)
        regime = shield.node.in_force.regime
        (route,) = regime.routes
        other = replace(regime, routes=Routes([replace(route, origins=("iad", "fra"))]))
        shield.call(lambda: shield.node.in_force.swap(other))
        clock.advance(1.0)
        step(shield)
        before, after = (basis(shield, clock.now - ago)[1]["settings"] for ago in (1.0, 0.0))

    assert (before, after) == (digest_of(regime.routes), digest_of(other.routes)) and before != after


def test_a_drill_is_part_of_the_basis(recording: Shield, clock: FakeClock) -> None:
    with recording as shield:
        shield.run(shield.node.origins.conductor.close())
        step(shield)
        drills = shield.node.drills
        shield.call(lambda: drills.begin(DrillOrder("fra", DrillMode.SLOW, scope=0.5)))
        clock.advance(1.0)
        step(shield)
        during = basis(shield, clock.now)[1]
        shield.call(drills.stop)
        clock.advance(1.0)
        step(shield)
        after = basis(shield, clock.now)[1]

    assert during["drill"][:4] == [1, "fra", "slow", 0.5] and after["drill"] is None


@pytest.mark.parametrize(
    ("at", "status", "said"),
    [
        ("soon", 400, "at: expected epoch seconds"),
        ("", 400, "at: expected epoch seconds"),
        ("nan", 400, "at: expected epoch seconds"),
        (START - 7200.0, 404, "nothing was noted in the hour before"),
    ],
)
def test_a_question_that_cant_be_answered_says_why(recording: Shield, at: object, status: int, said: str) -> None:
    with recording as shield:
        step(shield)
        found, answer = basis(shield, at)

    assert found == status and said in answer["problems"][0]


def test_without_a_place_nothing_is_kept(pair: Shield) -> None:
    step(pair)

    status, said = basis(pair, START)

    assert (status, said["problems"]) == (
        404,
        ["the basis of decisions isn't kept: state_directory names no place for it"],
    )
    assert pair.node.origins.conductor.judged is None


def test_what_is_still_to_be_written_is_found_too(recording: Shield, clock: FakeClock) -> None:
    with recording as shield:
        shield.run(shield.node.origins.conductor.close())

        async def look() -> None:
            shield.node.origins.conductor.look(asyncio.get_running_loop().time())

        shield.run(look())
        status, said = basis(shield, clock.now)

    assert status == 200 and replace(DecisionBasis.read(said), at=0.0).at == 0.0


def test_a_time_is_given_with_the_note_before_it(files: DecisionFiles) -> None:
    notes = [note(NOON - 20.0), note(NOON - 5.0), note(NOON + 1.0), note(NOON + HOUR + 2.0), note(NOON + HOUR + 9.0)]
    for each in notes:
        files.append([each])

    assert files.between(NOON, NOON + HOUR + 5.0) == notes[1:4]
    assert files.between(NOON + 2.0, NOON + 3.0) == [notes[2]]
    assert files.between(NOON - 9 * HOUR, NOON - 8 * HOUR) == []


def test_a_node_gives_all_notes_of_a_time(recording: Shield, clock: FakeClock) -> None:
    with recording as shield:
        shield.run(shield.node.origins.conductor.close())
        for _ in range(3):
            step(shield)
            clock.advance(EVERY_SECONDS)
        status, said = basis(shield, f"{START + 1.0}&until={clock.now}")
        wrong = basis(shield, f"{START}&until=soon")

    assert status == 200 and [each["at"] for each in said["notes"]] == [START, START + 60.0, START + 120.0]
    assert wrong[0] == 400


def test_an_order_by_cost_is_part_of_the_basis(
    tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    settings = settings_of({"fra": origin, "iad": replica}, routes={"all": {"choose": "nearest"}})
    with Shield(settings, clock=clock, place=Seat(state=tmp_path)) as shield:
        shield.run(shield.node.origins.conductor.close())
        step(shield)
        (route,) = shield.node.in_force.regime.routes
        assert route.choice is not None
        route.choice.order = ("iad", "fra")
        clock.advance(1.0)
        step(shield)
        said = basis(shield, clock.now - 1.0)[1], basis(shield, clock.now)[1]

    assert [DecisionBasis.read(each).usual(route) for each in said] == [("fra", "iad"), ("iad", "fra")]
