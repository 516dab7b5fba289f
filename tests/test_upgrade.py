"""Upgrades of `shield serve` in place: another version takes over, and no request fails for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import PATIENCE, Client, request
from tests.crowd import Crowd
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.installed import BROKEN, WITHOUT_WORKERS, Installed
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

BODIES = {f"/images/{number}": b"body of %d" % number * 200 for number in range(20)}
LARGE = Pattern(2_000_000)


@pytest.fixture
def origin() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as made:
        for path, body in BODIES.items():
            made.serves(path, body, lifetime=3600)
        made.serves("/large", LARGE, lifetime=3600)
        yield made


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    made = Installed(tmp_path)
    made.add("1.0")
    return made


def settings(directory: Path, origin: FaultyOrigin, **more: Any) -> Path:
    tier = {"name": "disk", "directories": [{"path": str(directory / "cache"), "capacity": "64MiB"}]}
    cache = {"memory": {"capacity": "16MiB"}, "tiers": [tier], "admission": "all"}
    return settings_file(directory, origin, **{"workers": 2, "cache": cache, **more})


class Node(Process):
    def __init__(self, config: Path, installed: Installed, **environ: str) -> None:
        super().__init__(config, program=[installed.current], **environ)
        self._config = config
        self._installed = installed

    @property
    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    @property
    def version(self) -> str:
        found = json.loads(self.admin("/state").body)["version"]
        assert isinstance(found, str)
        return found

    def upgrade(self) -> subprocess.CompletedProcess[str]:
        """By the command, which finds the admin listener where the environment says."""
        return subprocess.run(
            [self._installed.current, "upgrade", "--config", self._config],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "SHIELD_ADMIN__LISTEN": f"127.0.0.1:{self.admin_port}"},
        )


def test_another_version_takes_over_and_no_request_fails(
    tmp_path: Path, origin: FaultyOrigin, installed: Installed
) -> None:
    with Node(settings(tmp_path, origin), installed) as node:
        before = node.workers
        with Crowd(node.port, BODIES) as crowd:
            until(lambda: crowd.answered > 200)
            fetched = origin.fetches()
            installed.add("2.0")

            done = node.upgrade()
            so_far = crowd.answered
            until(lambda: crowd.answered > so_far + 200)
        until(lambda: not set(before) & set(node.workers))
        after, version = node.workers, node.version
        node.signal()
        code = node.ended()

    assert (done.returncode, done.stdout) == (0, "upgraded: version 2.0 serves\n"), node.said
    assert crowd.failed == []
    assert crowd.closed >= 4
    assert (version, len(after), code) == ("2.0", 2, 0), node.said
    assert origin.fetches() == fetched  # entries are still hits
