"""The list of compiled modules: mypyc refuses most of what it can't compile, but not all of it."""

from __future__ import annotations

import ast
import os
import tomllib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from shield.compiled import is_compiled

ROOT = Path(__file__).parents[1]
LIST = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["shield"]["compiled"]


def _compiled() -> set[Path]:
    spec = spec_from_file_location("setup_of_shield", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return {ROOT / name for name in module.modules()}


COMPILED = _compiled()
TREES = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "shield").rglob("*.py"))}


def _functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(COMPILED):
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_the_list_has_each_module_once() -> None:
    assert len(set(LIST)) == len(LIST)
    assert len(COMPILED) > 90 and TREES.keys() >= COMPILED


def test_no_interpreted_class_inherits_from_a_compiled_one() -> None:
    """It can't: making it fails at import."""
    compiled = {node.name for path in COMPILED for node in TREES[path].body if isinstance(node, ast.ClassDef)}
    wrong = [
        f"{path.relative_to(ROOT)}: {node.name}({base.id})"
        for path, tree in TREES.items()
        if path not in COMPILED
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in compiled and _is_native(base.id)
    ]

    assert not wrong, "also compile these modules, or not those of the base classes"


def _is_native(name: str) -> bool:
    """Whether a compiled class is one of C's, from which Python's can't inherit."""
    (found,) = [
        node for path in COMPILED for node in TREES[path].body if isinstance(node, ast.ClassDef) and node.name == name
    ]
    bases = {ast.unparse(base).partition("[")[0] for base in found.bases}
    return not bases & {"Protocol", "Enum", "IntEnum", "NamedTuple", "Exception"}


def test_a_name_stands_for_one_kind_of_exception_in_a_function() -> None:
    """Compiled, a name has one type: with `except A as error` and `except B as error`, any B is a TypeError."""
    wrong = []
    for path, function in _functions():
        kinds: dict[str, set[str]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                kinds.setdefault(node.name, set()).add(ast.unparse(node.type))
        wrong += [
            f"{path.relative_to(ROOT)}: {function.name}: {name}" for name, found in kinds.items() if len(found) > 1
        ]

    assert not wrong


def test_no_generator_holds_what_it_has_to_let_go_of() -> None:
    """Compiled, one that isn't run to its end never reaches its `finally`, nor the end of a `with`."""
    wrong = []
    for path, function in _functions():
        if any("contextmanager" in ast.unparse(decorator) for decorator in function.decorator_list):
            continue  # always run to its end
        wrong += [
            f"{path.relative_to(ROOT)}: {function.name}"
            for node in ast.walk(function)
            if isinstance(node, ast.With | ast.AsyncWith) or (isinstance(node, ast.Try) and node.finalbody)
            if any(isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(node))
        ]

    assert not wrong


def test_it_says_whether_it_is_compiled() -> None:
    import shield.proxy

    assert is_compiled() != str(shield.proxy.__file__).endswith(".py")
    assert is_compiled() or "EXPECT_COMPILED" not in os.environ


def test_nested_functions_do_not_refer_to_one_another() -> None:
    """Compiled, those that do are a reference cycle for each call of the function around them."""
    wrong = []
    for path, function in _functions():
        inner = [each for each in ast.walk(function) if each is not function]
        named = {each.name for each in inner if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        for each in inner:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                used = {name.id for name in ast.walk(each) if isinstance(name, ast.Name)}
                wrong += [f"{path.relative_to(ROOT)}:{each.lineno}: {name}" for name in sorted(named & used)]

    assert not wrong, "make a class of them"
