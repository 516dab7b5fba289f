"""A plain HTTP/1.1 client that shows what came over the wire, and whether it ended cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

Fields = Sequence[tuple[str, str]]
PATIENCE = 45.0
"""Seconds: a test that is well never takes them, and a busy machine may."""


@dataclass
class Answer:
    """One response. Not `clean`: it ended before its length, its last chunk, or with a reset."""

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    clean: bool = False

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)

    @property
    def hit(self) -> bool:
        return "; hit" in (self.get("cache-status") or "")

    @property
    def collapsed(self) -> bool:
        return "; collapsed" in (self.get("cache-status") or "")


def request(
    target: str, fields: Fields = (), *, method: str = "GET", version: str = "1.1", host: str | None = "cdn.example"
) -> bytes:
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Client:
    """One blocking connection. `read` raises ConnectionError when nothing came at all.

    `settle` is called with each body that has come, before it is returned.
    """

    def __init__(
        self, port: int, *, receive_buffer: int | None = None, settle: Callable[[], object] | None = None
    ) -> None:
        self._settle = settle
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces go out as they are sent
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def reset(self) -> None:
        """Leave as a crashed peer does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, target: str, fields: Fields = (), *, method: str = "GET") -> Answer:
        self.send(request(target, fields, method=method))
        return self.read(method)

    def read(self, method: str = "GET") -> Answer:
        """The next answer, whole, without interim ones."""
        answer = self.read_head()
        while answer.status < 200:
            answer = self.read_head()
        with contextlib.suppress(ConnectionError):
            self.read_body(answer, method)
        return answer

    def read_head(self) -> Answer:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed without an answer")
        answer = Answer(int(line.split()[1]))
        while (line := self._file.readline()) != b"\r\n":
            if not line:
                raise ConnectionError("closed inside a head")
            name, _, value = line.decode("latin-1").rstrip("\r\n").partition(": ")
            answer.fields.append((name, value))
        return answer

    def read_some(self, size: int) -> bytes:
        """So many bytes of a body."""
        return self._file.read(size)

    def read_body(self, answer: Answer, method: str = "GET") -> None:
        if method == "HEAD" or answer.status in (204, 304):
            answer.clean = True
        elif answer.get("transfer-encoding") == "chunked":
            self._read_chunks(answer)
        elif (length := answer.get("content-length")) is not None:
            while len(answer.body) < int(length) and (data := self._file.read(int(length) - len(answer.body))):
                answer.body += data
            answer.clean = len(answer.body) == int(length)
        else:
            while data := self._file.read(65536):
                answer.body += data
            answer.clean = True
        if self._settle is not None:
            self._settle()

    def _read_chunks(self, answer: Answer) -> None:
        pieces = []
        while (line := self._file.readline()).endswith(b"\r\n"):
            size = int(line, 16)
            data = self._file.read(size + 2)
            if not data.endswith(b"\r\n"):
                break
            pieces.append(data[:-2])
            if size == 0:
                answer.clean = True
                break
        answer.body = b"".join(pieces)

    def at_end(self) -> bool:
        """Whether the other side has closed, having sent nothing more."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True


async def fetch(port: int, target: str, fields: Fields = ()) -> Answer:
    """One GET on a connection of its own, for tests with many clients at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request(target, [*fields, ("connection", "close")]))
        raw = bytearray()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                raw += data
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    head, _, body = bytes(raw).partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    answer = Answer(int(line.split()[1]) if line else 0)
    answer.fields = [(name, value) for name, _, value in (part.partition(": ") for part in rest)]
    answer.body = body
    length = answer.get("content-length")
    answer.clean = length is not None and len(body) == int(length)
    return answer
