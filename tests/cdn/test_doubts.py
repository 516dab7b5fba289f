"""Objects from a corrupt origin at CDNs: URLs up to a number, and what happens beyond it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shield.cdn.doubts import EdgeDoubts
from shield.cdn.whole import EdgeWhole
from shield.rules.edge_purge import CorruptTerms
from shield.rules.routes import Route, Routes
from tests.cdn.test_passing import Rig, in_a_loop
from tests.doubles.receiver import Receiver
from tests.node import FakeClock

ROUTES = Routes([Route("default", origins=("fra",))])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


class Doubting(Rig):
    """Of `workers` workers, those that the test names. `found` has them find such entries."""

    def __init__(self, tmp_path: Path, receiver: Receiver, clock: FakeClock, terms: CorruptTerms) -> None:
        super().__init__(tmp_path, receiver, clock)
        self.purges.use([replace(self.purges._targets["cdn"], corrupt=terms, again=0.0)])
        whole = EdgeWhole(self.purges, None, clock=clock)
        self.workers = [
            EdgeDoubts(self.purges, whole, lambda: ROUTES, worker=worker, share=0.5, clock=clock) for worker in (0, 1)
        ]

    async def finds(self, *names: str, worker: int = 0, sequence: int = 7) -> None:
        for name in names:
            self.workers[worker].note(b":/%b" % name.encode(), "fra", sequence)
        self.workers[worker].tick()
        task = self.workers[worker]._task
        if task is not None:
            await task
        await self.ticks()


def urls(receiver: Receiver) -> list[Any]:
    return [each.said.get("files", each.said.get("purge_everything")) for each in receiver.got]


@in_a_loop
async def test_urls_are_purged_as_entries_are_found_each_once(
    tmp_path: Path, receiver: Receiver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = Doubting(tmp_path, receiver, clock, CorruptTerms(100))
    await made.finds("a", "b", "a")
    await made.finds("b", "c")

    base = "https://images.example"
    assert urls(receiver) == [[f"{base}/a", f"{base}/b"], [f"{base}/c"]]
    with caplog.at_level(logging.WARNING):
        for _ in range(62):
            await made.finds()
    assert caplog.messages == ["origin fra: 3 objects that had come from it were purged at CDNs (corrupt-fra-7-...)"]
    await made.purges.close()


@in_a_loop
async def test_beyond_the_number_people_are_told_once(
    tmp_path: Path, receiver: Receiver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = Doubting(tmp_path, receiver, clock, CorruptTerms(4))
    await made.finds("a", "b", "c")
    await made.finds("d", "e")

    assert len(urls(receiver)) == 1 and len(urls(receiver)[0]) == 2  # half of it, as one of two workers
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "of more objects than the 2 whose URLs are purged there: purge everything there" in caplog.text
    await made.purges.close()


@in_a_loop
async def test_or_everything_is_purged_there_once_for_all_workers(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    made = Doubting(tmp_path, receiver, clock, CorruptTerms(4, everything=True))
    for worker in (0, 1):
        await made.finds("a", "b", "c", worker=worker)
    assert [each for each in urls(receiver) if each is True] == [True]

    await made.finds("a", "b", "c", sequence=8)
    assert [each for each in urls(receiver) if each is True] == [True, True]
    await made.finds("a", "b", "c", sequence=0)  # copies that were compared one by one prove nothing of others
    assert [each for each in urls(receiver) if each is True] == [True, True]
    await made.purges.close()


@in_a_loop
async def test_by_choice_nothing_or_everything_at_once(tmp_path: Path, receiver: Receiver, clock: FakeClock) -> None:
    none = Doubting(tmp_path, receiver, clock, CorruptTerms(0))
    await none.finds("a")
    assert receiver.got == [] and not none.workers[0]._doubtful
    none.purges.use([replace(none.purges._targets["cdn"], corrupt=CorruptTerms(0, everything=True))])
    await none.finds("a")

    assert urls(receiver) == [True]
    await none.purges.close()


@in_a_loop
async def test_what_was_found_before_a_stop_is_in_the_file(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    made = Doubting(tmp_path, receiver, clock, CorruptTerms(100))
    made.workers[0].note(b":/a", "fra", 7)
    await made.workers[0].close()
    await made.purges.close()

    again = Rig(tmp_path, receiver, clock)
    await again.ticks()
    assert urls(receiver) == [["https://images.example/a"]]
    await again.purges.close()
