"""The watch over a node's alarms, with a receiver of webhooks on a real socket and a clock that only tests move."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shield.alarms.memory import SIZE, AlarmMemory, file_of, load
from shield.alarms.posting import Poster
from shield.alarms.watch import AlarmSources, AlarmTerms, AlarmWatch
from shield.kept import KeptFile
from shield.rules.alarm_signs import WorkerSigns
from shield.rules.alarms import KINDS, AlarmCause, AlarmEvent, AlarmKind, AlarmNews, NodeAlarm
from shield.rules.webhooks import Webhook, key_of, signature
from tests.doubles.receiver import Receiver
from tests.node import FakeClock

OUT = AlarmCause(AlarmKind.DISK, "/a", "tier ssd: /a: out: Input/output error")
KEY = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def with_limit() -> None:
        async with asyncio.timeout(30):
            await work()

    asyncio.run(with_limit())


@dataclass
class Machine:
    """A node with a worker or two, of which only the alarms are real."""

    clock: FakeClock
    memory: AlarmMemory
    watch: AlarmWatch
    causes: list[AlarmCause] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)
    conducts: bool = True

    async def passes(self, seconds: float = 5.0) -> None:
        """Time passes; all that is to be done then is done."""
        self.clock.advance(seconds)
        await self.settles()

    async def settles(self) -> None:
        self.watch.tick()
        while self.watch._looking is not None:  # noqa: ASYNC110  # or what it does
            await asyncio.sleep(0)
        self.watch.tick()
        while self.watch._posting or self.watch._saving is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async def breaks(self) -> None:
        """A disk is out, for long enough."""
        self.causes.append(OUT)
        await self.passes()
        await self.passes(KINDS[OUT.kind].begins_after)


@asynccontextmanager
async def machine(
    *webhooks: Webhook, clock: FakeClock | None = None, memory: AlarmMemory | None = None, state: Path | None = None
) -> AsyncIterator[Machine]:
    clock, memory = clock or FakeClock(), memory or AlarmMemory(memoryview(bytearray(SIZE)))

    async def others() -> Sequence[bytes]:
        return made.others

    sources = AlarmSources(
        own=lambda: WorkerSigns(0, 1.0, troubles=tuple(made.causes)),
        others=others,
        of_node=lambda: ([], set()),
        conducts=lambda: made.conducts,
    )
    watch = AlarmWatch(
        memory,
        sources,
        AlarmTerms(remind=3600.0, webhooks=webhooks),
        node="fra-1",
        clock=clock,
        file=KeptFile(state, file_of("fra-1")),
        chance=lambda: 0.5,
        now=lambda: clock.now - 1e9,
    )
    made = Machine(clock, memory, watch)
    try:
        yield made
    finally:
        await watch.close()


def test_an_alarm_is_sent_once_and_its_end_too() -> None:
    async def story() -> None:
        with Receiver() as receiver:
            async with machine(Webhook("pager", receiver.url, KEY)) as node:
                await node.breaks()
                for _ in range(20):
                    await node.passes()
                node.causes.clear()
                for _ in range(20):
                    await node.passes()

                assert [each.said["type"] for each in receiver.got] == ["alarm.began", "alarm.resolved"]
                assert node.memory.read().counts["pager"].sent == 2
                for each in receiver.got:
                    name, sent = each.fields["webhook-id"], int(each.fields["webhook-timestamp"])
                    assert each.fields["webhook-signature"] == signature(KEY, name, sent, each.body)
                    assert each.fields["content-type"] == "application/json"

    run(story)


def test_a_webhook_that_fails_is_tried_again_with_the_same_id(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        with Receiver(
            answers=[(500, {}), (503, {"retry-after": "60"}), (302, {"location": "http://127.0.0.1/"})]
        ) as receiver:
            async with machine(Webhook("pager", receiver.url, KEY)) as node:
                await node.breaks()
                counts = []
                for seconds in (4.0, 1.0, 59.0, 1.0, 19.0, 1.0, 300.0):
                    await node.passes(seconds)
                    counts.append(len(receiver.got))

                assert counts == [1, 2, 2, 3, 3, 4, 4]
                assert len({each.fields["webhook-id"] for each in receiver.got}) == 1
                assert len({each.fields["webhook-timestamp"] for each in receiver.got}) == 4
                assert node.memory.read().counts["pager"].sent == 1

    with caplog.at_level(logging.WARNING):
        run(story)
    assert "webhook pager: an alarm can't be sent: it answers 500; it is tried again in 5 s" in caplog.text
    assert "token" not in caplog.text


def test_a_webhook_that_never_answers_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with machine(Webhook("pager", "http://127.0.0.1:9/hook?token=hidden")) as node:
            await node.breaks()
            for _ in range(10):
                await node.passes(301.0)

            book = node.memory.read()
            assert not book.outbox and book.counts["pager"].failed == 1

    with caplog.at_level(logging.WARNING):
        run(story)
    assert "webhook pager: an alarm is given up after 10 attempts: ConnectError" in caplog.text
    assert "token" not in caplog.text


def test_a_silent_webhook_costs_its_timeout_and_no_more() -> None:
    async def story() -> None:
        event_of = NodeAlarm("1", AlarmKind.TEST, "", "test", 1.0, 1.0)
        with Receiver(is_silent=True) as receiver:
            async with Poster("fra-1", clock=FakeClock()) as poster:
                webhook = Webhook("pager", receiver.url, timeout=0.05)

                result = await poster.post(webhook, AlarmEvent("1", 1.0, AlarmNews.BEGAN, event_of))

            assert result.problem == "no response in 0.05 s"

    run(story)


def test_only_the_conductor_judges_and_sends_and_the_next_one_goes_on() -> None:
    async def story() -> None:
        with Receiver(answers=[(500, {})]) as receiver:
            hook, clock = Webhook("pager", receiver.url), FakeClock()
            async with machine(hook, clock=clock) as first:
                await first.breaks()
                async with machine(hook, clock=clock, memory=first.memory) as second:
                    second.conducts = False
                    second.causes.append(OUT)
                    await second.passes(60.0)
                    assert len(receiver.got) == 1

                    first.conducts, second.conducts = False, True
                    for _ in range(5):
                        await first.passes(5.0)
                        await second.passes(5.0)

                    ids = [each.fields["webhook-id"] for each in receiver.got]
                    assert len(ids) == 2 and len(set(ids)) == 1
                    assert first.watch.shown()["active"] == second.watch.shown()["active"] != []

    run(story)


def test_what_other_workers_say_counts() -> None:
    async def story() -> None:
        async with machine() as node:
            said = WorkerSigns(1, 1.0, troubles=(OUT,)).plain()
            node.others[:] = [json.dumps(said).encode(), b"torn", b"{}"]
            await node.passes()
            await node.passes(60.0)

            assert [each["subject"] for each in node.watch.shown()["active"]] == ["/a"]

    run(story)


def test_a_node_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    async def story() -> None:
        with Receiver(answers=[(204, {}), (500, {})]) as receiver:
            hook, clock = Webhook("pager", receiver.url), FakeClock()
            async with machine(hook, clock=clock, state=tmp_path) as before:
                await before.breaks()
                before.causes.clear()
                await before.passes()
                await before.passes(60.0)
                assert [each.said["type"] for each in receiver.got] == ["alarm.began", "alarm.resolved"]

            book, problem = load(tmp_path, "fra-1")
            assert book is not None and problem is None
            memory = AlarmMemory(memoryview(bytearray(SIZE)))
            memory.change(lambda empty: book)
            async with machine(hook, clock=clock, memory=memory, state=tmp_path) as after:
                after.causes.append(OUT)
                await after.passes(10.0)

                assert [each.said["type"] for each in receiver.got][2:] == ["alarm.resolved"]
                assert after.watch.shown()["active"] == []

    run(story)


def test_other_webhooks_hold_from_the_next_message_on() -> None:
    async def story() -> None:
        with Receiver(answers=[(500, {})]) as old, Receiver() as new:
            async with machine(Webhook("pager", old.url), Webhook("gone", "http://127.0.0.1:9/")) as node:
                await node.breaks()
                node.watch.use(AlarmTerms(remind=3600.0, webhooks=(Webhook("pager", new.url),)))
                await node.passes(10.0)

                assert (len(old.got), len(new.got)) == (1, 1)
                await node.passes(10.0)
                assert {each.webhook for each in node.memory.read().outbox} == set()
                assert list(node.watch.shown()["webhooks"]) == ["pager"]

    run(story)


def test_a_webhook_gets_thirty_messages_a_minute_at_most() -> None:
    async def story() -> None:
        with Receiver() as receiver:
            async with machine(Webhook("pager", receiver.url)) as node:
                node.causes += [AlarmCause(AlarmKind.RAMP, f"origin-{number}", "aborted") for number in range(40)]
                for _ in range(60):
                    await node.passes(1.0)

                assert 25 <= len(receiver.got) <= 30

    run(story)
