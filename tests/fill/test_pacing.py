"""How far an answer may be ahead of its readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shield.fill.buffer import FillBuffer, FillMemory
from shield.fill.pacing import Pacing
from shield.fill.readers import Purse, Readers
from shield.fill.window import WINDOW
from shield.messages import Request, ResponseHead
from shield.origin.response import Response
from shield.rules.amplification import Account, AmplificationLimits
from shield.rules.exact import FREE
from shield.rules.key import CacheKey
from shield.rules.routes import Resource, Route
from tests.fill.ground import FakeConnection

MIB = 1 << 20


class Carrier(FakeConnection):
    """A connection whose kernel holds bytes that nobody has read."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    def unread(self) -> int:
        return self.left


class Slow:
    """A reader that is given all at once, and takes as much of it as a test says."""

    slack, stop = 0, None

    def __init__(self, account: Account | None) -> None:
        self.request = Request.of(b"GET", b"/a")
        self.account = account
        self.touched: dict[int, bool] = {}
        self.given = self.untaken = self.position = 0

    def takes(self, size: int) -> None:
        self.untaken -= size

    def advance(self) -> None: ...
    def push(self) -> bool:
        return False

    def conclude(self) -> None: ...
    def inform(self, block: bytes) -> None: ...
    def detach(self) -> None: ...
    def go_on_alone(self) -> None: ...


class Scene:
    """One answer of 64 MiB that is kept, or not, and one reader."""

    def __init__(
        self, *, kept: bool = True, burst: int = 64 * MIB, finishes: Callable[[], bool] = lambda: False
    ) -> None:
        self.account = Account(AmplificationLimits(burst=burst), 0.0)
        self.carrier = Carrier()
        self.response = Response(self.carrier, MIB)
        self.response.arrive(ResponseHead(200, (), 64 * MIB))
        self.buffer = FillBuffer(FillMemory(64 * MIB))
        if kept:
            assert self.buffer.retain(64 * MIB)
        self.purse = Purse(lambda: 0.0)
        request = Request.of(b"GET", b"/a")
        resource = Resource(CacheKey(b":/a", bytes(16)), b"/a", b"", Route("default", origins=("fra",)))
        self.readers = Readers(request, resource)
        self.reader = Slow(self.account)
        self.purse.joined(self.reader, among=False)
        self.readers.add(self.reader)
        loop = asyncio.get_running_loop()
        self.pacing = Pacing(loop, self.response, self.buffer, self.readers, self.purse, start=0, finishes=finishes)

    def comes(self, size: int) -> bool:
        self.buffer.append(bytes(size))
        self.purse.cost(size)
        self.reader.given += size
        self.reader.position += size
        self.reader.untaken += size
        return self.pacing.came()

    def takes(self, size: int) -> None:
        self.reader.takes(size)
        self.pacing.progressed()


def on_loop(scenario: Callable[[], None]) -> None:
    async def run() -> None:
        scenario()

    asyncio.run(run())


def test_no_more_comes_than_64_kib_and_twice_what_was_taken() -> None:
    def scenario() -> None:
        scene, piece = Scene(), 16 << 10
        for _ in range(5):
            taken = scene.reader.given - scene.reader.untaken
            due = FREE + taken
            for _ in range(due // piece + 1):
                assert not scene.carrier.is_held
                scene.comes(piece)
            assert scene.carrier.is_held
            scene.takes(scene.reader.untaken)
        assert scene.buffer.received > MIB

    on_loop(scenario)


def test_a_reader_that_waits_for_bytes_farther_on_gets_them_at_once_as_long_as_its_budget_pays() -> None:
    def scenario(burst: int) -> Scene:
        scene = Scene(burst=burst)
        scene.reader.position = 8 * MIB
        for _ in range(4 * 7):
            scene.buffer.append(bytes(MIB // 4))
            scene.purse.cost(MIB // 4)
            scene.pacing.came()
        return scene

    def rich() -> None:
        scene = scenario(64 * MIB)
        assert not scene.carrier.is_held
        scene.readers.remove(scene.reader)  # it leaves
        scene.pacing.came()
        assert scene.carrier.is_held

    def poor() -> None:
        assert scenario(MIB).carrier.is_held

    on_loop(rich)
    on_loop(poor)


def test_ahead_of_a_reader_of_a_range_is_what_has_come_after_its_own_beginning() -> None:
    def scenario() -> None:
        scene = Scene()
        scene.reader.position = MIB
        scene.buffer.append(bytes(MIB))
        scene.purse.cost(MIB)
        scene.pacing.came()
        for _ in range(20):
            scene.comes(48 << 10)
            assert not scene.carrier.is_held
            scene.takes(scene.reader.untaken)
        for _ in range(40):
            if not scene.carrier.is_held:
                scene.comes(48 << 10)  # and it takes none of it
        assert scene.carrier.is_held
        assert scene.reader.untaken <= FREE + 21 * (48 << 10)
        scene.takes(scene.reader.untaken)
        assert not scene.carrier.is_held

    on_loop(scenario)


def test_an_answer_held_up_for_a_spent_budget_goes_on_once_that_is_filled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shield.fill.pacing.PATIENCE_SECONDS", 0.01)
    now = 0.0

    async def scenario() -> None:
        nonlocal now
        scene = Scene(burst=MIB)
        scene.purse._clock = lambda: now
        scene.comes(4 * MIB)
        assert scene.carrier.is_held and scene.purse.is_empty
        await asyncio.sleep(0.05)
        assert scene.carrier.is_held
        now = 3600.0
        while scene.carrier.is_held:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_a_reader_who_takes_all_at_once_never_holds_it_up() -> None:
    def scenario() -> None:
        scene = Scene()
        for _ in range(100):
            scene.comes(256 << 10)
            scene.takes(scene.reader.untaken)
        assert scene.carrier.holds <= 1  # the first bytes may be more than are free

    on_loop(scenario)


def test_what_would_be_finished_anyway_is_not_held_up() -> None:
    def scenario() -> None:
        scene = Scene(finishes=lambda: True)
        scene.comes(4 * MIB)
        assert not scene.carrier.is_held

    on_loop(scenario)


def test_readers_who_are_slow_for_long_pay_for_what_comes_ahead_until_they_have_nothing_left() -> None:
    def scenario() -> None:
        scene = Scene(burst=2 * MIB)
        scene.comes(MIB)
        assert scene.carrier.is_held
        scene.pacing._lose_patience()
        assert not scene.carrier.is_held
        assert scene.comes(MIB)  # for want of budget
        assert scene.carrier.is_held
        scene.pacing._lose_patience()
        assert scene.carrier.is_held
        scene.takes(2 * MIB)
        assert not scene.carrier.is_held
        scene.pacing.end()

    on_loop(scenario)


def test_what_nobody_has_read_is_paid_for_when_it_is_given_up_and_so_is_the_connection() -> None:
    def scenario() -> None:
        scene = Scene()
        scene.carrier.left = 3 * MIB
        scene.pacing.give_up()
        assert scene.carrier.is_abandoned
        assert scene.account.affords(61 * MIB, 0.0)
        assert not scene.account.affords(61 * MIB + 1, 0.0)

    on_loop(scenario)


def test_once_it_is_over_nothing_of_it_is_held_or_waited_for() -> None:
    def scenario() -> None:
        scene = Scene()
        scene.comes(MIB)
        scene.pacing.end()
        assert (scene.pacing._timer, scene.pacing._response, scene.pacing._finishes) == (None, None, None)
        scene.takes(MIB)
        assert scene.carrier.is_held  # it is no longer asked

    on_loop(scenario)


def test_what_lingers_stays_held_up_until_it_is_released() -> None:
    def scenario() -> None:
        scene = Scene()
        scene.comes(MIB)
        scene.readers.remove(scene.reader)
        scene.pacing.hold()
        assert scene.pacing._timer is None
        scene.pacing.release()
        assert not scene.carrier.is_held

    on_loop(scenario)


def test_a_window_grows_to_its_full_size_with_what_its_reader_has_taken() -> None:
    def scenario() -> None:
        scene, sizes = Scene(kept=False), []
        for _ in range(7):
            while not scene.carrier.is_held:
                scene.comes(16 << 10)
                scene.reader.position = scene.reader.given = scene.reader.given - (16 << 10)  # it can't be written to
                scene.reader.untaken = 0
            sizes.append(scene.buffer.held)
            scene.reader.position = scene.reader.given = scene.buffer.received
            scene.pacing.progressed()
            assert not scene.carrier.is_held

        assert sizes[0] == FREE
        assert sizes == sorted(sizes)
        assert sizes[-1] == sizes[-2] == WINDOW

    on_loop(scenario)
