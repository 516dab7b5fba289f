"""Connections before and during the TLS handshake: they are counted at once, and limited in time."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.config.settings import Settings
from tests.client import PATIENCE, request
from tests.doubles.certificates import Authority
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.edge.greeter import greeting
from tests.node import FakeClock, Shield, settings_of


class Ground:
    def __init__(self, directory: Path, origin: FaultyOrigin) -> None:
        self.authority = Authority()
        self._chain, self._key = self.authority.write_server(directory, "localhost")
        self._origin = origin

    def settings(self, **limits: object) -> Settings:
        tls = {"certificate_file": str(self._chain), "key_file": str(self._key)}
        return settings_of({"fra": self._origin}, tls=tls, limits=limits)

    def get(self, port: int) -> bytes:
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        with self.authority.client().wrap_socket(raw, server_hostname="localhost") as secure:
            secure.sendall(request("/a", [("connection", "close")]))
            with secure.makefile("rb") as file:
                return file.read()


@pytest.fixture
def ground(tmp_path: Path, origin: FaultyOrigin) -> Iterator[Ground]:
    origin.serves("/a", b"hello", lifetime=60)
    yield Ground(tmp_path, origin)


def silent(port: int, stack: contextlib.ExitStack) -> socket.socket:
    made = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
    made.settimeout(PATIENCE)
    return made


@pytest.mark.parametrize("limit", [{"connections": 2, "connections_per_address": 0}, {"connections_per_address": 2}])
def test_who_says_nothing_counts_and_goes_when_its_time_is_over(
    ground: Ground, clock: FakeClock, limit: dict[str, int]
) -> None:
    settings = ground.settings(head="1s", **limit)

    with Shield(settings, clock=clock) as shield, greeting(shield, settings) as port, contextlib.ExitStack() as stack:
        door = shield.node.front.door
        waiting = [silent(port, stack) for _ in range(2)]
        shield.wait_for(lambda: door.greeted == 2)
        late = silent(port, stack)
        assert late.recv(1) == b""
        assert (door.turned_away, door.greeted) == (1, 2)

        assert [one.recv(1) for one in waiting] == [b"", b""]  # a second later
        shield.wait_for(lambda: door.greeted == 0)
        assert ground.get(port).endswith(b"hello")
        shield.wait_for(lambda: shield.connections == 0)
        assert ground.get(port).endswith(b"hello")


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b""])
def test_what_is_no_tls_ends_and_counts_no_more(ground: Ground, clock: FakeClock, said: bytes) -> None:
    settings = ground.settings(connections_per_address=1)

    with Shield(settings, clock=clock) as shield, greeting(shield, settings) as port:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as raw:
                raw.sendall(said)
                if said:
                    raw.settimeout(PATIENCE)
                    with contextlib.suppress(ConnectionError):
                        while raw.recv(100):
                            pass
            shield.wait_for(lambda: shield.node.front.door.greeted == 0)
        assert ground.get(port).endswith(b"hello")


def test_tls_keeps_little_of_what_an_origin_is_held_to_and_as_much_as_ever_afterwards(
    ground: Ground, origin: FaultyOrigin, clock: FakeClock
) -> None:
    body = Pattern(4_000_000)
    origin.serves("/large", body, lifetime=60)
    settings = ground.settings()

    with Shield(settings, clock=clock) as shield, greeting(shield, settings) as port:

        def limits() -> set[int]:
            return {connection._transport.get_write_buffer_limits()[1] for connection in shield._state.connections}

        raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        with ground.authority.client().wrap_socket(raw, server_hostname="localhost") as secure:
            secure.sendall(request("/large"))
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += secure.recv(1)
            while_it_comes = shield.call(limits)
            received = b""
            while len(received) < len(body):
                received += secure.recv(1 << 16)
            shield.wait_for(lambda: limits() != while_it_comes)
            afterwards = shield.call(limits)

    assert received == body[:]
    assert max(while_it_comes) < min(afterwards)
