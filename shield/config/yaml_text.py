"""YAML with line marks. All scalars stay the text they are written as, so that `off`, `010` or `1:30` keep their
meaning and a key made of digits is not a number; only null is read as such.

Errors never quote the text: it may be part of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from shield.config.places import GivenValue, KeyPath, Layer, Position, Problem, Value

_TAG = "tag:yaml.org,2002:"
_SCALARS = ("str", "null", "bool", "int", "float", "timestamp", "value", "merge")
_PLAIN_TAGS = frozenset(_TAG + name for name in (*_SCALARS, "seq", "map"))
_MERGE = _TAG + "merge"
_MAX_DEPTH = 16
_MAX_NODES = 20_000  # aliases multiply
_TAB = "a tab, where YAML wants spaces"
_is_tab = re.compile(r"found character '\\t' that cannot start any token").search
_QUOTED = re.compile(r"(['\"])(?!<)(?:(?!\1).){2,}\1")


_OPENING = (yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken)
_CLOSING = (yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


class YamlText:
    """Reads one document; `problems` fills while `read` is iterated."""

    def __init__(self, layer: Layer, name: str, *, lines: bool = True) -> None:
        self.problems: list[Problem] = []
        self._layer = layer
        self._name = name
        self._lines = lines
        self._nodes = 0

    def read(self, text: str, path: KeyPath = ()) -> Iterator[GivenValue]:
        """All values of a document, as if it were at `path`."""
        root = self._compose(text)
        if root is None:
            return
        if not path and not isinstance(root, yaml.MappingNode):
            self._problem(root.start_mark, (), "expected a mapping of keys to values")
            return
        yield from self._walk(root, path, self._place(root.start_mark))

    def _compose(self, text: str) -> yaml.Node | None:
        mark: yaml.Mark | None
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = ", ".join(part for part in (error.context, error.problem) if part)
            said = _TAB if _is_tab(said) else _QUOTED.sub("...", said)
        except yaml.YAMLError:
            mark, said = None, "a character that YAML doesn't allow"
        except (OverflowError, ValueError):  # an escape that is no character, a version that is no number
            mark, said = None, "a character or number that YAML doesn't allow"
        except RecursionError:
            mark, said = None, "nested too deep"
        self._problem(mark, (), f"not YAML: {said}")
        return None

    def _walk(self, node: yaml.Node, path: KeyPath, place: Position) -> Iterator[GivenValue]:
        if path:
            if not isinstance(node, yaml.MappingNode):
                children = node.value if isinstance(node, yaml.SequenceNode) else ()
                items = tuple(self._place(child.start_mark) for child in children)
                yield GivenValue(path, self._value(node, path), place, items)
                return
            if self._refused(node, path):
                return
            yield GivenValue(path, {}, place)
        for key, (key_node, child) in self._pairs(node, path).items():
            yield from self._walk(child, (*path, key), self._place(key_node.start_mark))

    def _value(self, node: yaml.Node, path: KeyPath) -> Value:
        if self._refused(node, path):
            return None
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == _TAG + "null" else str(node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, at)) for at, child in enumerate(node.value)]
        return {key: self._value(child, (*path, key)) for key, (_, child) in self._pairs(node, path).items()}

    def _pairs(self, node: yaml.Node, path: KeyPath) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Keys with their nodes; `<<` adds those of other mappings that aren't given here."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key.start_mark, path, "expected a plain key")
            elif key.tag == _MERGE:
                for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                    if isinstance(source, yaml.MappingNode) and not self._refused(source, (*path, "<<")):
                        merged = {**self._pairs(source, (*path, "<<")), **merged}
                    else:
                        self._problem(key.start_mark, path, "<<: expected a mapping, or a list of mappings")
            elif key.value in own:
                first = own[key.value][0].start_mark.line + 1
                self._problem(key.start_mark, (*path, key.value), f"given twice, first in line {first}")
            else:
                own[key.value] = (key, child)
        return {**own, **{key: pair for key, pair in merged.items() if key not in own}}

    def _refused(self, node: yaml.Node, path: KeyPath) -> bool:
        self._nodes += 1
        if self._nodes > _MAX_NODES or len(path) > _MAX_DEPTH:
            if not any(problem.text == "too many values, or nested too deep" for problem in self.problems):
                self._problem(node.start_mark, (), "too many values, or nested too deep")
            return True
        if node.tag not in _PLAIN_TAGS:
            self._problem(node.start_mark, path, "expected a plain value, without a tag")
            return True
        return False

    def _place(self, mark: yaml.Mark | None) -> Position:
        return Position(self._layer, self._name, mark.line + 1 if mark is not None and self._lines else 0)

    def _problem(self, mark: yaml.Mark | None, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(self._place(mark), path, text))


def flow_entries(text: str) -> Iterator[str]:
    """The complete entries of a mapping in flow style, such as JSON, before the first text that has no tokens."""
    depth = start = 0
    for token in _tokens(text):
        opens, closes = isinstance(token, _OPENING), isinstance(token, _CLOSING)
        is_end = depth == 1 and (closes or isinstance(token, yaml.FlowEntryToken))
        depth += opens - closes
        if is_end:
            yield text[start : token.start_mark.index].strip()
        if is_end or (opens and depth == 1):
            start = token.end_mark.index


def _tokens(text: str) -> list[yaml.Token]:
    while text:
        try:
            return list(yaml.scan(text, Loader=yaml.SafeLoader))
        except yaml.MarkedYAMLError as error:
            mark = error.context_mark or error.problem_mark
            text = "" if mark is None or mark.index >= len(text) else text[: mark.index]
        except (yaml.YAMLError, OverflowError, ValueError):  # as in `_compose`
            break
    return []
