from __future__ import annotations

import asyncio
import errno
import time
from pathlib import Path

import httpx
import pytest

from shield.admin.upgrade import Upgraded
from shield.shared import Standing
from tests.disks import Failing, settled, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield
from tests.peers.pair import two


def _ask(shield: Shield, path: str, *, method: str = "GET") -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=shield.node.admin)
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return await client.request(method, path)

    return asyncio.run(ask())


def _metrics(shield: Shield) -> dict[str, float]:
    lines = _ask(shield, "/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_a_node_is_alive_and_ready_until_it_drains(shield: Shield) -> None:
    assert _ask(shield, "/live").status_code == 200
    assert (_ask(shield, "/ready").status_code, _ask(shield, "/ready").text) == (200, "ready\n")

    shield.node.vitals.ready = False

    assert _ask(shield, "/live").status_code == 200
    told = _ask(shield, "/ready")
    assert (told.status_code, told.text) == (503, "not ready\nit is about to stop\n")


@pytest.mark.parametrize(
    ("standing", "silent", "status", "told"),
    [
        (Standing.SERVING, 0.5, 200, "ready\n"),
        (Standing.SERVING, 30.0, 200, "ready\nworker 1 hangs, for 30 s\n"),
        (Standing.DOWN, 30.0, 503, "not ready\nworker 1 is down\n"),
        (Standing.DRAINING, 0.0, 503, "not ready\nworker 1 is draining\n"),
    ],
)
def test_a_node_says_which_of_its_workers_is_in_trouble(
    origin: FaultyOrigin, clock: FakeClock, standing: Standing, silent: float, status: int, told: str
) -> None:
    with two(origin, clock) as workers:
        shared = workers.shared
        shared.standing[0], shared.standing[1] = Standing.SERVING, standing
        shared.beat(1, time.monotonic() - silent)
        answer = _ask(workers.asker, "/ready")

    assert (answer.status_code, answer.text) == (status, told)


def test_a_disk_and_a_blocked_loop_are_named_by_a_node_that_is_ready_all_the_same(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/a", b"hello", lifetime=60)
    files = Failing()
    with Shield(with_disk(origin, tmp_path / "nvme", admission="all"), clock=clock, files=files) as shield:
        well = _ask(shield, "/ready").text
        files.broken["write"] = errno.ENOSPC
        shield.get("/a")
        settled(shield)
        shield.node.vitals.loop_lag_seconds = 1.5
        told = _ask(shield, "/ready")
        files.broken.clear()

    assert well == "ready\n"
    assert told.status_code == 200
    word, lag, disk = told.text.splitlines()
    assert (word, lag) == ("ready", "its event loop was blocked for 1.5 s")
    assert disk.startswith(f"tier nvme: {tmp_path}/nvme: ") and "No space left" in disk


def test_metrics_count_what_clients_and_origins_did(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"hello", lifetime=60)
    for target in ("/a", "/a", "/a", "/absent"):
        shield.get(target)
    shield.get("/a", method="POST")

    answer = _ask(shield, "/metrics")
    values = _metrics(shield)

    assert answer.headers["content-type"].startswith("text/plain; version=")
    labels = 'route="default",status="2xx"'
    assert values[f'shield_requests_total{{cache="hit",method="GET",{labels}}}'] == 2
    assert sum(v for name, v in values.items() if name.startswith('shield_requests_total{cache="refused"')) == 1
    assert values['shield_origin_fetches_total{origin="fra"}'] == 2
    assert values['shield_origin_absent_total{origin="fra"}'] == 1
    assert values["shield_memory_entries"] >= 1
    assert values['shield_sent_bytes_total{cache="hit"}'] == 2 * len(b"hello")


def test_state_says_what_the_node_is_doing(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"hello", lifetime=60)
    shield.get("/a")

    state = _ask(shield, "/state").json()

    assert (state["node"], state["ready"]) == ("test-1", True)
    assert state["memory"]["entries"] == 1
    assert state["origins"]["fra"]["fetches"] == 1


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/state", 405)])
def test_nothing_else_is_there(shield: Shield, method: str, path: str, status: int) -> None:
    assert _ask(shield, path, method=method).status_code == status


@pytest.mark.parametrize(
    ("done", "status", "told"),
    [
        (Upgraded("2.0"), 200, {"version": "2.0"}),
        (Upgraded("1.0", ["no"]), 409, {"version": "1.0", "problems": ["no"], "detail": "no"}),
    ],
)
def test_an_upgrade_answers_with_the_version_that_runs_and_why_it_is_no_other(
    shield: Shield, done: Upgraded, status: int, told: dict[str, object]
) -> None:
    async def way() -> Upgraded:
        return done

    without_a_supervisor = _ask(shield, "/upgrade", method="POST")
    shield.node.upgrade.way = way
    answer = _ask(shield, "/upgrade", method="POST")

    assert without_a_supervisor.status_code == 409
    assert without_a_supervisor.json()["problems"] == ["this node can't replace its program"]
    assert answer.status_code == status
    assert answer.json().items() >= told.items()
    assert _ask(shield, "/upgrade").headers["allow"] == "POST"
