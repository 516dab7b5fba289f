"""New settings for a running node: those that it can apply, and those that wait for a restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from shield.config.places import KeyPath, dotted
from shield.config.settings import Settings

_FIXED = ("node", "listen", "workers", "cache", "cluster", "state_directory", "ledger")
"""Keys that need a restart: sockets, processes, memory and disks. So do those in `_OF_ADMIN`, and adding or removing
`tls`."""

_OF_ADMIN = ("listen", "socket_mode", "connections", "timeout")
"""Keys of `admin` that need a restart, since its listener is made of them."""


def held_over(running: Settings, given: Settings) -> Settings:
    """The settings `given`, with the `running` node's values for keys that need a restart."""
    update: dict[str, Any] = {key: getattr(running, key) for key in _FIXED}
    update["admin"] = given.admin.model_copy(update={key: getattr(running.admin, key) for key in _OF_ADMIN})
    if (running.tls is None) is not (given.tls is None):
        update["tls"] = running.tls
    return given.model_copy(update=update)


def waiting(running: Settings, given: Settings) -> tuple[str, ...]:
    """Keys whose new values in the settings `given` wait for a restart."""
    found = [
        dotted(path) for key in _FIXED for path in _differing(getattr(running, key), getattr(given, key), (key,))
    ]
    found += [f"admin.{key}" for key in _OF_ADMIN if getattr(running.admin, key) != getattr(given.admin, key)]
    if (running.tls is None) is not (given.tls is None):
        found.append("tls")
    return tuple(found)


def needs_restart(path: Sequence[str]) -> bool:
    """Whether a change of this key, or of those below it, waits for a restart. (`tls` as a whole does if it is added
    or removed.)
    """
    return path[0] in _FIXED or (path[0] == "admin" and len(path) > 1 and path[1] in _OF_ADMIN)


def _differing(one: object, other: object, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(one, BaseModel) and isinstance(other, BaseModel):
        for key in type(one).model_fields:
            yield from _differing(getattr(one, key), getattr(other, key), (*path, key))
    elif one != other:
        yield path
