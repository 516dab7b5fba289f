"""Another process in a cache directory, which does what it is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 20.0

_SCRIPT = """
import os, sys
from pathlib import Path
from shield.store.directory.claim import Claim
from shield.store.directory.directory import CacheDirectory, DirectoryHealth
from shield.store.directory.files import Files
from shield.store.directory.reclaim import Fate
from tests.store import ground
from tests.store.ground import body, content, draft, key
path, worker = Path(sys.argv[1]), int(sys.argv[2])
claim = Claim(path, node="n1", boot_id="b1", files=Files())
directory = CacheDirectory(claim, ground.SMALL, worker=worker, files=Files(), judge=lambda candidate: Fate.KEEP)
print("ready", flush=True)
for line in sys.stdin:
    print(repr(eval(line)), flush=True)
directory.close()
"""


class Second:
    """`does` takes an expression in which `directory` is the process's own."""

    def __init__(self, path: Path, worker: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(path), str(worker)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._complaint = ""

    def does(self, expression: str) -> str:
        """What it evaluates to; "" when the process ended over it."""
        self.begins(expression)
        return self.hears()

    def begins(self, expression: str) -> None:
        """The same while we do something else; then it `hears`."""
        assert self._process.stdin is not None
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()

    def hears(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ends(self) -> tuple[int, str]:
        """Let it close the directory and end; its code, and what it complained of."""
        if self._process.returncode is None:
            self._complaint = self._process.communicate(timeout=PATIENCE)[1]
        return self._process.returncode, self._complaint


@contextmanager
def second(path: Path, worker: int = 1, *, ready: bool = True) -> Iterator[Second]:
    """One that has opened the directory, unless it isn't expected to be `ready`."""
    process = Second(path, worker)
    try:
        if ready:
            assert process.hears() == "ready", process.ends()[1]
        yield process
    finally:
        process.ends()
