"""A model's errors in our words: the value given, the values expected, a suggestion for a typo.

Secrets are never quoted, nor values that may be a misplaced secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from shield.config.places import KeyPath, Problem, Tree, did_you_mean, shortened
from shield.config.shape import choices, holds_secrets, is_list, is_mapping, is_secret, known_keys, marks_at, type_at
from shield.config.units import ExpectedError, format_duration, format_size, parse_duration, parse_size

_MOVED = {
    ("log", "access"): "moved to access_log: format: off for none, hits: 1 for all requests",
    ("log", "access_memory"): "moved to access_log.memory",
}
"""Keys of earlier versions."""

_NAME = "expected a name of lower case letters, digits and hyphens, 63 at most"
_LONG = 20
_SIDES = {"ge": "at least", "gt": "more than", "le": "at most"}
_SIMPLE = {int: "expected a whole number", float: "expected a number", bool: "expected true or false"}


def problems_of(details: Iterable[ErrorDetails], tree: Tree) -> list[Problem]:
    """One problem for each error of a model."""
    return [_problem(detail, tree) for detail in details]


def _problem(detail: ErrorDetails, tree: Tree) -> Problem:
    kind, path = detail["type"], detail["loc"]
    if path[-1:] == ("[key]",):
        return tree.problem(path[:-1], _NAME)
    if kind == "extra_forbidden":
        return _unknown(path, tree)
    expected = _expected(kind, path, detail.get("ctx", {}))
    if kind == "missing":
        return tree.problem(path, f"missing; {expected}")
    value = tree.get(path)
    guess = did_you_mean(value, choices(path)) if isinstance(value, str) else ""
    return tree.problem(path, f"{_got(path, tree)}{expected}{guess}")


def _unknown(path: KeyPath, tree: Tree) -> Problem:
    above, key = path[:-1], str(path[-1])
    if path in _MOVED:
        return tree.problem(path, _MOVED[path])
    if tree.get(path) is None and holds_secrets(above):
        # A secret with a comma between braces, {secret_key: abc,def}, turns its second half into a key.
        return tree.problem(above, "an unknown key without a value; a secret with a comma or colon needs quotes")
    known = known_keys(above)
    guess = did_you_mean(key.lower().replace("-", "_"), known)
    said = f"unknown key{guess or '; expected one of ' + ' '.join(known)}"
    # No key of ours is this long: one unlike any of them may be a secret on a line of its own.
    return Problem(tree.place(path), path if guess or len(key) <= _LONG else (*above, "?"), said)


def _got(path: KeyPath, tree: Tree) -> str:
    value = tree.get(path)
    if isinstance(value, dict):
        return "got a mapping; "
    if isinstance(value, list):
        return "got a list; " if value else "got an empty list; "
    if value is None:
        return "got nothing; "
    # A scalar in place of a mapping may be anything, and people put passwords into URLs.
    if is_secret(path) or is_mapping(path) or type_at(path) is None or any(mark in value for mark in "@?"):
        return ""
    return f'got "{shortened(value)}"; '


def _expected(kind: str, path: KeyPath, context: Mapping[str, Any]) -> str:
    if isinstance(context.get("error"), ExpectedError):
        return str(context["error"])
    if words := choices(path):
        return f"expected one of {' '.join(words)}"
    for side, said in _SIDES.items():
        if side in context:
            return f"expected {said} {_bound(context[side], path)}"
    if kind == "too_short":
        return "expected one at least"
    if kind == "string_pattern_mismatch":
        return _NAME
    if is_mapping(path):
        return "expected a mapping of keys to values"
    if is_list(path):
        return "expected a list, as [one, two]"
    return _SIMPLE.get(type_at(path), "expected text")


def _bound(bound: float, path: KeyPath) -> str:
    """A bound, spelled like values of its key."""
    readers = [getattr(mark, "func", None) for mark in marks_at(path)]
    if parse_size in readers:
        return format_size(int(bound))
    return format_duration(bound) if parse_duration in readers else f"{bound:g}"
