"""hypercorn in front of a node of the test's process, and a small HTTP/2 client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
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
    config.graceful_timeout = PATIENCE  # those that it cancels complain

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
    interims: list[dict[str, str]] = field(default_factory=list)


class H2Client:
    """One blocking connection: with prior knowledge, or through TLS. It heeds no GOAWAY, but keeps each."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, *, receive_buffer: int | None = None) -> None:
        connected = socket.socket()
        connected.settimeout(PATIENCE)
        if receive_buffer is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small frames follow each other
        connected.connect(("127.0.0.1", port))
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
            connected = tls.wrap_socket(connected, server_hostname="localhost")
        self._begin(connected)

    @classmethod
    def on(cls, connected: socket.socket) -> Self:
        """On a connection that is there."""
        made = cls.__new__(cls)
        made._begin(connected)
        return made

    def _begin(self, connected: socket.socket) -> None:
        self.socket = connected
        self.scheme = "https" if isinstance(connected, ssl.SSLSocket) else "http"
        self.goaways: list[tuple[int, int]] = []  # the last stream and the error code of each
        self._kept = b""
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
        head = [(":method", method), (":scheme", self.scheme)]
        head += [(":authority", "cdn.example"), (":path", target)]
        self.connection.send_headers(stream, [*head, *(fields or {}).items()], end_stream=ends and not body)
        if body:
            self.connection.send_data(stream, body, end_stream=True)
        self.streams[stream] = Streamed()
        self.flush()
        return stream

    def ask_for(self, changes: dict[str, str | None], *, ends: bool = True) -> int:
        """Send what a well-behaved client couldn't: other pseudo-header fields; None: it is left out."""
        plain = {":method": "GET", ":scheme": self.scheme, ":authority": "cdn.example", ":path": "/a"}
        head = [(name, value) for name, value in {**plain, **changes}.items() if value is not None]
        return self.ask_as_is(head, ends=ends)

    def ask_as_is(
        self, head: Sequence[tuple[str, str] | tuple[bytes, bytes]], *, body: bytes = b"", ends: bool = True
    ) -> int:
        """Send this header list, which may be one that a well-behaved client couldn't send."""
        config = self.connection.config
        config.validate_outbound_headers = config.normalize_outbound_headers = False
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream, head, end_stream=ends and not body)
        if body:
            self.connection.send_data(stream, body, end_stream=ends)
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

    def receive(self) -> bytes:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("closed by the server")
        return data

    def step(self) -> None:
        for event in self.connection.receive_data(self._without_goaways(self.receive())):
            found = self.streams.get(getattr(event, "stream_id", None) or 0)
            if found is None:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                named = {str(name): str(value) for name, value in event.headers or []}
                found.status, found.fields = int(named[":status"]), named
            elif isinstance(event, h2.events.InformationalResponseReceived):
                found.interims.append({str(name): str(value) for name, value in event.headers or []})
            elif isinstance(event, h2.events.DataReceived):
                found.body += event.data or b""
                if self.reading and event.flow_controlled_length:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
            elif isinstance(event, h2.events.StreamEnded):
                found.ended = True
            elif isinstance(event, h2.events.StreamReset):
                found.reset = int(event.error_code or 0)
        self.flush()

    def wait_for_end(self) -> None:
        """Read until the server has closed the connection, and close it, too."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while True:
                self._without_goaways(self.receive())
        self.socket.close()

    def frames(self) -> list[tuple[int, int, bytes]]:
        """What has come next, past h2: kind, stream and payload of each whole frame."""
        self._kept += self.receive()
        found, kept = [], self._kept
        while len(kept) >= 9 and len(kept) >= (end := 9 + int.from_bytes(kept[:3], "big")):
            found.append((kept[3], int.from_bytes(kept[5:9], "big"), kept[9:end]))
            kept = kept[end:]
        self._kept = kept
        return found

    def _without_goaways(self, data: bytes) -> bytes:
        """h2 takes one for the end of all streams."""
        self._kept += data
        kept, left = self._kept, b""
        while len(kept) >= 9 and len(kept) >= (end := 9 + int.from_bytes(kept[:3], "big")):
            frame, kept = kept[:end], kept[end:]
            if frame[3] == 7:
                self.goaways.append((int.from_bytes(frame[9:13], "big"), int.from_bytes(frame[13:17], "big")))
            else:
                left += frame
        self._kept = kept
        return left

    def cancel(self, stream: int) -> None:
        self.connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()
