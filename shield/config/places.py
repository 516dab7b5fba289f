"""The position where each value was given, and problems that name it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum

_NAMEABLE = re.compile(r"[a-z0-9_-]{1,63}|[A-Za-z0-9_-]{1,20}").fullmatch

Value = str | None | list["Value"] | dict[str, "Value"]
"""A value as given: text, however it was spelled; null; lists and mappings of these. Models interpret it."""

KeyPath = tuple[str | int, ...]


class Layer(IntEnum):
    """Layers in order of precedence: later ones win."""

    YAML = 0
    ENVIRONMENT = 1
    FILE = 2


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A line of a file, an environment variable or a secret file."""

    layer: Layer
    name: str
    line: int = 0

    def __str__(self) -> str:
        name = printable(self.name)
        return f"{name}:{self.line}" if self.line else name


@dataclass(frozen=True, slots=True)
class Problem:
    """An error at a position; `path` is the key's, empty when the position alone identifies it. Holds no secret."""

    place: Position
    path: KeyPath
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {dotted(self.path)}: {self.text}" if self.path else f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class GivenValue:
    """One value at one position. Mappings come as an empty one, followed by their values; lists as a whole, with the
    positions of their `items`.
    """

    path: KeyPath
    value: Value
    place: Position
    items: tuple[Position, ...] = ()


class Tree:
    """The values of all layers together. Later layers override earlier ones."""

    def __init__(self, root: Position) -> None:
        self.values: dict[str, Value] = {}
        self.places: dict[KeyPath, Position] = {}
        self._root = root

    def put(self, given: GivenValue) -> None:
        """Set a value, overriding an earlier one. Values below a non-mapping are dropped, as reported elsewhere."""
        *above, last = given.path
        inside = self.values
        for depth, key in enumerate(above, start=1):
            assert isinstance(key, str)
            if inside.get(key) is None:
                inside[key] = {}
                self.places[tuple(above[:depth])] = given.place
            below = inside[key]
            if not isinstance(below, dict):
                return
            inside = below
        assert isinstance(last, str)
        if given.value == {} and isinstance(inside.get(last), dict):
            return
        self.drop(given.path)
        inside[last] = given.value
        self.places[given.path] = given.place
        for at, place in enumerate(given.items):
            self.places[(*given.path, at)] = place

    def drop(self, path: KeyPath) -> None:
        """Forget a value and everything below it."""
        inside = self.get(path[:-1])
        if isinstance(inside, dict) and path[-1] in inside:
            del inside[str(path[-1])]
            for known in [known for known in self.places if known[: len(path)] == path]:
                del self.places[known]

    def get(self, path: KeyPath) -> Value:
        """The value at a path; None when there is none."""
        value: Value = self.values
        for key in path:
            if isinstance(value, dict) and isinstance(key, str):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                return None
        return value

    def items(self, *path: str) -> Iterator[tuple[str, Value]]:
        """Names and values of a mapping; none when it is something else."""
        value = self.get(path)
        return iter(list(value.items()) if isinstance(value, dict) else ())

    def place(self, path: KeyPath) -> Position:
        """The position where it was given, or, for a missing value, that of the section it is missing from."""
        while path:
            if path in self.places:
                return self.places[path]
            path = path[:-1]
        return self._root

    def problem(self, path: KeyPath, text: str) -> Problem:
        return Problem(self.place(path), path, text)


def dotted(path: KeyPath) -> str:
    """A key as people write it: `routes.images.origins[0]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{nameable(key)}" for key in path).removeprefix(".")


def nameable(key: str) -> str:
    """A key or name, or `?` for an implausible one: a misplaced line break turns a secret into a key."""
    return key if _NAMEABLE(key) else "?"


def shortened(text: str, length: int = 100) -> str:
    """Printable text of at most this length."""
    return printable(text if len(text) <= length else text[:length] + "...")


def printable(text: str) -> str:
    """On one line and valid in UTF-8."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def did_you_mean(word: str, known: Iterable[str], *, spelled: Callable[[str], str] = str) -> str:
    """`; did you mean ...?` or nothing; `spelled` writes the suggestion as it belongs there."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{spelled(close[0])}"?' if close else ""


def sources_of(tree: Tree) -> dict[KeyPath, str]:
    """Where each value of all layers was given."""
    return {path: str(tree.place(path)) for path in _given(tree.values, ())}


def _given(value: Value, path: KeyPath) -> Iterator[KeyPath]:
    """The keys of single values as they were given; a list of plain values is one."""
    inner: Iterator[tuple[str | int, Value]] | None = None
    if isinstance(value, dict):
        inner = iter(value.items())
    elif isinstance(value, list) and any(isinstance(each, dict | list) for each in value):
        inner = iter(enumerate(value))
    if inner is None:
        yield path
        return
    for key, each in inner:
        yield from _given(each, (*path, key))
