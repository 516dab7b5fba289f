"""Limits on connections: which of them is closed to make room, and which never is."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from shield.edge.door import Door
from shield.edge.states import Reading
from shield.rules.addresses import Networks
from shield.rules.limits import ClientLimits
from tests.client import PATIENCE, Client, request
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield


@pytest.fixture(autouse=True)
def objects(origin: FaultyOrigin) -> None:
    origin.serves("/a", b"a", lifetime=60)
    origin.serves("/slow", b"0123456789", lifetime=60)


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as made:
        yield made


def limit(shield: Shield, **changes: Any) -> None:
    in_force = shield.node.in_force
    limits = replace(in_force.regime.limits, **changes)
    shield.call(lambda: in_force.swap(replace(in_force.regime, limits=limits)))


def asking(shield: Shield, stack: contextlib.ExitStack, count: int) -> list[Client]:
    """Clients that were answered, one after the other."""
    clients = []
    for _ in range(count):
        clients.append(stack.enter_context(shield.client()))
        assert clients[-1].ask("/a").status == 200
        shield.sweep(times=2)  # it is idle from the second on
    return clients


def from_address(shield: Shield, stack: contextlib.ExitStack, address: str) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", shield.port), PATIENCE, source_address=(address, 0))
    return stack.enter_context(made)


def is_answered(connected: socket.socket) -> bool:
    connected.sendall(request("/a"))
    try:
        return connected.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    except ConnectionError:
        return False


def test_those_that_are_idle_for_longest_give_way_to_new_ones(shield: Shield, stack: contextlib.ExitStack) -> None:
    limit(shield, max_connections=3)
    first, second, third = asking(shield, stack, 3)
    assert first.ask("/a").hit  # now it isn't the one any more
    shield.sweep(times=2)

    fourth = stack.enter_context(shield.client())
    assert fourth.ask("/a").hit
    assert second.at_end()
    fifth = stack.enter_context(shield.client())
    assert fifth.ask("/a").hit
    assert third.at_end()

    assert all(client.ask("/a").hit for client in (first, fourth, fifth))
    assert shield.state()["door"] == {"turned_away": 0, "gave_way": 2}


def test_none_gives_way_that_is_being_answered_or_is_asking_or_asked_a_moment_ago(
    shield: Shield, origin: FaultyOrigin, stack: contextlib.ExitStack
) -> None:
    gate = origin.gate()
    origin.spoils("/slow", at_body(5, Wait(gate)))
    limit(shield, max_connections=3)
    answered, saying, fresh = asking(shield, stack, 3)
    answered.send(request("/slow"))
    gate.reached()
    saying.send(b"GET /a HT")
    shield.wait_for(lambda: any(c._reading is Reading.HEAD for c in shield._state.connections))
    shield.sweep()
    assert fresh.ask("/a").hit

    late = stack.enter_context(shield.client())
    assert late.at_end()

    gate.open()
    saying.send(b"TP/1.1\r\nHost: x\r\n\r\n")
    assert answered.read().body == b"0123456789"
    assert saying.read().hit
    assert fresh.ask("/a").hit


def test_one_address_drives_out_only_itself(shield: Shield, stack: contextlib.ExitStack) -> None:
    limit(shield, max_connections=12, max_connections_per_address=3)
    (cdn,) = asking(shield, stack, 1)

    flood = [from_address(shield, stack, "127.0.0.2") for _ in range(60)]
    shield.wait_for(lambda: shield.node.front.door.gave_way == 57)

    assert is_answered(flood[-1])
    assert [one.recv(1) for one in flood[:57]] == [b""] * 57
    assert cdn.ask("/a").hit
    assert shield.connections == 4


def test_those_that_say_nothing_give_way_though_they_are_new(shield: Shield, stack: contextlib.ExitStack) -> None:
    limit(shield, max_connections=5)
    (cdn,) = asking(shield, stack, 1)
    assert cdn.ask("/a").hit

    for _ in range(20):
        stack.enter_context(shield.client())
    late = stack.enter_context(shield.client())

    assert late.ask("/a").hit
    assert cdn.ask("/a").hit
    shield.wait_for(lambda: shield.connections == 5)


def test_all_are_counted_as_before_once_they_have_left(shield: Shield, stack: contextlib.ExitStack) -> None:
    limit(shield, max_connections=6, max_connections_per_address=3)
    for _ in range(5):
        with contextlib.ExitStack() as crowd:
            for client in [crowd.enter_context(shield.client()) for _ in range(9)][6:]:
                assert client.ask("/a").status == 200
        shield.wait_for(lambda: shield.connections == 0)

    door = shield.node.front.door
    assert not door._places and not door._idle


@pytest.mark.parametrize(("exempt", "answered"), [((), 2), (["127.0.0.0/30"], 5), (["192.0.2.0/24"], 2)])
def test_an_address_that_is_exempt_may_have_any_number(
    shield: Shield, stack: contextlib.ExitStack, exempt: Sequence[str], answered: int
) -> None:
    limit(shield, max_connections_per_address=2, exempt=Networks(exempt))

    clients = [from_address(shield, stack, "127.0.0.2") for _ in range(5)]

    assert sum([is_answered(client) for client in clients]) == answered


class _Guest:
    def __init__(self, door: Door, *, busy: bool = False) -> None:
        self.door = door
        self.busy = busy

    def gives_way(self) -> bool:
        if not self.busy:
            self.door.leave("192.0.2.1")
        return not self.busy


def test_a_new_one_is_turned_away_when_all_that_seemed_idle_are_busy(clock: FakeClock) -> None:
    door = Door(ClientLimits(max_connections_per_address=3), clock=clock)
    guests = [_Guest(door, busy=busy) for busy in (True, True, False)]
    for guest in guests:
        assert door.enter("192.0.2.1", None, 0)
        door.idles(guest, "192.0.2.1")

    assert door.enter("192.0.2.1", None, 0)
    assert not door.enter("192.0.2.1", None, 0)
    assert (door.gave_way, door.turned_away) == (1, 1)


class Numbered:
    """A socket with this descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor


def test_descriptors_are_looked_at_now_and_then_and_each_one_near_their_limit(clock: FakeClock) -> None:
    door = Door(ClientLimits(max_connections=10_000), clock=clock)
    most = door._for_clients
    looked_at: list[int] = []

    for descriptor in range(most - 100, most + 20):
        connected = None
        if door.must_see:
            looked_at.append(descriptor)
            connected = cast(socket.socket, Numbered(descriptor))
        admitted = door.enter("192.0.2.1", connected, 0)
        assert admitted == (descriptor < most)

    assert 5 <= len([each for each in looked_at if each < most]) <= 15
    assert looked_at[-20:] == list(range(most, most + 20))
    assert door.turned_away == 20
