"""Purges by the real command at a node of two workers: in all of them at once, and for good, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client import Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow
PATHS = [f"/images/{number}" for number in range(20)]
EVEN, ODD = PATHS[::2], PATHS[1::2]


def shield(config: Path, node: Process, *words: str, stdin: str = "") -> tuple[int, str]:
    """The exit code of a command, and what it prints. The settings name the port that the node was given."""
    settings = json.loads(config.read_text())
    settings["admin"]["listen"] = f"127.0.0.1:{node.admin_port}"
    asking = config.with_name("asking.yaml")
    asking.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "shield", *words, "--config", str(asking)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def hits(node: Process) -> list[list[bool]]:
    """Whether each path is a hit, over several connections, so that both workers are asked; it is asked for with
    only-if-cached, which brings nothing back."""
    found = []
    for _ in range(6):
        with Client(node.port) as client:
            fields = [("Cache-Control", "only-if-cached")]
            found.append([client.ask(path, fields).status == 200 for path in PATHS])
    return found


def entries(node: Process) -> int:
    state = json.loads(node.admin("/state").body)
    return sum(volume["directory"]["entries"] for tier in state["disk"]["tiers"] for volume in tier["volumes"])


def test_a_purge_by_tag_holds_in_all_workers_and_after_a_kill(tmp_path: Path) -> None:
    with FaultyOrigin() as origin:
        _purge_and_kill(tmp_path, origin)


def _purge_and_kill(tmp_path: Path, origin: FaultyOrigin) -> None:
    tier = {"name": "nvme", "directories": [{"path": str(tmp_path / "disk"), "capacity": "128MiB", "free_floor": 0}]}
    config = settings_file(
        tmp_path,
        origin,
        workers=2,
        cache={"tiers": [tier]},
        freshness={"honour_request_directives": ["only-if-cached"], "tags": ["X-Amz-Meta-Tags"]},
        response_fields={"internals": "strip"},
        state_directory=str(tmp_path / "state"),
    )
    for path in PATHS:
        tags = {"x-amz-meta-tags": "even all" if path in EVEN else "odd all"}
        origin.serves(path, b"x" * 1000, lifetime=3600, fields=tags)

    with Process(config) as node:
        for _ in range(6):
            with Client(node.port) as client:
                answers = [client.ask(path) for path in PATHS]
        assert all(answer.get("x-amz-meta-tags") is None for answer in answers)
        until(lambda: entries(node) == len(PATHS))
        assert hits(node) == [[True] * len(PATHS)] * 6
        tried = shield(config, node, "purge", "--tag", "even", "--dry-run")
        done = shield(config, node, "purge", "--tag", "even", "--id", "job-1")
        after = hits(node)
        os.killpg(node.process.pid, signal.SIGKILL)

    assert (tried[0], tried[1].splitlines()[0]) == (0, "would purge 10 entries, 9.8KiB")
    assert done == (0, "purged: 1 tag; id job-1\n")
    left = [path in ODD for path in PATHS]
    assert after == [left] * 6
    with Process(config) as node:
        assert hits(node) == [left] * 6
        code, log = shield(config, node, "purges")
        assert (code, log.split("  ")[1:]) == (0, ["local", "hard", '1 tag: tag "even"', "job-1\n"])
        soft = shield(config, node, "purge", "-", "--soft", stdin="\n".join(ODD[:5]))
        assert soft[1].startswith("made stale: 5 paths")
        assert shield(config, node, "purge", "--prefix", "/images/")[0] == 0
        assert hits(node) == [[False] * len(PATHS)] * 6
