"""A node of two workers that is killed while it writes: back at once, and nothing it answers is half of anything."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.client import Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.process import Process, settings_file

pytestmark = pytest.mark.slow

ROUNDS = 4
SIZES = (10, 20_000, 70_000, 300_000, 900_000, 1_500_000)


def _ask_until(stop: threading.Event, port: int, bodies: list[Pattern], dice: random.Random) -> list[str]:
    """Ask for this and that until the node is gone; what was wrong."""
    wrong = []
    while not stop.is_set():
        with contextlib.suppress(OSError), Client(port) as client:
            for _ in range(5):
                number = dice.randrange(len(bodies))
                start = dice.randrange(len(bodies[number])) if dice.random() < 0.4 else 0
                fields = [("range", f"bytes={start}-")] if start else []
                answer = client.ask(f"/{number}", fields)
                if answer.clean and answer.body != bodies[number][start:]:
                    wrong.append(f"/{number} from {start}: {len(answer.body)} wrong bytes")
    return wrong


def test_whatever_survives_a_kill_is_whole(tmp_path: Path) -> None:
    dice = random.Random(7)
    bodies = [Pattern(dice.choice(SIZES) + number, number) for number in range(60)]
    tier = {"name": "nvme", "directories": [{"path": str(tmp_path / "disk"), "capacity": "8MiB", "free_floor": 0}]}
    cache = {"memory": {"capacity": "1MiB"}, "tiers": [tier], "slice_bytes": "128KiB"}
    wrong: list[str] = []
    hits = 0

    with FaultyOrigin() as origin:
        for number, body in enumerate(bodies):
            origin.serves(f"/{number}", body, lifetime=3600)
        config = settings_file(tmp_path, origin, workers=2, cache=cache)
        for _ in range(ROUNDS):
            with Process(config) as node:
                with Client(node.port) as client:
                    hits += sum(bool(client.ask(f"/{number}", method="HEAD").hit) for number in range(len(bodies)))
                stop = threading.Event()

                def visit(seed: int, stop: threading.Event = stop, port: int = node.port) -> None:
                    wrong.extend(_ask_until(stop, port, bodies, random.Random(seed)))

                visitors = [threading.Thread(target=visit, args=(dice.getrandbits(30),)) for _ in range(6)]
                for visitor in visitors:
                    visitor.start()
                time.sleep(dice.uniform(0.05, 0.6))  # anywhere in what it does
                os.killpg(node.process.pid, signal.SIGKILL)
                stop.set()
                for visitor in visitors:
                    visitor.join()

    assert wrong == []
    assert hits > 0
