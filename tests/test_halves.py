from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.halves import worse

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

def test_quick():
    assert {quick}

@pytest.mark.slow
def test_slow():
    assert {slow}
"""


@pytest.mark.parametrize(
    ("codes", "code"), [((0, 0), 0), ((5, 0), 0), ((1, 5), 1), ((0, 1), 1), ((5, 5), 5), ((0, -9), -9), ((1, -9), -9)]
)
def test_the_worse_code_is_the_code_of_both(codes: tuple[int, int], code: int) -> None:
    assert worse(codes) == code


@pytest.mark.slow
@pytest.mark.parametrize(("quick", "slow", "code"), [(False, True, 1), (True, False, 1)], ids=["quick", "slow"])
def test_each_half_runs_its_tests_and_a_red_one_in_either_is_told(
    quick: bool, slow: bool, code: int, tmp_path: Path
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow\n  busy")
    (tmp_path / "test_made.py").write_text(TESTS.format(quick=quick, slow=slow))

    ran = subprocess.run(
        [sys.executable, "-m", "tests.halves", "-v", "-p", "no:hypothesispytest", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == code, ran.stderr
    first, _, second = ran.stdout.partition("Tests that are marked slow:")
    assert ("test_quick " + ("PASSED" if quick else "FAILED")) in first
    assert ("test_slow " + ("PASSED" if slow else "FAILED")) in second
