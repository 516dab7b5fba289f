"""The CDN of a made-up day: requests over a few connections, all of a minute at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from loadtest.day.traffic import MadeRequest

_HOST = "127.0.0.1"


class DayClient:
    """`play` a minute's requests, and count what came: statuses, wrong lengths, and requests for what exists."""

    def __init__(self, port: int, connections: int) -> None:
        self._port, self._most = port, connections
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.statuses: Counter[int] = Counter()
        self.wrong = self.existing = 0

    async def play(self, requests: Sequence[MadeRequest]) -> Counter[int]:
        """All of them, as fast as the node can. Returns the statuses."""
        before, left = self.statuses.copy(), iter(requests)

        async def work() -> None:
            for each in left:
                await self._ask(each)

        await asyncio.gather(*[work() for _ in range(min(self._most, max(1, len(requests) // 2)))])
        return self.statuses - before

    async def _ask(self, request: MadeRequest) -> None:
        if not self._idle:
            self._idle.append(await asyncio.open_connection(_HOST, self._port, limit=1 << 20))
        reader, writer = self._idle.pop()
        writer.write(f"{request.method} {request.target} HTTP/1.1\r\nHost: images.example\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        place = head.find(b"content-length:")
        length = 0 if place < 0 else int(head[place + 15 : head.find(b"\r\n", place)])
        if request.method != "HEAD" and status != 304:
            await reader.readexactly(length)
        self.statuses[status] += 1
        self.existing += request.size >= 0
        self.wrong += status == 200 and length != request.size
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))

    async def tell(self, port: int, text: str) -> bytes:
        """One small request on a connection of its own; the body of its response."""
        reader, writer = await asyncio.open_connection(_HOST, port)
        writer.write(text.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        place = head.find(b"content-length:")
        body = await reader.readexactly(int(head[place + 15 : head.find(b"\r\n", place)]))
        writer.close()
        return body

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()
