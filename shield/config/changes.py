"""New settings for a running node: those that it can apply, and those that wait for a restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from shield.config.cluster import ClusterSettings
from shield.config.places import KeyPath, dotted
from shield.config.settings import Settings

_FIXED = ("node", "listen", "workers", "cache", "state_directory", "ledger")
"""Keys that need a restart: sockets, processes, memory and disks. So do those in `_OF_ADMIN` and
`_OF_CLUSTER`, and adding or removing what is in `_WHOLE`."""

_OF_ADMIN = ("listen", "socket_mode", "connections", "timeout")
"""Keys of `admin` that need a restart, since its listener is made of them."""

_ADDED = ("secret", "tls", "bus")
"""Keys of `cluster` that need a restart if they are added or removed: they decide on how nodes prove who they are,
and on whether their rate limits are common."""

_RENEWED = ("nodes", "secret_file", "bus_file", "bus_prefix", *_ADDED)
_OF_CLUSTER = tuple([key for key in ClusterSettings.model_fields if key not in _RENEWED])
"""Keys of `cluster` that need a restart: its listener, connections and journal are made of them."""

_WHOLE = ("tls", "cluster")
"""Sections that need a restart if they are added or removed."""


def held_over(running: Settings, given: Settings) -> Settings:
    """The settings `given`, with the `running` node's values for keys that need a restart."""
    update: dict[str, Any] = {key: getattr(running, key) for key in _FIXED}
    update["admin"] = given.admin.model_copy(update={key: getattr(running.admin, key) for key in _OF_ADMIN})
    if running.cluster is not None and given.cluster is not None:
        kept = {key: getattr(running.cluster, key) for key in _of_cluster(running.cluster, given.cluster)}
        update["cluster"] = given.cluster.model_copy(update=kept)
    for key in _WHOLE:
        if (getattr(running, key) is None) is not (getattr(given, key) is None):
            update[key] = getattr(running, key)
    return given.model_copy(update=update)


def waiting(running: Settings, given: Settings) -> tuple[str, ...]:
    """Keys whose new values in the settings `given` wait for a restart."""
    found = [
        dotted(path) for key in _FIXED for path in _differing(getattr(running, key), getattr(given, key), (key,))
    ]
    found += [f"admin.{key}" for key in _OF_ADMIN if getattr(running.admin, key) != getattr(given.admin, key)]
    if running.cluster is not None and given.cluster is not None:
        for key in _of_cluster(running.cluster, given.cluster):
            if getattr(running.cluster, key) != getattr(given.cluster, key):
                found.append(f"cluster.{key}")
    found += [key for key in _WHOLE if (getattr(running, key) is None) is not (getattr(given, key) is None)]
    return tuple(found)


def needs_restart(path: Sequence[str]) -> bool:
    """Whether a change of this key, or of those below it, waits for a restart. (`tls` and `cluster` as a whole do if
    they are added or removed, and so do `cluster.secret`, `cluster.tls` and `cluster.bus`.)
    """
    of_section = {"admin": _OF_ADMIN, "cluster": _OF_CLUSTER}.get(path[0], ())
    return path[0] in _FIXED or (len(path) > 1 and path[1] in of_section)


def _of_cluster(running: ClusterSettings, given: ClusterSettings) -> tuple[str, ...]:
    """Keys of the section that need a restart, if they differ."""
    added = [key for key in _ADDED if (getattr(running, key) is None) is not (getattr(given, key) is None)]
    return (*_OF_CLUSTER, *added)


def _differing(one: object, other: object, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(one, BaseModel) and isinstance(other, BaseModel):
        for key in type(one).model_fields:
            yield from _differing(getattr(one, key), getattr(other, key), (*path, key))
    elif one != other:
        yield path
