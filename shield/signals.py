"""The supervisor's signals, as something to wait for beside sockets."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR2)
_FOR_THE_PARENT = (signal.SIGHUP, signal.SIGUSR2)  # sent to a whole group, they mean the supervisor alone


def hold_back() -> None:
    """Deliver none of them to this process, nor to the program that it becomes, until that enters `Signals`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def let_through() -> None:
    """Deliver them again."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def outlive() -> None:
    """SIGHUP and SIGUSR2 never end a node: those that come before it enters `Signals` wait until then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_THE_PARENT)
    for number in _FOR_THE_PARENT:
        signal.signal(number, _do_nothing)  # to ignore them would also drop those that wait


class Signals:
    """Signals as something to wait for, while entered. Those that were held back come then."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._before: dict[int, Any] = {}  # as `signal.signal` gave them

    def __enter__(self) -> Signals:
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, _do_nothing)
        let_through()
        return self

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        return self._reader.fileno()

    def taken(self) -> bytes:
        """Numbers of the signals received."""
        try:
            return self._reader.recv(4096)
        except BlockingIOError:
            return b""

    @property
    def stop_is_waiting(self) -> bool:
        """Whether an order to stop has come that wasn't taken yet."""
        try:
            waiting = self._reader.recv(4096, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        return signal.SIGTERM in waiting or signal.SIGINT in waiting

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """None is delivered meanwhile: a forked process would report it to the parent."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def forget(self) -> None:
        """In a forked process: restore everything as before entering."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN if number in _FOR_THE_PARENT else signal.SIG_DFL)
        self._reader.close()
        self._writer.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _do_nothing(number: int, frame: object) -> None:
    """It is read from the wakeup descriptor, or comes too late."""
