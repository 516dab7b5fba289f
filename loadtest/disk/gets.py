"""GETs of a list of paths over some connections, each path once: how long each took, and whether it was whole.

    python -m loadtest.disk.gets PORT PATH PAUSE_MS

As a program it asks for one path again and again, with a pause between, until its input has a line or ends; then it
prints when and how long as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from loadtest.client import HEADERS, READ

CONNECTIONS = 16
STALLED = 30.0

_FIELDS = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())


@dataclass(slots=True)
class Got:
    """Seconds that each answer took, bytes of bodies, what was wrong."""

    seconds: float = 0.0
    bytes: int = 0
    latencies: list[float] = field(default_factory=list)
    hits: int = 0  # answers whose Cache-Status or X-Cache says so
    faults: list[str] = field(default_factory=list)


class _Client:
    """One connection, one request at a time."""

    __slots__ = ("asked_at", "expected", "got", "head", "path", "socket", "status")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.path = ""

    def ask(self, path: str, now: float) -> None:
        self.path, self.asked_at = path, now
        self.head: bytes | None = b""
        self.expected = self.got = 0
        self.socket.send(f"GET {path} HTTP/1.1\r\n{_FIELDS}\r\n".encode())

    def take(self, data: memoryview) -> bool:
        """Whether that was the last of the answer."""
        if self.head is not None:
            head = self.head + bytes(data)
            at = head.find(b"\r\n\r\n")
            if at < 0:
                self.head = head
                return False
            self.status = head[:at]
            self.head = None
            lower = self.status.lower()
            start = lower.find(b"\r\ncontent-length:")
            self.expected = int(lower[start + 17 :].split(b"\r\n", 1)[0]) if start >= 0 else -1
            self.got = len(head) - at - 4
        else:
            self.got += len(data)
        return self.got >= self.expected


def get_all(
    port: int, paths: Sequence[str], *, connections: int = CONNECTIONS, rate: float = 1e9, seconds: float = 1e9
) -> Got:
    """Ask for each path once, in order, at `rate` per second if that can be had, or as far as the time goes."""
    got = Got()
    left = deque(paths)
    buffer = memoryview(bytearray(READ))
    clients = {client.socket.fileno(): client for client in (_Client(port) for _ in range(connections))}
    free = list(clients.values())
    began = now = time.monotonic()
    try:
        with contextlib.closing(select.epoll()) as poll:
            for number in clients:
                poll.register(number, select.EPOLLIN)
            while left or len(free) < connections:
                due = began + (len(paths) - len(left)) / rate
                while left and free and due <= now:
                    free.pop().ask(left.popleft(), now)
                    due += 1 / rate
                ready = poll.poll(max(0.0, due - now) if left and free else STALLED)
                now = time.monotonic()
                if not ready and len(free) < connections and not (left and free):
                    got.faults.append(f"nothing for {STALLED:.0f} s")
                    break
                for number, _ in ready:
                    client = clients[number]
                    if _read(client, buffer):
                        _note(got, client, now)
                        free.append(client)
                if now - began > seconds:
                    left.clear()
    except ConnectionError as error:
        got.faults.append(str(error))
    finally:
        for client in clients.values():
            client.socket.close()
    got.seconds = now - began
    return got


def _read(client: _Client, buffer: memoryview) -> bool:
    """Whether that was the last of the answer."""
    try:
        count = client.socket.recv_into(buffer)
    except BlockingIOError:
        return False
    if not count:
        raise ConnectionError(f"closed in {client.path} after {client.got} bytes")
    return client.take(buffer[:count])


def _note(got: Got, client: _Client, now: float) -> None:
    got.latencies.append(now - client.asked_at)
    got.bytes += client.got
    status = client.status
    if b"; hit" in status or b"X-Cache: HIT" in status:
        got.hits += 1
    if b" 200 " not in status[:13] or client.got != client.expected:
        got.faults.append(f"{client.path}: {status[:40]!r}, {client.got} of {client.expected} bytes")


def main() -> None:
    port, path, pause = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]) / 1000
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # what is measured is the server's delay, not ours
    request = f"GET {path} HTTP/1.1\r\n{_FIELDS}\r\n".encode()
    buffer = bytearray(READ)
    seen = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not select.select([sys.stdin], [], [], pause)[0]:
            now = time.monotonic()
            connection.sendall(request)
            connection.recv_into(buffer)  # a small answer comes in one piece
            seen.append((now, time.monotonic() - now))
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
