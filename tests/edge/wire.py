"""A client's connection without a socket: what is sent comes in exactly the pieces that a test says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from shield.edge.connection import ClientConnection
from tests.node import Shield


class Wire:
    """Stands for a transport whose client takes everything at once."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.ended = False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            self.written += part

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    abort = close

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def get_extra_info(self, name: str) -> object:
        return ("192.0.2.1", 1234) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


@dataclass(frozen=True)
class Outcome:
    """What a client got, and whether that was the end."""

    answers: bytes
    ended: bool


def said(shield: Shield, *pieces: bytes) -> Outcome:
    """What the node answers to pieces that come one after the other. To be called on its loop."""
    with connected(shield) as (connection, wire):
        for piece in pieces:
            connection.data_received(piece)
        return Outcome(bytes(wire.written), wire.ended)


@contextmanager
def connected(shield: Shield) -> Iterator[tuple[ClientConnection, Wire]]:
    made, wire = shield.node.front.protocol(cast(Any, None), shield._state, {}), Wire()
    connection = cast(ClientConnection, made)
    connection.connection_made(cast(Any, wire))
    try:
        yield connection, wire
    finally:
        connection.connection_lost(None)
