"""The stream of live figures: one reading for all viewers, none without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from shield.admin.feed import CrowdedError, LiveFeed
from shield.observe.metrics import Family, Sample
from shield.observe.report import Report


class Readings:
    """Counts reports; each pause between two waits until it is let go."""

    def __init__(self, *, fails: int = 0) -> None:
        self.number = 0
        self._fails = fails
        self._go = asyncio.Event()

    async def report(self) -> Report:
        self.number += 1
        if self.number <= self._fails:
            raise RuntimeError("a worker is away")
        families = [Family(name, "", [Sample(1, {"le": "sum"})]) for name in ("seconds", "others")]
        return Report({"number": self.number}, families)

    async def pause(self, seconds: float) -> None:
        assert seconds == 1.0
        await self._go.wait()
        self._go.clear()

    def go_on(self) -> None:
        self._go.set()

    def feed(self, *, most: int = 8) -> LiveFeed:
        chosen = frozenset({"seconds"})
        return LiveFeed(self.report, histograms=chosen, clock=lambda: 5.0, most=most, pause=self.pause)


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 20.0))


def test_a_viewer_gets_the_state_and_the_chosen_families_at_each_reading() -> None:
    async def story() -> None:
        readings = Readings()
        stream = readings.feed().watch()

        first = json.loads(await anext(stream))
        readings.go_on()
        second = json.loads(await anext(stream))

        assert first == {"at": 5.0, "state": {"number": 1}, "families": {"seconds": [{"value": 1, "le": "sum"}]}}
        assert second["state"] == {"number": 2}

    run(story)


def test_all_viewers_share_a_reading_and_the_last_one_ends_them() -> None:
    async def story() -> None:
        readings = Readings()
        feed = readings.feed()
        streams = [feed.watch() for _ in range(5)]

        got = await asyncio.gather(*[anext(stream) for stream in streams])
        assert len(set(got)) == 1 and feed.viewers == 5 and readings.number == 1

        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        readings.go_on()
        await asyncio.sleep(0)
        assert feed.viewers == 0 and readings.number == 1

    run(story)


def test_a_slow_viewer_misses_snapshots_and_gets_the_newest() -> None:
    async def story() -> None:
        readings = Readings()
        feed = readings.feed()
        slow, quick = feed.watch(), feed.watch()
        await asyncio.gather(anext(slow), anext(quick))

        for _ in range(3):
            readings.go_on()
            await anext(quick)

        assert json.loads(await anext(slow))["state"] == {"number": 4}

    run(story)


def test_a_reading_that_fails_is_said_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        readings = Readings(fails=1)
        stream = readings.feed().watch()
        coming = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        readings.go_on()

        assert json.loads(await coming)["state"] == {"number": 2}
        assert "the live figures can't be read: a worker is away" in caplog.text

    run(story)


def test_one_viewer_too_many_is_refused() -> None:
    async def story() -> None:
        feed = Readings().feed(most=1)
        await anext(feed.watch())

        with pytest.raises(CrowdedError):
            feed.watch()

    run(story)


def test_closing_ends_all_streams() -> None:
    async def story() -> None:
        feed = Readings().feed()
        stream = feed.watch()
        await anext(stream)

        await feed.close()

        assert [each async for each in stream] == []
        assert feed.viewers == 0

    run(story)
