"""The states of a connection, and their transitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from shield.edge.connection import ClientConnection
from shield.edge.states import Life, Reading
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Stall, Wait
from tests.edge.wire import Wire, connected
from tests.node import Shield

PLAIN = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = PLAIN[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
Step = Callable[[ClientConnection], object]


def says(data: bytes) -> Step:
    return lambda connection: connection.data_received(data)


def shut_down(connection: ClientConnection) -> None:
    connection.shutdown()


def end(connection: ClientConnection) -> None:
    connection.eof_received()


def wait(seconds: int) -> Step:
    def sweep(connection: ClientConnection) -> None:
        for _ in range(seconds):
            connection.sweep()

    return sweep


@pytest.fixture
def stored(shield: Shield, origin: FaultyOrigin) -> Shield:
    origin.serves("/a", b"hello", lifetime=60)
    origin.script("/slow", Wait(origin.gate()), Stall())
    shield.get("/a")
    return shield


@pytest.mark.parametrize(
    ("steps", "reading", "life"),
    [
        ([], Reading.IDLE, Life.OPEN),
        ([says(PLAIN)], Reading.IDLE, Life.OPEN),
        ([says(PLAIN[:9])], Reading.HEAD, Life.OPEN),
        ([says(PLAIN[:9]), says(PLAIN[9:])], Reading.IDLE, Life.OPEN),
        ([says(PLAIN + PLAIN[:9])], Reading.HEAD, Life.OPEN),
        ([says(SLOW)], Reading.IDLE, Life.OPEN),
        ([says(SLOW + PLAIN)], Reading.LATER, Life.OPEN),
        ([says(SLOW), says(PLAIN[:9])], Reading.LATER, Life.OPEN),
        ([says(SLOW + PLAIN), says(PLAIN), wait(100)], Reading.LATER, Life.OPEN),
        ([says(SLOW + PLAIN), shut_down], Reading.LATER, Life.STOPPING),
        ([says(SLOW + PLAIN), end], Reading.LATER, Life.OPEN),
        # an empty body
        ([says(CHUNKED)], Reading.BODY, Life.OPEN),
        ([says(CHUNKED + b"0\r\n\r")], Reading.BODY, Life.OPEN),
        ([says(CHUNKED + b"0\r\n\r"), says(b"\n")], Reading.IDLE, Life.OPEN),
        ([says(CHUNKED + b"0\r\n\r\n" + PLAIN[:9])], Reading.HEAD, Life.OPEN),
        ([says(CHUNKED), says(b"0;a=b")], Reading.DEAF, Life.CLOSING),
        ([says(CHUNKED), wait(12)], Reading.DEAF, Life.CLOSING),
        ([says(CHUNKED), end], Reading.ENDED, Life.CLOSING),
        ([says(CHUNKED), shut_down], Reading.BODY, Life.STOPPING),
        ([says(CHUNKED), shut_down, says(b"0\r\n\r\n")], Reading.DEAF, Life.CLOSING),
        # refused, and the last ones
        ([says(b"x\r\n\r\n")], Reading.DEAF, Life.CLOSING),
        ([says(PLAIN[:-2] + b"Connection: close\r\n\r\n")], Reading.DEAF, Life.CLOSING),
        ([says(SLOW[:-2] + b"Connection: close\r\n\r\n")], Reading.DEAF, Life.OPEN),
        ([says(PLAIN[:-2] + b"Connection: close\r\n\r\n" + PLAIN)], Reading.DEAF, Life.CLOSING),
        # the client's end
        ([end], Reading.ENDED, Life.CLOSING),
        ([says(PLAIN), end], Reading.ENDED, Life.CLOSING),
        ([says(PLAIN[:9]), end], Reading.ENDED, Life.CLOSING),
        ([says(SLOW), end], Reading.ENDED, Life.OPEN),
        ([says(SLOW), end, shut_down], Reading.ENDED, Life.STOPPING),
        ([says(b"x\r\n\r\n"), end], Reading.ENDED, Life.CLOSING),
        # the node's end
        ([shut_down], Reading.DEAF, Life.CLOSING),
        ([says(PLAIN), shut_down], Reading.DEAF, Life.CLOSING),
        ([says(PLAIN[:9]), shut_down], Reading.HEAD, Life.STOPPING),
        ([says(PLAIN[:9]), shut_down, says(PLAIN[9:])], Reading.DEAF, Life.CLOSING),
        ([says(SLOW), shut_down], Reading.IDLE, Life.STOPPING),
        ([says(b"x\r\n\r\n"), shut_down], Reading.DEAF, Life.CLOSING),
        ([says(SLOW), lambda connection: connection.abort()], Reading.DEAF, Life.CLOSING),
        # silence
        ([wait(10)], Reading.IDLE, Life.OPEN),
        ([wait(11)], Reading.DEAF, Life.CLOSING),
        ([says(PLAIN), wait(651)], Reading.IDLE, Life.OPEN),
        ([says(PLAIN), wait(652)], Reading.DEAF, Life.CLOSING),
        ([says(PLAIN[:9]), wait(11)], Reading.HEAD, Life.OPEN),
        ([says(PLAIN[:9]), wait(12)], Reading.DEAF, Life.CLOSING),
        ([says(SLOW), wait(1000)], Reading.IDLE, Life.OPEN),
    ],
)
def test_a_connection_is_in_one_state_of_each(
    stored: Shield, steps: list[Step], reading: Reading, life: Life
) -> None:
    def play() -> tuple[Reading, Life]:
        with connected(stored) as (connection, _):
            for step in steps:
                step(connection)
            return connection._reading, connection._life

    assert stored.call(play) == (reading, life)


def test_what_a_deaf_connection_is_sent_changes_nothing(stored: Shield) -> None:
    def play() -> list[tuple[Reading, bytes]]:
        states = []
        with connected(stored) as (connection, wire):
            for data in (b"x\r\n\r\n", PLAIN, PLAIN[:9], b"\r\n\r\n"):
                connection.data_received(data)
                states.append((connection._reading, bytes(wire.written)))
        return states

    states = stored.call(play)

    assert len(set(states)) == 1
    assert states[0][1].count(b"HTTP/1.1 ") == 1


def test_a_connection_that_is_turned_away_stays_outside_and_was_never_counted(stored: Shield) -> None:
    front = stored.node.front

    def play() -> tuple[Reading, Life, bool, int]:
        made, wire = front.protocol(cast(Any, None), stored._state, {}), Wire()
        connection = cast(ClientConnection, made)
        front.door._for_clients = -1  # no descriptor is for clients
        connection.connection_made(cast(Any, wire))
        connection.data_received(PLAIN)
        connection.connection_lost(None)
        return connection._reading, connection._life, wire.ended, len(wire.written)

    assert stored.call(play) == (Reading.DEAF, Life.OUTSIDE, True, 0)


def test_requests_that_wait_are_not_answered_once_the_connection_is_cut(stored: Shield) -> None:
    def play() -> int:
        with connected(stored) as (connection, _):
            connection.data_received(SLOW + PLAIN)
            waiting = len(connection._later)
            connection.abort()
            return waiting - len(connection._later)

    assert stored.call(play) == len(PLAIN)


def test_no_request_is_taken_after_the_last_though_it_came_in_the_same_piece(stored: Shield) -> None:
    front = stored.node.front
    front.limits = replace(front.limits, max_requests=2)

    def play() -> tuple[int, Reading, Life]:
        with connected(stored) as (connection, wire):
            connection.data_received(PLAIN * 4)
            return wire.written.count(b"HTTP/1.1 200 "), connection._reading, connection._life

    assert stored.call(play) == (2, Reading.DEAF, Life.CLOSING)
