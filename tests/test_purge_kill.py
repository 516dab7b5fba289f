"""Nothing that was purged comes back when the node of two workers is killed as soon as the answer is there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.client import Client
from tests.depth import tries
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, post, settings_file, until

pytestmark = pytest.mark.slow

NAMES = [f"/{group}/{number}" for group in ("a", "b") for number in range(20)]


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


HARD, SOFT = {"tags": ["red"]}, {"tags": ["red"], "soft": True}


@pytest.mark.parametrize(
    ("order", "has_state"),
    [({"prefixes": ["/a/"]}, True), (HARD, False), (SOFT, False)],
    ids=["by prefix", "by tag, without a state directory", "softly"],
)
def test_nothing_purged_comes_back_after_a_kill_at_once(
    tmp_path: Path, order: Mapping[str, object], has_state: bool
) -> None:
    state = str(tmp_path) if has_state else ""
    with FaultyOrigin() as origin:
        config = settings(tmp_path, origin)
        serve(origin, b"old")
        with Process(config, STATE_DIRECTORY=state) as node:
            list(bodies(node.port, NAMES))
            until(lambda: stored(node.admin_port) >= len(NAMES))
            serve(origin, b"new")
            receipt = post(node.admin_port, "/purge", order)
            os.killpg(node.process.pid, signal.SIGKILL)

        assert isinstance(receipt, dict) and receipt["durable"] is True
        with Process(config, STATE_DIRECTORY=state) as node:
            if order is SOFT:
                list(bodies(node.port, NAMES))  # stale ones, which are refreshed then
                until(lambda: {body for name, body, _ in bodies(node.port, NAMES) if is_purged(name)} == {b"new"})
            found = list(bodies(node.port, NAMES))
            assert {body for name, body, _ in found if is_purged(name)} == {b"new"}
            assert all(hit for name, _, hit in found if not is_purged(name))


def is_purged(name: str) -> bool:
    return name.startswith("/a/")


def serve(origin: FaultyOrigin, body: bytes) -> None:
    for name in NAMES:
        fields = {"cache-tag": "red, cats" if is_purged(name) else "blue"}
        origin.serves(name, body, lifetime=3600, grace=3600, fields=fields)


def test_a_purge_that_a_kill_interrupts_is_done_or_not_and_the_node_starts(tmp_path: Path) -> None:
    with FaultyOrigin() as origin:
        config = settings(tmp_path, origin)
        serve(origin, b"old")
        for turn in range(tries(1)):
            with Process(config) as node:
                list(bodies(node.port, NAMES))
                said = None
                killer = threading.Thread(target=os.killpg, args=(node.process.pid, signal.SIGKILL))
                killer.start()
                with suppress(OSError, HTTPException):
                    said = post(node.admin_port, "/store/remove", {"prefix": "/a/"})
                killer.join()
            serve(origin, b"%d" % turn)
            with Process(config) as node:
                found = {body for name, body, _ in bodies(node.port, NAMES) if name.startswith("/a/")}
                assert said is None or b"old" not in found
                assert post(node.admin_port, "/store/remove", {"prefix": "/a/"}) == {"removed": None}
                found = {body for name, body, _ in bodies(node.port, NAMES) if name.startswith("/a/")}
                assert found == {b"%d" % turn}
