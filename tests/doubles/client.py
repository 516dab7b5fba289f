"""A blocking client that sends what it is told and shows every byte that comes back, to test the origin with."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.doubles.faulty_origin import HOST, FaultyOrigin
from tests.doubles.gate import PATIENCE


class Client:
    """One connection; `with Client(origin) as client:` closes it."""

    def __init__(self, origin: FaultyOrigin, *, tls: ssl.SSLContext | None = None, host: str = "localhost") -> None:
        self.socket = socket.create_connection((HOST, origin.port), PATIENCE)
        if tls is not None:
            try:
                self.socket = tls.wrap_socket(self.socket, server_hostname=host, suppress_ragged_eofs=False)
            except OSError:
                self.socket.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def ask(
        self, target: str, *, method: str = "GET", fields: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        """Send a request; nothing is read."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in (fields or {}).items()])
        self.socket.sendall(f"{method} {target} HTTP/1.1\r\nHost: double\r\n{lines}\r\n".encode("latin-1") + body)

    def read(self, count: int) -> bytes:
        """Exactly so many bytes; EOFError when the connection ends before."""
        got = bytearray()
        while len(got) < count:
            data = self.socket.recv(min(count - len(got), 1 << 20))
            if not data:
                raise EOFError(f"ended after {len(got)} of {count} bytes")
            got += data
        return bytes(got)

    def head(self) -> bytes:
        """Up to and with the next empty line."""
        got = bytearray()
        while not got.endswith(b"\r\n\r\n"):
            got += self.read(1)
        return bytes(got)

    def rest(self) -> tuple[bytes, bool]:
        """All bytes until the end of the connection, and whether it ended cleanly (FIN; under TLS close_notify)."""
        got = bytearray()
        while True:
            try:
                data = self.socket.recv(1 << 20)
            except (ConnectionResetError, ssl.SSLError):
                return bytes(got), False
            if not data:
                return bytes(got), True
            got += data


@dataclass(frozen=True)
class Whole:
    """A response as `http.client` understands it."""

    status: int
    fields: http.client.HTTPMessage
    body: bytes


@contextmanager
def connected(origin: FaultyOrigin) -> Iterator[http.client.HTTPConnection]:
    """A keep-alive connection of the standard library's client."""
    connection = http.client.HTTPConnection(HOST, origin.port, timeout=PATIENCE)
    try:
        yield connection
    finally:
        connection.close()


def fetch(origin: FaultyOrigin, target: str, *, method: str = "GET", fields: dict[str, str] | None = None) -> Whole:
    """One request on a connection of its own, its answer parsed by the standard library."""
    with connected(origin) as connection:
        return exchange(connection, target, method=method, fields=fields)


def exchange(
    connection: http.client.HTTPConnection,
    target: str,
    *,
    method: str = "GET",
    fields: dict[str, str] | None = None,
) -> Whole:
    """One request on a connection that stays."""
    connection.request(method, target, headers=fields or {})
    response = connection.getresponse()
    return Whole(response.status, response.headers, response.read())
