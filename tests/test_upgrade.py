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

from loadtest.processes import free_port
from shield.cli.admin import AdminDoor, ask
from shield.config.section import ListenAddress
from tests.client import Client, request
from tests.crowd import Crowd
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.installed import BROKEN, WITHOUT_WORKERS, Installed
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

STARTS = 60.0  # seconds in which programs are started, one after the other, on a busy machine
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
    tier = {"name": "disk", "directories": [{"path": str(directory / "cache"), "capacity": "256MiB"}]}
    cache = {"memory": {"capacity": "16MiB"}, "tiers": [tier], "admission": "all"}
    return settings_file(directory, origin, **{"workers": 2, "cache": cache, **more})


class Node(Process):
    def __init__(self, config: Path, installed: Installed) -> None:
        super().__init__(config, program=[installed.current])
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
            timeout=STARTS,
            env={**os.environ, "SHIELD_ADMIN__LISTEN": f"127.0.0.1:{self.admin_port}"},
        )


def test_another_version_takes_over_and_no_request_fails(
    tmp_path: Path, origin: FaultyOrigin, installed: Installed
) -> None:
    with Node(settings(tmp_path, origin), installed) as node:
        before = node.workers
        with Crowd(node.port, BODIES) as crowd:
            until(lambda: crowd.answered > 60 and all(map(origin.fetches, BODIES)))
            fetched = sum(map(origin.fetches, BODIES))
            installed.add("2.0")

            done = node.upgrade()
            so_far = crowd.answered
            until(lambda: crowd.answered > so_far + 60)
        until(lambda: not set(before) & set(node.workers))
        after, version = node.workers, node.version
        writers = {path.name for path in (tmp_path / "cache").glob("opening-*")}
        node.signal()
        code = node.ended()

    assert writers == {"opening-256", "opening-257"}  # not those of the workers that were still writing
    assert (done.returncode, done.stdout) == (0, "upgraded: version 2.0 serves\n"), node.said
    assert crowd.failed == []
    assert crowd.closed >= 3
    assert (version, len(after), code) == ("2.0", 2, 0), node.said
    assert sum(map(origin.fetches, BODIES)) == fetched  # entries are still hits


def test_a_drained_origin_stays_drained(tmp_path: Path, origin: FaultyOrigin, installed: Installed) -> None:
    with FaultyOrigin() as other:
        for path, body in BODIES.items():
            other.serves(path, body, lifetime=3600)
        origins = {
            name: {"provider": "http", "endpoint": made.url} for name, made in (("fra", origin), ("iad", other))
        }
        with Node(settings(tmp_path, origin, origins=origins), installed) as node:
            before, address = node.workers, AdminDoor(ListenAddress("127.0.0.1", node.admin_port))
            assert ask(address, "POST", "/origins/fra/drain", seconds=STARTS)[0] == 200
            installed.add("2.0")
            assert node.upgrade().returncode == 0
            for path, body in BODIES.items():
                with Client(node.port) as client:
                    assert client.ask(path).body == body
            until(lambda: not set(before) & set(node.workers))  # those that end are in the state, too
            state = json.loads(node.admin("/state").body)

    assert (state["version"], state["origins"]["fra"]["health"]["flags"]) == ("2.0", ["drained"])
    assert not origin.requests


def test_a_version_that_cannot_be_started_changes_nothing(
    tmp_path: Path, origin: FaultyOrigin, installed: Installed
) -> None:
    with Node(settings(tmp_path, origin), installed) as node:
        before = node.workers
        installed.add("2.0", BROKEN)
        with Crowd(node.port, BODIES) as crowd:
            node.signal(signal.SIGUSR2)
            node.says("upgrade failed", patience=STARTS)
            until(lambda: crowd.answered > 60)
        after, version = node.workers, node.version
        node.signal()
        code = node.ended()

    assert "ModuleNotFoundError: no module named lmdb" in node.said
    assert "version 1.0 goes on" in node.said
    assert crowd.failed == []
    assert (version, after, code) == ("1.0", before, 0), node.said


def test_a_version_whose_workers_fail_is_left_again_and_the_next_one_succeeds(
    tmp_path: Path, origin: FaultyOrigin, installed: Installed
) -> None:
    with Node(settings(tmp_path, origin), installed) as node:
        before = node.workers
        with Crowd(node.port, BODIES) as crowd:
            installed.add("2.0", WITHOUT_WORKERS)
            failed = node.upgrade()
            kept = node.workers
            installed.add("3.0")
            done = node.upgrade()
            until(lambda: node.said.count("the worker has stopped") == 2)
        version = node.version
        node.signal()
        code = node.ended()

    assert failed.returncode == 1
    assert "worker 1 of version 2.0 ended with exit code 3 before it was ready" in failed.stderr
    assert "not upgraded: version" in failed.stderr
    assert kept == before
    assert done.returncode == 0, node.said
    assert crowd.failed == []
    assert (version, code) == ("3.0", 0), node.said


def test_settings_that_a_running_node_cannot_take_on_are_named(
    tmp_path: Path, origin: FaultyOrigin, installed: Installed
) -> None:
    with Node(settings(tmp_path, origin), installed) as node:
        before = node.workers
        settings(tmp_path, origin, workers=3)
        refused = node.upgrade()
        (tmp_path / "shield.yaml").write_text("rotes: {}")
        bad = node.upgrade()
        after = node.workers

    assert (refused.returncode, bad.returncode) == (1, 1)
    assert "workers is 2 in the node that runs and 3 in the settings" in refused.stderr
    assert "rotes: unknown key" in bad.stderr
    assert "not upgraded: version 1.0 goes on" in bad.stderr
    assert after == before


def test_other_addresses_are_taken_on_and_those_that_cannot_be_had_are_named(
    tmp_path: Path, origin: FaultyOrigin, installed: Installed
) -> None:
    with Node(settings(tmp_path, origin), installed) as node:
        settings(tmp_path, origin, listen=f"127.0.0.1:{origin.url.rpartition(':')[2]}")
        refused = node.upgrade()
        port = free_port()
        settings(tmp_path, origin, listen=f"127.0.0.1:{port}")
        done = node.upgrade()
        with Client(port) as client:
            answer = client.ask("/images/1")
        with pytest.raises(ConnectionRefusedError):
            until(lambda: Client(node.port).close())

    assert refused.returncode == 1
    assert "Address already in use" in refused.stderr
    assert done.returncode == 0, node.said
    assert answer.body == BODIES["/images/1"]


def test_what_runs_is_finished_and_connections_end_with_an_answer(
    tmp_path: Path, origin: FaultyOrigin, installed: Installed
) -> None:
    gate = origin.gate()
    origin.spoils("/large", at_body(1000, Wait(gate)))
    patient = {"fra": {"provider": "http", "endpoint": origin.url, "timeouts": {"between_bytes": "1min"}}}
    config = settings(tmp_path, origin, workers=1, origins=patient, timeout="2min")
    with Node(config, installed) as node:
        idle, slow = Client(node.port), Client(node.port)
        assert idle.ask("/images/1").get("connection") is None
        slow.send(request("/large"))
        gate.reached()
        answer = slow.read_head()

        installed.add("2.0")
        done, again = node.upgrade(), node.admin("/upgrade", method="POST")
        last = [idle.ask("/images/1")]
        gate.open()
        slow.read_body(answer)
        last.append(slow.ask("/images/1"))  # it was told nothing of the end yet
        ended = [idle.at_end(), slow.at_end()]
        idle.close()
        slow.close()
        until(lambda: len(node.workers) == 1)
        third = node.upgrade()
        node.signal()
        code = node.ended()

    assert (done.returncode, again.status, third.returncode, code) == (0, 409, 0, 0), node.said
    assert b"still finish transfers" in again.body
    assert [(each.body, each.get("connection")) for each in last] == [(BODIES["/images/1"], "close")] * 2
    assert answer.clean and LARGE.check(answer.body)
    assert ended == [True, True]


def test_an_order_to_stop_ends_a_node_in_the_middle_of_an_upgrade(
    tmp_path: Path, origin: FaultyOrigin, installed: Installed
) -> None:
    with Node(settings(tmp_path, origin), installed) as node:
        installed.add("2.0")
        node.signal(signal.SIGUSR2)
        node.says("version 1.0 becomes version 2.0", patience=STARTS)
        node.signal()
        node.signal(signal.SIGUSR2)  # too late

        assert node.ended(patience=STARTS) == 0, node.said
    assert node.said.count("the worker has stopped") >= 2
