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
        self.said = ""  # by the last call, on standard error
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
        ended = subprocess.run(
            ["bash", "-c", command, "-", *requirements], cwd=self.path, env=env, stderr=subprocess.PIPE, text=True
        )
        self.said = ended.stderr
        assert (ended.returncode == 0) == (environ.get("PIP_FAILS", "0") == "0")
        return len(self._log.read_text().splitlines())

    def lock_in(self, **environ: str) -> list[str]:
        """What pip was told so far, after another call of make_locked_environment."""
        command = f'set -eu; source "{SCRIPT}"; make_locked_environment made lock.txt'
        env = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, **environ}
        ended = subprocess.run(["bash", "-c", command], cwd=self.path, env=env, capture_output=True, text=True)
        failed = environ.get("PIP_FAILS", "0") != "0"
        assert (ended.returncode != 0) == failed == ("lock.txt can't be installed" in ended.stderr)
        self.said = ended.stderr
        return self._log.read_text().splitlines()


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


def test_it_says_what_takes_a_while_and_nothing_else(environment: Environment) -> None:
    environment.make("-e", ".[demo]")
    assert environment.said == "installing into made; the first time this takes about a minute ...\n"

    environment.make("-e", ".[demo]")
    assert environment.said == ""

    lock(environment)
    environment.lock_in()
    assert environment.said.startswith("installing what lock.txt pins into made")
    environment.lock_in()
    assert environment.said == ""


def lock(environment: Environment, text: str = "a==1 --hash=sha256:0\n") -> None:
    (environment.path / "lock.txt").write_text(text)
    (environment.path / "build.txt").write_text("b==1 --hash=sha256:0\n")


def test_what_is_locked_is_installed_by_hash_and_then_the_project_without_anything_else(
    environment: Environment,
) -> None:
    lock(environment)

    install = "-m pip install --quiet --disable-pip-version-check"
    assert environment.lock_in() == [
        f"{install} --require-hashes --requirement ./build.txt",
        f"{install} --require-hashes --no-build-isolation --use-pep517 --requirement lock.txt",
        f"{install} --no-deps --no-build-isolation --editable .",
    ]


def test_it_is_not_repeated_until_a_lock_or_the_project_changes(environment: Environment) -> None:
    lock(environment)
    assert len(environment.lock_in()) == 3
    assert len(environment.lock_in()) == 3

    lock(environment, "a==2 --hash=sha256:0\n")
    assert len(environment.lock_in()) == 6
    (environment.path / "build.txt").write_text("b==2 --hash=sha256:0\n")
    assert len(environment.lock_in()) == 9
    environment.project.write_text("[project]\nname = 'other'\n")
    assert len(environment.lock_in()) == 12


def test_a_lock_that_cant_be_installed_is_told_and_tried_again(environment: Environment) -> None:
    lock(environment)

    assert len(environment.lock_in(PIP_FAILS="1")) == 1
    assert len(environment.lock_in()) == 4
