"""Every key of the settings, for people: its values, default, unit and reason, and whether a reload takes it over.

Made from the JSON Schema, which has descriptions and defaults as they are spelled, and from the bounds of the fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic.fields import FieldInfo

from shield.config.changes import needs_restart
from shield.config.section import Section
from shield.config.settings import Settings
from shield.config.units import DURATION_SPELLING, SHARE_SPELLING, SIZE_SPELLING, format_duration, format_size

NAME = "NAME"
"""Stands in paths for a name that the operator chooses: of an origin, a route, a token."""

_BY_SPELLING = {DURATION_SPELLING: "duration", SIZE_SPELLING: "size", SHARE_SPELLING: "share"}
_PLAIN = {"integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}
_MANY = 16  # choices that are listed


@dataclass(frozen=True, slots=True)
class SettingKey:
    """One key. `default` is as written in YAML; None: there is none, and the text says what happens without it."""

    path: str
    values: str
    default: str | None
    required: bool
    needs_restart: bool
    text: str

    @property
    def variable(self) -> str | None:
        """The environment variable of the same meaning; None for keys in lists, which have none."""
        return None if "[]" in self.path else f"SHIELD_{self.path.replace('.', '__').upper()}"


@dataclass(frozen=True, slots=True)
class SettingGroup:
    """The keys of a section. `same_as`: the path of another group with the same keys, which aren't repeated then."""

    path: str
    text: str
    keys: tuple[SettingKey, ...]
    same_as: str | None = None


def reference() -> tuple[SettingGroup, ...]:
    """All groups in the order of the settings: keys outside of sections first, each section before those in it."""
    schema = Settings.model_json_schema()
    return tuple(_Walk(schema).groups("", schema, Settings, ""))


def find(path: str) -> tuple[SettingGroup, ...]:
    """The groups at and below a path, or its key alone. `origins.fra` and `origins.NAME` are the same."""
    wanted = path.split(".")
    found = []
    for group in _with_repeated(reference()):
        own = _parts(group.path)
        if _begins(own, wanted):
            found.append(group)
        elif keys := tuple(key for key in group.keys if _begins(_parts(key.path), wanted)):
            found.append(SettingGroup(group.path, group.text, keys))
    return tuple(found)


def _with_repeated(groups: Sequence[SettingGroup]) -> Iterator[SettingGroup]:
    """With the keys of groups that are the same as others."""
    for group in groups:
        if group.same_as is None:
            yield group
            continue
        for other in groups:
            if other.same_as is None and _begins(_parts(other.path), _parts(group.same_as)):
                yield _moved(other, group.same_as, group.path)


def _moved(group: SettingGroup, old: str, new: str) -> SettingGroup:
    def moved(path: str) -> str:
        return new + path.removeprefix(old)

    keys = [
        replace(key, path=moved(key.path), needs_restart=needs_restart(_parts(moved(key.path)))) for key in group.keys
    ]
    return SettingGroup(moved(group.path), group.text, tuple(keys))


def _parts(path: str) -> list[str]:
    return path.split(".") if path else []


def _begins(own: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a path is at or below the wanted one."""
    return len(own) >= len(wanted) and all(
        mine in (given, NAME) or mine.removesuffix("[]") == given for mine, given in zip(own, wanted, strict=False)
    )


class _Walk:
    """Through the schema and the models beside it. What several sections share is told at the shortest path."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._sections = {name: _shape(section) for name, section in schema["$defs"].items()}
        self._models = {model.__name__: model for model in _below(Section)}
        self._places: dict[str, str] = {}
        level = [("", schema)]
        while level:
            inner = [found for path, section in level for found in self._inner(path, section)]
            for it in inner:
                self._places.setdefault(it.section, it.path)
            level = [(it.path, self._sections[it.section]) for it in inner]

    def groups(self, path: str, schema: Mapping[str, Any], model: type[Section], text: str) -> Iterator[SettingGroup]:
        """The group of a section, and those below it."""
        inner = list(self._inner(path, schema))
        own = {it.key for it in inner if not it.says_more}
        required = schema.get("required", ())
        keys = [
            self._key(_joined(path, name), about, model.model_fields[name], name in required)
            for name, about in schema["properties"].items()
            if name not in own
        ]
        yield SettingGroup(path, text, tuple(keys))
        for it in inner:
            section, place = self._sections[it.section], self._places[it.section]
            if place == it.path:
                yield from self.groups(it.path, section, self._models[it.section], self._text(it, section))
            else:
                yield SettingGroup(it.path, it.text, (), same_as=place)

    def _inner(self, path: str, schema: Mapping[str, Any]) -> Iterator[_Inner]:
        """The sections that the keys of a section hold: by themselves, in lists or under names."""
        for name, about in schema["properties"].items():
            key, text = _joined(path, name), about.get("description", "")
            for each in _flat(about):
                if "$ref" in each:
                    yield _Inner(name, key, each["$ref"][8:], text, says_more="anyOf" in about)
                elif "$ref" in (within := each.get("items") or {}):
                    yield _Inner(name, f"{key}[]", within["$ref"][8:], text, says_more=True)
                elif "$ref" in (within := _named(each) or {}):
                    yield _Inner(name, f"{key}.{NAME}", within["$ref"][8:], text, says_more=False)

    def _text(self, inner: _Inner, section: Mapping[str, Any]) -> str:
        said = section.get("description", "")
        return _line(f"{inner.text} {said}" if inner.path.endswith(NAME) else said)

    def _key(self, path: str, about: Mapping[str, Any], field: FieldInfo, required: bool) -> SettingKey:
        default = None if required or about.get("default") is None else _yaml(about["default"])
        if about.get("type") == "object" and default is None:
            default = "{}"
        values = _values(about) + _least(about, field)
        return SettingKey(path, values, default, required, needs_restart(_parts(path)), _line(about["description"]))


@dataclass(frozen=True, slots=True)
class _Inner:
    """A section within a key. `says_more`: the key itself has something to say, being optional or a list."""

    key: str
    path: str
    section: str
    text: str
    says_more: bool


def _shape(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapping of a section, which may have a short form besides, as a price's name."""
    return next((each for each in _flat(section) if "properties" in each), section)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _line(text: str) -> str:
    return " ".join(text.split())


def _named(schema: Mapping[str, Any]) -> Any:
    """The schema of values under names that the operator chooses."""
    patterns = schema.get("patternProperties")
    return next(iter(patterns.values())) if patterns else schema.get("additionalProperties") or None


def _flat(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The alternatives of a value."""
    if "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _flat(each)
    else:
        yield schema


def _values(schema: Mapping[str, Any]) -> str:
    """The values that a key may have, in a few words."""
    alternatives = [each for each in _flat(schema) if each.get("type") != "null"]
    unit = next((_BY_SPELLING[it["pattern"]] for it in alternatives if it.get("pattern") in _BY_SPELLING), None)
    words = [unit] if unit else []
    for each in alternatives:
        if not (unit and (each.get("type") in ("integer", "number") or each.get("pattern") in _BY_SPELLING)):
            words.append(_value(each))
    words = ["a list" if word in [f"list of {other}" for other in words] else word for word in words]
    words.sort(key="off".__eq__)
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _value(each: Mapping[str, Any]) -> str:
    choices = [each["const"]] if "const" in each else each.get("enum")
    if choices:
        shown = [str(choice) for choice in choices if not isinstance(choice, bool)]
        return ", ".join(shown) if len(shown) <= _MANY else f"{shown[0]}, {shown[1]}, ..."
    kind = each.get("type")
    if kind == "array":
        return f"list of {_values(each['items'])}".replace("section", "sections")
    if kind == "object" or "$ref" in each:
        within = _named(each)
        return f"mapping to {_values(within)}" if within and "$ref" not in within else "section"
    if kind in _PLAIN:
        return _PLAIN[kind] + _bounds(each)
    return {"password": "secret", "path": "path"}.get(each.get("format", ""), "") or _text_of(each)


def _text_of(each: Mapping[str, Any]) -> str:
    if examples := each.get("examples"):
        return f"text as {examples[0]}"
    return "name" if each.get("pattern", "").startswith("^[a-z0-9-]") else "text"


def _bounds(each: Mapping[str, Any]) -> str:
    least, most = each.get("minimum"), each.get("maximum")
    if "exclusiveMinimum" in each:
        return f" above {each['exclusiveMinimum']:g}" + (f" and up to {most:g}" if most is not None else "")
    if least is not None and most is not None:
        return f" from {least:,.10g} to {most:,.10g}"
    return f" from {least:,.10g} up" if least is not None else f" up to {most:,.10g}" if most is not None else ""


def _least(about: Mapping[str, Any], field: FieldInfo) -> str:
    """The bounds of durations and sizes, which their schema doesn't have."""
    spelled = {_BY_SPELLING.get(each.get("pattern", "")) for each in _flat(about)} - {None}
    least = next((bound for it in field.metadata if (bound := getattr(it, "ge", None))), None)
    if not spelled or least is None or "share" in spelled:
        return ""
    return f", at least {format_duration(least) if 'duration' in spelled else format_size(least)}"


def _yaml(value: Any) -> str:
    """A default as people write it in YAML."""
    if isinstance(value, list):
        return f"[{', '.join(_yaml(each) for each in value)}]"
    if isinstance(value, str):
        return value if value and not value.startswith(("*", "[", "{")) else json.dumps(value)
    if isinstance(value, float):
        return f"{value:.12g}"
    return json.dumps(value)


def _below(model: type[Section]) -> Iterator[type[Section]]:
    for each in model.__subclasses__():
        yield each
        yield from _below(each)
