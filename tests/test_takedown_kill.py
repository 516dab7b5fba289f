"""An object that was taken down stays so when the node of two workers is killed as soon as the answer is there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.client import Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, post, settings_file

pytestmark = pytest.mark.slow


def statuses(port: int, path: str) -> set[int]:
    """Of several connections, so that both workers are asked."""
    found = set()
    for _ in range(8):
        with Client(port) as client:
            found.add(client.ask(path).status)
    return found


def test_a_takedown_outlives_a_kill_at_once(tmp_path: Path) -> None:
    with FaultyOrigin() as origin, FaultyOrigin() as replica:
        _take_down_and_kill(tmp_path, origin, replica)


def _take_down_and_kill(tmp_path: Path, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    tier = {"name": "nvme", "directories": [{"path": str(tmp_path / "disk"), "capacity": "128MiB", "free_floor": 0}]}
    origins = {
        name: {"provider": "http", "endpoint": each.url, "role": role}
        for name, each, role in (("iad", replica, "replica"), ("fra", origin, "primary"))
    }
    config = settings_file(tmp_path, origin, workers=2, cache={"tiers": [tier]}, origins=origins)
    replica.serves("/a", b"bad", lifetime=3600)

    with Process(config, STATE_DIRECTORY=str(tmp_path)) as node:
        assert statuses(node.port, "/a") == {200}
        said = post(node.admin_port, "/store/takedown", {"paths": ["/a"]})
        os.killpg(node.process.pid, signal.SIGKILL)

    assert said == {"removed": 1, "kept": True}
    with Process(config, STATE_DIRECTORY=str(tmp_path)) as node:
        assert statuses(node.port, "/a") == {404}
        assert post(node.admin_port, "/store/takedown", {"lift": ["/a"]}) == {"lifted": 1}
        os.killpg(node.process.pid, signal.SIGKILL)
    with Process(config, STATE_DIRECTORY=str(tmp_path)) as node:
        assert statuses(node.port, "/a") == {200}
