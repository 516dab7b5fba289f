"""The program as it is started again, and the trial that it has to stand."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from shield.lifecycle.program import TRIAL_SECONDS, Program, Trial, words_of
from tests.process import until

PYTHON = "/opt/shield/1.0/bin/python"


def test_a_script_is_started_again_by_its_path_which_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "1.0").mkdir()
    (tmp_path / "1.0" / "shield").touch(mode=0o755)
    (tmp_path / "current").symlink_to("1.0")
    script = str(tmp_path / "current" / "shield")

    words = words_of(script, [PYTHON, script, "serve"], PYTHON)

    assert words == (script,)


def test_a_script_in_the_directory_above_is_found_as_the_system_finds_it_through_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "releases" / "1.0").mkdir(parents=True)
    (tmp_path / "releases" / "shield").touch(mode=0o755)
    (tmp_path / "current").symlink_to("releases/1.0")
    monkeypatch.chdir(tmp_path)
    script = "current/../shield"

    words = words_of(script, [PYTHON, script, "serve"], PYTHON)

    assert words == (str(tmp_path / script),)
    assert os.access(words[0], os.X_OK)


def test_a_script_without_a_right_to_be_run_needs_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "shield.py"
    script.touch(mode=0o644)

    assert words_of(str(script), [PYTHON, str(script), "serve"], PYTHON) == (PYTHON, str(script))


def test_a_module_is_started_again_as_one_with_the_interpreter_s_options() -> None:
    module = "/opt/shield/1.0/lib/shield/__main__.py"
    original = ["python", "-X", "dev", "-m", "shield", "serve", "-c", "x"]

    assert words_of(module, original, PYTHON) == (PYTHON, "-X", "dev", "-m", "shield")


def test_the_way_back_leads_to_the_version_that_runs_whatever_the_link_says() -> None:
    program = Program(("/opt/shield/current/bin/shield",), Path("/etc/s.yaml"), watch=True)

    assert program.command == ["/opt/shield/current/bin/shield", "serve", "--config", "/etc/s.yaml", "--watch"]
    assert program.back().command == [
        sys.executable, "-P", "-m", "shield", "serve", "--config", "/etc/s.yaml", "--watch",
    ]  # fmt: skip


def trial(script: Path, text: str, question: bytes = b"terms") -> Trial:
    script.write_text(f"#!{sys.executable}\nimport sys\n{text}")
    script.chmod(0o755)
    return Trial(Program((str(script),), Path("s.yaml")), question, os.environ, 0.0)


def answered(asked: Trial) -> bytes | None:
    found: list[bytes] = []

    def is_there() -> bool:
        answer = asked.answer(1.0)
        found.extend([] if answer is None else [answer])
        return bool(found)

    until(is_there)
    return found[0]


def test_a_program_answers_in_its_last_line(tmp_path: Path) -> None:
    text = "print('a warning')\nprint('[\"' + sys.argv[1] + sys.stdin.read() + '\"]')"

    assert json.loads(answered(trial(tmp_path / "new", text)) or b"") == ["trialterms"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_this_name", "exit code 1: .*No module named 'nothing_of_this_name'"),
        ("sys.exit(3)", "can't be started: it ended with exit code 3$"),
    ],
)
def test_a_program_that_fails_is_quoted(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        answered(trial(tmp_path / "new", text))


def test_a_program_that_says_nothing_is_ended(tmp_path: Path) -> None:
    asked = trial(tmp_path / "new", "import time\nprint('hm', flush=True)\ntime.sleep(3600)")
    assert asked.answer(TRIAL_SECONDS - 1) is None

    with pytest.raises(RuntimeError, match="no answer in 60 s"):
        asked.answer(TRIAL_SECONDS)


def test_a_program_that_is_not_there_cannot_be_tried() -> None:
    with pytest.raises(OSError):
        Trial(Program(("/nowhere/shield",), Path("s.yaml")), b"", os.environ, 0.0)
