"""Messages between the supervisor and a worker, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from shield.line import Kind, Line


@pytest.fixture
def ends() -> Iterator[tuple[Line, Line]]:
    one, other = (Line(end) for end in socket.socketpair())
    yield one, other
    one.close()
    other.close()


def test_messages_come_whole_and_in_order(ends: tuple[Line, Line]) -> None:
    one, other = ends
    one.send(Kind.PREPARE, b"settings")
    one.send(Kind.COMMIT)

    assert other.receive() == [(Kind.PREPARE, b"settings"), (Kind.COMMIT, b"")]
    assert other.receive() == []


def test_a_message_larger_than_the_socket_holds_waits_for_the_other_end(ends: tuple[Line, Line]) -> None:
    one, other = ends
    body = bytes(range(256)) * 20_000
    one.send(Kind.PREPARE, body)
    one.send(Kind.DRAIN)
    was_waiting, messages = one.is_waiting, list[tuple[Kind, bytes]]()
    while not messages or messages[-1][0] is not Kind.DRAIN:
        messages += other.receive()
        one.flush()

    assert was_waiting and not one.is_waiting
    assert messages == [(Kind.PREPARE, body), (Kind.DRAIN, b"")]


def test_the_end_comes_behind_the_last_message(ends: tuple[Line, Line]) -> None:
    one, other = ends
    one.send(Kind.READY)
    one.close()

    assert other.receive() == [(Kind.READY, b"")]
    with pytest.raises(EOFError):
        other.receive()


def test_what_is_sent_to_an_end_that_is_gone_goes_nowhere(ends: tuple[Line, Line]) -> None:
    one, other = ends
    other.close()

    one.send(Kind.DRAIN)

    assert not one.is_waiting
