"""CPU of the origin leg alone: our pool beside httpx and bare httptools, in one run, against one server.

    python -m loadtest.origin_leg [--seconds 3] [--rounds 3]

The server is a process of its own and sends ready-made bytes. What is counted is this process's CPU time per
GET; the machine's noise hits all alike, so read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import cast

import httptools
import httpx
import uvloop

from shield.errors import OriginError
from shield.origin.asked import Asked
from shield.origin.dial import Endpoint
from shield.origin.pool import Pool
from shield.origin.response import Response

SIZES = {"20 KB": 20_000, "2 MB": 2_000_000}
CONCURRENCY = 16
HEAD = (
    b"HTTP/1.1 200 OK\r\nx-amz-id-2: h2Wq0gC3m1J2mabcdefgabcdefghijklmnopqrstuvwxyz0123456789=\r\n"
    b"x-amz-request-id: 0A49CE4060975EAC\r\nDate: Wed, 12 Oct 2022 17:50:00 GMT\r\n"
    b'Last-Modified: Wed, 12 Oct 2022 17:50:00 GMT\r\nETag: "fba9dede5f27731c9771645a39863328"\r\n'
    b"Cache-Control: public, max-age=31536000\r\nAccept-Ranges: bytes\r\nContent-Type: image/webp\r\n"
    b"Server: AmazonS3\r\nContent-Length: %d\r\n\r\n"
)
ASK = b"GET /%d HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\n\r\n"

Get = Callable[[int], Awaitable[None]]


class Server(asyncio.Protocol):
    """Answers GET /N with N bytes; each request comes in one segment."""

    answers: dict[bytes, bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self.answers[data.split(b" ", 2)[1]])


def serve(listener: socket.socket) -> None:
    Server.answers = {b"/%d" % size: HEAD % size + bytes(size) for size in SIZES.values()}

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Server, sock=listener)
        await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(run())


@contextlib.contextmanager
def server_process() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
        process.start()
        yield listener.getsockname()[1]
        process.terminate()
        process.join()


@contextlib.asynccontextmanager
async def ours(port: int) -> AsyncIterator[Get]:
    loop = asyncio.get_running_loop()
    pool = Pool(Endpoint("bench", "127.0.0.1", port))

    class Discard:
        def __init__(self) -> None:
            self.got = 0
            self.ended = loop.create_future()

        def on_data(self, data: bytes) -> None:
            self.got += len(data)

        def on_end(self, error: OriginError | None) -> None:
            self.ended.set_result(error)

    async def get(size: int) -> None:
        answer: Response = await pool.fetch(Asked(ASK % size, b"GET", loop.time() + 30))
        sink = Discard()
        answer.start(sink)
        if not sink.ended.done():
            await sink.ended
        assert sink.got == size

    yield get
    await pool.close()


@contextlib.asynccontextmanager
async def with_httpx(port: int) -> AsyncIterator[Get]:
    limits = httpx.Limits(max_connections=CONCURRENCY)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits) as client:

        async def get(size: int) -> None:
            got = 0
            async with client.stream("GET", f"/{size}") as answer:
                async for data in answer.aiter_raw():
                    got += len(data)
            assert got == size

        yield get


class Bare(asyncio.Protocol):
    """The least a client on httptools can do: no limits, no timeouts, no checks."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpResponseParser(self)
        self.fields: list[tuple[bytes, bytes]] = []

    def ask(self, size: int) -> asyncio.Future[int]:
        self.got = 0
        self.fields.clear()
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.transport.write(ASK % size)
        return self.done

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.got += len(data)

    def on_message_complete(self) -> None:
        self.done.set_result(self.got)


@contextlib.asynccontextmanager
async def bare(port: int) -> AsyncIterator[Get]:
    loop = asyncio.get_running_loop()
    idle = [(await loop.create_connection(Bare, "127.0.0.1", port))[1] for _ in range(CONCURRENCY)]

    async def get(size: int) -> None:
        connection = idle.pop()
        assert await connection.ask(size) == size
        idle.append(connection)

    yield get
    for connection in idle:
        connection.transport.abort()
    await asyncio.sleep(0.01)


CLIENTS = {"ours": ours, "bare httptools": bare, "httpx": with_httpx}


async def measure(name: str, port: int, size: int, seconds: float) -> float:
    """CPU microseconds of this process per GET."""
    async with CLIENTS[name](port) as get:
        count = 0
        end = 0.0

        async def worker() -> None:
            nonlocal count
            while time.monotonic() < end:
                await get(size)
                count += 1

        for phase in (seconds / 4, seconds):  # the first warms up
            count = 0
            end = time.monotonic() + phase
            before = time.process_time()
            await asyncio.gather(*[worker() for _ in range(CONCURRENCY)])
            spent = time.process_time() - before
        return spent / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="per client, size and round")
    parser.add_argument("--rounds", type=int, default=3, help="the best of these counts")
    arguments = parser.parse_args()
    print(f"CPU microseconds per GET at concurrency {CONCURRENCY}, best of {arguments.rounds}")
    print(f"{'':16}" + "".join(f"{size:>12}{'x ours':>9}" for size in SIZES))
    with server_process() as port:
        best: dict[tuple[str, str], float] = {}
        for _ in range(arguments.rounds):
            for name in CLIENTS:
                for label, size in SIZES.items():
                    cost = uvloop.run(measure(name, port, size, arguments.seconds))
                    best[name, label] = min(cost, best.get((name, label), cost))
    for name in CLIENTS:
        cells = [(best[name, label], best[name, label] / best["ours", label]) for label in SIZES]
        print(f"{name:16}" + "".join(f"{cost:12.1f}{ratio:9.2f}" for cost, ratio in cells))


if __name__ == "__main__":
    main()
