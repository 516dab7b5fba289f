"""A TLS handshake that stops in the middle: what the server says is let out up to a byte, the rest at a gate."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.doubles.gate import Gate


class Halting:
    """Stands before a transport while TLS writes to it; everything else is the transport's own."""

    _start_tls_compatible = True  # asyncio asks for it by this name

    def __init__(self, transport: asyncio.Transport, after: int | None) -> None:
        self._transport = transport
        self._room = after  # bytes that may still go out; None: all
        self._held = bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._room is None:
            self._transport.write(data)
            return
        self._held += data
        if self._room:
            self._transport.write(bytes(self._held[: self._room]))
            sent = min(self._room, len(self._held))
            del self._held[:sent]
            self._room -= sent

    async def release_at(self, gate: Gate) -> None:
        """Hold what is written until the gate opens, then nothing any more."""
        await gate.passed()
        self.release()

    def release(self) -> None:
        """Hold nothing any more."""
        self._room = None
        if self._held:
            self._transport.write(bytes(self._held))
            self._held.clear()
