"""What only a connection's socket knows: how far its client has come, and how it is to end."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios

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


def reset_on_close(transport: asyncio.Transport) -> None:
    """Have the client see that this is no clean end."""
    connected = transport.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
