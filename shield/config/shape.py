"""The models' definition of a key: its subkeys, its type, and whether it is a secret."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from shield.config.places import KeyPath
from shield.config.settings import Settings


def type_at(path: KeyPath) -> Any:
    """The bare type of a key's value, without Annotated and None; None for an unknown key."""
    found: Any = Settings
    for key in path:
        if _is_section(found):
            field = found.model_fields.get(key)
            found = None if field is None else _bare(field.annotation)
        elif get_origin(found) is Mapping:
            found = _bare(get_args(found)[1])
        elif get_origin(found) is tuple:
            found = _bare(get_args(found)[0])
        else:
            return None
    return found


def known_keys(path: KeyPath) -> list[str]:
    """The keys of a section; none where names are free."""
    found = type_at(path)
    return list(found.model_fields) if _is_section(found) else []


def choices(path: KeyPath) -> tuple[str, ...]:
    """The words that a key takes, if they are a fixed set."""
    found = type_at(path)
    return get_args(found) if get_origin(found) is Literal else ()


def marks_at(path: KeyPath) -> list[Any]:
    """The metadata of a key's annotation: validators and bounds."""
    section = type_at(path[:-1])
    field = section.model_fields.get(path[-1]) if _is_section(section) else None
    if field is None:
        return []
    optional = [mark for member in get_args(field.annotation) for mark in getattr(member, "__metadata__", ())]
    return [*field.metadata, *optional]


def is_named(path: KeyPath) -> bool:
    """Whether its keys are names chosen by the user."""
    return get_origin(type_at(path)) is Mapping


def is_list(path: KeyPath) -> bool:
    return get_origin(type_at(path)) is tuple


def is_mapping(path: KeyPath) -> bool:
    return is_named(path) or _is_section(type_at(path))


def is_secret(path: KeyPath) -> bool:
    """Whether it is a secret or may hold one by mistake: a secret pasted in place of its file's name."""
    last = path[-1] if path else ""
    return _is_secret(type_at(path)) or (
        isinstance(last, str) and _is_secret(type_at((*path[:-1], last.removesuffix("_file"))))
    )


def holds_secrets(path: KeyPath) -> bool:
    """Whether a section has keys that are secrets."""
    return any(is_secret((*path, key)) for key in known_keys(path))


def resolve(words: Sequence[str]) -> KeyPath | None:
    """The key for the parts of a variable's or secret file's name; None when there is none.

    Variables can't have hyphens in their names and names can't have underscores, so these stand for those.
    """
    path: KeyPath = ()
    for word in words:
        path = (*path, word.replace("_", "-") if is_named(path) else word)
        if not word or type_at(path) is None or isinstance(path[-1], int):
            return None
        if len(path) > 1 and is_list(path[:-1]):
            return None
    return path or None


def all_keys(names: Mapping[str, Sequence[str]], path: KeyPath = ()) -> list[str]:
    """Every key as `origins__fra__endpoint`, with the names in use: for suggestions."""
    below = names.get(str(path[0]), ()) if is_named(path) else known_keys(path)
    found = ["__".join(map(str, path))] if path else []
    for key in below:
        found += all_keys(names, (*path, key))
    return found


def _is_secret(found: Any) -> bool:
    """Whether a type is a secret, or a list or mapping of secrets."""
    if get_origin(found) in (tuple, Mapping):
        found = _bare(next(part for part in reversed(get_args(found)) if part is not Ellipsis))
    return found is SecretStr


def _is_section(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, BaseModel)


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return annotation
