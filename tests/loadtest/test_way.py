"""How far a request's way leads through the source; what has grown says so here before it is measured as time."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from loadtest import way
from loadtest.way import Way, measure


@pytest.fixture(scope="module")
def ways() -> dict[str, Way]:
    return measure()


def test_a_hit_goes_a_short_way(ways: dict[str, Way]) -> None:
    hit = ways["hit"]

    assert "edge/connection.py" in hit.files and "proxy.py" in hit.files
    assert len(hit.functions) <= 9 and hit.lines <= 197 and len(hit.files) <= 7
    assert not any(file.startswith(("fill/", "origin/")) for file in hit.files)


def test_a_miss_goes_by_way_of_a_fill_and_an_origin(ways: dict[str, Way]) -> None:
    miss, first = ways["miss"], ways["first miss"]

    assert {"proxy.py", "transfer.py"} <= set(miss.files)
    assert any(file.startswith("fill/") for file in miss.files)
    assert any(file.startswith("origin/") for file in miss.files)
    assert "origin/dial.py" in first.files and "origin/dial.py" not in miss.files
    # These may only get smaller. Some 60 lines note the result of the fetch, for the health of origins, and 34 its
    # bytes, times and status, for metrics and the ledger; some 40 give the request its identifier and tell it; three
    # look whether it is traced, three are where a cap on the origin's bytes would hold it up, two ask whether a
    # budget of egress does; some 20 tally what was asked of the origin and sent for its key, to name who costs; some
    # 60 pack the entry and give it its turn in RAM; some 50 keep what a task had in its local variables; ten are so
    # that a body that comes with its head isn't copied twice; and some 20 are for readers that are told together.
    # A timer that fires meanwhile counts, too: twenty lines are for that.
    assert len(miss.files) <= 39 and miss.lines <= 1060


def test_what_is_inside_a_function_is_its_own_and_only_code_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "made.py"
    file.write_text(
        '''\
class Some:
    def __init__(self, one):
        """Not counted."""
        self.one, self.two = one, []

    @property
    def asked(self):
        """Not counted,
        nor this."""
        # nor this

        def inner():
            return 1

        return [inner() for _ in range(2)]
'''
    )
    monkeypatch.setattr(way, "ROOT", tmp_path)
    module = compile(file.read_text(), str(file), "exec")
    (some,) = [c for c in module.co_consts if hasattr(c, "co_code")]
    made, asked = [c for c in some.co_consts if hasattr(c, "co_code")]
    inner = next(c for c in asked.co_consts if hasattr(c, "co_code") and c.co_name == "inner")

    found = way.function_of(asked)

    assert found == way.Function("made.py", 7, "asked", 4)
    assert way.function_of(inner) == found
    assert way.function_of(some) is None
    assert way.function_of(made) is None
    assert way.function_of(ast.parse.__code__) is None


def test_it_prints_a_table_and_names_functions(capsys: pytest.CaptureFixture[str]) -> None:
    assert way.main(["--list", "hit"]) == 0

    said = capsys.readouterr().out
    assert all(f"\n{name} " in said for name in way.WAYS)
    assert "proxy.py:" in said and "try_hit" in said
