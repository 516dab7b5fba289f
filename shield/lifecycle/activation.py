"""Sockets that the service manager hands over at the start, by the protocol of sd_listen_fds(3).

They come from a socket unit, or from the manager's store, where a former run of the node has put them (FDSTORE).
Each is meant for the address on which it listens, as `listen` or `admin.listen` name it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shield.config.admin import UnixAddress
from shield.config.section import ListenAddress
from shield.errors import ConfigError

FIRST = 3
"""The descriptor of the first socket; the others follow it."""

STORED = "shield-kept"
"""How names of those begin that a former run has stored."""

_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PassedSocket:
    """A listening socket, and its name at the manager."""

    socket: socket.socket
    name: str

    @property
    def stored(self) -> bool:
        return self.name.startswith(STORED)

    def __str__(self) -> str:
        return f"descriptor {self.socket.fileno()} ({self.name or 'without a name'})"


def stored_name(key: str, address: object) -> str:
    """The name under which sockets of an address are stored: a manager knows them by nothing else."""
    return f"{STORED} {key} {address}".replace(":", ".")


def given(environ: MutableMapping[str, str], pid: int, *, first: int = FIRST) -> list[PassedSocket]:
    """The sockets handed over to the process `pid`, and the variables that tell of them are removed: children mustn't
    take them for theirs. Raises ConfigError with all that is wrong with them.
    """
    said = {name: environ.pop(name, None) for name in _VARIABLES}
    if said["LISTEN_PID"] != str(pid):
        return []
    text, named = said["LISTEN_FDS"] or "", said["LISTEN_FDNAMES"]
    if not (text.isascii() and text.isdigit()):
        raise ConfigError([f"LISTEN_FDS={text}: expected the number of sockets that are handed over"])
    count = int(text)
    names = [""] * count if named is None else named.split(":")
    if len(names) != count:
        raise ConfigError([f"LISTEN_FDNAMES={named}: expected as many names as LISTEN_FDS={count} says"])
    found: list[PassedSocket] = []
    for descriptor, name in enumerate(names, first):
        try:
            os.set_inheritable(descriptor, False)
        except OSError:
            for each in found:
                each.socket.close()
            raise ConfigError(
                [f"LISTEN_FDS={count} says that descriptors {first} to {first + count - 1} are sockets, but "
                 f"{descriptor} isn't open: start it by the service manager, or without LISTEN_PID and LISTEN_FDS"]
            ) from None  # fmt: skip
        problem = fault_of(descriptor)
        if problem:
            for each in found:
                each.socket.close()
            raise ConfigError([f"LISTEN_FDS: descriptor {descriptor} ({name or 'without a name'}) {problem}"])
        found.append(PassedSocket(socket.socket(fileno=descriptor), name))
        found[-1].socket.setblocking(False)
    return found


def fault_of(descriptor: int) -> str:
    """Why a descriptor is no socket on which a node could listen; empty if it is one."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return "is no socket"
    except OSError as error:
        return f"can't be looked at: {errno.errorcode.get(error.errno or 0, '?')}"
    looked_at = socket.socket(fileno=descriptor)
    try:
        families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
        if looked_at.type != socket.SOCK_STREAM or looked_at.family not in families:
            return "is a socket of another kind: expected TCP, with a host and a port, or a unix stream"
        if not looked_at.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return "doesn't listen: expected a listening socket, not a connection (in a socket unit: Accept=no)"
        return ""
    finally:
        looked_at.detach()


class Stock:
    """Sockets that are there before any is bound, to be taken by their addresses."""

    def __init__(self, sockets: Sequence[PassedSocket]) -> None:
        self._sockets = list(sockets)

    def take(self, bound: tuple[str, int] | str) -> list[PassedSocket]:
        """Those that listen on this address and port, or path."""
        taken = [each for each in self._sockets if _where(each.socket) == bound]
        self._sockets = [each for each in self._sockets if each not in taken]
        return taken

    def rest(self) -> list[PassedSocket]:
        """What nobody has taken. Of a former run it isn't wanted any more, and closed; its names are to be forgotten.
        Raises ConfigError for others.
        """
        rest, self._sockets = self._sockets, []
        for each in rest:
            if each.stored:
                each.socket.close()
        strange = [each for each in rest if not each.stored]
        if strange:
            raise ConfigError([_strange(each) for each in strange])
        return rest


def shared_out(sockets: Sequence[T], count: int) -> list[list[T]]:
    """Sockets of one address for so many workers, to each at least one: where there are fewer, workers share one, and
    where there are more, a worker has several, since none must be left unheard.
    """
    if len(sockets) >= count:
        return [list(sockets[number::count]) for number in range(count)]
    return [[sockets[number % len(sockets)]] for number in range(count)]


def _where(bound: socket.socket) -> tuple[str, int] | str:
    """The address and port, or the path, on which a socket listens."""
    where = bound.getsockname()
    return (where[0], where[1]) if isinstance(where, tuple) else where if isinstance(where, str) else ""


def _strange(each: PassedSocket) -> str:
    bound = _where(each.socket)
    where = (UnixAddress(bound) if bound else "no path") if isinstance(bound, str) else ListenAddress(*bound)
    return (
        f"LISTEN_FDS: {each} listens on {where}, which is neither in listen nor in admin.listen: name it there, or "
        "take it out of the socket unit"
    )
