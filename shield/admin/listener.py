"""Connections of the admin API: limited in number, and in time for the request and for reading the response.

uvicorn's own protocol answers them. It has a limit for idle connections alone, and none for a head that never ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState


class AdminListener:
    """The limits of these connections: their number, and the sweeps for which each may keep the node waiting."""

    def __init__(self, *, connections: int, seconds: int) -> None:
        self.most = connections
        self.seconds = seconds

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> AdminConnection:
        """uvicorn's `http=` factory."""
        return AdminConnection(self, config, server_state, app_state)


class AdminConnection(H11Protocol):
    """One of them. To be swept once a second."""

    def __init__(
        self, listener: AdminListener, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._listener = listener
        self._quiet = 0  # sweeps since a request was under way
        self._late = 0  # sweeps that its client has kept the node waiting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = transport.get_extra_info("socket")
        peer = None if made is None or made.family != socket.AF_UNIX else _credentials(made.fileno())
        others: list[AdminConnection] = [each for each in self.connections if isinstance(each, AdminConnection)]
        super().connection_made(cast(asyncio.Transport, transport))
        self.client = peer or self.client
        if len(others) >= self._listener.most:
            idle = [each for each in others if not each._is_answering]
            (max(idle, key=lambda each: each._quiet) if idle else self)._cut()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def sweep(self) -> None:
        """Close a connection that has exceeded its time limit. Called once a second."""
        if self._is_answering:
            self._quiet = 0
            late = self.flow.write_paused  # it doesn't take its answer
        else:
            self._quiet += 1
            # A head has begun, or nothing has come at all.
            late = self.timeout_keep_alive_task is None or bool(self.conn.trailing_data[0])
        self._late = self._late + 1 if late else 0
        if self._late > self._listener.seconds:
            self._cut()

    def _cut(self) -> None:
        self.connections.discard(self)
        self.transport.abort()


_PEER = struct.Struct("3i")  # of a process: its id, and those of its user and group


def _credentials(descriptor: int) -> tuple[str, int] | None:
    """The client at a unix socket, by its user and process, in the form of an address; None if it can't be told."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as made:
            pid, uid, _ = _PEER.unpack(made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    except OSError:
        return None
    return f"unix uid {uid} pid {pid}", 0
