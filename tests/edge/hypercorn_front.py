"""hypercorn in front of a node of the test's process, and a small HTTP/2 client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import h2.config
import h2.connection
import h2.errors
import h2.events
from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.client import PATIENCE
from tests.node import Shield


@contextmanager
def hypercorn(shield: Shield, path: str | None = None) -> Iterator[int]:
    """The port where hypercorn serves the node's ASGI application, HTTP/1.1 and HTTP/2 in clear; or a unix socket."""
    if path is None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    else:
        listener, port = socket.socket(socket.AF_UNIX), 0
        listener.bind(path)
        listener.listen()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = config.accesslog = None
    config.graceful_timeout = 0.1

    async def start() -> tuple[asyncio.Event, asyncio.Task[None]]:
        stop = asyncio.Event()
        asgi: Any = shield.node.asgi
        return stop, asyncio.create_task(serve(asgi, config, shutdown_trigger=stop.wait))

    async def end() -> None:
        stop.set()
        await task

    stop, task = shield.run(start())
    try:
        yield port
    finally:
        shield.run(end())


@dataclass
class Streamed:
    """One response on an HTTP/2 stream. `reset` holds RST_STREAM's code; `ended` means END_STREAM."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    reset: int | None = None


class H2Client:
    """One blocking connection with prior knowledge."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.settimeout(PATIENCE)
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.connection.initiate_connection()
        self.streams: dict[int, Streamed] = {}
        self.reading = True  # opens the flow control window again for what has come
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.connection.data_to_send())

    def ask(
        self,
        target: str,
        fields: dict[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes = b"",
        ends: bool = True,
    ) -> int:
        """Send a request, or one that never ends; the number of its stream."""
        stream = self.connection.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "cdn.example"), (":path", target)]
        self.connection.send_headers(stream, [*head, *(fields or {}).items()], end_stream=ends and not body)
        if body:
            self.connection.send_data(stream, body, end_stream=True)
        self.streams[stream] = Streamed()
        self.flush()
        return stream

    def ask_for(self, changes: dict[str, str | None], *, ends: bool = True) -> int:
        """Send what a well-behaved client couldn't: other pseudo-header fields; None: it is left out."""
        config = self.connection.config
        config.validate_outbound_headers = config.normalize_outbound_headers = False
        plain = {":method": "GET", ":scheme": "http", ":authority": "cdn.example", ":path": "/a"}
        head = [(name, value) for name, value in {**plain, **changes}.items() if value is not None]
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream, head, end_stream=ends)
        self.streams[stream] = Streamed()
        self.flush()
        return stream

    def get(self, target: str, fields: dict[str, str] | None = None, *, method: str = "GET") -> Streamed:
        return self.finish(self.ask(target, fields, method=method))

    def finish(self, stream: int) -> Streamed:
        """Read until the stream has ended in one way or the other."""
        found = self.streams[stream]
        while not found.ended and found.reset is None:
            self.step()
        return found

    def read_body(self, stream: int, size: int) -> Streamed:
        """Read until so many bytes of a body have come."""
        while len(self.streams[stream].body) < size:
            self.step()
        return self.streams[stream]

    def step(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("closed by the server")
        for event in self.connection.receive_data(data):
            found = self.streams.get(getattr(event, "stream_id", None) or 0)
            if found is None:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                named = {str(name): str(value) for name, value in event.headers or []}
                found.status, found.fields = int(named[":status"]), named
            elif isinstance(event, h2.events.DataReceived):
                found.body += event.data or b""
                if self.reading and event.flow_controlled_length:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
            elif isinstance(event, h2.events.StreamEnded):
                found.ended = True
            elif isinstance(event, h2.events.StreamReset):
                found.reset = int(event.error_code or 0)
        self.flush()

    def cancel(self, stream: int) -> None:
        self.connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()
