"""shield health: is the node of these settings ready? For probes of containers and scripts: one line, 0 or 1.

Settings that can't be used, here or at all, don't make it unhealthy: the node runs with those it has. It is asked
where they say that it listens, as far as they can be read.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from shield.cli.admin import AdminDoor
from shield.config.admin import AdminAddress, UnixAddress
from shield.config.glimpse import Glimpse, glimpse
from shield.config.loading import SECRET_DIRECTORIES, SettingsSource, load
from shield.config.section import ListenAddress
from shield.errors import ConfigError

_LONGEST_REASON = 200


class _UnhealthyError(Exception):
    """Why the node isn't ready, in a line."""


def health(path: Path, *, timeout: float, quiet: bool = False) -> int:
    """Print one line; 0 if the node says that it is ready, else 1. Takes `timeout` seconds at most.

    A second line, on standard error, warns of settings that can't be used. `quiet`: nothing is printed of a node
    that is ready.
    """
    listeners, doubt = _listeners(path)
    try:
        said = _within(timeout, lambda: _said(listeners, timeout), listeners)
    except _UnhealthyError as error:
        print(f"unhealthy: {error}", file=sys.stderr)
        if doubt is not None:
            print(f"unhealthy: {doubt}", file=sys.stderr)
        return 1
    if not quiet:
        print(f"healthy: {said}")
        if doubt is not None:
            print(f"warning: {doubt}; the node runs with those it has", file=sys.stderr)
    return 0


def _listeners(path: Path) -> tuple[Glimpse, str | None]:
    """The node's listeners, and the problem of its settings."""
    try:
        settings = load(path, environ=os.environ).settings
    except ConfigError as error:
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        doubt = f"{error.problems[0]}{more}: these settings can't be used"
        return glimpse(SettingsSource.of(path, os.environ, SECRET_DIRECTORIES)), doubt
    return Glimpse(settings.admin.listen, settings.listen), None


def _within(seconds: float, work: Callable[[], str], listeners: Glimpse) -> str:
    """The result of work that may block; if it takes longer, it is abandoned."""
    done: list[str | _UnhealthyError] = []

    def run() -> None:
        try:
            done.append(work())
        except _UnhealthyError as error:
            done.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        where = "listen" if listeners.admin is None else f"{listeners.admin} (admin.listen)"
        raise _UnhealthyError(f"{where} gave no answer in {seconds:g} s")
    if isinstance(done[0], _UnhealthyError):
        raise done[0]
    return done[0]


def _said(listeners: Glimpse, timeout: float) -> str:
    """The evidence that the node is ready: the admin listener's word or, without one, accepted connections."""
    if listeners.admin is not None:
        return _ready(listeners.admin, timeout)
    for address in listeners.listen:
        _accepts(address, timeout)
    return f"{', '.join(map(str, listeners.listen))} accepts connections; admin.listen is off, which could tell more"


def _ready(address: AdminAddress, timeout: float) -> str:
    if not isinstance(address, UnixAddress):
        _reachable(address, "admin.listen")
    door = AdminDoor(address)
    connection = door.connection(timeout)
    try:
        connection.request("GET", "/ready", headers=door.headers())
        answer = connection.getresponse()
        body = answer.read(_LONGEST_REASON).decode("ascii", "replace")
    except TimeoutError:
        raise _UnhealthyError(f"{address} (admin.listen) gave no answer in {timeout:g} s") from None
    except OSError as error:
        raise _UnhealthyError(f"{address} (admin.listen) can't be reached: {error.strerror or error}") from None
    except HTTPException:
        raise _UnhealthyError(f"the server on {address} (admin.listen) doesn't speak HTTP") from None
    finally:
        connection.close()
    reason = " ".join(body.split())
    if answer.status == 503:
        raise _UnhealthyError(f"{address} (admin.listen) says: {reason or 'not ready'}; the node starts or drains")
    if answer.status != 200 or reason != "ready":
        raise _UnhealthyError(
            f"the server on {address} (admin.listen) is no Shield node: status {answer.status} to /ready"
        )
    return f"{address} (admin.listen) says that the node is ready"


def _accepts(address: ListenAddress, timeout: float) -> None:
    try:
        with contextlib.closing(socket.create_connection(_reachable(address, "listen"), timeout)):
            pass
    except TimeoutError:
        raise _UnhealthyError(f"{address} (listen) accepted no connection in {timeout:g} s") from None
    except OSError as error:
        raise _UnhealthyError(f"{address} (listen) can't be reached: {error.strerror or error}") from None


def _reachable(address: ListenAddress, key: str) -> tuple[str, int]:
    """Where a client of this machine reaches a listener."""
    if not address.port:
        raise _UnhealthyError(f"{address} ({key}): port 0 is another one at each start; give it a number")
    return address.near, address.port
