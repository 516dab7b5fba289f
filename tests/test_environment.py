"""The scripts' environment: an editable installation is made when what it depends on has changed, and only then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "deploy" / "environment.sh"


class Environment:
    """One whose Python notes what pip is told, and installs nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.project = path / "pyproject.toml"
        self.project.write_text("[project]\n")
        self._log = path / "pip.log"
        python = path / "made" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(
            f'#!/bin/sh\nif [ "$1" = -m ]; then echo "$@" >> "{self._log}"; exit ${{PIP_FAILS:-0}}; fi\n'
            f'exec "{sys.executable}" "$@"\n'
        )
        python.chmod(0o755)

    def make(self, *requirements: str, **environ: str) -> int:
        """How often pip was run so far, after another call of make_environment."""
        command = f'set -eu; source "{SCRIPT}"; make_environment made "$@"'
        env = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, **environ}
        ended = subprocess.run(["bash", "-c", command, "-", *requirements], cwd=self.path, env=env)
        assert (ended.returncode == 0) == (environ.get("PIP_FAILS", "0") == "0")
        return len(self._log.read_text().splitlines())


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def test_an_editable_installation_is_not_repeated(environment: Environment) -> None:
    assert environment.make("-e", ".[test]") == 1
    assert environment.make("-e", ".[test]") == 1


def test_it_is_repeated_when_the_project_or_the_requirements_change(environment: Environment) -> None:
    environment.make("-e", ".[test]")

    environment.project.write_text("[project]\nname = 'other'\n")
    assert environment.make("-e", ".[test]") == 2
    assert environment.make("-e", ".[test,dev]") == 3
    assert environment.make("-e", ".[test,dev]") == 3


def test_an_installation_that_failed_is_tried_again(environment: Environment) -> None:
    environment.make("-e", ".[test]")
    environment.project.write_text("[project]\nname = 'other'\n")

    assert environment.make("-e", ".[test]", PIP_FAILS="1") == 2
    assert environment.make("-e", ".[test]") == 3


def test_what_is_not_editable_is_always_installed_since_the_source_may_have_changed(environment: Environment) -> None:
    assert environment.make(".[demo]") == 1
    assert environment.make(".[demo]") == 2
