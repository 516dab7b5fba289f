"""An origin dies in the middle of a large body that many clients read: are all bodies whole, and what does it cost?

    python -m loadtest.midbody [--clients 1000] [--megabytes 20] [--seconds 4] [--workers 2] [--only checksum,overlap]

Two origins have the same object under different ETags. One client asks for it; once its response has begun, all
others do. The first client leaves when it has half of the body, and its origin kills itself (SIGKILL) when it has
sent 70 %. Scenarios, each with the object kept in RAM and in slices on disk:

- `checksum`: both origins state the same digest. The rest comes from the other one, and the next request is a hit
- `overlap`: they state none. The last 256 KiB are fetched again and compared, and nothing more is stored
- `different`: the other origin has other bytes of the same length. All transfers must end visibly broken

It ends with an error if a body isn't whole (or, with `different`, if one seems to be), if one has a wrong byte, or if
the origins send more than 1.1 times the object's bytes. `--seconds` is the time in which an origin sends the object.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import functools
import hashlib
import json
import mmap
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

from loadtest.processes import Process, free_port, raise_descriptor_limit

PIECE = 64 << 10
DIES_AT = 0.7
LEAVES_AT = 0.5
MOST_BYTES = 1.1
PATIENCE_SECONDS = 600.0
SCENARIOS = ("checksum", "overlap", "different")
PLACES = ("RAM", "disk")

_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d+)", re.IGNORECASE)
_IF_MATCH = re.compile(rb"\r\nif-match: ([^\r]+)", re.IGNORECASE)


@functools.cache
def body_of(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


# an origin, in a process of its own


class SlowOrigin(asyncio.Protocol):
    """Sends one object, slowly; counts its bytes in a file, and kills its process after so many of them."""

    def __init__(self, options: argparse.Namespace, count: mmap.mmap) -> None:
        self._body = body_of(options.size, options.seed)
        self._etag = options.etag.encode()
        self._digest = options.digest
        self._pause = options.seconds * PIECE / options.size
        self._dies_at = options.dies_at or None
        self._count = count
        self._rest = b""
        self._sending: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)

    def connection_lost(self, error: Exception | None) -> None:
        self._writable.set()
        if self._sending is not None:
            self._sending.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._rest += data
        head, end, rest = self._rest.partition(b"\r\n\r\n")
        if end:
            self._rest = rest
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        length, wanted, match = len(self._body), _RANGE.search(head), _IF_MATCH.search(head)
        if match is not None and match[1] != self._etag:
            self._transport.write(b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n")
            return
        start, stop = (0, length) if wanted is None else (int(wanted[1]), min(length, int(wanted[2]) + 1))
        lines = [b"HTTP/1.1 200 OK"]
        if wanted is not None:
            lines = [b"HTTP/1.1 206 Partial Content", b"Content-Range: bytes %d-%d/%d" % (start, stop - 1, length)]
        lines += [b"ETag: " + self._etag, b"Cache-Control: max-age=3600", b"Accept-Ranges: bytes"]
        if self._digest:
            digest = base64.b64encode(hashlib.sha256(self._body).digest())
            lines.append(b"Repr-Digest: sha-256=:%b:" % digest)
        lines += [b"Content-Length: %d" % (stop - start), b"", b""]
        self._transport.write(b"\r\n".join(lines))
        if not head.startswith(b"HEAD"):
            self._sending = asyncio.get_running_loop().create_task(self._send(start, stop))

    async def _send(self, start: int, stop: int) -> None:
        for at in range(start, stop, PIECE):
            await self._writable.wait()
            data = self._body[at : min(stop, at + PIECE)]
            self._transport.write(data)
            total = int.from_bytes(self._count[:8], "little") + len(data)
            self._count[:8] = total.to_bytes(8, "little")
            if self._dies_at is not None and total >= self._dies_at * len(self._body):
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(self._pause)


async def serve(options: argparse.Namespace) -> None:
    with options.count.open("r+b") as file, mmap.mmap(file.fileno(), 8) as count:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SlowOrigin(options, count), "127.0.0.1", options.port)
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopped.set)
        await stopped.wait()
        server.close()


# the clients


class Reader(asyncio.Protocol):
    """One client, which compares each byte."""

    def __init__(self, expected: bytes, *, leaves_at: int | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.received = 0
        self.is_wrong = False
        self.is_hit = False
        self.gap = 0.0  # the longest time without a byte
        self._expected = memoryview(expected)
        self._leaves_at = leaves_at
        self._head: bytes | None = b""
        self._last = 0.0

    @property
    def is_whole(self) -> bool:
        return self.received == len(self._expected) and not self.is_wrong

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"GET /object HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._head is not None:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = None if end else head
            if not end:
                return
            self.is_hit = b"; hit" in head
            self._last = now
            self.begun.set_result(None)
        self.gap, self._last = max(self.gap, now - self._last), now
        if data != self._expected[self.received : self.received + len(data)]:
            self.is_wrong = True
        self.received += len(data)
        if self._leaves_at is not None and self.received >= self._leaves_at:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_result(None)


@dataclass
class Result:
    """What has become of the clients, and of the bytes."""

    seconds: float
    fetched: dict[str, int]
    kinds: Counter[str] = field(default_factory=Counter)  # whole, broken, wrong
    gap: float = 0.0
    next_is_hit: bool = False

    def problems(self, scenario: str, size: int) -> list[str]:
        found = []
        if self.kinds["wrong"]:
            found.append(f"{self.kinds['wrong']} bodies with a wrong byte")
        if scenario == "different" and self.kinds["whole"]:
            found.append(f"{self.kinds['whole']} bodies of two objects seem to be whole")
        if scenario != "different" and self.kinds["broken"]:
            found.append(f"{self.kinds['broken']} bodies broken")
        if sum(self.fetched.values()) > MOST_BYTES * size:
            found.append(f"{sum(self.fetched.values()) / size:.2f} times the object's bytes")
        if self.next_is_hit != (scenario == "checksum"):
            found.append("the next request is a hit" if self.next_is_hit else "the next request isn't a hit")
        return found


class Stage:
    """A node and its two origins."""

    def __init__(self, directory: Path, scenario: str, place: str, options: argparse.Namespace) -> None:
        self._directory, self._options = directory, options
        self.size = int(options.megabytes * 1_000_000)
        self.port = free_port()
        digest = ["--digest"] if scenario == "checksum" else []
        ports = {"fra": free_port(), "iad": free_port()}
        self.origins = [
            self._origin("fra", ports["fra"], '"one"', 0, [*digest, "--dies-at", str(DIES_AT)]),
            self._origin("iad", ports["iad"], '"two-3"', int(scenario == "different"), digest),
        ]
        config = directory / "shield.yaml"
        config.write_text(json.dumps(self._settings(ports, place)))
        command = [sys.executable, "-m", "shield", "serve", "--config", str(config)]
        self.node = Process("shield", command, core=_cores(), port=self.port, log=directory / "shield.log")
        for each in (*self.origins, self.node):
            each.wait_until_it_listens()

    def _origin(self, name: str, port: int, etag: str, seed: int, more: Sequence[str]) -> Process:
        count = self._directory / f"{name}.count"
        count.write_bytes(bytes(8))
        command = [sys.executable, "-m", "loadtest.midbody", "--port", str(port), "--count", str(count)]
        command += ["--etag", etag, "--seed", str(seed), "--size", str(self.size)]
        command += ["--seconds", str(self._options.seconds), *more]
        return Process(name, command, core=_cores(), port=port, log=self._directory / f"{name}.log")

    def _settings(self, ports: dict[str, int], place: str) -> dict[str, Any]:
        cache: dict[str, Any] = {"memory": {"capacity": "256MiB", "max_entry": "64MiB"}}
        if place == "disk":
            (self._directory / "cache").mkdir()
            where = {"path": str(self._directory / "cache"), "capacity": "512MiB", "free_floor": 0}
            cache = {"memory": {"capacity": "64MiB", "max_entry": "1MiB"}, "slice_bytes": "4MiB"}
            cache["tiers"] = [{"name": "disk", "directories": [where]}]
        return {
            "node": "midbody",
            "workers": self._options.workers,
            "listen": f"127.0.0.1:{self.port}",
            "admin": {"listen": f"127.0.0.1:{free_port()}"},
            "origins": {
                name: {"provider": "http", "endpoint": f"http://127.0.0.1:{port}", "role": role}
                for (name, port), role in zip(ports.items(), ("primary", "replica"), strict=True)
            },
            "routes": {"default": {"match": "/", "origins": ["fra", "iad"]}},
            "limits": {"connections": 20_000, "send": "600s"},
            "cache": cache,
            "access_log": {"format": "off"},
        }

    def fetched(self) -> dict[str, int]:
        """Bytes of bodies that the origins have sent."""
        return {
            name: int.from_bytes((self._directory / f"{name}.count").read_bytes(), "little")
            for name in ("fra", "iad")
        }

    def log(self) -> list[str]:
        """The node's log lines on the body."""
        lines = (self._directory / "shield.log").read_text().splitlines()
        return [line for line in lines if "continues at" in line or "cut off" in line or "can't be fetched" in line]

    def stop(self) -> None:
        for each in (self.node, *self.origins):
            each.stop()


async def run(stage: Stage, options: argparse.Namespace) -> Result:
    loop, expected = asyncio.get_running_loop(), body_of(stage.size, 0)
    began = time.monotonic()

    async def read(leaves_at: int | None = None) -> Reader:
        _, reader = await loop.create_connection(
            lambda: Reader(expected, leaves_at=leaves_at), "127.0.0.1", stage.port
        )
        return reader

    async with asyncio.timeout(PATIENCE_SECONDS):
        leader = await read(int(LEAVES_AT * stage.size))
        await leader.begun
        followers = await asyncio.gather(*[read() for _ in range(options.clients - 1)])
        for reader in (leader, *followers):
            await reader.ended
        result = Result(time.monotonic() - began, stage.fetched())
        await asyncio.sleep(0.5)  # what is stored is on its way to the disk
        again = await read(1)
        await again.ended
    for reader in followers:
        result.kinds["whole" if reader.is_whole else "wrong" if reader.is_wrong else "broken"] += 1
        result.gap = max(result.gap, reader.gap)
    result.next_is_hit = again.is_hit
    return result


def _cores() -> str:
    return f"0-{(os.cpu_count() or 1) - 1}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An origin dies in the middle of a body; are all clients' whole?")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--megabytes", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=4.0, help="in which an origin sends the object")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, separated by commas")
    own = parser.add_argument_group("one of its origins, which it starts by itself")
    own.add_argument("--port", type=int)
    own.add_argument("--count", type=Path)
    own.add_argument("--etag")
    own.add_argument("--seed", type=int)
    own.add_argument("--size", type=int)
    own.add_argument("--digest", action="store_true")
    own.add_argument("--dies-at", type=float, default=0.0)
    return parser.parse_args()


def main() -> int:
    options = _options()
    if options.port is not None:
        uvloop.run(serve(options))
        return 0
    raise_descriptor_limit()
    is_well = True
    print("scenario   kept in  clients   whole  broken  wrong  bytes fetched  longest gap  in all  next")
    for scenario in options.only.split(","):
        for place in PLACES:
            with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
                stage = Stage(Path(directory), scenario, place, options)
                try:
                    result = uvloop.run(run(stage, options))
                finally:
                    stage.stop()
                kinds, ratio = result.kinds, sum(result.fetched.values()) / stage.size
                print(
                    f"{scenario:10} {place:7} {options.clients - 1:8} {kinds['whole']:7} {kinds['broken']:7}"
                    f" {kinds['wrong']:6} {ratio:13.3f}x {result.gap:10.2f} s {result.seconds:5.1f} s"
                    f"  {'hit' if result.next_is_hit else 'miss'}"
                )
                for line in stage.log()[:1]:
                    print("          ", line)
                for problem in result.problems(scenario, stage.size):
                    print(f"{scenario}, {place}: {problem}", file=sys.stderr)
                    is_well = False
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
