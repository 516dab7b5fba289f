"""`python -m tests.fuzz [--seconds N] [NAME ...]`: targets one after the other, each in a process of its own.

Guided by coverage where atheris is installed, else at random. They work in a directory that goes with them.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.targets import TARGETS

PATIENCE = 120  # seconds more than a target was given: to start, and to end its last input


def main(words: Sequence[str] | None = None) -> int:
    """0 when all targets kept their promises, 1 when one didn't."""
    arguments = _arguments(words)
    if arguments.list:
        _say("\n".join(TARGETS))
        return 0
    return 0 if False not in [_run(name, arguments.seconds) for name in arguments.names or TARGETS] else 1


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Try parsers with any bytes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a target; without any: all of them")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each of them, 60 if not given")
    parser.add_argument("--list", action="store_true", help="tell the targets' names")
    arguments = parser.parse_args(words)
    for name in arguments.names:
        if name not in TARGETS:
            parser.error(f"{name}: no target; --list tells which there are")
    if arguments.seconds < 1:
        parser.error("--seconds: expected at least 1")
    return arguments


def _run(name: str, seconds: int) -> bool:
    """Fuzz one target and tell what came of it; whether it kept its promises."""
    way = "guided" if find_spec("atheris") else "at_random"
    begun = time.monotonic()
    with TemporaryDirectory(prefix="shield-fuzz-") as directory:
        command = [sys.executable, "-m", f"tests.fuzz.{way}", name, directory, str(seconds)]
        try:
            ended = subprocess.run(command, capture_output=True, timeout=seconds + PATIENCE)
            code, output = ended.returncode, (ended.stdout + ended.stderr).decode(errors="replace")
        except subprocess.TimeoutExpired as expired:
            code, output = -1, ((expired.stdout or b"") + (expired.stderr or b"")).decode(errors="replace")
        took = time.monotonic() - begun
        failing = [path.read_bytes() for path in Path(directory).glob("*-*") if path.is_file()]
    well = code == 0 and not failing
    _say(f"{name:16} {_executions(output):>10} executions {took:>5.0f} s  {'ok' if well else 'FAILED'}")
    if not well:
        _say(_shortened(output))
        for data in failing:
            _say(f"input: {data!r}")
    return well


def _executions(output: str) -> int:
    """As libFuzzer counts them: on each line of its progress, and at its end."""
    return max([int(number) for number in re.findall(r"^(?:#|Done )([0-9]+)\b", output, re.MULTILINE)], default=0)


def _shortened(output: str) -> str:
    """The traceback, and what was said around it."""
    lines = [line for line in output.splitlines() if not line.startswith(("#", "INFO"))]
    return "\n".join(lines[-40:])


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
