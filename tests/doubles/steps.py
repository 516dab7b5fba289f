"""What an origin can be told to do on a connection, one step at a time. A script is a sequence of these.

Steps write exactly what they are given: no field is added, no length is computed, nothing is repaired.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tests.doubles.gate import Gate
from tests.doubles.pattern import PIECE, Body

FieldLines = Mapping[str, str] | Iterable[tuple[str, str]]


class Wire(Protocol):
    """A step's view of its connection."""

    async def send(self, data: bytes) -> None:
        """Queue bytes; small writes go out together, at `flush` or when the script ends."""

    async def flush(self) -> None:
        """Wait until the kernel has everything sent so far."""

    async def reset(self) -> None:
        """Flush, then end the connection with RST."""

    async def close(self) -> None:
        """Flush, then end the connection with FIN (and close_notify under TLS)."""

    async def cut(self) -> None:
        """Flush, then FIN without a word of TLS: what an attacker or a dying balancer does."""


class Step(Protocol):
    """One thing to do. Tests may bring their own."""

    async def play(self, wire: Wire) -> None:
        """Do it."""


@dataclass(frozen=True)
class Head:
    """A status line and fields, several of one name when given as pairs. Interim heads are heads too."""

    status: int
    fields: FieldLines = field(default_factory=dict)
    reason: str | None = None
    version: str = "HTTP/1.1"

    def lines(self) -> list[tuple[str, str]]:
        """The fields as pairs, in order."""
        return list(self.fields.items() if isinstance(self.fields, Mapping) else self.fields)

    def encode(self) -> bytes:
        reason = _PHRASES.get(self.status, "") if self.reason is None else self.reason
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.lines()])
        return f"{self.version} {self.status} {reason}\r\n{lines}\r\n".encode("latin-1")

    async def play(self, wire: Wire) -> None:
        await wire.send(self.encode())


@dataclass(frozen=True)
class Bytes:
    """Raw bytes, or the part of a body from start to stop, with backpressure."""

    body: Body
    start: int = 0
    stop: int | None = None

    @property
    def end(self) -> int:
        return len(self.body) if self.stop is None else self.stop

    def __len__(self) -> int:
        return self.end - self.start

    async def play(self, wire: Wire) -> None:
        for offset in range(self.start, self.end, PIECE):
            await wire.send(self.body[offset : min(offset + PIECE, self.end)])


@dataclass(frozen=True)
class Chunk:
    """One chunk of a chunked body. `size` replaces the hex digits, for sizes that lie or are no numbers."""

    data: bytes
    size: str | None = None
    extension: str = ""

    async def play(self, wire: Wire) -> None:
        size = f"{len(self.data):x}" if self.size is None else self.size
        await wire.send(f"{size}{self.extension}\r\n".encode("latin-1") + self.data + b"\r\n")


@dataclass(frozen=True)
class LastChunk:
    """The end of a chunked body, with trailers if any."""

    trailers: FieldLines = field(default_factory=dict)

    async def play(self, wire: Wire) -> None:
        lines = self.trailers.items() if isinstance(self.trailers, Mapping) else self.trailers
        trailers = "".join([f"{name}: {value}\r\n" for name, value in lines])
        await wire.send(f"0\r\n{trailers}\r\n".encode("latin-1"))


@dataclass(frozen=True)
class Drip:
    """One byte at a time, each in a write of its own, paced by a gate (`gate.let()`) or every so many seconds."""

    body: Body
    gate: Gate | None = None
    every: float = 0.0

    async def play(self, wire: Wire) -> None:
        await wire.flush()
        for offset in range(len(self.body)):
            if self.gate is not None:
                await self.gate.passed()
            else:
                await asyncio.sleep(self.every)
            await wire.send(self.body[offset : offset + 1])
            await wire.flush()


@dataclass(frozen=True)
class Wait:
    """Send what is queued, then wait until the test opens the gate."""

    gate: Gate

    async def play(self, wire: Wire) -> None:
        await wire.flush()
        await self.gate.passed()


@dataclass(frozen=True)
class Pause:
    """Send what is queued, then wait so many seconds. 0 splits two writes into two segments."""

    seconds: float = 0.0

    async def play(self, wire: Wire) -> None:
        await wire.flush()
        await asyncio.sleep(self.seconds)


class Stall:
    """Send what is queued, then do nothing until the client leaves or the origin's context ends."""

    async def play(self, wire: Wire) -> None:
        await wire.flush()
        await asyncio.Event().wait()


class Reset:
    """RST, after the client's kernel has acknowledged all that was sent before."""

    async def play(self, wire: Wire) -> None:
        await wire.reset()


class Close:
    """FIN; under TLS with close_notify."""

    async def play(self, wire: Wire) -> None:
        await wire.close()


class Cut:
    """FIN; under TLS without close_notify, so that a body that ends by close can't be told from a cut one."""

    async def play(self, wire: Wire) -> None:
        await wire.cut()


_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
