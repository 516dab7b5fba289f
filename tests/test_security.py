"""Every guarantee of SECURITY.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def _promises() -> list[str]:
    sections = re.split(r"^## ", (ROOT / "SECURITY.md").read_text(), flags=re.MULTILINE)
    (section,) = [each for each in sections if each.startswith("Guarantees\n")]
    return re.split(r"^- ", section, flags=re.MULTILINE)[1:]


def _title(promise: str) -> str:
    found = re.match(r"\*\*(.+?)\*\*", promise, re.DOTALL)
    assert found is not None, promise
    return " ".join(found[1].split())


def test_there_are_promises() -> None:
    assert len(_promises()) > 10


@pytest.mark.parametrize("promise", _promises(), ids=_title)
def test_a_promise_names_tests_and_they_exist(promise: str) -> None:
    named = _TEST.findall(promise)

    assert named, "expected a test that holds it"
    assert len(named) == len(re.findall(r"`tests/", promise)), "expected each as `tests/file.py::test`"
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text())
        there = {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert test in there, f"{file} has no {test}"
        assert test.startswith("test_")
