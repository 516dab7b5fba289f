"""What only a connection's socket knows: how far its client has come, and how it is to end."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Iterable
from typing import Protocol, TypeVar

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, for no time


def unsent(transport: asyncio.Transport) -> int:
    """Bytes written that the client hasn't taken: also those that wait in the kernel, which are millions at times."""
    waiting = transport.get_write_buffer_size()
    connected = transport.get_extra_info("socket")
    if connected is None:
        return waiting
    try:
        in_kernel = fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # it is closed, or no such socket
        return waiting
    return waiting + int.from_bytes(in_kernel, sys.byteorder)


class Holder(Protocol):
    """A connection, as far as what it holds is concerned."""

    def held(self) -> tuple[int, int] | None: ...


H = TypeVar("H", bound=Holder)


def too_much(connections: Iterable[H], limit: int) -> list[H]:
    """Who is to be cut off so that slow clients hold no more than so many bytes: who frees most for each of them."""
    holders: dict[int, list[H]] = {}
    sizes: dict[int, int] = {}
    for connection in connections:
        held = connection.held()
        if held is not None:
            holders.setdefault(held[0], []).append(connection)
            sizes[held[0]] = held[1]
    left, cut = sum(sizes.values()), []
    for what in sorted(sizes, key=lambda what: sizes[what] / len(holders[what]), reverse=True):
        if left <= limit:
            break
        cut += holders[what]
        left -= sizes[what]
    return cut


def reset_on_close(transport: asyncio.Transport) -> None:
    """Have the client see that this is no clean end."""
    connected = transport.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
