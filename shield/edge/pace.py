"""Slow clients: their pace, and the release of resources that they occupy.

A slow client may delay itself, but no others. The resources that it could occupy are released by these rules, each in
the module that owns the resource:

- Its connection and write buffer: a client that takes less than `send_bytes` in `send_seconds` is disconnected,
  however large the response (`Patience.takes_on`, from each connection's `sweep`). So is an HTTP/2 stream reset whose
  window stays closed (`ClientStream.stalls`); in `edge.asgi` a send that takes longer than `send_seconds` ends the
  response. An idle connection and an incomplete head have their own time limits.
- Bodies in memory: a response that is written but not taken keeps its entry's body, even one that the RAM tier has
  evicted. When all of these together exceed `unsent_bytes`, the readers that free most memory per reader are
  disconnected (`too_much`, called by the worker once a second).
- The window of a body that isn't kept (`fill.window`): it limits the origin to the pace of the slowest reader. If
  that one keeps a full window from moving for `PATIENCE_SECONDS` while others read on, it continues with its own
  fetch; a single reader delays only itself.
- Slices in memory that no disk takes, and fetches ahead of their readers (`fill.sliced`): after `PATIENCE_SECONDS`
  the oldest slice is dropped, and a fetch that is far ahead ends. No reader is disconnected: bytes that it needs
  later are fetched again. Slices on disk are read at any pace.
- Connections to origins (`origin.pool`): when all are in use and others wait, the one that its reader has held up for
  longest, and for at least `RELIEF_SECONDS`, is closed. Its reader continues with the rest of the same version if
  ranges of it are available; else its response breaks off.

This module has what only a connection's socket knows: its client's progress, and how to end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from shield.rules.limits import ClientLimits

UNSENT = 128 << 10
"""Bytes for a client that the kernel keeps at most while its answer comes from an origin, but for the last write's:
else it takes megabytes of what nobody may ever read, and they would count as taken."""

METERED: Final = 512 << 10
"""Bytes of an answer from an origin above which that begins with the answer, and not only when it comes to matter."""

_LINGER_SWEEPS = 2  # in which a client may still send something after it has taken its last response
_TLS_BUFFER = 64 << 10  # as without TLS: half a megabyte otherwise
_TCP_NOTSENT_LOWAT = 25  # Linux; Python's `socket` has no name for it
_SO_MAX_PACING_RATE = 47  # Linux; likewise
_ANY_RATE = 2 ** (8 * struct.calcsize("@L")) - 1
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, for no time


def unsent(transport: asyncio.Transport) -> int:
    """Bytes written that the client hasn't taken, including those in the kernel's buffer, which may be megabytes."""
    waiting = transport.get_write_buffer_size()
    connected = transport.get_extra_info("socket")
    if connected is None:
        return waiting
    try:
        in_kernel = fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # it is closed, or no such socket
        return waiting
    return waiting + int.from_bytes(in_kernel, sys.byteorder)


def keep_little(transport: asyncio.Transport, *, most: int = UNSENT) -> None:
    """Have the kernel take no more than it can send soon, and TLS as little; 0: as much as they like. Other sockets
    than TCP's keep little anyway."""
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it is closed
            connected.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, most)
    if transport.get_extra_info("ssl_object") is not None:
        transport.set_write_buffer_limits(_TLS_BUFFER if most else None)


def pace(transport: asyncio.Transport, rate: int) -> None:
    """Have the kernel send at most so many bytes a second; 0: as many as it can. What can't be sent yet waits as for
    a slow client. Only TCP can.
    """
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it is closed
            connected.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("@L", rate or _ANY_RATE))


class Patience:
    """The time limits of one client. Time is counted in `sweeps` since its last progress, one a second."""

    __slots__ = ("_head", "_limits", "_unsent", "sweeps")

    def __init__(self, limits: ClientLimits) -> None:
        self.sweeps = 0
        self._limits = limits
        self._unsent = 0  # bytes at the last check
        self._head: object = None  # the incomplete head

    def abide_by(self, limits: ClientLimits) -> None:
        """Use these limits from now on."""
        self._limits = limits

    def flows(self) -> None:
        """The client has taken nearly all written bytes."""
        self._unsent = 0

    def takes_on(self, transport: asyncio.Transport, *, closing: bool) -> bool:
        """Whether a client with unsent bytes, or with a last response when `closing`, takes them fast enough."""
        limits = self._limits
        if self._unsent and not closing and self.sweeps % limits.send_step:
            return True  # querying the kernel for a crowd of slow readers at once takes long
        left = unsent(transport)
        taken = self._unsent - left
        if taken < 0 or taken >= limits.send_bytes or (taken and not left):
            self._unsent, self.sweeps = left, 0
            return True
        return self.sweeps <= (limits.send_seconds if left else _LINGER_SWEEPS)

    def has_time_for_head(self, head: object) -> bool:
        """Whether a head may still be incomplete. `head` is any object that identifies it."""
        if self._head is not head:  # its first sweep
            self._head, self.sweeps = head, 0
        return self.sweeps <= self._limits.head_seconds


class Holder(Protocol):
    """A connection that may keep a body in memory."""

    def held(self) -> tuple[int, int] | None: ...


H = TypeVar("H", bound=Holder)


def too_much(connections: Iterable[H], limit: int) -> list[H]:
    """The connections to abort so that slow clients keep no more than `limit` bytes in memory: those with the bodies
    that free most per connection.
    """
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
    """Make the close a reset, so that the client sees that the response is incomplete."""
    connected = transport.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
