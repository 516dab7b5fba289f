"""The program that a node runs, as it is started again: by the path under which it was started.

That may lead to another version by now. And the way back to the version that runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_NOT_FOR_A_TRIAL = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE")
_TAIL = 2000  # characters of what a trial has printed
TRIAL_SECONDS = 60.0
"""For a new program to look at the settings: beyond, it has failed."""


@dataclass(frozen=True, slots=True)
class Program:
    """`words` begin the command; `settings` is the file, `watch` an option of `serve`."""

    words: tuple[str, ...]
    settings: Path
    watch: bool = False

    @classmethod
    def running(cls, settings: Path, *, watch: bool = False, words: Sequence[str] = ()) -> Program:
        """This one, as it was started; with the `words` of the one before it, as that was."""
        return cls(tuple(words) or words_of(sys.argv[0], sys.orig_argv, sys.executable), settings.absolute(), watch)

    @property
    def command(self) -> list[str]:
        return [*self.words, "serve", "--config", str(self.settings), *(["--watch"] if self.watch else [])]

    @property
    def trial(self) -> list[str]:
        return [*self.words, "trial", "--config", str(self.settings)]

    def back(self) -> Program:
        """The version that runs, whatever the path leads to by then."""
        if "-m" in self.words:
            return self  # it has no other path
        return Program((sys.executable, "-P", "-m", "shield"), self.settings, self.watch)

    def __str__(self) -> str:
        return " ".join(self.words)


def words_of(script: str, original: Sequence[str], executable: str) -> tuple[str, ...]:
    """How a command began: by a script, through the interpreter that its first line names; or by `python -m`."""
    if "-m" in original and script not in original:
        return (executable, *original[1 : original.index("-m") + 2])
    path = str(Path(script).absolute())  # its links stay
    return (path,) if os.access(path, os.X_OK) else (executable, path)


class Trial:
    """The new program, asked whether it could take over. It must say so in JSON, in the last line of its output."""

    def __init__(self, program: Program, question: bytes, environ: Mapping[str, str], now: float) -> None:
        """Raises OSError if it can't even be started."""
        self.deadline = now + TRIAL_SECONDS
        self._program = program
        self._said = bytearray()
        self._process = subprocess.Popen(
            program.trial,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in environ.items() if name not in _NOT_FOR_A_TRIAL},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        try:
            self._process.stdin.write(question)  # less than a pipe holds
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already

    def fileno(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def answer(self, now: float) -> bytes | None:
        """The last line of what it said, once it has ended. Raises RuntimeError, with what it printed, if it has
        failed or takes too long.
        """
        assert self._process.stdout is not None
        while data := self._process.stdout.read(65536):
            self._said += data
        code = self._process.poll()
        if code is None and now < self.deadline:
            return None
        self.close()
        lines = self._said.decode(errors="replace").strip()
        if code is None:
            raise RuntimeError(f"{self._program}: no answer in {TRIAL_SECONDS:g} s to `trial`{_quoted(lines)}")
        if code != 0:
            raise RuntimeError(f"{self._program}: can't be started: it ended with exit code {code}{_quoted(lines)}")
        return lines.rpartition("\n")[2].encode()

    def close(self) -> None:
        """End it, if it runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _quoted(text: str) -> str:
    """The end of an output, as part of a line."""
    return f": {' | '.join(text[-_TAIL:].split(chr(10)))}" if text else ""
