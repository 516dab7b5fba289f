"""All tests in two processes, so that two cores share them: `python -m tests.halves -q` hands its arguments to both.

Tests that are marked slow mostly wait, for processes and disks. They run beside the others and report after them; but
those that are marked busy, too, which compute, run with the others, so that both processes take about as long. As it
takes half a minute to read all files of tests, the process of the slow ones reads only those that have some.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MARK = "mark.slow"
INTERRUPT_PATIENCE = 60.0
"""Seconds for the end of the tests that run beside, and of all that they started."""


def main(arguments: Sequence[str]) -> int:
    """The worse of both exit codes. Arguments with `-m` leave nothing to divide: one process runs them."""
    # Else each of some hundred processes that tests start would compile all of the source.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = (sys.executable, "-m", "pytest", *arguments)
    if any(argument.startswith("-m") for argument in arguments):
        return subprocess.run(command, check=False).returncode
    files = () if any(map(_is_path, arguments)) else files_with_slow_tests()
    slow = (*command, *files, "-m", "slow and not busy", "-o", "cache_dir=.pytest_cache/slow")
    with tempfile.TemporaryFile() as report:
        beside = subprocess.Popen(slow, stdin=subprocess.DEVNULL, stdout=report, stderr=subprocess.STDOUT)
        try:
            codes = [subprocess.run([*command, "-m", "not slow or busy"], check=False).returncode, beside.wait()]
        finally:
            if beside.poll() is None:
                beside.send_signal(signal.SIGINT)  # pytest then ends what its tests started
                beside.wait(INTERRUPT_PATIENCE)
            report.seek(0)
            print("\nTests that are marked slow:", flush=True)  # noqa: T201
            shutil.copyfileobj(report, sys.stdout.buffer)
            sys.stdout.flush()
    return worse(codes)


def files_with_slow_tests() -> list[str]:
    """By their text; `tests/conftest.py` refuses a test that is marked in another way."""
    return [str(file) for file in sorted(TESTS.rglob("test_*.py")) if MARK in file.read_text()]


def _is_path(argument: str) -> bool:
    return not argument.startswith("-") and Path(argument.partition("::")[0]).exists()


def worse(codes: Sequence[int]) -> int:
    """Of exit codes; a half without tests says nothing as long as the other one has some."""
    none = pytest.ExitCode.NO_TESTS_COLLECTED
    told = [code for code in codes if code != none]
    # A process that a signal ended has a negative code.
    return next((code for code in told if code < 0), max(told)) if told else none


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
