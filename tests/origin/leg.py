"""What the tests of the origin leg share: running on both event loops, and looking for what was left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import pytest
import uvloop

from shield.errors import Fault, OriginError
from shield.origin.asked import Asked
from shield.origin.dial import Endpoint
from shield.origin.pool import Pool
from shield.origin.response import Response

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

on_both_loops = pytest.mark.parametrize(
    "new_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)


def run(new_loop: LoopFactory, scenario: Callable[[], Awaitable[None]]) -> None:
    """Run it on such a loop; fail when it leaves a task, or anything for the loop's exception handler."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await scenario()
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(watched())
    assert [str(complaint) for complaint in complaints] == []


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    uvloop.run(asyncio.sleep(0))  # its first run in a process keeps some for good
    before = open_descriptors()
    yield
    assert open_descriptors() <= before  # what earlier tests left may have been collected meanwhile


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def request(path: str = "/a", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: origin.test\r\n\r\n".encode()


async def get(pool: Pool, path: str = "/a", *, method: str = "GET", patience: float = 10.0) -> Response:
    deadline = asyncio.get_running_loop().time() + patience
    return await pool.fetch(Asked(request(path, method), method.encode(), deadline))


async def body(pool: Pool, path: str = "/a") -> bytes:
    return await (await get(pool, path)).read(1 << 30)


async def fails(pool: Pool, fault: Fault, *, patience: float = 10.0) -> None:
    """A fetch from it, body and all, ends with this fault."""
    with pytest.raises(OriginError) as raised:
        await (await get(pool, patience=patience)).read(1 << 30)
    assert (raised.value.fault, raised.value.origin) == (fault, "fra"), raised.value


def endpoint(port: int) -> Endpoint:
    return Endpoint("fra", "127.0.0.1", port)


class Taker:
    """A sink that keeps what it was told."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ends: list[OriginError | None] = []

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def on_data(self, data: bytes) -> None:
        assert data
        assert not self.ends
        self.pieces.append(data)

    def on_end(self, error: OriginError | None) -> None:
        self.ends.append(error)


class Visit:
    """One connection that an origin accepted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def asked(self) -> bytes:
        """The next request's head; nothing when the client has left."""
        try:
            return await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def says(self, *segments: bytes) -> None:
        for segment in segments:
            self._writer.write(segment)
            await self._writer.drain()

    async def left(self) -> None:
        """The client has closed."""
        try:
            while await self._reader.read(1 << 16):
                pass
        except ConnectionError:
            pass

    def resets(self) -> None:
        """End with RST instead of FIN."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def tls_version(self) -> str:
        return str(self._writer.get_extra_info("ssl_object").version())

    def cuts(self) -> None:
        """End below TLS, without its close_notify."""
        self._writer.transport.abort()


Answer = Callable[[Visit], Awaitable[None]]


class Origin:
    """Listens on loopback in the test's own loop; `answer` serves one connection, which ends as it returns."""

    def __init__(self, answer: Answer, *, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._serving: set[asyncio.Task[None]] = set()
        self.visits = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        while self._serving:
            for task in self._serving:
                task.cancel()
            await asyncio.wait(self._serving)
        await self._server.wait_closed()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        task = asyncio.get_running_loop().create_task(self._visited(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(lambda _: writer.close())  # also when it was cancelled before it began

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(Visit(reader, writer))
        except ConnectionError:
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it holds; if it never does the test's time runs out."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def settled(pool: Pool) -> None:
    """Until nothing is under way in it: a leaked place makes the test's time run out."""
    await until(lambda: not pool.statistics().busy and not pool.statistics().waiting)
