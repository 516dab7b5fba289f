"""Purges passed on to CDNs: sent after the order, once more later, over failures and stops of the node."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, ParamSpec

import pytest

from shield.cdn.outbox import EdgeOutbox
from shield.cdn.passing import HOLD_SECONDS, EdgePurges
from shield.cdn.posting import EdgeTarget
from shield.rules.alarms import AlarmKind
from shield.rules.edge_purge import EdgeProvider, EdgeSecrets, PurgeEdge
from shield.rules.purge_orders import PurgeOrder
from tests.doubles.receiver import Receiver
from tests.node import FakeClock

T = ParamSpec("T")


def in_a_loop(test: Callable[T, Coroutine[Any, Any, None]]) -> Callable[T, None]:
    """Run it in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: T.args, **kwargs: T.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


TOKEN = "hunter2-hunter2"
EDGE = PurgeEdge("cdn", EdgeProvider.CLOUDFLARE, "z1", ("https://images.example",))
ORDER = PurgeOrder("job-1", paths=(b"/a",))


class Rig:
    """EdgePurges of one worker; a new one with the same file is the node after a restart."""

    def __init__(self, tmp_path: Path, receiver: Receiver, clock: FakeClock, edge: PurgeEdge = EDGE) -> None:
        self.clock = clock
        self.outbox = EdgeOutbox(lambda: tmp_path / "outbox.sqlite")
        self.rests: list[float] = []
        target = EdgeTarget(edge, receiver.place, EdgeSecrets(TOKEN), 60.0)
        self.purges = EdgePurges(
            self.outbox, [target], conducts=lambda: True, clock=clock, chance=lambda: 0.5, rest=self._rest
        )

    async def _rest(self, seconds: float) -> None:
        self.rests.append(seconds)

    async def ticks(self) -> None:
        """One tick, and what it begins."""
        self.purges.tick()
        for edge in self.purges._edges.values():
            if edge.task is not None:
                await edge.task

    async def state(self, order_id: str = "job-1") -> str:
        return (await self.purges.status(order_id))["cdn"].state


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture
def rig(tmp_path: Path, receiver: Receiver, clock: FakeClock) -> Callable[[], Rig]:
    return lambda: Rig(tmp_path, receiver, clock)


@in_a_loop
async def test_an_order_is_sent_once_it_is_released_and_once_more_later(
    rig: Callable[[], Rig], receiver: Receiver
) -> None:
    made = rig()
    assert await made.purges.hold(ORDER)
    await made.ticks()
    assert receiver.got == [] and await made.state() == "queued"

    made.clock.advance(3.0)
    await made.purges.release("job-1")
    await made.ticks()
    (first,) = receiver.got
    assert (first.path, first.said) == ("/zones/z1/purge_cache", {"files": ["https://images.example/a"]})
    assert first.fields["authorization"] == f"Bearer {TOKEN}"
    assert await made.state() == "sent"

    made.clock.advance(59.0)
    await made.ticks()
    assert len(receiver.got) == 1
    made.clock.advance(1.0)
    await made.ticks()
    assert len(receiver.got) == 2 and await made.state() == "done"
    assert not await made.purges.hold(ORDER)  # it was given before
    await made.purges.close()


@in_a_loop
async def test_a_node_that_was_killed_sends_what_was_held_after_its_restart(
    rig: Callable[[], Rig], receiver: Receiver
) -> None:
    await rig().purges.hold(ORDER)
    made = rig()

    await made.ticks()
    assert receiver.got == []
    made.clock.advance(HOLD_SECONDS)
    await made.ticks()
    assert len(receiver.got) == 1
    await made.purges.close()


@in_a_loop
async def test_a_refused_order_is_never_sent(rig: Callable[[], Rig], receiver: Receiver) -> None:
    made = rig()
    await made.purges.hold(ORDER)
    await made.purges.withdraw("job-1")
    made.clock.advance(1000.0)
    await made.ticks()

    assert receiver.got == [] and await made.state() == "lost"
    await made.purges.close()


@in_a_loop
async def test_a_cdn_that_is_busy_or_down_is_asked_again_in_order_and_people_are_told(
    rig: Callable[[], Rig], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    made = rig()
    receiver.answers = [(503, {}), (429, {"retry-after": "30"}), (401, {})]
    with caplog.at_level(logging.WARNING, "shield.purge"):
        await made.purges.hold(ORDER)
        await made.purges.hold(PurgeOrder("job-2", tags=(b"x",)))
        await made.purges.release("job-1")
        await made.purges.release("job-2")
        for seconds, attempts in ((0.0, 1), (1.0, 1), (1.0, 2), (29.0, 2), (1.0, 3)):
            made.clock.advance(seconds)
            await made.ticks()
            assert len(receiver.got) == attempts
        (trouble,) = made.purges.troubles()
        assert trouble.kind is AlarmKind.EDGE_PURGES and "for 32 s: it answers 401" in trouble.text
        assert TOKEN not in caplog.text

        made.clock.advance(8.0)
        await made.ticks()

        assert [list(each.said) for each in receiver.got] == [["files"]] * 4 + [["tags"]]
        assert list(made.purges.troubles()) == []
        counts = made.purges.statistics()["cdn"]
        assert (counts.sent, counts.retried, counts.failed, counts.waiting) == (2, 3, 0, 2)
        assert made.rests == [0.25, 0.25]
        await made.purges.close()


@in_a_loop
async def test_what_a_cdn_refuses_again_and_again_is_given_up_and_blocks_no_other(
    rig: Callable[[], Rig], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    made = rig()
    receiver.answers = [(400, {})] * 4
    with caplog.at_level(logging.ERROR, "shield.purge"):
        await made.purges.hold(ORDER)
        await made.purges.hold(PurgeOrder("job-2", tags=(b"x",)))
        await made.purges.release("job-1")
        await made.purges.release("job-2")
        for _ in range(4):
            await made.ticks()
            made.clock.advance(16.0)

        assert caplog.messages == [
            "purge job-1 isn't passed on to cdn, after 4 attempts: it answers 400. Purge it there"
        ]
        assert await made.state() == "failed" and await made.state("job-2") == "sent"
        assert [each.text for each in made.purges.troubles()] == ["cdn: given up: purge job-1: it answers 400"]
        await made.purges.close()


@in_a_loop
async def test_an_order_that_the_cdn_can_do_nothing_of_is_refused_in_its_status(
    tmp_path: Path, receiver: Receiver, clock: FakeClock
) -> None:
    made = Rig(tmp_path, receiver, clock, PurgeEdge("cdn", EdgeProvider.FASTLY, "s1", ("https://images.example",)))

    await made.purges.hold(PurgeOrder("job-1", prefixes=("/a/",)))

    (status,) = (await made.purges.status("job-1")).values()
    assert (status.state, status.notes) == (
        "refused",
        ("1 prefix not passed on: Fastly has none: purge by tag, or all",),
    )


@in_a_loop
async def test_a_file_that_cannot_be_written_never_fails_the_purge(
    tmp_path: Path, receiver: Receiver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = Rig(tmp_path / "missing", receiver, clock)

    assert not await made.purges.hold(ORDER)

    assert await made.state() == "lost"
    assert "purge job-1 isn't passed on to CDNs: purges for CDNs" in caplog.text


@in_a_loop
async def test_orders_of_one_url_each_go_together_and_apart_once_the_cdn_refused_them(
    rig: Callable[[], Rig], receiver: Receiver
) -> None:
    made = rig()
    receiver.answers = [(400, {})]
    for name in ("a", "b"):
        await made.purges.hold(PurgeOrder(name, paths=(f"/{name}".encode(),)))
        await made.purges.release(name)

    await made.ticks()
    made.clock.advance(2.0)
    await made.ticks()

    bases = [[url.rpartition("/")[2] for url in each.said["files"]] for each in receiver.got]
    assert bases == [["a", "b"], ["a"], ["b"]]
    assert [await made.state(name) for name in ("a", "b")] == ["sent", "sent"]
    await made.purges.close()


@in_a_loop
async def test_a_cdn_for_which_too_many_calls_wait_gets_no_more(
    rig: Callable[[], Rig], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shield.cdn.outbox.MOST_WAITING", 2)
    made = rig()
    await made.purges.hold(ORDER)

    assert not await made.purges.hold(PurgeOrder("job-2", paths=(b"/b",)))

    assert await made.state("job-2") == "lost" and await made.state() == "queued"
    assert "purge job-2 isn't passed on to cdn: too many calls wait. Purge it there" in caplog.text
