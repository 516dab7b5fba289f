"""While all origins are bad, a few fetches at a time are sent to the least bad one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.origin.origins import Origins
from shield.origin.turns import PACED_FETCHES, Turns
from shield.rules.health import HealthRecord, HealthState
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import Shield

LATER = 1e9


def played(story: Callable[[], Awaitable[None]]) -> None:
    async def play() -> None:
        await story()

    asyncio.run(play())


def always() -> bool:
    return True


def now() -> float:
    return asyncio.get_running_loop().time()


def test_so_many_have_a_turn_and_the_next_when_one_is_over_in_their_order() -> None:
    async def story() -> None:
        turns = Turns(2)
        assert [await turns.take(always, LATER) for _ in range(2)] == [True, True]
        third, fourth = (asyncio.create_task(turns.take(always, LATER)) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not third.done() and not fourth.done()

        turns.give_back()
        assert await third
        await asyncio.sleep(0)
        assert not fourth.done()
        turns.give_back()
        assert await fourth
        for _ in range(2):
            turns.give_back()
        assert turns.used == 0

    played(story)


def test_once_an_origin_has_recovered_none_is_needed() -> None:
    async def story() -> None:
        turns, bad = Turns(1), [True]
        await turns.take(always, LATER)
        waiting = asyncio.create_task(turns.take(lambda: bad[0], LATER))
        await asyncio.sleep(0)
        bad[0] = False

        assert await waiting is False
        assert turns.used == 1

    played(story)


def test_it_is_not_waited_for_beyond_its_time() -> None:
    async def story() -> None:
        turns = Turns(1)
        await turns.take(always, LATER)

        assert await turns.take(always, now()) is None
        turns.give_back()
        assert turns.used == 0

    played(story)


def test_one_that_leaves_as_it_is_called_passes_its_turn_on() -> None:
    async def story() -> None:
        turns = Turns(1)
        await turns.take(always, LATER)
        leaving, next_one = (asyncio.create_task(turns.take(always, LATER)) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        turns.give_back()
        leaving.cancel()

        assert await next_one
        turns.give_back()
        assert turns.used == 0

    played(story)


@given(st.integers(1, 3), st.lists(st.sampled_from(["ask", "leave", "end"]), max_size=30))
def test_no_turn_is_lost_or_given_twice(most: int, events: list[str]) -> None:
    async def story() -> None:
        turns = Turns(most)
        asked: list[asyncio.Task[bool | None]] = []
        for event in events:
            there = [task for task in asked if task.done() and not task.cancelled()]
            if event == "ask":
                asked.append(asyncio.create_task(turns.take(always, LATER)))
            elif event == "leave" and (waiting := [task for task in asked if not task.done()]):
                waiting[0].cancel()
            elif event == "end" and there:
                asked.remove(there[0])
                turns.give_back()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert sum(task.done() and not task.cancelled() for task in asked) <= turns.used <= most
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    played(story)


def make_bad(origins: Origins, *names: str, state: HealthState = HealthState.OPEN) -> None:
    for name in names:
        seen = origins.get(name).seen
        seen.publish(HealthRecord(state, since=now(), until=now() + 60.0, bad_since=now()))
    origins.conductor.notice(origins.all())


def many(shield: Shield, origin: FaultyOrigin, replica: FaultyOrigin, active: int) -> tuple[int, list[bytes]]:
    """The greatest number of misses that are at the first origin at once, of a dozen, and all answers."""
    gate = origin.gate()
    for number in range(12):
        origin.serves(f"/{number}", b"x", lifetime=60)
        origin.spoils(f"/{number}", preceded_by(Wait(gate)))
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(shield.get, f"/{number}") for number in range(12)]
        origin.wait_for(lambda: origin.requests_active == active)
        shield.wait_for(lambda: shield.node.fills.statistics().in_flight == 12)
        most = origin.requests_active
        shield.call(lambda: make_bad(shield.node.origins, "fra", state=HealthState.UP))
        gate.open()
        return most, [each.result().body for each in waiting]


def test_not_all_misses_wait_at_a_dead_origin(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    pair.run(pair.node.origins.conductor.close())
    pair.call(lambda: make_bad(pair.node.origins, "fra", "iad"))

    most, answers = many(pair, origin, replica, PACED_FETCHES)

    assert most == PACED_FETCHES
    assert answers == [b"x"] * 12
    assert pair.node.origins._turns.used == 0


def test_a_sole_origin_that_is_suspect_is_paced(shield: Shield, origin: FaultyOrigin) -> None:
    shield.run(shield.node.origins.conductor.close())
    shield.call(lambda: make_bad(shield.node.origins, "fra", state=HealthState.SUSPECT))

    most, answers = many(shield, origin, origin, PACED_FETCHES)

    assert (most, answers) == (PACED_FETCHES, [b"x"] * 12)


def test_with_one_origin_that_is_well_none_is_paced(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    pair.run(pair.node.origins.conductor.close())
    pair.call(lambda: make_bad(pair.node.origins, "iad"))

    most, answers = many(pair, origin, replica, 12)

    assert (most, answers) == (12, [b"x"] * 12)


def test_one_that_gets_no_turn_in_time_fails_and_its_client_may_return(
    pair: Shield, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.origin.origins._TURN_SECONDS", 0.0)
    pair.run(pair.node.origins.conductor.close())

    async def take_all() -> None:
        make_bad(pair.node.origins, "fra", "iad")
        for _ in range(PACED_FETCHES):
            await pair.node.origins._turns.take(always, LATER)

    pair.run(take_all())
    answer = pair.get("/a")

    assert (answer.status, answer.get("retry-after")) == (503, "5")
    assert "paced" in str(answer.get("cache-status"))
    assert pair.state()["origins"]["fra"]["faults"] == {"paced": 1}
    assert origin.requests == []
