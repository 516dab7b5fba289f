"""The limits of a connection depend on its listener alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from shield.edge.connection import ClientConnection
from shield.edge.front import Front, Listener
from shield.edge.guard import GuardedFront
from shield.edge.states import Life
from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.wire import Wire
from tests.node import FakeClock, Shield, settings_of


class From(Wire):
    """A transport of a peer that the system gives this name."""

    def __init__(self, peer: object) -> None:
        super().__init__()
        self._peer = peer

    def get_extra_info(self, name: str) -> object:
        return self._peer if name == "peername" else None


def front_of(shield: Shield, listener: Listener, **limits: Any) -> Front:
    node = shield.node
    return GuardedFront(
        node.proxy,
        replace(node.front.limits, **limits),
        listener=listener,
        guard=node.guard,
        clock=shield.clock,
    )


def connected(shield: Shield, front: Front, peer: object) -> tuple[ClientConnection, From]:
    made, wire = front.protocol(cast(Any, None), shield._state, {}), From(peer)
    connection = cast(ClientConnection, made)
    connection.connection_made(cast(Any, wire))
    return connection, wire


@pytest.mark.parametrize(
    ("listener", "peer", "name"),
    [
        (Listener.TCP, ("::1", 80, 0, 0), "::1"),
        (Listener.TCP, ["192.0.2.1", 80], "192.0.2.1"),
        (Listener.TCP, None, ""),  # it has left already
        (Listener.TCP, "", ""),
        (Listener.UNIX, "", "unix"),
        (Listener.UNIX, None, "unix"),
        (Listener.UNIX, ("192.0.2.1", 80), "unix"),
        (Listener.WORKERS, "", "unix"),
    ],
)
def test_a_peer_is_named_by_the_listener(listener: Listener, peer: object, name: str) -> None:
    assert listener.name_of(peer) == name


@pytest.mark.parametrize("peer", ["", None, ("192.0.2.1", 80)])
@pytest.mark.parametrize(("listener", "inside"), [(Listener.TCP, 2), (Listener.UNIX, 2), (Listener.WORKERS, 3)])
def test_only_workers_are_not_counted_at_the_door(
    shield: Shield, listener: Listener, inside: int, peer: object
) -> None:
    def connect() -> int:
        front = front_of(shield, listener, max_connections=2)
        made = [connected(shield, front, peer) for _ in range(3)]
        let_in = sum(not wire.ended for _, wire in made)
        for connection, _ in made:
            connection.connection_lost(None)
        return let_in

    assert shield.call(connect) == inside


@pytest.mark.parametrize(("listener", "inside"), [(Listener.TCP, 1), (Listener.UNIX, 3)])
def test_an_address_is_limited_where_clients_have_one(shield: Shield, listener: Listener, inside: int) -> None:
    def connect() -> int:
        front = front_of(shield, listener, max_connections_per_address=1)
        made = [connected(shield, front, ("192.0.2.1", 80)) for _ in range(3)]
        for connection, _ in made:
            connection.connection_lost(None)
        return sum(not wire.ended for _, wire in made)

    assert shield.call(connect) == inside


@pytest.mark.parametrize(
    ("listener", "life"),
    [(Listener.TCP, Life.NUMBERED), (Listener.UNIX, Life.NUMBERED), (Listener.WORKERS, Life.OPEN)],
)
def test_requests_of_clients_alone_are_numbered(shield: Shield, listener: Listener, life: Life) -> None:
    def connect() -> Life:
        connection, _ = connected(shield, front_of(shield, listener, max_requests=3), ("192.0.2.1", 80))
        connection.connection_lost(None)
        return connection._life

    assert shield.call(connect) is life


def test_rules_for_unix_sockets_hold_for_their_listener_alone(origin: FaultyOrigin, clock: FakeClock) -> None:
    settings = settings_of({"fra": origin}, access={"addresses": ["unix"]})

    with Shield(settings, clock=clock) as shield:

        def denied(listener: Listener) -> bool:
            connection, wire = connected(shield, front_of(shield, listener), "")
            connection.data_received(b"GET /a/ HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.connection_lost(None)
            return wire.written.startswith(b"HTTP/1.1 403 ")

        assert shield.call(lambda: [denied(listener) for listener in (Listener.UNIX, Listener.TCP)]) == [False, True]
