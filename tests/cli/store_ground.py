"""Settings with cache directories for the tests of `shield store`, and nodes beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shield.cli import _app
from shield.cli.store.node import of_directory
from shield.rules.rendezvous import Rendezvous
from shield.store.directory.directory import CacheDirectory
from shield.store.directory.log import Draft
from shield.store.directory.premises import DirectoryLimits
from shield.store.volume import boot_id
from tests.client import Client
from tests.process import Process
from tests.store.ground import content, draft, in_slices, key, opened

LIMITS = DirectoryLimits(capacity=16 << 20)
PLAIN = """\
node: n1
admin: {{listen: {admin}}}
listen: 127.0.0.1:0
origins: {{fra: {{provider: http, endpoint: "{origin}"}}}}
routes: {{images: {{match: /, query: {{allow: [w]}}}}}}
"""
TIERS = """\
cache:
  slice_bytes: 64KiB
  tiers:
    - {{name: fast, directories: [{{path: {0}/one, capacity: 16MiB, free_floor: 0}},
                                 {{path: {0}/two, capacity: 16MiB, free_floor: 0}}]}}
    - {{name: slow, directories: [{{path: {0}/three, capacity: 16MiB, free_floor: 0}}]}}
"""


class Ground:
    """A settings file and the directories that it names."""

    def __init__(self, path: Path, *, admin: str = "'off'", origin: str = "http://127.0.0.1:1") -> None:
        path.mkdir(exist_ok=True)
        self.path = path
        self.file = path / "shield.yaml"
        self.file.write_text(PLAIN.format(admin=admin, origin=origin) + TIERS.format(path))
        self.ring = Rendezvous([f"{path}/one".encode(), f"{path}/two".encode()], [1.0, 1.0])

    def run(self, *arguments: str | Path, input: bytes | None = None) -> Result:
        command = ["store", *map(str, arguments), "--config", str(self.file)]
        return CliRunner().invoke(_app, command, input=input, catch_exceptions=False)

    @contextmanager
    def open(self, name: str) -> Iterator[CacheDirectory]:
        directory = opened(self.path / name, LIMITS, boot=boot_id())
        yield directory
        directory.close()

    def fill(self, name: str, drafts: Sequence[Draft]) -> None:
        with self.open(name) as directory:
            directory.commit(drafts)

    def has(self, name: str, entry: str) -> bool:
        with self.open(name) as directory:
            return content(directory, entry) is not None

    def fill_all(self) -> None:
        """`a` and the first slices of `big` in the first directory, `b` in the second, all of `big` further down."""
        self.fill("one", [draft("a", 20_000), *in_slices("big", 5, without=[2, 3, 4])])
        self.fill("two", [draft("images/b", 3000)])
        self.fill("three", [draft("c", 100), *in_slices("big", 5)])


class Admin(BaseHTTPRequestHandler):
    """What answers on the admin address in place of a node."""

    state: Mapping[str, Any] = {}
    removal: tuple[int, object] = (200, {"removed": 3})
    asked: list[object] = []  # noqa: RUF012  # of each test's own class

    def do_GET(self) -> None:
        self._answer(200, self.state)

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.path, self.headers["content-type"], sent))
        self._answer(*self.removal)

    def _answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def answering(
    tmp_path: Path, state: Mapping[str, Any], removal: tuple[int, object] = (200, {"removed": 3})
) -> Iterator[tuple[Ground, list[Any]]]:
    """A node that says this of itself; its settings, and what it was asked."""
    asked: list[Any] = []
    handler = type("Handler", (Admin,), {"state": state, "removal": removal, "asked": asked})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Ground(tmp_path / "g", admin=f"127.0.0.1:{server.server_port}"), asked
        finally:
            server.shutdown()
            thread.join()


class Node(Process):
    """A node of its own process, with directories that a test looks into meanwhile."""

    def get(self, path: str) -> int:
        with Client(self.port) as client:
            return client.ask(path).status

    def wait_for_entries(self, ground: Ground, count: int) -> None:
        """Until so many are on its disks."""
        for _ in range(1000):
            state = json.loads(self.admin("/state").body)
            places = [of_directory(state, f"{ground.path}/{name}") for name in ("one", "two", "three")]
            if sum(place.get("entries", 0) for place in places) == count:
                return
        raise AssertionError(state)


def damage(directory: CacheDirectory, name: str, at: int) -> None:
    found = directory.lookup(key(name).digest)
    assert found is not None
    with directory.segments.path(found.segment).open("r+b") as file:
        file.seek(found.offset + at)
        old = file.read(1)[0]
        file.seek(found.offset + at)
        file.write(bytes([old ^ 4]))


def at(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    """Set the commands' clock."""
    for module in ("ls", "move"):
        monkeypatch.setattr(f"shield.cli.store.{module}.time", SimpleNamespace(time=lambda: now))


def lines(result: Result) -> list[str]:
    return result.stdout.splitlines()
