"""Fetches that wait for one origin alone: each is told in time, by timers that are few."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from shield.origin.waiting import Waiting
from tests.origin.bench import ManualLoop


class Fetch:
    def __init__(self, loop: ManualLoop) -> None:
        self._loop = loop
        self.late_at: list[float] = []
        self.suspected = 0

    def be_late(self) -> None:
        self.late_at.append(self._loop.now)

    def suspect(self, origin: str) -> None:
        self.suspected += 1


@pytest.fixture
def loop() -> ManualLoop:
    return ManualLoop()


@pytest.fixture
def waiting(loop: ManualLoop) -> Waiting:
    return Waiting(cast(asyncio.AbstractEventLoop, loop))


def test_each_is_told_when_its_time_is_over_and_not_before(loop: ManualLoop, waiting: Waiting) -> None:
    start, fetches = loop.now, [Fetch(loop) for _ in range(4)]

    for fetch, seconds in zip(fetches, (3.0, 1.0, 2.0, 1.0), strict=True):
        waiting.begin(fetch, start + seconds)
    for _ in range(40):
        loop.passes(0.1)

    assert [[round(at - start, 1) for at in fetch.late_at] for fetch in fetches] == [[3.0], [1.0], [2.0], [1.0]]
    assert not len(waiting) and not loop.timers


def test_those_that_have_ended_are_told_nothing(loop: ManualLoop, waiting: Waiting) -> None:
    ended, other = Fetch(loop), Fetch(loop)

    waiting.begin(ended, loop.now + 1.0)
    waiting.begin(other, loop.now + 1.0)
    waiting.end(ended)
    loop.passes(1.5)

    assert (len(ended.late_at), len(other.late_at)) == (0, 1)


def test_one_that_ends_others_when_it_is_late_spares_them(loop: ManualLoop, waiting: Waiting) -> None:
    class Ending(Fetch):
        def be_late(self) -> None:
            super().be_late()
            for each in fetches:
                waiting.end(each)

    fetches = [Ending(loop), Ending(loop)]

    for fetch in fetches:
        waiting.begin(fetch, loop.now + 1.0)
    loop.passes(1.5)

    assert sum(len(fetch.late_at) for fetch in fetches) == 1


def test_fetches_that_end_in_time_share_a_timer(loop: ManualLoop, waiting: Waiting) -> None:
    for _ in range(1000):
        fetch = Fetch(loop)
        waiting.begin(fetch, loop.now + 1.0)
        loop.passes(0.001)
        waiting.end(fetch)

        assert len(loop.timers) == 1


def test_all_that_wait_can_be_sent_elsewhere(loop: ManualLoop, waiting: Waiting) -> None:
    with_time, without = Fetch(loop), Fetch(loop)
    waiting.begin(with_time, loop.now + 1.0)
    waiting.add(without)

    for each in waiting:
        each.suspect("fra")
        waiting.discard(without)  # they leave meanwhile
        waiting.end(with_time)

    assert (with_time.suspected, without.suspected) == (1, 1)
    assert not len(waiting)
