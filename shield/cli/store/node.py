"""The running node, reached through its admin API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

from shield.cli.admin import AdminDoor, ask, problems_of
from shield.config.settings import Settings
from shield.errors import ShieldError

_QUICK_SECONDS = 2.0
_REMOVAL_SECONDS = 3600.0  # may read all headers of a large store


class RefusedError(ShieldError):
    """The node refused the request."""


class RunningNode:
    """The node that answers on the admin address of these settings."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.node
        self.address = AdminDoor.of(settings)

    def state(self) -> Mapping[str, Any] | None:
        """The node's state; None when there is no answer. Raises RefusedError when it is another node."""
        if self.address is None or not self.address.has_port:
            return None
        try:
            status, state = ask(self.address, "GET", "/state", seconds=_QUICK_SECONDS)
        except (OSError, HTTPException, ValueError):
            return None
        if status in (401, 403):
            raise RefusedError(f"the node on {self.address} refused: {'; '.join(problems_of(status, state))}")
        if status != 200 or not isinstance(state, dict) or "node" not in state:
            raise RefusedError(f"the server on {self.address} (admin.listen) is no Shield node")
        if state["node"] != self._name:
            raise RefusedError(
                f"node {state['node']} answers on {self.address}; these settings are of node {self._name}"
            )
        return state

    @property
    def absence(self) -> str:
        """For `state() is None`, in words."""
        if self.address is None:
            return "admin.listen is off: the running node can't be asked"
        return f"no node answers on {self.address} (admin.listen); is it running?"

    def entries(self, target: str) -> Sequence[Mapping[str, Any]] | None:
        """What it has under a target; None when it can't tell. Raises RefusedError."""
        said = self._asked("GET", f"/entries?url={quote(target, safe='')}")
        found = None if said is None else said.get("entries")
        return found if isinstance(found, list) else None

    def remove(self, paths: Sequence[str]) -> int | None:
        """Have it remove entries; returns how many there were. None when it can't. Raises RefusedError."""
        said = self.tell("/store/remove", {"paths": list(paths)})
        return None if said is None else _number(said, "removed")

    def remove_prefix(self, prefix: str) -> bool:
        """Have it remove all entries under a prefix, uncounted. False when it can't. Raises RefusedError."""
        return self.tell("/store/remove", {"prefix": prefix}) is not None

    def take_down(self, paths: Sequence[str]) -> tuple[int, bool]:
        """Have it take objects down; how many entries there were, and whether that holds over a restart. Raises
        RefusedError.
        """
        said = self.must("/store/takedown", {"paths": list(paths)})
        return _number(said, "removed"), said.get("kept") is True

    def lift(self, paths: Sequence[str]) -> int:
        """Have it end the takedown of objects; how many keys were taken down. Raises RefusedError."""
        return _number(self.must("/store/takedown", {"lift": list(paths)}), "lifted")

    def must(self, target: str, wish: object) -> Mapping[str, Any]:
        """As `tell`, but RefusedError also if it doesn't know such wishes."""
        said = self.tell(target, wish)
        if said is None:
            raise RefusedError(f"the node on {self.address} is of a version that can't do this")
        return said

    def tell(self, target: str, wish: object) -> Mapping[str, Any] | None:
        """POST a wish; the node's answer, None when it doesn't know such wishes. Raises RefusedError."""
        return self._asked("POST", target, wish)

    def _asked(self, method: str, target: str, wish: object = None) -> Mapping[str, Any] | None:
        assert self.address is not None
        try:
            status, said = ask(self.address, method, target, wish=wish, seconds=_REMOVAL_SECONDS)
        except (OSError, HTTPException, ValueError) as error:
            raise RefusedError(f"the node on {self.address} closed the connection: {error}") from None
        if status in (404, 405, 501):
            return None
        if status == 200 and isinstance(said, dict):
            return said
        why = "; ".join(problems_of(status, said))
        raise RefusedError(f"the node on {self.address} refused: {why}")


def _number(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    if not isinstance(value, int):
        raise RefusedError(f"the node gave an answer without {name}: {said}")
    return value


def of_directory(state: object, path: str) -> Mapping[str, Any]:
    """A directory's part of a node's state, wherever it is; empty if missing."""
    for value in _mappings(state):
        if value.get("path") == path:
            inner = value.get("directory")
            return {**value, **(inner if isinstance(inner, dict) else {}), "health": value.get("health")}
    return {}


def figures(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Single figures by dotted names; items of lists by their `name`. Directories are left out."""
    if isinstance(value, dict):
        if "path" in value:
            return
        for key, item in value.items():
            if key != "name":
                yield from figures(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for at, item in enumerate(value):
            called = item.get("name", at) if isinstance(item, dict) else at
            yield from figures(item, f"{name}.{called}" if name else str(called))
    elif value is not None:
        yield name, value


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from _mappings(item)
