"""The arrows between rooms point down, and `rules` is pure. Read from the imports, not from promises."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "shield"

# From the top down; rooms in one row don't import each other.
ROWS = [
    ["__main__"],
    ["cli"],
    ["supervisor"],
    ["worker"],
    ["app"],
    ["figures"],
    ["peers.front"],
    ["edge", "admin"],
    ["proxy"],
    ["transfer"],
    ["reply", "fill", "purge"],
    ["peers"],
    ["store", "origin", "observe"],
    ["outcome", "config", "shared"],
    ["rules"],
    ["errors", "messages"],
]
HEIGHT = {room: -depth for depth, row in enumerate(ROWS) for room in row}

# What a pure module may use of the standard library and beyond.
PURE = {
    "__future__",
    "base64",
    "binascii",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "http",
    "ipaddress",
    "itertools",
    "math",
    "re",
    "shield",
    "string",
    "types",
    "typing",
    "urllib",
    "xxhash",
}
IMPURE_CALLS = {"open", "print", "input"}


def _room(module: str) -> str | None:
    """The room that a module is in; one that `ROWS` places by itself is its own."""
    parts = module.split(".")
    if parts[0] != "shield" or len(parts) < 2:
        return None
    return next((room for room in (".".join(parts[1:3]), parts[1]) if room in HEIGHT), parts[1])


def _imports(path: Path) -> set[str]:
    """Modules that a file imports when it runs; what only type checkers see may point anywhere below the top."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    skipped = {id(n) for node in ast.walk(tree) if _for_types_only(node) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(node.module)
    return found


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _files() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def _name(path: Path) -> str:
    return "shield." + ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_a_module_imports_only_from_rooms_below_its_own(path: Path) -> None:
    own = _room(_name(path))
    assert own in HEIGHT, f"{own} is in no row: give it its place in ROWS and in the map"

    for module in _imports(path):
        other = _room(module)
        if other is None or other == own or other == "__version__":
            continue
        assert HEIGHT[other] < HEIGHT[own], f"{_name(path)} imports {module}: the arrow points up or sideways"


def test_no_module_imports_in_a_circle() -> None:
    known = {_name(path).removesuffix(".__init__"): path for path in _files()}
    graph = {name: {m for m in _imports(path) if m in known and m != name} for name, path in known.items()}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " > ".join((*trail, name))
        if name not in done:
            for other in graph[name]:
                walk(other, (*trail, name))
            done.add(name)

    for name in graph:
        walk(name, ())


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.py")), ids=_name)
def test_rules_are_pure(path: Path) -> None:
    foreign = {module.split(".")[0] for module in _imports(path)} - PURE
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert not foreign, f"{_name(path)} imports {foreign}"
    assert not calls & IMPURE_CALLS


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_below_app_nobody_reads_the_clock_or_the_settings(path: Path) -> None:
    own = _room(_name(path))
    if own is None or HEIGHT[own] >= HEIGHT["app"]:
        return

    modules = _imports(path)
    if own != "config":
        assert "shield.config" not in modules, "only app.build sees the settings"
    assert "time.time" not in modules and "time" not in {m.split(".")[0] for m in modules}, "the clock is an argument"


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_no_file_grows_beyond_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 500


def test_no_test_is_left_out_of_the_order_in_which_they_run() -> None:
    root = ROOT.parent
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    listed = [root / path for path in settings["testpaths"]]

    left_out = [
        path for path in (root / "tests").rglob("test_*.py") if not any(p in (path, *path.parents) for p in listed)
    ]

    assert left_out == []
