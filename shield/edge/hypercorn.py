"""What hypercorn 0.18 lacks for HTTP/2, reached for behind its back; where it isn't hypercorn, nothing happens.

- Its stream buffers take any amount while a client opens no window: a pause ends as soon as nothing could be sent
  (`StreamBuffer.pop`). So each piece is awaited until it has left.
- An application that fails in a body leaves its stream open for ever: so it is reset.
- A connection that is lost leaves those waiting who write to it: so they are released.
"""

from __future__ import annotations

from typing import Any

_INTERNAL_ERROR = 2  # RFC 9113 §7


class Stream:
    """The HTTP/2 stream behind an ASGI `send`, if there is one."""

    def __init__(self, send: object) -> None:
        stream: Any = getattr(send, "__self__", None)
        protocol: Any = getattr(getattr(stream, "send", None), "__self__", None)
        found = hasattr(protocol, "stream_buffers") and hasattr(protocol, "connection")
        self._protocol = protocol if found and hasattr(protocol.connection, "reset_stream") else None
        self._number: int = stream.stream_id if self._protocol is not None else 0

    async def drain(self) -> None:
        """Wait until all that was sent has left for the client."""
        buffer = self._buffer()
        if buffer is not None:
            await buffer.drain()

    async def release(self) -> None:
        """The client is gone: nobody may wait for it any more."""
        buffer = self._buffer()
        if buffer is not None:
            await buffer.close()

    async def reset(self) -> None:
        """End with RST_STREAM, then do as hypercorn does when a client resets a stream."""
        if self._protocol is not None:
            self._protocol.connection.reset_stream(self._number, _INTERNAL_ERROR)
            await self._protocol._window_updated(self._number)
            await self._protocol._flush()

    def _buffer(self) -> Any:
        return None if self._protocol is None else self._protocol.stream_buffers.get(self._number)
