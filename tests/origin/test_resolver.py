"""Addresses found, kept through failures, turned, dropped; with look-ups and timers in the test's hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shield.origin.resolver import Address, ResolveError, Resolver

FOUR, SIX = socket.AF_INET, socket.AF_INET6


class Names:
    """A name server and a clock: `knows` is what it answers next, `tick` lets the armed timer fire."""

    def __init__(self, *hosts: str) -> None:
        self.knows: list[str] | Exception = list(hosts)
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.timer: Callable[[], None] | None = None
        self.delay = 0.0

    async def lookup(self, host: str, port: int) -> list[tuple[Any, ...]]:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.knows, Exception):
            raise self.knows
        return [(SIX if ":" in host else FOUR, 1, 6, "", place(host, port)) for host in self.knows]

    def later(self, delay: float, callback: Callable[[], None]) -> Names:
        assert self.timer is None
        self.delay, self.timer = delay, callback
        return self

    def cancel(self) -> None:
        self.timer = None

    async def tick(self) -> None:
        timer, self.timer = self.timer, None
        assert timer is not None
        timer()
        for _ in range(5):
            await asyncio.sleep(0)


def place(host: str, port: int) -> tuple[Any, ...]:
    return (host, port, 0, 0) if ":" in host else (host, port)


def resolver(names: Names, *, misses: int = 3) -> Resolver:
    made = Resolver("origin.test", 80, refresh=30, misses=misses, lookup=names.lookup)
    made.later = names.later
    return made


def hosts(addresses: list[Address]) -> list[str]:
    return [address.place[0] for address in addresses]


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def test_the_first_look_up_is_waited_for_and_shared() -> None:
    async def scenario() -> None:
        names = Names("10.0.0.1")
        names.gate.clear()
        subject = resolver(names)
        waiting = [asyncio.create_task(subject.first()) for _ in range(5)]
        gone = asyncio.create_task(subject.first())
        await asyncio.sleep(0)
        assert subject.addresses() == []

        gone.cancel()
        names.gate.set()

        assert [hosts(found) for found in await asyncio.gather(*waiting)] == [["10.0.0.1"]] * 5
        assert names.asked == 1
        await subject.close()

    play(scenario)


def test_nobody_waits_for_a_later_look_up() -> None:
    async def scenario() -> None:
        names = Names("10.0.0.1")
        subject = resolver(names)
        await subject.first()
        assert 27 <= names.delay <= 33

        names.knows = ["10.0.0.2"]
        names.gate.clear()
        await names.tick()
        during = hosts(subject.addresses())
        names.gate.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert (during, hosts(subject.addresses())) == (["10.0.0.1"], ["10.0.0.2"])
        await subject.close()

    play(scenario)


@pytest.mark.parametrize(
    "failure", [socket.gaierror(-3, "Temporary failure"), UnicodeError("label too long"), ValueError("null"), []]
)
def test_the_last_good_addresses_outlive_failures(failure: Any) -> None:
    async def scenario() -> None:
        names = Names("10.0.0.1")
        subject = resolver(names, misses=1)
        await subject.first()

        names.knows = failure
        for _ in range(5):
            await names.tick()

        assert hosts(subject.addresses()) == ["10.0.0.1"]
        assert (subject.failures, bool(subject.last_error)) == (5, True)
        names.knows = ["10.0.0.2"]
        await names.tick()
        assert (hosts(subject.addresses()), subject.failures) == (["10.0.0.2"], 0)
        await subject.close()

    play(scenario)


def test_after_a_failed_first_look_up_requests_fail_at_once_until_the_pause_is_over() -> None:
    async def scenario() -> None:
        names = Names()
        names.knows = socket.gaierror(-2, "Name or service not known")
        subject = resolver(names)
        for _ in range(10):
            with pytest.raises(ResolveError, match=r"origin\.test: Name or service not known"):
                await subject.first()
        assert (names.asked, names.delay) == (1, 1.0)

        names.knows = ["10.0.0.1"]
        await names.tick()
        assert names.asked == 1  # a name nobody asks for isn't looked up for ever

        assert hosts(await subject.first()) == ["10.0.0.1"]
        await subject.close()

    play(scenario)


def test_families_alternate_and_each_call_begins_with_another_address() -> None:
    async def scenario() -> None:
        names = Names("fd00::1", "fd00::2", "10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1")
        subject = resolver(names)

        first = hosts(await subject.first())
        second = hosts(subject.addresses())

        assert first == ["fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2", "10.0.0.3"]
        assert second == ["fd00::2", "10.0.0.2", "fd00::1", "10.0.0.3", "10.0.0.1"]
        await subject.close()

    play(scenario)


def test_an_address_is_dropped_when_it_was_missing_often_enough() -> None:
    async def scenario() -> None:
        names = Names("10.0.0.1", "10.0.0.2")
        subject = resolver(names, misses=2)
        told: list[set[str]] = []
        subject.watch(lambda known: told.append(set(hosts(list(known)))))
        await subject.first()

        for answer in (["10.0.0.2"], ["10.0.0.1", "10.0.0.3"], ["10.0.0.1"], ["10.0.0.1"]):
            names.knows = answer
            await names.tick()

        assert told == [{"10.0.0.1", "10.0.0.3"}, {"10.0.0.1"}]
        await subject.close()

    play(scenario)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_literal_address_is_never_looked_up(host: str) -> None:
    async def scenario() -> None:
        names = Names()
        subject = Resolver(host, 80, lookup=names.lookup)

        assert hosts(subject.addresses()) == [host]
        assert names.asked == 0
        await subject.close()

    play(scenario)


@pytest.mark.parametrize("answered", [False, True])
def test_closing_leaves_no_look_up_and_no_timer(answered: bool) -> None:
    async def scenario() -> None:
        names = Names("10.0.0.1")
        subject = resolver(names)
        if not answered:
            names.gate.clear()
        waiting = asyncio.create_task(subject.first())
        for _ in range(5):
            await asyncio.sleep(0)

        await subject.close()

        await asyncio.gather(waiting, return_exceptions=True)
        assert names.timer is None
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(scenario)


def test_the_system_resolves_localhost() -> None:
    async def scenario() -> None:
        subject = Resolver("localhost", 80)

        assert set(hosts(await subject.first())) <= {"127.0.0.1", "::1"}
        await subject.close()

    play(scenario)


def test_addresses_are_written_as_in_urls() -> None:
    assert str(Address(FOUR, ("10.0.0.1", 80))) == "10.0.0.1:80"
    assert str(Address(SIX, ("fd00::1", 80, 0, 0))) == "[fd00::1]:80"
