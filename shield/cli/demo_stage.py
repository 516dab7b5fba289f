"""The stage of the demo: two S3 servers with generated images, and a node in front of them. All real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import sys
import tempfile
import zlib
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PHOTOS = 24
LAGGING = 4  # photos that the replica lacks, the last ones
PANORAMA = "photos/panorama.png"
BUCKET = "images"
_START_SECONDS = 60.0

_CONFIG = """\
node: demo-1
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin_port}}}
origins:
  fra:
    provider: ceph
    endpoint: {fra}
    region: eu-central-1
    bucket: images
    role: primary
    access_key_id_file: fra.access_key_id  # beside this file, as the secret key is
    secret_key_file: fra.secret_key
  iad:
    provider: aws
    endpoint: {iad}
    region: us-east-1
    bucket: images
    role: replica
    access_key_id_file: iad.access_key_id
    secret_key_file: iad.secret_key
failover: {{deadline: 10s}}
probes: {{interval: "off"}}  # scenes count fetches
cache:
  memory: {{capacity: 256MiB}}
access_log: {{format: "off"}}
"""


def photo(number: int) -> str:
    return f"photos/{number:02}.png"


@dataclass
class S3Server:
    """One S3 server, controlled by lines on its standard input."""

    name: str
    process: Process
    url: str
    access_key_id: str
    secret_key: str

    async def tell(self, command: str, body: bytes = b"") -> None:
        """Send a command and wait until it is done."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(command.encode() + b"\n" + body)
        await stdin.drain()
        if await stdout.readline() != b"ok\n":
            raise RuntimeError(f"the S3 server {self.name} has died at: {command}")


@dataclass
class DemoStage:
    """All running processes. `images` holds the true bytes by key."""

    url: str
    admin_url: str
    config: Path
    node_log: Path
    images: Mapping[str, bytes]
    fra: S3Server
    iad: S3Server
    client: httpx.AsyncClient

    async def state(self) -> dict[str, Any]:
        """The node's state."""
        answer = await self.client.get(f"{self.admin_url}/state")
        found: dict[str, Any] = answer.json()
        return found


@contextlib.asynccontextmanager
async def stage(port: int) -> AsyncIterator[DemoStage]:
    """Start everything, yield it, stop it. `port` 0 takes a free one. Raises RuntimeError if it can't be done."""
    async with contextlib.AsyncExitStack() as stack:
        if port:
            _refuse_taken(port)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shield-demo-")))
        images = await asyncio.to_thread(_images)
        fra, iad = await asyncio.gather(
            stack.enter_async_context(_server("fra", "eu-central-1")),
            stack.enter_async_context(_server("iad", "us-east-1")),
        )
        lagging = {photo(number) for number in range(PHOTOS - LAGGING, PHOTOS)} | {PANORAMA}
        await asyncio.gather(
            _upload(fra, images), _upload(iad, {k: v for k, v in images.items() if k not in lagging})
        )
        port, admin_port = port or await _free_port(), await _free_port()
        config = directory / "shield.yaml"
        config.write_text(_CONFIG.format(port=port, admin_port=admin_port, fra=fra.url, iad=iad.url))
        for server in (fra, iad):
            _write_secret(directory / f"{server.name}.access_key_id", server.access_key_id)
            _write_secret(directory / f"{server.name}.secret_key", server.secret_key)
        log = directory / "node.log"
        node = await stack.enter_async_context(_node(config, log))
        client = await stack.enter_async_context(
            httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=200), trust_env=False)
        )
        made = DemoStage(
            f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}", config, log, images, fra, iad, client
        )
        await _until_ready(made, node)
        yield made


@contextlib.asynccontextmanager
async def _server(name: str, region: str) -> AsyncIterator[S3Server]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shield.cli.demo_origin", region, BUCKET, stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
        start_new_session=True,  # Ctrl-C is handled here, in the right order
    )  # fmt: skip
    try:
        assert process.stdout is not None
        first = await process.stdout.readline()
        if not first:
            raise RuntimeError(f"the S3 server {name} didn't start; is shield[demo] installed?")
        yield S3Server(name, process, **json.loads(first))
    finally:
        await _end(process)


@contextlib.asynccontextmanager
async def _node(config: Path, log: Path) -> AsyncIterator[Process]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SHIELD_")}
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "shield", "serve", "--config", str(config), stdin=DEVNULL, stdout=file, stderr=file,
            env=environ, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        await _end(process)


def _write_secret(path: Path, value: str) -> None:
    """Readable by its owner alone from the start."""
    path.touch(mode=0o600)
    path.write_text(value)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _upload(server: S3Server, images: Mapping[str, bytes]) -> None:
    for key, body in images.items():
        await server.tell(f"put {key} {len(body)}", body)
    await server.tell("secure")


async def _until_ready(made: DemoStage, node: Process) -> None:
    try:
        async with asyncio.timeout(_START_SECONDS):
            while node.returncode is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await made.client.get(f"{made.admin_url}/ready")).status_code == 200:
                        return
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    raise RuntimeError(f"the node didn't start:\n{made.node_log.read_text()}")


def _refuse_taken(port: int) -> None:
    """Before anything takes its time."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            why = f"127.0.0.1:{port}: {error.strerror}"
            raise RuntimeError(f"{why}; choose another one by --port, or any free one by --port 0") from None


async def _free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


def _images() -> dict[str, bytes]:
    """Photos of 20 to 160 KB and one panorama of some MB: noise, which doesn't compress."""
    noise = random.Random(1)
    made = {photo(number): _png(noise, 90 + 6 * number) for number in range(PHOTOS)}
    made[PANORAMA] = _png(noise, 1600)
    return made


def _png(noise: random.Random, side: int) -> bytes:
    """A square PNG of coloured noise (W3C PNG, §5)."""
    rows = b"".join([b"\0" + noise.randbytes(3 * side) for _ in range(side)])
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks]
    )
