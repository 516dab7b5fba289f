"""A transport without a socket, and a connection on it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from shield.edge.http2.connection import Http2Connection
from shield.edge.http2.frames import PREFACE
from tests.edge.http2.wire import SETTINGS, frame
from tests.node import Shield


class PaperTransport(asyncio.Transport):
    """Takes all that is written, or pauses the connection after so many bytes until it is told to go on."""

    def __init__(self, connection: Http2Connection) -> None:
        super().__init__()
        self._connection = connection
        self.written = b""
        self.closed = False
        self.paused = False
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview[int]) -> None:
        self.written += bytes(data)
        if len(data) > 20_000 and not self.paused:
            self.paused = True
            self._connection.pause_writing()

    def go_on(self) -> None:
        if self.paused:
            self.paused = False
            self._connection.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def connected(shield: Shield) -> tuple[Http2Connection, PaperTransport]:
    """A connection of a client that has said its settings. To be called on the node's loop."""
    front = shield.node.front
    state: Any = SimpleNamespace(connections=set())
    connection = Http2Connection(front, front.http2, state)
    front.door.enter("127.0.0.1", None, 0)
    transport = PaperTransport(connection)
    connection.connection_made(transport)
    connection.data_received(PREFACE + frame(SETTINGS))
    return connection, transport
