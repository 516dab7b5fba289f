"""Workarounds for defects of hypercorn 0.18 in HTTP/2, through its private attributes. No effect on other servers.

- Its stream buffers accept any amount while a client opens no window: a pause ends as soon as nothing could be sent
  (`StreamBuffer.pop`). So each piece is awaited until it has been sent.
- If an application fails in the middle of a body, the stream stays open for ever. So it is reset.
- If a connection is lost, its writers wait for ever. So they are released.
- CONNECT, a path or method that isn't ASCII, and the rest of a body whose response is complete are errors that end a
  connection with all its streams. So only that stream is refused, and such bytes are dropped (`mend`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

_NO_ERROR, _INTERNAL_ERROR = 0, 2  # RFC 9113 §7
_ALLOW = (b"allow", b"GET, HEAD")
_mended: set[object] = set()  # classes


class HypercornStream:
    """The HTTP/2 stream behind an ASGI `send`, if there is one."""

    def __init__(self, send: object) -> None:
        stream: Any = getattr(send, "__self__", None)
        protocol: Any = getattr(getattr(stream, "send", None), "__self__", None)
        found = hasattr(protocol, "stream_buffers") and hasattr(protocol, "connection")
        self._protocol = protocol if found and hasattr(protocol.connection, "reset_stream") else None
        self._number: int = stream.stream_id if self._protocol is not None else 0

    async def drain(self) -> None:
        """Wait until everything written has been sent to the client."""
        buffer = self._buffer()
        if buffer is not None:
            await buffer.drain()

    async def release(self) -> None:
        """End all waits for a client that has disconnected."""
        buffer = self._buffer()
        if buffer is not None:
            await buffer.close()

    async def reset(self) -> None:
        """Send RST_STREAM, then do what hypercorn does when a client resets a stream."""
        if self._protocol is not None:
            self._protocol.connection.reset_stream(self._number, _INTERNAL_ERROR)
            await self._protocol._window_updated(self._number)
            await self._protocol._flush()

    def _buffer(self) -> Any:
        return None if self._protocol is None else self._protocol.stream_buffers.get(self._number)


def mend() -> None:
    """Make hypercorn refuse single streams instead of ending their connection. To be called once it is imported."""
    protocol: Any = getattr(sys.modules.get("hypercorn.protocol.h2"), "H2Protocol", None)
    if protocol is None or protocol in _mended:
        return
    _mended.add(protocol)
    create_stream, handle_events = protocol._create_stream, protocol._handle_events

    async def create(self: Any, request: Any) -> None:
        status = _refusal(request.headers)
        if status is None:
            await create_stream(self, request)
        else:
            _refuse(self, request, status)

    async def handle(self: Any, events: Iterable[Any]) -> None:
        for event in events:
            if hasattr(event, "flow_controlled_length") and event.stream_id not in self.streams:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                await handle_events(self, [event])
        await self._flush()

    protocol._create_stream, protocol._handle_events = create, handle


def _refusal(fields: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The status for a request that hypercorn can't parse; None if it can."""
    pseudo = dict(fields)
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path")
    if not method.isascii():
        return 400
    if method.upper() == b"CONNECT":
        return 405
    return 400 if path is None or not path.partition(b"?")[0].isascii() else None


def _refuse(protocol: Any, request: Any, status: int) -> None:
    """Answer a stream that hypercorn doesn't know of. Further bytes on it are dropped by `mend`."""
    head = [(b":status", b"%d" % status), (b"content-length", b"0"), (b"cache-control", b"no-store")]
    head += [_ALLOW] if status == 405 else []
    head += protocol.config.response_headers("h2")
    protocol.connection.send_headers(request.stream_id, head, end_stream=True)
    if protocol.connection.streams[request.stream_id].open:
        protocol.connection.reset_stream(request.stream_id, _NO_ERROR)  # RFC 9113 §8.1: it may stop sending
