"""The line between the supervisor and a worker: framed messages, both ways, that never make either of them wait."""

from __future__ import annotations

import contextlib
import socket
import struct
from enum import Enum

_HEAD = struct.Struct("!Ic")  # length of the body, kind
_AT_ONCE = 1 << 18


class Kind(Enum):
    """The kind of a message. Down the line, unless stated otherwise."""

    READY = b"r"  # up: it serves
    DRAIN = b"d"  # finish what runs, then end
    STOP = b"s"  # end at once
    RETIRE = b"e"  # another process has this worker's number and sockets: as DRAIN, without being missed
    PREPARE = b"p"  # a number and settings that are to hold, pickled: make all they take, and vote
    VOTE = b"v"  # up: in JSON that number, and the problems with them; none: yes
    COMMIT = b"c"  # all said yes: they hold from now on
    DONE = b"o"  # up: they do here; as a vote
    REFUSED = b"x"  # they won't hold; or settings that were to be prepared couldn't even be read
    ASK = b"q"  # up: somebody wants a reload; in JSON a number to tell one from another
    RESULT = b"t"  # that number, and what has become of the reload, in JSON
    ASK_UPGRADE = b"u"  # up: as ASK, for an upgrade
    UPGRADED = b"g"  # as RESULT, of the upgrade


class Line:
    """One end. `socket` is connected, of a stream; this end is given up by `close`.

    `received` and `unsent` are what another object for the same end has left over: its `rest`.
    """

    def __init__(self, connected: socket.socket, received: bytes = b"", unsent: bytes = b"") -> None:
        connected.setblocking(False)
        self._socket = connected
        self._in = bytearray(received)
        self._out = bytearray(unsent)

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def is_waiting(self) -> bool:
        """Whether something is left to be sent: `flush` once the socket is writable."""
        return bool(self._out)

    @property
    def rest(self) -> tuple[bytes, bytes]:
        """Parts of messages that have come, and that are still to be sent."""
        return bytes(self._in), bytes(self._out)

    def send(self, kind: Kind, body: bytes = b"") -> None:
        """Send a message, or as much of it as goes. To an end that is gone it goes nowhere."""
        self._out += _HEAD.pack(len(body), kind.value) + body
        self.flush()

    def flush(self) -> None:
        """Send as much of the rest as possible."""
        try:
            while self._out:
                del self._out[: self._socket.send(self._out[:_AT_ONCE])]
        except BlockingIOError:
            pass
        except OSError:  # its end is noticed by `receive`
            self._out.clear()

    def receive(self) -> list[tuple[Kind, bytes]]:
        """The messages that have come whole. Raises EOFError when the other end is gone and none is left."""
        is_over = False
        with contextlib.suppress(BlockingIOError):
            try:
                while data := self._socket.recv(_AT_ONCE):
                    self._in += data
                is_over = True
            except ConnectionError:
                is_over = True
        messages = []
        while len(self._in) >= _HEAD.size:
            length, kind = _HEAD.unpack_from(self._in)
            end = _HEAD.size + length
            if len(self._in) < end:
                break
            messages.append((Kind(kind), bytes(self._in[_HEAD.size : end])))
            del self._in[:end]
        if is_over and not messages:
            raise EOFError
        return messages

    def close(self) -> None:
        self._socket.close()
