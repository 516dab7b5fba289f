"""A node with two workers whose first origin damages objects: clients get those of the other, from all workers."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.client import Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow

CANARY, BODY = "/images/canary.webp", bytes(range(256)) * 2000
PATHS = [f"/images/{number}" for number in range(30)]
PROBES = {"interval": "1s", "canaries": [CANARY]}


def flags(node: Process) -> list[str]:
    found: list[str] = json.loads(node.admin("/origins").body)["origins"][0]["flags"]
    return found


def asked(node: Process, path: str) -> set[bytes]:
    """The answers to clients, of all workers."""
    found = set()
    for _ in range(12):
        with Client(node.port) as client:
            found.add(client.ask(path).body)
    return found


def test_damage_is_noticed_by_one_worker_and_kept_from_the_clients_of_all(tmp_path: Path) -> None:
    with FaultyOrigin() as fra, FaultyOrigin() as iad:
        for origin, word in ((fra, b"damaged"), (iad, b"good")):
            origin.serves(CANARY, BODY, lifetime=0, fields={"etag": '"1"'})
            for path in PATHS:
                origin.serves(path, word, lifetime=0)
            origin.serves("/images/kept", word, lifetime=3600)
        origins = {name: {"provider": "http", "endpoint": made.url} for name, made in (("fra", fra), ("iad", iad))}
        file = settings_file(
            tmp_path, fra, origins=origins, workers=2, probes=PROBES, health={"path": "/.shield/health"}
        )
        with Process(file) as node:
            until(lambda: fra.fetches(CANARY) >= 3)
            fra.serves(CANARY, b"!" + BODY[1:], lifetime=0, fields={"etag": '"1"'})
            kept_before = asked(node, "/images/kept")
            until(lambda: flags(node) == ["corrupt"])
            until(lambda: asked(node, "/images/kept") == {b"good"})
            purges = json.loads(node.admin("/purges").body)["purges"]
            bodies = set()
            for path in PATHS:
                with Client(node.port) as client:
                    bodies.add(client.ask(path).body)
            with Client(node.port) as client:
                strict = client.ask("/.shield/health?strict")
            children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
            node.says("origin fra: corrupt")
            node.says("origin fra: what was stored from it since")

            # The next conductor knows what it was like before.
            os.kill(int(children[0]), signal.SIGKILL)
            node.says("worker 0 is back")
            fetched = fra.fetches(CANARY)
            until(lambda: fra.fetches(CANARY) > fetched + 3)
            kept = flags(node)

            fra.serves(CANARY, BODY, lifetime=0, fields={"etag": '"1"'})
            until(lambda: flags(node) == [])
            node.says("origin fra: not corrupt any more")

    assert kept_before == {b"damaged"}
    assert [each["who"] for each in purges] == ["shield: origin fra is corrupt"]
    assert bodies == {b"good"}
    assert strict.status == 503
    assert json.loads(strict.body)["origins"]["fra"]["flags"] == ["corrupt"]
    assert kept == ["corrupt"]
