"""A drill at a node of two workers, in processes of their own: all of them obey it, whichever is asked or killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shield.cli.drill.run import show_history, stop
from tests.client import Answer, Client, request
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

PATHS = [f"/{number}" for number in range(400)]
BODY = b"hello" * 20
SOON = 60.0  # a drill's origin comes back in half a minute


@pytest.fixture
def origins() -> Iterator[tuple[FaultyOrigin, FaultyOrigin]]:
    with FaultyOrigin() as fra, FaultyOrigin() as iad:
        for origin in (fra, iad):
            for path in PATHS:
                origin.serves(path, BODY, lifetime=0)
        yield fra, iad


@contextmanager
def crowd(port: int) -> Iterator[Counter[tuple[int, bool]]]:
    """Clients that request one object after the other, each on its connection; counts their responses."""
    counts: Counter[tuple[int, bool]] = Counter()
    over = threading.Event()

    def request_all(first: int) -> None:
        at = first
        while not over.wait(0.02):
            try:
                with Client(port) as client:  # a new one each time: so all workers get some
                    answer = client.ask(PATHS[at % len(PATHS)])
            except ConnectionError:  # its worker was killed
                answer = Answer()
            counts[answer.status, answer.body == BODY and answer.clean] += 1
            at += 7

    threads = [threading.Thread(target=request_all, args=(100 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        over.set()
        for thread in threads:
            thread.join()


def drill(node: Process, wish: dict[str, Any] | None = None) -> dict[str, Any]:
    """Begin one, or the one that there is."""
    with Client(node.admin_port) as client:
        body = b"" if wish is None else json.dumps(wish).encode()
        fields = [("content-type", "application/json"), ("content-length", str(len(body)))]
        method = "GET" if wish is None else "POST"
        client.send(request("/drill", fields, method=method, host=f"127.0.0.1:{node.admin_port}") + body)
        answer = client.read()
    said: dict[str, Any] = json.loads(answer.body)
    return said


def serving(tmp_path: Path, origins: tuple[FaultyOrigin, FaultyOrigin]) -> Path:
    fra, iad = origins
    return settings_file(
        tmp_path,
        fra,
        workers=2,
        state_directory=str(tmp_path / "state/shield"),
        origins={
            "fra": {"provider": "http", "endpoint": fra.url, "role": "primary"},
            "iad": {"provider": "http", "endpoint": iad.url, "price": {"egress": 1.0, "requests": 1.0}},
        },
    )


def admin_file(tmp_path: Path, node: Process) -> Path:
    """Settings by which the command finds the node, whose ports were chosen at its start."""
    plain = json.loads((tmp_path / "shield.yaml").read_text())
    file = tmp_path / "found.yaml"
    file.write_text(json.dumps({**plain, "admin": {"listen": f"127.0.0.1:{node.admin_port}"}}))
    return file


def test_clients_of_all_workers_notice_nothing_of_an_origin_that_gives_no_answer(
    tmp_path: Path, origins: tuple[FaultyOrigin, FaultyOrigin], capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        Process(serving(tmp_path, origins)) as node,
        crowd(node.port) as counts,
    ):
        until(lambda: counts.total() > 60)
        begun = drill(node, {"origin": "fra", "mode": "blackhole", "seconds": 4, "scope": 1})
        assert begun["state"] == "running", begun
        node.says("drill 1 at origin fra (blackhole for 4 s, 100 % of keys): over: its time was over")
        state = json.loads(node.admin("/state").body)
        until(lambda: drill(node)["state"] == "over", patience=SOON)
        said = drill(node)
        until((tmp_path / "state/shield/drills-test-1.jsonl").exists)
        code = show_history(admin_file(tmp_path, node), as_json=True)
        metrics = node.admin("/metrics").body.decode()

    assert set(counts) == {(200, True)}
    assert state["workers_up"] == 2
    assert said["proved"] and said["failed"] == 0 and said["requests"] > 20
    assert said["detected_seconds"] is not None and said["recovered_seconds"] is not None
    assert said["extra_fetches"] >= said["faults"] >= 3 and said["money"]["USD"] > 0.0
    assert "origin fra (drill): suspect: " in node.said
    history = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0 and [each["number"] for each in history] == [1]
    assert 'shield_drill_proof_age_seconds{origin="fra"}' in metrics
    assert 'shield_drill_faults_total{mode="blackhole",origin="fra"}' in metrics


def test_a_drill_outlives_the_worker_that_conducts_it_and_is_stopped_at_another(
    tmp_path: Path, origins: tuple[FaultyOrigin, FaultyOrigin]
) -> None:
    fra, _ = origins
    with (
        Process(serving(tmp_path, origins), STATE_DIRECTORY=str(tmp_path / "state")) as node,
        crowd(node.port) as counts,
    ):
        until(lambda: counts.total() > 60)
        drill(node, {"origin": "fra", "mode": "refuse", "seconds": 600, "scope": 1, "budget": 1, "p99_seconds": 60})
        node.says("[0] origin fra (drill): suspect: ")
        for worker in workers_of(node.process.pid)[:1]:
            os.kill(worker, signal.SIGKILL)
        node.says("was ended by SIGKILL; replacing it")
        until(lambda: node.admin("/ready").status == 200)
        fetches = sum(fra.fetches(path) for path in PATHS)
        before = counts.total()
        until(lambda: counts.total() > before + 100)
        assert sum(fra.fetches(path) for path in PATHS) == fetches
        assert drill(node)["state"] == "running"
        assert stop(admin_file(tmp_path, node)) == 0
        until(lambda: sum(fra.fetches(path) for path in PATHS) > fetches, patience=SOON)
        said = drill(node)

    assert (said["ending"], said["proved"]) == ("it was stopped", False)
    assert said["requests"] > 100


def workers_of(supervisor: int) -> list[int]:
    """The processes of a node's workers, the first started first."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return sorted(map(int, children))
