"""Another process in a cache directory: a node's worker, or a visitor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 20.0
_HEAD = """
import os, sys
from pathlib import Path
from shield.store.directory.claim import Claim
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.files import Files
from shield.store.upkeep.visit import boot_id, visited
from tests.store.ground import SMALL, draft
path, node = Path(sys.argv[1]), sys.argv[2]
"""
_WORKER = """
claim = Claim(path, node=node, boot_id=boot_id(), files=Files())
directory = CacheDirectory(claim, SMALL, files=Files())
directory.commit([draft("theirs", 100)])
print("ready", flush=True)
for line in sys.stdin:
    word, _, name = line.strip().partition(" ")
    if word == "has":
        print(directory.lookup(draft(name, 0).record.key.digest) is not None, flush=True)
    else:
        directory.commit([draft(name, 100)])
        print("done", flush=True)
directory.close()
"""
_VISITOR = """
with visited(path, SMALL, node=node) as visit:
    visit.directory.commit([draft("visitor", 100)])
    print("ready", flush=True)
    if sys.stdin.readline() == "die\\n":
        os._exit(1)
"""


class Neighbour:
    def __init__(self, script: str, path: Path, node: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HEAD + script, str(path), node],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> str:
        """Say a line, and hear one; "" when it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.hear()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.communicate(timeout=PATIENCE)


@contextmanager
def worker(path: Path, node: str = "n1") -> Iterator[Neighbour]:
    """A worker of a node, with the entry `theirs`: it answers to `has NAME` and `put NAME`."""
    yield from _running(_WORKER, path, node)


@contextmanager
def visitor(path: Path, node: str = "n1") -> Iterator[Neighbour]:
    """A visitor that has written `visitor` and has its segment open; ends at once at `die`."""
    yield from _running(_VISITOR, path, node)


def _running(script: str, path: Path, node: str) -> Iterator[Neighbour]:
    neighbour = Neighbour(script, path, node)
    try:
        assert neighbour.hear() == "ready"
        yield neighbour
    finally:
        neighbour.end()
