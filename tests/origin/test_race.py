"""The first attempt of a fetch and the race beside it, whichever of them ends first, and whoever gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from shield.errors import Fault, OriginError
from shield.origin.origin import Origin
from shield.origin.race import Lead, Race
from shield.origin.response import Response
from shield.origin.want import Absent, Failed, Fetched


class FakeOrigin:
    name = "fra"

    def __init__(self) -> None:
        self.waiting: set[object] = set()


class FakeResponse:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakeRace:
    """A race that ends when it is told to, as it is told to."""

    def __init__(self) -> None:
        self.end: asyncio.Future[Fetched | Absent | Failed] = asyncio.get_running_loop().create_future()
        self.at_end: Callable[[], object] = lambda: None
        self.reports: list[object] = []
        self.cancelled = False

    def suspect(self, origin: str) -> None: ...

    def report(self, origin: str, answer: object) -> None:
        self.reports.append(answer)

    async def run(self) -> Fetched | Absent | Failed:
        try:
            result = await self.end
        except asyncio.CancelledError:
            self.cancelled = True
            if not self.end.cancelled() and isinstance(self.end.result(), Fetched):
                cast(Fetched, self.end.result()).response.close()  # as a race does with what it has and nobody takes
            raise
        self.at_end()
        return result


def fetched() -> tuple[Fetched, FakeResponse]:
    response = FakeResponse()
    return Fetched("iad", cast(Response, response), 0.0, 0.0), response


async def fetch(lead: Lead, attempt: asyncio.Future[Fetched]) -> Fetched | Absent | Failed:
    """As `Origins` uses it."""
    try:
        answer = await attempt
    except OriginError as error:
        lead.over()
        return await lead.joined(error)
    except asyncio.CancelledError:
        if (result := lead.result_of_race()) is None:
            raise
        return result
    finally:
        lead.over()
    lead.drop()
    return answer


class Story:
    """A fetch under way with a race beside it."""

    def __init__(self) -> None:
        self.race = FakeRace()
        self.origin = FakeOrigin()
        self.attempt: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> Fetched | Absent | Failed:
        lead = Lead(cast(Origin, self.origin), lambda: cast(Race, self.race), within=60.0)
        lead.suspect("fra")
        return await fetch(lead, self.attempt)

    async def begun(self) -> Story:
        for _ in range(3):
            await asyncio.sleep(0)
        return self

    async def over(self) -> None:
        """It has ended, and so has everything that it began."""
        await asyncio.wait([self.task])
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not self.origin.waiting


def test_the_race_overtakes_the_first_attempt() -> None:
    async def story() -> None:
        it = await Story().begun()
        result, response = fetched()
        it.race.end.set_result(result)
        await it.over()

        assert it.task.result() is result
        assert it.attempt.cancelled() and not response.closed

    asyncio.run(story())


def test_the_first_attempt_wins_and_the_race_is_cancelled() -> None:
    async def story() -> None:
        it = await Story().begun()
        result, response = fetched()
        it.attempt.set_result(result)
        await it.over()

        assert it.task.result() is result
        assert it.race.cancelled and not response.closed

    asyncio.run(story())


def test_of_two_that_come_at_once_one_is_used_and_the_other_closed() -> None:
    async def story() -> None:
        it = await Story().begun()
        (first, response), (second, other) = fetched(), fetched()
        it.attempt.set_result(first)
        it.race.end.set_result(second)
        await it.over()

        used = it.task.result()
        assert {response.closed, other.closed} == {False, True}
        assert used is (second if response.closed else first)

    asyncio.run(story())


@pytest.mark.parametrize("comes", [False, True], ids=["under way", "over at that moment"])
def test_who_gives_up_from_outside_gets_no_result_and_leaves_nothing(comes: bool) -> None:
    async def story() -> None:
        it = await Story().begun()
        result, response = fetched()
        if comes:
            it.race.at_end = it.task.cancel
            it.race.end.set_result(result)
        else:
            it.task.cancel()
        await it.over()

        assert it.task.cancelled()
        assert response.closed is comes

    asyncio.run(story())


@pytest.mark.parametrize("comes", [False, True], ids=["under way", "over at that moment"])
def test_the_same_after_the_first_attempt_has_failed(comes: bool) -> None:
    async def story() -> None:
        it = await Story().begun()
        error = OriginError("fra", Fault.RESET, "gone")
        it.attempt.set_exception(error)
        await it.begun()
        assert it.race.reports == [error]
        result, response = fetched()
        if comes:
            it.race.at_end = lambda: asyncio.get_running_loop().call_soon(it.task.cancel)
            it.race.end.set_result(result)
        else:
            it.task.cancel()
        await it.over()

        assert it.task.cancelled() or it.task.result() is result
        assert response.closed is (comes and it.task.cancelled())

    asyncio.run(story())
