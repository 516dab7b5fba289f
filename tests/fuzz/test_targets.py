"""Every parser keeps its promises for a while, whatever it is given. `python -m tests.fuzz` goes on for longer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import tries
from tests.fuzz import at_random
from tests.fuzz.__main__ import main
from tests.fuzz.inputs import inputs
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
INPUTS = {name: inputs(target) for name, target in TARGETS.items()}
RULES = HERE.parents[1] / "shield" / "rules"


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_keeps_its_promises_for_good_and_nearly_good_inputs(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=tries(75), suppress_health_check=[HealthCheck.too_slow])
def test_a_parser_keeps_its_promises_whatever_it_is_given(name: str, data: st.DataObject) -> None:
    TARGETS[name].run(data.draw(INPUTS[name]))


def test_no_parser_of_the_rules_is_without_a_target() -> None:
    parsers = {
        (path.stem, node.name)
        for path in RULES.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.name == "parse" or node.name.startswith("parse_"))
    }
    called = {
        (node.value.id, node.attr)
        for path in HERE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }

    assert parsers
    assert parsers - called == set()


@pytest.mark.slow
def test_by_hand_targets_run_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "1", "date"]) == 0

    name, executions, *_, result = capsys.readouterr().out.split()
    assert (name, result) == ("date", "ok")
    assert int(executions) > 100


def test_an_input_that_fails_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(data: bytes) -> None:
        assert data != b"b"

    monkeypatch.setattr(at_random, "TARGETS", {"broken": Target(check, seeds=(b"a", b"b", b"c"))})

    with pytest.raises(AssertionError):
        at_random.main("broken", str(tmp_path), "10")

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"b"]


def test_targets_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(TARGETS)

    with pytest.raises(SystemExit) as refused:
        main(["dates"])
    assert refused.value.code == 2
