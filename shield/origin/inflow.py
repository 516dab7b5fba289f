"""The receive buffer of a connection to an origin: small at first, later left to the kernel; and what waits in it.

Unread bytes of a response that is given up were sent in vain, and kernels make room for megabytes at once if an
origin is near. So a connection's room doubles as bytes are read from it, like the origin's own slow start, by which
distant origins lose next to nothing. From `LAST` on the kernel sizes it again (`net.ipv4.tcp_rmem`): by then the
connection has shown that its bytes are read.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import select
import socket
import sys
import termios
import threading

FIRST = 64 << 10
"""Bytes of room at first. The kernel makes it twice as much, for its own overhead, and uses half to all of it."""

LAST = 1 << 20
"""Bytes read from a connection after which its room is left to the kernel."""

_ANY = 1 << 30
_SO_BUF_LOCK = 72  # Linux 5.16; Python's `socket` has no name for it


class Inflow:
    """The room of one connection, until it is left to the kernel."""

    __slots__ = ("_room", "_socket", "due")

    def __init__(self, connected: socket.socket) -> None:
        self.due = 2 * FIRST
        """Call `came` as soon as so many bytes were read in all."""
        self._socket = connected
        self._room = FIRST
        self._make_room()

    def came(self, size: int) -> bool:
        """`size` bytes were read in all; False: it is left to the kernel from now on."""
        while 2 * self._room <= size:
            self._room *= 2
        self.due = 2 * self._room
        if size < LAST:
            self._make_room()
            return True
        with contextlib.suppress(OSError):  # it is closed
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, _ANY)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)
        return False

    def _make_room(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._room)
            # The window doesn't follow by itself.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, 2 * self._room)


def inflow_of(connected: socket.socket | None) -> Inflow | None:
    """None: it isn't TCP, or this kernel can't size it again afterwards."""
    if connected is None or connected.family == socket.AF_UNIX or not _can_be_undone():
        return None
    return Inflow(connected)


def read_buffer() -> bytearray:
    """The buffer that the connections of this thread read into in turn: received bytes are taken out at once."""
    found: bytearray | None = getattr(_of_thread, "buffer", None)
    if found is None:
        found = _of_thread.buffer = bytearray(_BUFFER_BYTES)
    return found


_of_thread = threading.local()  # another thread has another loop, which reads meanwhile
_BUFFER_BYTES = 256 * 1024


def has_come(connected: socket.socket) -> bool:
    """Whether anything waits to be read: bytes, or the end of the stream."""
    poll = select.poll()
    poll.register(connected.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def unread(connected: socket.socket) -> int:
    """The bytes that wait to be read."""
    try:
        return int.from_bytes(fcntl.ioctl(connected.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # it is closed
        return 0


@functools.cache
def _can_be_undone() -> bool:
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)
        except OSError:
            return False
    return True
