"""How fast clients take what they asked for, and what becomes of slow ones.

A slow client may cost itself time, and others nothing. What it could hold on to is freed by these rules, each in the
module that owns what is held:

- Its own connection, and what was written to it: a client that takes less than `send_bytes` in `send_seconds` is cut
  off, however large the answer (`Patience.takes_on`, from each connection's `sweep`; over HTTP/2 and HTTP/3 the send
  that takes longer than `send_seconds` ends the answer, in `edge.asgi`). The next request on a connection, or the
  rest of a head, has its own time.
- Bodies in memory: an answer that is written but not taken keeps its entry's body, also one that the RAM tier has
  evicted. When all of these together exceed `unsent_bytes`, those readers are cut off that free most for each of them
  (`too_much`, called by the worker once a second).
- The window of a body that isn't kept (`fill.window`): it holds the origin to the pace of its slowest reader. If that
  one keeps a full window from moving for `PATIENCE_SECONDS` while others read on, it goes on with a fetch of its own;
  a single reader holds up only itself.
- Slices in memory that no disk takes, and fetches ahead of their readers (`fill.sliced`): after its
  `PATIENCE_SECONDS` the oldest slice is given up and a fetch that is far ahead ends. Nobody is cut off: what a reader
  needs later is fetched again. Slices on disk are read at any pace.
- Connections to origins (`origin.pool`): when all are taken and others wait, one whose reader has held it up longest,
  for `RELIEF_SECONDS` at least, is given up. Its reader goes on with the rest of the same version if it can be had in
  parts, else its answer breaks off.

Here is what only a connection's socket knows: how far its client has come, and how it is to end.
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
from typing import Protocol, TypeVar

from shield.rules.limits import ClientLimits

UNSENT = 128 << 10
"""Bytes for a client that the kernel keeps at most while its answer comes from an origin, but for the last write's:
else it takes megabytes of what nobody may ever read, and they would count as taken."""

METERED = 512 << 10
"""Bytes of an answer from an origin above which that begins with the answer, and not only when it comes to matter."""

_LINGER_SWEEPS = 2  # for a client to say something more after it has taken its last answer
_TCP_NOTSENT_LOWAT = 25  # Linux; Python's `socket` has no name for it
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


def keep_little(transport: asyncio.Transport, *, most: int = UNSENT) -> None:
    """Have the kernel take no more than it can send soon; 0: as much as it likes. Other sockets than TCP's keep
    little anyway."""
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it is closed
            connected.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, most)


class Patience:
    """How long one client is waited for. Time is counted in `sweeps`: those since it last did what it should."""

    __slots__ = ("_head", "_limits", "_unsent", "sweeps")

    def __init__(self, limits: ClientLimits) -> None:
        self.sweeps = 0
        self._limits = limits
        self._unsent = 0  # when it was last looked at
        self._head: object = None  # that is waited for

    def abide_by(self, limits: ClientLimits) -> None:
        """From now on these hold."""
        self._limits = limits

    def flows(self) -> None:
        """The client has taken nearly all that was written."""
        self._unsent = 0

    def takes_on(self, transport: asyncio.Transport, *, closing: bool) -> bool:
        """Whether a client that has bytes to take, or a last answer, takes enough of them."""
        limits = self._limits
        if self._unsent and not closing and self.sweeps % limits.send_step:
            return True  # asking the kernel takes long, for a crowd of slow readers all at once
        left = unsent(transport)
        taken = self._unsent - left
        if taken < 0 or taken >= limits.send_bytes or (taken and not left):
            self._unsent, self.sweeps = left, 0
            return True
        return self.sweeps <= (limits.send_seconds if left else _LINGER_SWEEPS)

    def has_time_for_head(self, head: object) -> bool:
        """Whether a head may still be incomplete; `head` is one object for as long as it is the same head."""
        if self._head is not head:  # the first sweep that finds it incomplete
            self._head, self.sweeps = head, 0
        return self.sweeps <= self._limits.head_seconds


class Holder(Protocol):
    """A connection, as far as what it holds is concerned."""

    def held(self) -> tuple[int, int] | None: ...


H = TypeVar("H", bound=Holder)


def too_much(connections: Iterable[H], limit: int) -> list[H]:
    """The connections to cut off so that slow clients hold no more than `limit` bytes: those of the bodies that free
    most for each connection."""
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
