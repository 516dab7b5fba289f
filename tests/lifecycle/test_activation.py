"""Sockets of a service manager: taken by their addresses, and what is wrong with them is named."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from shield.errors import ConfigError
from shield.lifecycle.activation import PassedSocket, Stock, given, shared_out, stored_name

FIRST = 200  # descriptors that nothing else here has


class Hand:
    """Puts descriptors where a manager would, from FIRST on."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._next = FIRST

    def over(self, made: socket.socket) -> tuple[str, int]:
        os.dup2(made.fileno(), self._next)
        self._stack.callback(_close, self._next)
        self._next += 1
        where = made.getsockname()
        made.close()
        return where[:2] if isinstance(where, tuple) else ("", 0)


def _close(descriptor: int) -> None:
    with suppress(OSError):
        os.close(descriptor)


@pytest.fixture
def hand() -> Iterator[Hand]:
    with ExitStack() as stack:
        yield Hand(stack)


def variables(count: object, names: str | None = None, *, pid: int = 7) -> dict[str, str]:
    found = {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count), "OTHER": "stays"}
    return found if names is None else {**found, "LISTEN_FDNAMES": names}


def taken(environ: dict[str, str]) -> list[PassedSocket]:
    return given(environ, 7, first=FIRST)


def close(sockets: list[PassedSocket]) -> None:
    for each in sockets:
        each.socket.detach()


def test_sockets_come_with_their_names_and_children_are_not_told(hand: Hand) -> None:
    where = [hand.over(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
    environ = variables(2, "clients:admin")

    found = taken(environ)

    assert [(each.name, each.socket.getsockname()[:2]) for each in found] == [
        ("clients", where[0]),
        ("admin", where[1]),
    ]
    assert not any(os.get_inheritable(each.socket.fileno()) for each in found)
    assert environ == {"OTHER": "stays"}
    close(found)


@pytest.mark.parametrize("environ", [{}, variables(5, pid=8), {"LISTEN_FDS": "1"}])
def test_what_is_meant_for_another_process_is_left_alone(environ: dict[str, str]) -> None:
    assert taken(environ) == []


def test_fewer_sockets_than_are_said_is_an_error_that_says_so(hand: Hand) -> None:
    hand.over(socket.create_server(("127.0.0.1", 0)))

    with pytest.raises(
        ConfigError, match=f"LISTEN_FDS=3 says that descriptors {FIRST} to {FIRST + 2}.*201 isn't open"
    ):
        taken(variables(3))


@pytest.mark.parametrize("count", ["", "x", "-1", "1.0", "\u0661"])
def test_a_number_that_is_none_is_named(count: str) -> None:
    with pytest.raises(ConfigError, match=f"LISTEN_FDS={count}: expected the number"):
        taken(variables(count))


def test_names_that_are_not_as_many_are_an_error(hand: Hand) -> None:
    hand.over(socket.create_server(("127.0.0.1", 0)))

    with pytest.raises(ConfigError, match="LISTEN_FDNAMES=a:b: expected as many names as LISTEN_FDS=1"):
        taken(variables(1, "a:b"))


def _connected() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return socket.create_connection(listener.getsockname())


def _unix() -> socket.socket:
    one, other = socket.socketpair()
    other.close()
    return one


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_connected, "doesn't listen: expected a listening socket"),
        (_unix, "doesn't listen: expected a listening socket"),
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "is a socket of another kind"),
    ],
)
def test_sockets_on_which_no_node_can_listen_are_named(hand: Hand, make: object, said: str) -> None:
    assert callable(make)
    hand.over(make())

    with pytest.raises(ConfigError, match=rf"descriptor {FIRST} \(web\) {said}"):
        taken(variables(1, "web"))


def test_what_is_no_socket_is_named() -> None:
    reader, writer = os.pipe()
    os.dup2(reader, FIRST)
    for descriptor in (reader, writer):
        os.close(descriptor)

    with pytest.raises(ConfigError, match=rf"descriptor {FIRST} \(without a name\) is no socket"):
        taken(variables(1))
    os.close(FIRST)


# by their addresses


def test_sockets_are_taken_by_their_address_and_one_that_nobody_wants_is_an_error(hand: Hand) -> None:
    wanted = hand.over(socket.create_server(("127.0.0.1", 0)))
    other = hand.over(socket.create_server(("127.0.0.1", 0)))
    found = taken(variables(2, "one:two"))
    stock = Stock(found)

    mine = stock.take(wanted)

    assert [each.name for each in mine] == ["one"]
    assert stock.take(wanted) == []
    with pytest.raises(ConfigError, match=rf"\(two\) listens on {other[0]}:{other[1]}, which is neither in listen"):
        stock.rest()
    close(found)


def test_one_of_a_former_run_that_nobody_wants_is_closed(hand: Hand) -> None:
    hand.over(socket.create_server(("127.0.0.1", 0)))
    found = taken(variables(1, stored_name("listen", "127.0.0.1:80")))

    assert [each.name for each in Stock(found).rest()] == ["shield-kept listen 127.0.0.1.80"]
    assert found[0].socket.fileno() == -1


@for_all(st.integers(1, 20), st.integers(1, 20))
def test_every_worker_has_a_socket_and_every_socket_a_worker(sockets: int, workers: int) -> None:
    shares = shared_out(range(sockets), workers)

    assert len(shares) == workers and all(shares)
    assert {each for share in shares for each in share} == set(range(sockets))
    counts = [sum(each in share for share in shares) for each in range(sockets)]
    assert max(counts) - min(counts) <= 1
    assert sockets < workers or max(counts) == 1  # none is shared without need
