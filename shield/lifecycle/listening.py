"""Sockets on which a node listens: bound here, or there already."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shield.config.admin import AdminAddress, UnixAddress
from shield.config.section import ListenAddress
from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.lifecycle.activation import Stock

BACKLOG = 4096
ADMIN = "admin.listen"
CLUSTER = "cluster.listen"


@dataclass(frozen=True, slots=True)
class Open:
    """The sockets of one address. `address` is what the settings name at `key`; `bound`: made here and now."""

    key: str
    address: AdminAddress | tuple[str, int]
    sockets: Sequence[socket.socket]
    bound: bool = True


def addresses_of(settings: Settings) -> list[tuple[str, AdminAddress]]:
    """The addresses on which a node with these settings listens, each with its key there."""
    admin, cluster = settings.admin.listen, settings.cluster
    for_nodes = [
        (CLUSTER, address)
        for worker in range(0 if cluster is None else settings.workers)
        if cluster is not None and (address := cluster.listens_on(settings.node, worker)) is not None
    ]
    return [
        *(("listen", each) for each in settings.listen),
        *([] if admin is None else [(ADMIN, admin)]),
        *for_nodes,
    ]


def opened(key: str, address: AdminAddress | tuple[str, int], times: int, stock: Stock, *, mode: int = 0o660) -> Open:
    """Those of the stock, or else so many new ones; `mode` are the permissions of a unix socket, of which there is
    one. Raises ConfigError.
    """
    if isinstance(address, UnixAddress):
        there = stock.take(address.path)
        if there and Path(address.path).exists():
            return Open(key, address, [each.socket for each in there], bound=False)
        for each in there:
            each.socket.close()  # its name is gone: nobody would find it
        return Open(key, address, [bind_unix(address.path, mode, key=key)])
    there = stock.take(_resolved(key, address)[3][:2])
    if there:
        return Open(key, address, [each.socket for each in there], bound=False)
    return Open(key, address, bind(address, times, key=key))


def bind(address: tuple[str, int], times: int = 1, *, key: str = "listen") -> list[socket.socket]:
    """`times` listening TCP sockets on one address, over which the kernel spreads connections.

    ConfigError names the `key` in the settings, the address and the reason.
    """
    made: list[socket.socket] = []
    family, kind, proto, where = _resolved(key, address)
    try:
        for _ in range(times):
            made.append(socket.socket(family, kind, proto))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made[-1].bind(where)  # before SO_REUSEPORT: the address must not be another node's
            where = made[-1].getsockname()
            if times > 1:
                made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for listener in made:
            listener.listen(BACKLOG)
            listener.setblocking(False)
    except OSError as error:
        for listener in made:
            listener.close()
        said = f"{key} {ListenAddress(*address)}: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            said += f"; another process has it: end that one, or set {key} to another address"
        raise ConfigError([said]) from error
    return made


def listen_on(path: str) -> socket.socket:
    """A unix socket. Raises ConfigError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:  # above all: the path is too long
        made.close()
        raise ConfigError([f"{path}: no socket can be made here: {error.strerror or error}"]) from None
    return made


def bind_unix(path: str, mode: int, *, key: str) -> socket.socket:
    """A listening unix socket with these permissions. That of a node which no longer runs is replaced.

    ConfigError names the `key` in the settings, the path and the reason.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        before = os.umask(0o777 & ~mode)
        try:
            made.bind(path)
        finally:
            os.umask(before)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        said = f"{key} {UnixAddress(path)}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            said += f"; another process has it: end that one, or set {key} to another path"
        elif error.errno == errno.ENOENT:
            said += f"; make the directory {Path(path).parent}, which this user can write to"
        raise ConfigError([said]) from None
    return made


def unlink(path: str) -> None:
    """Remove the file of a unix socket of ours, if it is there."""
    with contextlib.suppress(OSError):
        Path(path).unlink()


def _clear(path: str) -> None:
    """Remove a socket's file that nobody listens on. Raises OSError."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "something else is there than a socket; remove it")
    except FileNotFoundError:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as client:
        client.setblocking(False)
        try:
            client.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:
            pass  # its queue is full
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def names(listeners: Sequence[socket.socket], scheme: str = "http") -> str:
    """URLs or paths of listeners, for logs."""
    return ", ".join(_name(listener, scheme) for listener in listeners) or "off"


def _resolved(key: str, address: tuple[str, int]) -> tuple[socket.AddressFamily, socket.SocketKind, int, Any]:
    """Family, kind, protocol and the system's form of an address. Raises ConfigError."""
    host, port = address
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
    except OSError as error:
        raise ConfigError([f"{key} {ListenAddress(*address)}: {error.strerror or error}"]) from error
    return family, kind, proto, where


def _name(bound: socket.socket, scheme: str) -> str:
    where = bound.getsockname()
    return str(UnixAddress(where)) if isinstance(where, str) else f"{scheme}://{ListenAddress(*where[:2])}"
