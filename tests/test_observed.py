"""What a node of several workers tells of requests: its log, as they happen, and what is asked for most."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.client import PATIENCE, Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow


def ask(node: Process, target: str) -> None:
    """On a connection of its own: any worker may get it."""
    with Client(node.port) as client:
        client.ask(target)


def test_the_access_log_and_the_live_log_have_what_any_worker_answered(tmp_path: Path, origin: FaultyOrigin) -> None:
    file, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    targets = [f"/w{number}" for number in range(40)]
    log = {"file": str(file), "fields": ["target", "cache"]}

    with Process(settings_file(tmp_path, origin, workers=2, access_log=log)) as node:
        live = HTTPConnection("127.0.0.1", node.admin_port, timeout=PATIENCE)
        live.request("GET", "/log?query=path~/w*")
        stream = live.getresponse()
        assert stream.readline() == b"\n"  # all workers have been asked once
        for target in targets[:20]:
            ask(node, target)
        until(lambda: file.exists() and len(file.read_text().splitlines()) == 20)
        file.rename(moved)
        for target in targets[20:]:
            ask(node, target)
        seen: list[str] = []
        while len(seen) < len(targets):
            seen += [json.loads(line)["target"] for line in [stream.readline()] if line.strip()]
        stream.close()
        live.close()
        until(lambda: file.exists() and len(file.read_text().splitlines()) == 20)
        asked = HTTPConnection("127.0.0.1", node.admin_port, timeout=PATIENCE)
        asked.request("GET", "/top?of=keys&by=requests&n=100")
        rows = json.loads(asked.getresponse().read())["rows"]
        asked.close()
        node.signal()
        assert node.ended() == 0, node.said

    written = [json.loads(line) for each in (moved, file) for line in each.read_text().splitlines()]
    assert sorted(line["target"] for line in written) == sorted(targets) == sorted(seen)
    assert {line["cache"] for line in written} == {"miss"}
    assert sorted(row["target"] for row in rows) == sorted(targets)
