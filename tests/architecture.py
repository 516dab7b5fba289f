"""What the imports and the words of a source file tell of its place in the house. Works on text, runs nothing."""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]

# What a pure module may import of the standard library and beyond; a module beneath one of these is included.
PURE = frozenset(
    {
        "__future__",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "csv",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "hmac",
        "html.unescape",
        "http.HTTPStatus",
        "ipaddress",
        "itertools",
        "decimal",
        "json",  # text to values, nothing else
        "math",
        "re",
        "difflib",
        "fnmatch",
        "operator",
        "shield",
        "string",
        "types",
        "typing",
        "urllib.parse",
        "xxhash",
        "zoneinfo",  # a name to the rules of a zone, from files that stay the same
    }
)

# The time of day, by whatever name. A monotonic clock comes from the event loop.
CLOCKS = frozenset(
    {
        "datetime.date.today",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
        "email.utils.localtime",
        "time",
    }
)

# What else makes a result depend on more than its arguments.
IMPURE = CLOCKS | {
    "__import__",
    "asyncio",
    "breakpoint",
    "datetime.datetime.astimezone",  # of a naive time: the machine's zone
    "eval",
    "exec",
    "globals",
    "importlib",
    "input",
    "logging",
    "open",
    "os",
    "print",
    "random",
    "secrets",
    "socket",
    "sys",
    "uuid",
}

_CAMEL_CASE = re.compile(r"_?[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*").fullmatch


@dataclass(frozen=True)
class Source:
    """A module by its dotted name, and its text. A package's own module has the package's name.

    It is parsed once; the tree isn't kept, for hundreds of them would slow every later collection of garbage.
    """

    name: str
    text: str
    package: bool = False

    def imports(self, *, for_types: bool = False) -> frozenset[str]:
        """Modules and names that it imports when it runs; `for_types`: also what only type checkers see."""
        return self._found.imports_for_types if for_types else self._found.imports

    def uses(self) -> frozenset[str]:
        """Dotted names of builtins and imports that its code mentions, aliases resolved: `os.environ.get`."""
        return self._found.uses

    def classes(self) -> frozenset[str]:
        """Names of its classes, at any depth, and of its type aliases: names at the top level in CamelCase."""
        return self._found.classes

    @cached_property
    def _found(self) -> _Found:
        tree = ast.parse(self.text)
        nodes = list(ast.walk(tree))
        imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        skipped = {id(node) for top in _checked(nodes) for node in ast.walk(top)}
        return _Found(
            imports=frozenset(name for node in imports if id(node) not in skipped for name in self._imported(node)),
            imports_for_types=frozenset(name for node in imports for name in self._imported(node)),
            uses=frozenset(_used(nodes, self._aliases(imports))),
            classes=frozenset(_classes(tree, nodes)),
        )

    def _imported(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = self._base(node)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)

    def _base(self, node: ast.ImportFrom) -> str:
        """The module that names come from, for a relative import as well."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + self.package]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def _aliases(self, imports: Iterable[ast.Import | ast.ImportFrom]) -> dict[str, str]:
        found: dict[str, str] = {}
        for node in imports:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    found[alias.asname or first] = alias.name if alias.asname else first
            else:
                base = self._base(node)
                found.update({alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names})
        return found


@dataclass(frozen=True)
class _Found:
    imports: frozenset[str]
    imports_for_types: frozenset[str]
    uses: frozenset[str]
    classes: frozenset[str]


@cache
def source_of(path: Path) -> Source:
    """That of a file beneath the checkout, read and parsed once for all tests."""
    return Source(module_name(path), path.read_text(), package=path.name == "__init__.py")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")


def _checked(nodes: Iterable[ast.AST]) -> Iterator[ast.stmt]:
    """Statements that only type checkers read; the `else` of their condition runs."""
    for node in nodes:
        if isinstance(node, ast.If) and _dotted(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from node.body


def _used(nodes: Iterable[ast.AST], aliases: Mapping[str, str]) -> Iterator[str]:
    for node in nodes:
        if (dotted := _dotted(node)) is not None:
            first, _, rest = dotted.partition(".")
            whole = aliases.get(first) or (first if hasattr(builtins, first) else None)
            if whole is not None:  # else it is the module's own
                yield f"{whole}.{rest}" if rest else whole


def _classes(tree: ast.Module, nodes: Iterable[ast.AST]) -> Iterator[str]:
    yield from (node.name for node in nodes if isinstance(node, ast.ClassDef))
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (name for name in names if _CAMEL_CASE(name))


def _dotted(node: ast.AST) -> str | None:
    """`a.b.c` of a chain of attributes that begins with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def among(names: Set[str], listed: frozenset[str]) -> set[str]:
    """Those that are listed, or lie beneath something that is."""
    return {
        name
        for name in names
        if any(".".join(parts[: at + 1]) in listed for parts in [name.split(".")] for at in range(len(parts)))
    }


def impurities(source: Source) -> frozenset[str]:
    """What a pure module must not have: foreign imports, clocks, chance, the environment, files, output."""
    imported = source.imports()
    allowed = among(imported, PURE)
    # `from http import HTTPStatus` names `http` too, which holds more than is allowed: what comes from it decides.
    parents = {name.rpartition(".")[0] for name in imported}
    return (imported - allowed - parents) | among(source.uses(), IMPURE)


def clocks(source: Source) -> set[str]:
    """By which names it can tell the time of day."""
    return among(source.imports() | source.uses(), CLOCKS)


def settings_seen(source: Source) -> set[str]:
    """What it imports of the settings, be it for types alone."""
    return among(source.imports(for_types=True) | source.uses(), frozenset({"shield.config"}))


def circles(sources: Mapping[str, Source], *, for_types: bool) -> set[frozenset[str]]:
    """Modules that import each other, directly or by way of others; a module that is in none has no circle."""
    graph = {
        name: {other for other in source.imports(for_types=for_types) if other in sources and other != name}
        for name, source in sources.items()
    }
    reach: dict[str, set[str]] = {}
    for name in graph:
        seen: set[str] = set()
        ahead = [name]
        while ahead:
            for other in graph[ahead.pop()] - seen:
                seen.add(other)
                ahead.append(other)
        reach[name] = seen
    return {
        frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]
    }


def shared_class_names(sources: Iterable[Source]) -> dict[str, list[str]]:
    """Class names that several modules define, with these modules. A leading underscore makes no other name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for source in sources:
        for name in sorted({name.lstrip("_") for name in source.classes()}):
            found[name].append(source.name)
    return {name: modules for name, modules in found.items() if len(modules) > 1}
