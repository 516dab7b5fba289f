"""Three nodes as they run, and an engine: a purge holds whoever is killed, and whenever."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bus.servers import Engine, are_there, programs
from tests.client import Client, request
from tests.doubles.faulty_origin import FaultyOrigin
from tests.peers.test_nodes_as_processes import NAMES, first_port
from tests.process import Process, post, settings_file, until

pytestmark = pytest.mark.slow

OBJECTS = [f"/object-{number}" for number in range(24)]


class Machines:
    """Where nodes run: each can be killed, and begun again with what it has on its disks."""

    def __init__(self, directory: Path, origin: FaultyOrigin, engine: Engine | None) -> None:
        port = first_port()
        addresses = {name: f"127.0.0.{place + 1}:{port}" for place, name in enumerate(NAMES)}
        cluster = {"nodes": addresses, "secret": "of-all-nodes-0123456789-0123456789"}
        if engine is not None:
            cluster["bus"] = engine.url
        self._files = {}
        for name in NAMES:
            own = directory / name
            (own / "state").mkdir(parents=True)
            tiers = [
                {"name": "disk", "directories": [{"path": str(own / "disk"), "capacity": "128MiB", "free_floor": 0}]}
            ]
            self._files[name] = settings_file(
                own,
                origin,
                node=name,
                workers=2,
                cluster=cluster,
                state_directory=str(own / "state"),
                cache={"memory": {"capacity": "16MiB"}, "tiers": tiers},
            )
        self.running: dict[str, Process] = {}
        self._stack = ExitStack()

    def start(self, *names: str) -> None:
        made = {name: Process(self._files[name]) for name in names}
        for name, node in made.items():
            self._stack.enter_context(node)
            self.running[name] = node

    def kill(self, name: str) -> None:
        node = self.running.pop(name)
        os.killpg(node.process.pid, signal.SIGKILL)
        node.ended()

    def purge(self, name: str, **order: object) -> Mapping[str, object]:
        found = post(self.running[name].admin_port, "/purge", order)
        assert isinstance(found, dict) and "missing" in found, found
        return found

    def bodies(self, name: str) -> set[bytes]:
        with Client(self.running[name].port) as client:
            found = set()
            for path in OBJECTS:
                client.send(request(path))
                found.add(client.read().body)
            return found

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def origin() -> Iterator[FaultyOrigin]:
    """With the time of the nodes."""
    with FaultyOrigin(clock=time.time) as made:
        yield made


def serves(origin: FaultyOrigin, body: bytes) -> None:
    for path in OBJECTS:
        origin.serves(path, body, lifetime=3600, fields={"Surrogate-Key": "all"})


def test_a_purge_holds_whoever_is_killed(origin: FaultyOrigin, tmp_path: Path) -> None:
    with ExitStack() as stack:
        engine = None
        if are_there():
            engine = stack.enter_context(Engine(next(iter(programs().values())), tmp_path))
        machines = Machines(tmp_path, origin, engine)
        stack.callback(machines.close)
        machines.start(*NAMES)
        first, second, third = NAMES
        serves(origin, b"old")
        for name in NAMES:
            assert machines.bodies(name) == {b"old"}

        # One is away; the node that got the order dies as soon as it has answered, and the engine forgets all.
        machines.kill(third)
        serves(origin, b"new")
        receipt = machines.purge(first, id="one", tags=["all"])
        assert receipt["missing"] == [third] and set(receipt["applied"]) == {first, second}  # type: ignore[call-overload]
        machines.kill(first)
        if engine is not None:
            engine.kill()
            engine.start()
        machines.start(third)
        until(lambda: machines.bodies(third) == {b"new"})
        assert machines.bodies(second) == {b"new"}

        # The node that got an order is killed before it has told anybody.
        machines.start(first)
        serves(origin, b"newer")
        os.killpg(machines.running[second].process.pid, signal.SIGSTOP)
        os.killpg(machines.running[third].process.pid, signal.SIGSTOP)
        receipt = machines.purge(first, id="two", tags=["all"])
        assert receipt["missing"] == [second, third]
        machines.kill(first)
        os.killpg(machines.running[second].process.pid, signal.SIGCONT)
        os.killpg(machines.running[third].process.pid, signal.SIGCONT)
        machines.start(first)
        for name in NAMES:
            until(lambda name=name: machines.bodies(name) == {b"newer"})  # type: ignore[misc]
        until(lambda: machines.purge(first, id="two", tags=["all"])["missing"] == [])
