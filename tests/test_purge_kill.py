"""Nothing that was purged comes back when the node of two workers is killed as soon as the answer is there."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.client import Client
from tests.depth import tries
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

NAMES = [f"/{group}/{number}" for group in ("a", "b") for number in range(20)]


def post(port: int, target: str, wish: object) -> object:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", target, json.dumps(wish), {"content-type": "application/json"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def bodies(port: int, names: list[str]) -> Iterator[tuple[str, bytes, bool]]:
    """Each name on several connections, so that both workers are asked."""
    for _ in range(4):
        with Client(port) as client:
            for name in names:
                found = client.ask(name)
                yield name, found.body, found.hit


def stored(port: int) -> float:
    """Records on the disk, as metrics have it."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("shield_disk_entries{"))


def settings(path: Path, origin: FaultyOrigin) -> Path:
    tier = {"name": "nvme", "directories": [{"path": str(path / "disk"), "capacity": "128MiB", "free_floor": 0}]}
    return settings_file(path, origin, workers=2, cache={"tiers": [tier]})


@pytest.mark.parametrize("has_state", [True, False], ids=["with a state directory", "with a disk alone"])
def test_nothing_purged_by_prefix_comes_back_after_a_kill_at_once(tmp_path: Path, has_state: bool) -> None:
    state = str(tmp_path) if has_state else ""
    with FaultyOrigin() as origin:
        config = settings(tmp_path, origin)
        for name in NAMES:
            origin.serves(name, b"old", lifetime=3600)
        for turn in range(tries(1)):
            with Process(config, STATE_DIRECTORY=state) as node:
                list(bodies(node.port, NAMES))
                until(lambda: stored(node.admin_port) >= len(NAMES))
                for name in NAMES:
                    origin.serves(name, b"%d" % turn, lifetime=3600)
                assert post(node.admin_port, "/store/remove", {"prefix": "/a/"}) == {"removed": None}
                os.killpg(node.process.pid, signal.SIGKILL)

            with Process(config, STATE_DIRECTORY=state) as node:
                found = list(bodies(node.port, NAMES))
                assert {body for name, body, _ in found if name.startswith("/a/")} == {b"%d" % turn}
                assert all(hit for name, _, hit in found if name.startswith("/b/"))


def test_a_purge_that_a_kill_interrupts_is_done_or_not_and_the_node_starts(tmp_path: Path) -> None:
    with FaultyOrigin() as origin:
        config = settings(tmp_path, origin)
        for name in NAMES:
            origin.serves(name, b"old", lifetime=3600)
        for turn in range(tries(1)):
            with Process(config) as node:
                list(bodies(node.port, NAMES))
                said = None
                killer = threading.Thread(target=os.killpg, args=(node.process.pid, signal.SIGKILL))
                killer.start()
                with suppress(OSError, HTTPException):
                    said = post(node.admin_port, "/store/remove", {"prefix": "/a/"})
                killer.join()
            for name in NAMES:
                origin.serves(name, b"%d" % turn, lifetime=3600)
            with Process(config) as node:
                found = {body for name, body, _ in bodies(node.port, NAMES) if name.startswith("/a/")}
                assert said is None or b"old" not in found
                assert post(node.admin_port, "/store/remove", {"prefix": "/a/"}) == {"removed": None}
                found = {body for name, body, _ in bodies(node.port, NAMES) if name.startswith("/a/")}
                assert found == {b"%d" % turn}
