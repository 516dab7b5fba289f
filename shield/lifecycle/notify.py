"""What the service manager is told, by the protocol of sd_notify(3): one datagram for each piece of news.

Nothing is told where nobody listens. Telling never blocks, and no fault of it harms the node.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from array import array
from collections import deque
from collections.abc import Mapping, Sequence

log = logging.getLogger("shield.lifecycle")

_MOST_WAITING = 64
_AT_ONCE = 253  # descriptors that Linux passes in one message


class Notifier:
    """`address` is that of the manager's socket, if there is one. With `watchdog_seconds` it is to be told at least
    that often that the node is alive.
    """

    def __init__(self, address: str | None = None, *, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._period = None if watchdog_seconds is None else watchdog_seconds / 2
        self._beaten_at: float | None = None
        self._waiting: deque[tuple[bytes, Sequence[int]]] = deque(maxlen=_MOST_WAITING)
        if address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """As the environment of the process `pid` says."""
        address = environ.get("NOTIFY_SOCKET") or None
        if address is not None and address[0] not in "/@":
            log.warning("NOTIFY_SOCKET=%s is no unix socket: the service manager isn't told anything", address)
            address = None
        return cls(address, watchdog_seconds=_watchdog(environ, pid))

    @property
    def is_heard(self) -> bool:
        """Whether there is a manager, which may keep sockets."""
        return self._address is not None

    @property
    def due(self) -> float | None:
        """When `beat` is to be called next, at the latest; None: it needn't be."""
        if self._address is None or self._period is None:
            return None
        return 0.0 if self._beaten_at is None else self._beaten_at + self._period

    def beat(self, now: float) -> None:
        """The loop that calls this is alive. `now` is of a clock that only rises. Call it as often as convenient."""
        due = self.due
        if due is not None and now >= due:
            self._beaten_at = now
            self._tell("WATCHDOG=1")
        elif self._waiting:
            self._flush()

    def ready(self, status: str) -> None:
        """It serves; or it does again, after `reloading`."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self, status: str, now: float) -> None:
        """It changes while it serves. `ready` has to follow. `now` is of the machine's monotonic clock."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(now * 1e6)}", f"STATUS={status}")

    def stopping(self, status: str) -> None:
        self._tell("STOPPING=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """What it is doing, for people."""
        self._tell(f"STATUS={text}")

    def keep(self, name: str, descriptors: Sequence[int]) -> None:
        """Have these kept for the next start, under a name without colons, if the manager does such a thing."""
        for at in range(0, len(descriptors), _AT_ONCE):
            self._tell("FDSTORE=1", f"FDNAME={name}", descriptors=descriptors[at : at + _AT_ONCE])

    def forget(self, name: str) -> None:
        """Have those of this name kept no longer."""
        self._tell("FDSTOREREMOVE=1", f"FDNAME={name}")

    def close(self) -> None:
        if self._socket is not None:
            self._flush()
            self._socket.close()
            self._socket = None

    def _tell(self, *lines: str, descriptors: Sequence[int] = ()) -> None:
        if self._socket is not None:
            self._waiting.append(("\n".join(lines).encode(), descriptors))
            self._flush()

    def _flush(self) -> None:
        assert self._socket is not None and self._address is not None
        where = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        while self._waiting:
            news, descriptors = self._waiting[0]
            try:
                # Not by `socket.send_fds`, which drops the address.
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
                self._socket.sendmsg([news], rights, socket.MSG_DONTWAIT, where)
            except BlockingIOError:
                return  # the manager is behind: once more with the next news, or beat
            except OSError as error:
                log.warning("the service manager (%s) can't be told: %s", self._address, error.strerror or error)
            self._waiting.popleft()


def _watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    text, whose = environ.get("WATCHDOG_USEC"), environ.get("WATCHDOG_PID")
    if text is None or (whose is not None and whose != str(pid)):
        return None
    microseconds = 0
    with contextlib.suppress(ValueError):
        microseconds = int(text)
    if microseconds <= 0:
        log.warning("WATCHDOG_USEC=%s is no number of microseconds: no watchdog is told that the node is alive", text)
        return None
    return microseconds / 1e6
