"""An origin that costs little: objects of any size, named by their path, and a count of requests.

    python -m loadtest.origin PORT [MS]

    /o/SIZE/NAME                        at once; a range of it, too
    /slow/SIZE/DELAY_MS/SPREAD_MS/NAME  head and first bytes after DELAY_MS, the rest spread evenly over SPREAD_MS; a
                                        range of it, or only its head, too
    /bucket/...                         the same, as objects of a bucket
    /asked                              GETs so far and their bytes, as JSON, each slow path's GETs, access key ids
    /mode/STATUS                        from now on every object is answered by this status; 200: as above
    /mode/wrong                         from now on with other bytes of the same length under the same head
    /states/sha256, /states/md5         from now on heads state the checksum of the right bytes; md5: as their ETag

MS is its distance: slow paths take so many milliseconds longer. It trusts its clients: a request without a body,
by HTTP/1.1 with keep-alive.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import json
import random
import re
import signal
import sys
from collections import Counter
from email.utils import formatdate
from functools import partial
from typing import cast

import uvloop

STEP_SECONDS = 0.01
FIRST_BYTES = 16_384

_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d+)", re.IGNORECASE)

HEAD = (
    b"HTTP/1.1 200 OK\r\nx-amz-id-2: h2Wq0gC3m1J2mabcdefgabcdefghijklmnopqrstuvwxyz0123456789=\r\n"
    b"x-amz-request-id: 0A49CE4060975EAC\r\nDate: %b\r\nLast-Modified: Wed, 12 Oct 2022 17:50:00 GMT\r\n"
    b'ETag: "fba9dede5f27731c9771645a39863328"\r\nCache-Control: public, max-age=31536000\r\n'
    b"Accept-Ranges: bytes\r\nContent-Type: image/webp\r\nServer: AmazonS3\r\nContent-Length: %d\r\n\r\n"
)


@functools.cache
def body(size: int) -> bytes:
    """The bytes of every object of this size: no two places alike, and the same in every process."""
    return random.Random(size).randbytes(size)


@functools.cache
def wrong_body(size: int) -> bytes:
    """Other bytes of the same length; none of them is right."""
    return bytes([byte ^ 0xFF for byte in body(size)])


@functools.cache
def head_with(checksum: str, size: int) -> bytes:
    """`HEAD`, with this checksum of the right bytes."""
    if checksum == "md5":
        return HEAD.replace(b"fba9dede5f27731c9771645a39863328", hashlib.md5(body(size)).hexdigest().encode())
    digest = base64.b64encode(hashlib.sha256(body(size)).digest())
    return HEAD.replace(b"\r\nETag", b"\r\nx-amz-checksum-sha256: %b\r\nETag" % digest, 1)


class Asked:
    """The requests so far, and the current Date, which is renewed once a second."""

    def __init__(self, distance: float = 0.0) -> None:
        self.distance = distance  # in seconds
        self.total = 0
        self.bytes = 0
        self.slow: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()
        self.status = 200
        self.is_wrong = False
        self.checksum = ""
        self.tick()

    def tick(self) -> None:
        self.date = formatdate(usegmt=True).encode()
        asyncio.get_running_loop().call_later(1.0, self.tick)

    def head(self, size: int) -> bytes:
        return head_with(self.checksum, size) if self.checksum else HEAD

    def body(self, size: int) -> bytes:
        return wrong_body(size) if self.is_wrong else body(size)


class Connection(asyncio.Protocol):
    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        start = 0
        while (end := data.find(b"\r\n\r\n", start)) >= 0:
            self._answer(data[start : data.find(b" HTTP/", start)], data[start:end])
            start = end + 4
        self._rest = data[start:]

    def _answer(self, line: bytes, head: bytes) -> None:
        method, _, target = line.partition(b" ")
        parts = target.removeprefix(b"/bucket").split(b"/")
        if method != b"GET" and (method, parts[1]) != (b"HEAD", b"slow"):
            self._transport.close()
        elif parts[1] == b"mode":
            self._asked.is_wrong = parts[2] == b"wrong"
            self._asked.status = 200 if self._asked.is_wrong else int(parts[2])
            self._transport.write(HEAD % (self._asked.date, 0))
        elif parts[1] == b"states":
            self._asked.checksum = parts[2].decode()
            self._transport.write(HEAD % (self._asked.date, 0))
        elif self._asked.status != 200 and parts[1] in (b"o", b"slow"):
            self._asked.total += 1
            self._transport.write(b"HTTP/1.1 %d Out\r\nContent-Length: 0\r\n\r\n" % self._asked.status)
        elif parts[1] == b"o":
            self._asked.total += 1
            if (key := head.find(b"Credential=")) >= 0:
                self._asked.keys[head[key + 11 : head.find(b"/", key)].decode()] += 1
            size = int(parts[2])
            wanted = _RANGE.search(head)
            if wanted is None:
                self._asked.bytes += size
                self._transport.writelines(
                    [self._asked.head(size) % (self._asked.date, size), self._asked.body(size)]
                )
            else:
                first, stop = int(wanted[1]), min(size, int(wanted[2]) + 1)
                part = self._asked.head(size).replace(
                    b"200 OK", b"206 Partial Content\r\nContent-Range: bytes %d-%d/%d", 1
                )
                self._asked.bytes += stop - first
                made = part % (first, stop - 1, size, self._asked.date, stop - first)
                self._transport.writelines([made, memoryview(self._asked.body(size))[first:stop]])
        elif parts[1] == b"slow":
            self._asked.total += 1
            self._asked.slow["/".join(part.decode() for part in parts)] += 1
            size, delay, spread = (int(part) for part in parts[2:5])
            late = delay / 1000 + self._asked.distance
            wanted = _RANGE.search(head)
            start, stop = (0, size) if wanted is None else (int(wanted[1]), min(size, int(wanted[2]) + 1))
            if method == b"HEAD":
                stop = start
            begin = partial(self._begin, size, spread / 1000, start, stop, is_part=wanted is not None)
            asyncio.get_running_loop().call_later(late, begin)
        else:
            asked = self._asked
            said = {"total": asked.total, "bytes": asked.bytes, "slow": asked.slow, "keys": asked.keys}
            answer = json.dumps(said).encode()
            self._transport.write(HEAD % (self._asked.date, len(answer)) + answer)

    def _begin(self, size: int, spread: float, start: int, stop: int, *, is_part: bool) -> None:
        body = memoryview(self._asked.body(size))[start:stop]
        head = self._asked.head(size) % (self._asked.date, stop - start if is_part else size)
        if is_part:
            head = head.replace(b"200 OK", b"206 Partial Content\r\nContent-Range: bytes %d-%d/%d", 1)
            head %= (start, stop - 1, size)
        self._transport.writelines([head, body[:FIRST_BYTES]])
        self._go_on(body, min(FIRST_BYTES, len(body)), asyncio.get_running_loop().time(), spread)

    def _go_on(self, whole: memoryview, sent: int, began: float, spread: float) -> None:
        """Send what is due by the clock; a late step makes up for it."""
        loop = asyncio.get_running_loop()
        share = 1.0 if spread <= 0 else min(1.0, (loop.time() - began) / spread)
        due = max(sent, int(len(whole) * share))
        if due > sent:
            self._transport.write(whole[sent:due])
        if due < len(whole) and not self._transport.is_closing():
            loop.call_later(STEP_SECONDS, self._go_on, whole, due, began, spread)


async def serve(port: int, distance: float) -> None:
    loop = asyncio.get_running_loop()
    asked = Asked(distance)
    server = await loop.create_server(lambda: Connection(asked), "127.0.0.1", port, backlog=4096)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0))
