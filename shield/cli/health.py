"""shield health: is the node of these settings ready? For probes of containers and scripts: one line, 0 or 1."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from shield.config.loading import load
from shield.config.section import ListenAddress
from shield.config.settings import Settings
from shield.errors import ConfigError

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_LONGEST_REASON = 200


class _UnhealthyError(Exception):
    """Why the node isn't ready, in a line."""


def health(path: Path, *, timeout: float) -> int:
    """Print one line; 0 if the node says that it is ready, else 1. `timeout` is in seconds, for each step."""
    try:
        settings = load(path, environ=os.environ).settings
    except ConfigError as error:
        more = f" (and {len(error.problems) - 1} more problems)" if len(error.problems) > 1 else ""
        print(f"unhealthy: {error.problems[0]}{more}", file=sys.stderr)
        return 1
    try:
        print(f"healthy: {_said(settings, timeout)}")
    except _UnhealthyError as error:
        print(f"unhealthy: {error}", file=sys.stderr)
        return 1
    return 0


def _said(settings: Settings, timeout: float) -> str:
    """What shows that the node is ready: the admin listener's word, or that clients are accepted where it is off."""
    if settings.admin.listen is not None:
        return _ready(settings.admin.listen, timeout)
    for address in settings.listen:
        _accepts(address, timeout)
    return f"{', '.join(map(str, settings.listen))} accepts connections; admin.listen is off, which could tell more"


def _ready(address: ListenAddress, timeout: float) -> str:
    host, port = _reachable(address, "admin.listen")
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        # The admin listener answers to this name in any case, whatever name it listens on.
        connection.request("GET", "/ready", headers={"host": f"localhost:{port}"})
        answer = connection.getresponse()
        body = answer.read(_LONGEST_REASON).decode("ascii", "replace")
    except TimeoutError:
        raise _UnhealthyError(f"{address} (admin.listen) gave no answer in {timeout:g} s") from None
    except OSError as error:
        raise _UnhealthyError(f"{address} (admin.listen) can't be reached: {error.strerror or error}") from None
    except HTTPException:
        raise _UnhealthyError(f"what answers on {address} (admin.listen) doesn't speak HTTP") from None
    finally:
        connection.close()
    reason = " ".join(body.split())
    if answer.status == 503:
        raise _UnhealthyError(f"{address} (admin.listen) says: {reason or 'not ready'}; the node starts or drains")
    if answer.status != 200 or reason != "ready":
        raise _UnhealthyError(
            f"what answers on {address} (admin.listen) is no node: status {answer.status} to /ready"
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
    return _ANY.get(address.host, address.host), address.port
