"""A service manager's end of what a node tells it."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self


class Manager:
    """Hears news at a path, or at an abstract address that begins with @. Close what it `holds`."""

    def __init__(self, address: Path | str) -> None:
        self.address = str(address)
        self.held: dict[str, list[socket.socket]] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{self.address[1:]}" if self.address[0] == "@" else self.address)
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        for sockets in self.held.values():
            for each in sockets:
                each.close()

    def heard(self) -> list[str]:
        """What has come since the last call. Descriptors to be stored are held under their name."""
        found: list[str] = []
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 32)
            except BlockingIOError:
                return found
            found.append(data.decode())
            said = dict(line.split("=", 1) for line in found[-1].split("\n"))
            for descriptor in descriptors:
                self.held.setdefault(said["FDNAME"], []).append(socket.socket(fileno=descriptor))
