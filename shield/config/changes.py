"""What of other settings a running node can take over, and what waits for a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from shield.config.places import KeyPath, dotted
from shield.config.settings import Settings

_FIXED = ("node", "listen", "workers", "cache")
"""Whole keys that a node begins with: sockets, processes, memory and disks. So are `_OF_ADMIN`, and whether there is
`tls`."""

_OF_ADMIN = ("listen", "connections", "timeout")
"""Keys of `admin` that its listener begins with."""


def held_over(running: Settings, given: Settings) -> Settings:
    """The settings `given`, with what needs a restart as it is in those of the `running` node."""
    update: dict[str, Any] = {key: getattr(running, key) for key in _FIXED}
    update["admin"] = given.admin.model_copy(update={key: getattr(running.admin, key) for key in _OF_ADMIN})
    if (running.tls is None) is not (given.tls is None):
        update["tls"] = running.tls
    return given.model_copy(update=update)


def waiting(running: Settings, given: Settings) -> tuple[str, ...]:
    """Keys whose values in the settings `given` wait for a restart."""
    found = [
        dotted(path) for key in _FIXED for path in _differing(getattr(running, key), getattr(given, key), (key,))
    ]
    found += [f"admin.{key}" for key in _OF_ADMIN if getattr(running.admin, key) != getattr(given.admin, key)]
    if (running.tls is None) is not (given.tls is None):
        found.append("tls")
    return tuple(found)


def _differing(one: object, other: object, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(one, BaseModel) and isinstance(other, BaseModel):
        for key in type(one).model_fields:
            yield from _differing(getattr(one, key), getattr(other, key), (*path, key))
    elif one != other:
        yield path
