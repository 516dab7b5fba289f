"""One worker judges the origins for all, another when it is gone; those who wait at a bad one are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from shield.build.origins import origins_of
from shield.config.settings import Settings
from shield.origin.conductor import STEP_SECONDS, Conductor
from shield.origin.origin import Origin
from shield.records import PLACES, SILENT_SECONDS, Came, Records, private
from shield.rules.health import HealthState
from shield.shared import Seat
from tests.node import FakeClock

NOW = 1000.0
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


@dataclass
class Worker:
    """A worker's conductor and origins, on a clock that tests move."""

    conductor: Conductor
    fra: Origin
    iad: Origin
    rescued: list[str] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)
    passes: bool = True
    clock: FakeClock = field(default_factory=FakeClock)

    def looks(self, now: float, *, is_late: bool = False) -> None:
        self.conductor.look(now, is_late=is_late)

    async def probe(self, origin: Origin, deadline: float) -> bool:
        self.probed.append(origin.name)
        return self.passes


@asynccontextmanager
async def workers(count: int = 2) -> AsyncIterator[list[Worker]]:
    records, made, nodes = private(count), [], []
    for number in range(count):
        origins = origins_of(SETTINGS, Seat(), FakeClock())
        fra, iad = origins.all()
        made.append(_worker(records, number, fra, iad))
        nodes.append(origins)
    try:
        yield made
    finally:
        for worker, origins in zip(made, nodes, strict=True):
            await worker.conductor.close()
            await origins.close()


def _worker(records: Records, number: int, fra: Origin, iad: Origin) -> Worker:
    for origin in (fra, iad):
        origin.seen = records.of(number, origin.identity)
    worker: Worker

    async def probe(origin: Origin, deadline: float) -> bool:
        return await worker.probe(origin, deadline)

    conductor = Conductor(
        records,
        number,
        origins=lambda: (fra, iad),
        rescue=lambda origin: worker.rescued.append(origin.name),
        probe=probe,
        now=lambda: NOW,
        clock=lambda: worker.clock.now,
        chance=lambda: 0.5,
    )
    worker = Worker(conductor, fra, iad)
    return worker


def played(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]  # it is a coroutine


def stalls(*origins: Origin, now: float = NOW, times: int = 3) -> None:
    """Fetches that are sent now, and aren't answered."""
    for origin in origins:
        for _ in range(times):
            origin.seen.begin(now)


def test_fetches_of_all_workers_make_a_stall_and_all_of_them_go_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with workers() as (one, other):
            one.looks(NOW)
            other.looks(NOW)
            stalls(one.fra, times=2)
            stalls(other.fra, times=1)
            for worker in (one, other, one, other):
                worker.looks(NOW + 1.0)  # too little is known of it to say
            assert (one.rescued, other.rescued) == ([], [])

            for worker in (other, one, other, one, other):
                worker.looks(NOW + 1.6)

            assert (one.rescued, other.rescued) == (["fra"], ["fra"])
            assert other.fra.seen.record().state is HealthState.SUSPECT
            assert one.iad.seen.is_up

    with caplog.at_level(logging.WARNING):
        played(story)
    assert caplog.messages == ["origin fra: suspect: 3 unanswered for 1.6 s"]


def test_another_conducts_when_the_first_is_silent() -> None:
    async def story() -> None:
        async with workers() as (one, other):
            one.looks(NOW + 1.0)
            other.looks(NOW)
            stalls(other.fra)
            other.looks(NOW + 1.0)
            other.looks(NOW + 1.75)
            assert other.fra.seen.is_up  # the first is only a little late

            other.looks(NOW + 2.0)
            assert other.fra.seen.record().state is HealthState.SUSPECT

    assert SILENT_SECONDS > 3 * STEP_SECONDS
    played(story)


def test_a_worker_whose_loop_was_held_up_judges_nobody() -> None:
    async def story() -> None:
        async with workers(1) as (one,):
            one.looks(NOW)
            stalls(one.fra)
            one.looks(NOW + 2.0, is_late=True)
            assert one.fra.seen.is_up
            one.looks(NOW + 3.0)
            assert one.fra.seen.is_up  # responses may have waited to be read until a second ago
            one.looks(NOW + 3.6)
            assert not one.fra.seen.is_up

    played(story)


def test_one_that_is_always_late_judges_by_failures_alone() -> None:
    async def story() -> None:
        async with workers(1) as (one,):
            one.looks(NOW)
            stalls(one.fra)
            for number in range(5):
                one.iad.seen.failed(Came.FAILED, NOW + 1.0, b"/%d" % number)
            one.looks(NOW + 2.0, is_late=True)
            assert one.iad.seen.is_up
            one.looks(NOW + 4.0, is_late=True)
            assert one.fra.seen.is_up and not one.iad.seen.is_up

    played(story)


def test_a_suspect_is_probed_with_what_it_gave_lately_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with workers(1) as (one,):
            one.fra.sample = b"/a", b""
            one.looks(NOW)
            stalls(one.fra)
            one.looks(NOW + 2.0)
            await asyncio.sleep(0)
            assert one.probed == ["fra", "fra"]

            one.looks(NOW + 2.25)

            assert one.fra.seen.is_up
            stalls(one.fra, now=NOW + 10.0)
            one.looks(NOW + 12.0)
            assert one.rescued == ["fra", "fra"]  # each time anew

    with caplog.at_level(logging.WARNING):
        played(story)
    assert caplog.messages[1] == "origin fra: up: probes passed; it was out for 0.2 s"


def test_another_conductor_probes_a_suspect_itself_before_it_judges() -> None:
    """It doesn't know the results of the first one's probes. Those are void when the first one returns."""

    async def story() -> None:
        async with workers() as (one, other):
            one.fra.sample = other.fra.sample = b"/a", b""
            one.looks(NOW)
            other.looks(NOW)
            stalls(one.fra)
            one.looks(NOW + 2.0)
            await asyncio.sleep(0)
            assert (one.probed, other.probed) == (["fra", "fra"], [])

            other.looks(NOW + 4.5)  # the first is gone, and the time of its probes is over
            assert other.fra.seen.record().state is HealthState.SUSPECT
            await asyncio.sleep(0)
            assert other.probed == ["fra", "fra"]
            other.looks(NOW + 4.75)
            assert other.fra.seen.is_up

            stalls(other.fra, now=NOW + 10.0)
            other.looks(NOW + 12.0)
            one.looks(NOW + 12.1)
            assert one.fra.seen.record().state is HealthState.SUSPECT  # probes of the first suspicion passed
            assert len(one.probed) == 2
            await asyncio.sleep(0)
            assert len(one.probed) == 4

    played(story)


def test_one_that_is_suspect_before_it_has_given_anything_is_probed_once_it_has() -> None:
    async def story() -> None:
        async with workers(1) as (one,):
            one.looks(NOW)
            stalls(one.fra)
            one.looks(NOW + 2.0)
            one.fra.sample = b"/a", b""
            one.looks(NOW + 4.5)
            await asyncio.sleep(0)
            assert one.probed == ["fra", "fra"]
            one.looks(NOW + 4.75)
            assert one.fra.seen.is_up

    played(story)


def test_one_whose_probes_fail_is_out_until_others_pass(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with workers(1) as (one,):
            one.fra.sample, one.passes = (b"/a", b""), False
            one.looks(NOW)
            stalls(one.fra)
            for seconds in (2.0, 2.25, 2.5):
                one.looks(NOW + seconds)
                await asyncio.sleep(0)
            assert one.fra.seen.record().state is HealthState.OPEN
            assert one.fra.seen.record().until == NOW + 3.25

            one.passes = True
            for seconds in (3.25, 3.5, 33.5):
                one.looks(NOW + seconds)
                await asyncio.sleep(0)
            assert len(one.probed) == 5
            assert one.fra.seen.is_up

    with caplog.at_level(logging.WARNING):
        played(story)
    assert caplog.messages == [
        "origin fra: suspect: 3 unanswered for 2.0 s",
        "origin fra: out: probes failed; others are tried before it",
        "origin fra: recovering: probes passed; its share of keys grows",
        "origin fra: up: no trouble for 30 s; it was out for 31.5 s",
    ]


def test_a_suspicion_of_a_worker_holds_until_it_is_judged() -> None:
    async def story() -> None:
        async with workers() as (one, other):
            one.looks(NOW)
            other.fra.seen.suspect(NOW + 0.1)
            other.conductor.notice([other.fra])
            assert other.rescued == ["fra"]

            one.looks(NOW + 0.2)

            assert other.fra.seen.is_up  # nothing speaks against it

    played(story)


def test_an_origin_without_a_place_is_not_judged() -> None:
    """Nothing is said of it four times a second, and it is nobody's standing that all origins are bad."""

    async def story() -> None:
        async with workers(1) as (one,):
            records = private()
            for number in range(PLACES):
                records.of(0, b"%d" % number)
            one.iad.seen = records.of(0, one.iad.identity)
            one.looks(NOW)
            for _ in range(4):
                one.fra.seen.failed(Came.DIALLED, NOW + 1, b"/a")
                one.iad.seen.failed(Came.DIALLED, NOW + 1, b"/a")
            one.looks(NOW + 1.1)

            assert one.iad.seen.is_up
            assert one.iad.seen.record().state is HealthState.UP
            assert one.fra.seen.record().state is HealthState.SUSPECT

    played(story)


def test_origins_that_fail_together_are_not_put_out_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with workers(1) as (one,):
            one.looks(NOW)
            stalls(one.fra, one.iad)
            for seconds in (2.0, 2.25, 9.0):
                one.looks(NOW + seconds)
                assert one.fra.seen.is_up and one.iad.seen.is_up

            one.iad.seen.succeeded(Came.OK, NOW + 9.5, 0.1)
            one.looks(NOW + 10.0)

    with caplog.at_level(logging.WARNING):
        played(story)
    assert caplog.messages == [
        "all origins failed within 2 s: the fault is on this node's side; none of them is taken to be out",
        "an origin answers again, 8.0 s after all had failed together",
    ]


def test_it_looks_by_itself_from_its_opening_to_its_end() -> None:
    async def story() -> None:
        origins = origins_of(SETTINGS, Seat(), FakeClock())
        fra, _ = origins.all()
        fra.seen.suspect(asyncio.get_running_loop().time())
        origins.open()
        assert fra.seen.is_up  # it was looked at
        await origins.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    played(story)
