"""An origin that counts what it sends to the byte.

    python -m loadtest.day.origin PORT

/images/NAME-SIZE.webp     an object of SIZE bytes, with an ETag and no lifetime; by HEAD, if changed, in parts
/images/absent/...         404
/raw/NAME-SIZE.webp?...    an object of SIZE bytes under each query
*counts                    as JSON: requests, those that got a response, and bytes of heads and bodies
*out, *back                from now on connections are reset instead of answers; and no longer
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import sys
from typing import cast

import uvloop

_BUFFER = memoryview(random.Random(7).randbytes(1 << 22))
_NAME = re.compile(rb"/(?:images|raw)/(?!absent/)[^ ?]*-(\d+)\.webp").match
_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d*)", re.IGNORECASE).search
_ETAG = b'"0123456789abcdef0123456789abcdef"'
_FIELDS = (
    b"x-amz-id-2: "
    + b"x" * 76
    + b"\r\nx-amz-request-id: 0A49CE4060975EAC\r\nServer: AmazonS3\r\nAccept-Ranges: bytes\r\n"
    b"Last-Modified: Wed, 12 Oct 2022 17:50:00 GMT\r\nETag: " + _ETAG + b"\r\nContent-Type: image/webp\r\n"
)  # about as much as S3 sends


class OriginCounts:
    def __init__(self) -> None:
        self.requests = self.answered = self.sent = 0
        self.is_out = False


class CountingConnection(asyncio.Protocol):
    def __init__(self, counts: OriginCounts) -> None:
        self._counts, self._rest = counts, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for head in heads:
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        counts = self._counts
        method, target, _ = head.split(b" ", 2)
        if target.startswith(b"/*"):
            counts.is_out = target == b"/*out" or (counts.is_out and target != b"/*back")
            told = {"requests": counts.requests, "answered": counts.answered, "sent": counts.sent}
            body = json.dumps(told).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return
        counts.requests += 1
        if counts.is_out:
            self._transport.abort()
            return
        found = _NAME(target)
        parts: list[bytes | memoryview]
        if found is None:
            said = b"<Error><Code>NoSuchKey</Code></Error>"
            kept = b"" if method == b"HEAD" else said
            parts = [b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(said), kept]
        elif b"if-none-match: " + _ETAG in head.lower():
            parts = [b"HTTP/1.1 304 Not Modified\r\n" + _FIELDS + b"\r\n"]
        else:
            size = int(found[1])
            wanted = _RANGE(head)
            start, stop = (0, size) if wanted is None else (int(wanted[1]), min(size, int(wanted[2] or size) + 1))
            line = b"HTTP/1.1 200 OK\r\n"
            if wanted is not None:
                line = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\n" % (start, stop - 1, size)
            sent = _BUFFER[start : start if method == b"HEAD" else stop]
            parts = [line + b"Content-Length: %d\r\n" % (stop - start) + _FIELDS + b"\r\n", sent]
        counts.answered += 1
        counts.sent += sum(map(len, parts))
        self._transport.writelines(parts)


async def serve(port: int) -> None:
    loop, counts, stop = asyncio.get_running_loop(), OriginCounts(), asyncio.Event()
    server = await loop.create_server(lambda: CountingConnection(counts), "127.0.0.1", port, backlog=1024)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(int(sys.argv[1])))
