"""Clients that keep a node busy, with all that went wrong for them."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.client import PATIENCE, request

_PAUSE = 0.02


class Crowd:
    """Asks for these objects all the time: some clients on connections that they keep, some each time on a new one.

    `failed` are requests that weren't answered well: whole, with 200 and the right body.
    """

    def __init__(self, port: int, bodies: Mapping[str, bytes], *, kept: int = 3, fresh: int = 1) -> None:
        self._port = port
        self._bodies = bodies
        self._kept = kept
        self._fresh = fresh
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.answered = 0
        self.hits = 0
        self.closed = 0  # by `Connection: close`, which the clients that keep theirs never ask for
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(2 * PATIENCE)

    async def _run(self) -> None:
        await asyncio.gather(
            *(self._client(number, keeps=True) for number in range(self._kept)),
            *(self._client(number, keeps=False) for number in range(self._fresh)),
        )

    async def _client(self, number: int, *, keeps: bool) -> None:
        paths = itertools.islice(itertools.cycle(self._bodies), number, None)
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while not self._stopped.is_set():
            path = next(paths)
            try:
                async with asyncio.timeout(PATIENCE):
                    if reader is None or writer is None:
                        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    writer.write(request(path, () if keeps else [("connection", "close")]))
                    goes_on = await self._read(reader, path)
            except Exception as error:
                self.failed.append(f"{path} {'kept' if keeps else 'new'}: {error!r}")
                goes_on = False
            if not (keeps and goes_on):
                self.closed += keeps
                if writer is not None:
                    writer.close()
                reader = writer = None
            await asyncio.sleep(_PAUSE)
        if writer is not None:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, path: str) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(line.partition(": ")[2] for line in head.split("\r\n") if line.startswith("content-length: "))
        body = await reader.readexactly(int(length))
        if not head.startswith("http/1.1 200 ") or body != self._bodies[path]:
            raise ValueError(head.partition("\r\n")[0])
        self.answered += 1
        self.hits += "; hit" in head
        return "\r\nconnection: close" not in head
