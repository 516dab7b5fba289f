"""Attempts beside each other, turn by turn of the loop: no response is lost or given twice, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from shield.build.origins import origins_of
from shield.config.settings import Settings
from shield.egress.meter import Meter
from shield.errors import Fault, OriginError
from shield.messages import ResponseHead
from shield.origin.note import Note
from shield.origin.origin import Origin
from shield.origin.origins import Origins
from shield.origin.response import Response
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.rules.attempts import Extra
from shield.shared import Seat
from tests.compiled import INTERPRETED_ONLY
from tests.garbage import cycles, uncollected
from tests.node import FakeClock

pytestmark = INTERPRETED_ONLY  # an origin's `fetch` is replaced

SETTINGS = Settings.model_validate(
    {
        "node": "test-1",
        "origins": {
            "fra": {"provider": "http", "endpoint": "http://127.0.0.1:1", "role": "primary"},
            "iad": {"provider": "http", "endpoint": "http://127.0.0.1:2"},
        },
        "cache": {"memory": {"capacity": "64MiB"}},
    }
)
MOMENTS = 8  # turns of the loop, more than any of this takes
MANY = range(-MOMENTS, MOMENTS)


class Carrier:
    """A connection that is busy with a response until somebody gives that up."""

    def __init__(self) -> None:
        self.abandoned = 0

    def abandon(self) -> None:
        self.abandoned += 1

    def hold(self) -> None: ...

    def proceed(self) -> None: ...

    def unread(self) -> int:
        return 0


class Line:
    """An origin that answers when a test says so."""

    def __init__(self, origin: Origin) -> None:
        self.name, self.origin = origin.name, origin
        self.carrier = Carrier()
        self.given = 0  # responses to those who fetch
        self.was_cancelled = False
        self.note: Note | None = None  # of its attempt, once that is under way
        self._does: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        origin.fetch = self._fetch  # type: ignore[method-assign]

    @property
    def held(self) -> int:
        """Responses that weren't given up."""
        return self.given - self.carrier.abandoned

    def answers(self) -> None:
        if not self._does.done():
            self._does.set_result(None)

    def fails(self) -> None:
        if not self._does.done():
            self._does.set_exception(OriginError(self.name, Fault.MALFORMED, "nonsense"))

    async def _fetch(
        self, want: Want, *, deadline: float, clock: Callable[[], float], extra: Extra | None = None
    ) -> Fetched:
        loop = asyncio.get_running_loop()
        self.note = Note(self.origin.seen, self.origin.gate, loop.time, want, Meter(), opens=True)
        try:
            await self._does
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        response = Response(self.carrier, 1 << 16)
        response.arrive(ResponseHead(200, (), 5))
        self.given += 1
        return Fetched(self.name, response, 0.0, 0.0)


class Story:
    """A fetch whose first origin is late, so that the second is tried beside it."""

    def __init__(self, origins: Origins, want: Want) -> None:
        self.fra, self.iad = (Line(origin) for origin in origins.all())
        self.fetch = asyncio.get_running_loop().create_task(origins.fetch(("fra", "iad"), want))

    async def begin(self) -> None:
        await turns(2)
        for each in list(self.fra.origin.waiting):
            each.suspect("fra")
        await turns(MOMENTS)
        assert self.iad.note is not None and not self.fetch.done()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def played(tell: Callable[[Story], Awaitable[None]], want: Want | None = None) -> None:
    async def play() -> None:
        origins = origins_of(SETTINGS, Seat(), FakeClock())
        try:
            story = Story(origins, want or Want(b"GET", b"/a"))
            await story.begin()
            await tell(story)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not any(origin.waiting for origin in origins.all())
        finally:
            await origins.close()

    asyncio.run(play())


async def in_turn(delay: int, first: Callable[[], object], second: Callable[[], object]) -> None:
    """The one, and so many turns later the other; below 0: the other way round."""
    one, other = (first, second) if delay >= 0 else (second, first)
    one()
    await turns(delay if delay >= 0 else -delay - 1)  # -1: in the same turn
    other()
    await turns(2 * MOMENTS)


async def settled(story: Story) -> Fetched | Absent | Failed | None:
    """None: it was cancelled."""
    with suppress(asyncio.CancelledError):
        return await story.fetch
    return None


def test_the_second_origin_overtakes_the_first() -> None:
    async def tell(story: Story) -> None:
        story.iad.answers()
        await turns(MOMENTS)
        assert story.fetch.done()

        result = await settled(story)

        assert isinstance(result, Fetched) and result.origin == "iad"
        assert (story.fra.was_cancelled, story.iad.was_cancelled, story.iad.held) == (True, False, 1)

    played(tell)


def test_the_first_origin_wins_and_the_second_attempt_is_cancelled() -> None:
    async def tell(story: Story) -> None:
        story.fra.answers()
        await turns(MOMENTS)
        assert story.fetch.done()

        result = await settled(story)

        assert isinstance(result, Fetched) and result.origin == "fra"
        assert (story.fra.was_cancelled, story.iad.was_cancelled, story.fra.held) == (False, True, 1)

    played(tell)


@pytest.mark.parametrize("fails_before", [False, True])
def test_a_client_that_leaves_before_any_answer_ends_all_attempts(*, fails_before: bool) -> None:
    async def tell(story: Story) -> None:
        if fails_before:
            story.fra.fails()
            await turns(MOMENTS)
            assert story.fra.origin.faults == {"malformed": 1}  # the race has learnt of it
        story.fetch.cancel()
        await turns(MOMENTS)

        assert await settled(story) is None
        assert (story.fra.was_cancelled, story.iad.was_cancelled) == (not fails_before, True)

    played(tell)


@pytest.mark.parametrize("delay", MANY)
@pytest.mark.parametrize("fails_before", [False, True])
def test_a_client_that_leaves_as_the_second_origin_answers_leaves_nothing_behind(
    *, fails_before: bool, delay: int
) -> None:
    """If the first has failed, nothing but the second is waited for."""

    async def tell(story: Story) -> None:
        was_cancelled: list[bool] = []
        if fails_before:
            story.fra.fails()
            await turns(MOMENTS)
        await in_turn(delay, story.iad.answers, lambda: was_cancelled.append(story.fetch.cancel()))

        result = await settled(story)

        assert (result is None) == was_cancelled[0]
        assert story.iad.held == (0 if result is None else 1)

    played(tell)


@pytest.mark.parametrize("delay", MANY)
def test_of_two_answers_at_a_time_one_is_given_and_the_other_given_up(delay: int) -> None:
    async def tell(story: Story) -> None:
        await in_turn(delay, story.fra.answers, story.iad.answers)

        result = await settled(story)

        assert isinstance(result, Fetched)
        assert {line.name: line.held for line in (story.fra, story.iad)} == {"fra": 0, "iad": 0, result.origin: 1}

    played(tell)


@pytest.mark.parametrize("delay", MANY)
def test_an_answer_is_used_whenever_the_other_origin_fails(delay: int) -> None:
    async def tell(story: Story) -> None:
        await in_turn(delay, story.fra.fails, story.iad.answers)

        result = await settled(story)

        assert isinstance(result, Fetched) and result.origin == "iad"
        assert story.iad.held == 1

    played(tell)


@pytest.mark.parametrize("ends", ["first", "second", "client"])
def test_an_attempt_that_is_cancelled_leaves_no_cycle(ends: str) -> None:
    async def tell(story: Story) -> None:
        match ends:
            case "first":
                story.fra.answers()
            case "second":
                story.iad.answers()
            case _:
                story.fetch.cancel()
        await turns(MOMENTS)
        del story.fetch

        assert cycles() == {}

    with uncollected():
        played(tell)


def test_once_there_are_two_requests_neither_is_the_one_that_all_who_came_before_it_share() -> None:
    """The first is sent only now, or again; the answer may be that to the second."""
    asked: list[str] = []
    want = Want(b"GET", b"/a", sent=lambda: asked.append("sent"))

    async def tell(story: Story) -> None:
        assert story.fra.note is not None and story.iad.note is not None
        story.iad.note.sent()
        story.fra.note.sent()
        story.iad.answers()
        await settled(story)

    played(tell, want)

    assert asked == []
