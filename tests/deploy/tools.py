"""Programs that check what is deployed, and a stock of wheels, so that installations need no registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALL_SECONDS = 300


def program(name: str) -> str:
    """Where a program is, in this environment or on the path; without it the test is skipped."""
    own = Path(sys.executable).parent / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} isn't installed: pip install '.[deploy]' or the system's packages have it")
    return found


def run(*words: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None, fails: bool = False) -> str:
    """Run a command; what it printed. It must end with 0, or not, if it `fails`."""
    ended = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=env, capture_output=True, text=True, timeout=INSTALL_SECONDS
    )
    said = ended.stdout + ended.stderr
    assert (ended.returncode != 0) == fails, f"{words} ended with {ended.returncode}:\n{said}"
    return said


def plain_environment(**more: str) -> dict[str, str]:
    """Without settings of a node, and without this environment's Python."""
    left_out = ("SHIELD_", "PYTHON", "VIRTUAL_ENV", "CREDENTIALS_DIRECTORY")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(left_out)}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **more}


def base_python() -> Path:
    """The interpreter that this environment was made from: it doesn't see our packages."""
    return Path(getattr(sys, "_base_executable", sys.executable))


def checkout(directory: Path, *, version: str | None = None) -> Path:
    """A copy of what an installation needs, of another version if one is named."""
    made = directory / f"checkout-{version or 'same'}"
    for name in ("shield", "deploy", "config"):
        shutil.copytree(ROOT / name, made / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "setup.py"):
        shutil.copy(ROOT / name, made / name)
    if version is not None:
        start = made / "shield" / "__init__.py"
        before, _, _ = start.read_text().rpartition("__version__ = ")
        start.write_text(f'{before}__version__ = "{version}"\n')
    return made
