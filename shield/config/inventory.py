"""All values of settings one by one, as they are shown to people: by their keys, without secrets, and with the place
where each was given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr

from shield.config.changes import waiting
from shield.config.loading import Loaded
from shield.config.places import KeyPath, dotted

HIDDEN = "***"
DEFAULT = "default"
"""The source of a value that nobody gave."""

_INHERITED = ("freshness", "response_fields")  # of routes, from the sections of this name
_COMMAND = ("credentials", "command")  # its arguments may be secrets


class ShownValue(NamedTuple):
    """A value in force. `source` is a line of a file, a variable, a secret file, or `default`."""

    key: str
    value: Any
    source: str


class ShownChange(NamedTuple):
    """A value that would be another one after a reload, or, with `needs_restart`, after a restart.

    None as a value: there is none, as of an origin that comes or goes.
    """

    key: str
    before: Any
    after: Any
    source: str
    needs_restart: bool


def inventory(loaded: Loaded) -> list[ShownValue]:
    """All values in force, in the order of the settings."""
    return [
        ShownValue(dotted(path), _shown(path, value), _source(path, loaded.sources))
        for path, value in _leaves(loaded.settings, ())
    ]


def changes(running: Loaded, wanted: Loaded) -> list[ShownChange]:
    """The differences between the settings in force and those that were just read. Secrets are compared, not shown.

    Of a section that comes or goes, only what was given; what routes inherit is told once.
    """
    before, after = dict(_leaves(running.settings, ())), dict(_leaves(wanted.given, ()))
    fixed = waiting(running.settings, wanted.given)
    found = []
    for path in {**before, **after}:
        one, other = before.get(path), after.get(path)
        source = _source(path, wanted.sources if path in after else running.sources)
        comes_or_goes = (path in before) is not (path in after)
        if one == other or (comes_or_goes and source == DEFAULT) or _is_inherited(path, running, wanted):
            continue
        key = dotted(path)
        needs_restart = any(key == each or key.startswith((f"{each}.", f"{each}[")) for each in fixed)
        found.append(ShownChange(key, _shown(path, one), _shown(path, other), source, needs_restart))
    return found


def _is_inherited(path: KeyPath, *editions: Loaded) -> bool:
    """Whether a route has a value from the section of this name, before and after."""
    of_route = len(path) > 3 and path[0] == "routes" and path[2] in _INHERITED
    return of_route and not any(path in loaded.sources for loaded in editions)


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """The single values of settings."""
    inner: Iterator[tuple[str | int, Any]] | None = None
    if isinstance(value, BaseModel):
        inner = iter([(name, getattr(value, name)) for name in type(value).model_fields])
    elif isinstance(value, Mapping) and value:
        inner = iter([(str(name), each) for name, each in value.items()])
    elif isinstance(value, tuple | list) and any(isinstance(each, BaseModel) for each in value):
        inner = iter(enumerate(value))
    if inner is None:
        yield path, value
        return
    for key, each in inner:
        yield from _leaves(each, (*path, key))


def _source(path: KeyPath, sources: Mapping[KeyPath, str]) -> str:
    """The place of a value, or of the word that stands for its whole section, as `access: off`."""
    for end in range(len(path), 0, -1):
        if path[:end] in sources:
            return sources[path[:end]]
    if len(path) > 3 and path[0] == "routes" and path[2] in _INHERITED:
        return _source(path[2:], sources)
    return DEFAULT


def _shown(path: KeyPath, value: Any) -> Any:
    """A plain value, for JSON."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, tuple | list | set | frozenset) and not hasattr(value, "_fields"):
        items = [_shown((*path, at), each) for at, each in enumerate(value)]
        items = sorted(items, key=str) if isinstance(value, set | frozenset) else items
        return [*items[:1], *[HIDDEN for _ in items[1:]]] if path[-2:] == _COMMAND else items
    if isinstance(value, Mapping):
        return {str(name): _shown((*path, str(name)), each) for name, each in value.items()}
    return str(value)
