"""A node that starts, as it runs: it answers orders of others before it serves, and refuses all else."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shield.peers.nodes import BODY, HELLO
from shield.rules import peer_auth
from shield.rules.spreading import SpreadMessage
from shield.shared import Standing
from shield.spread.exchange import TARGET
from shield.worker import Sockets, _Worker
from tests.client import PATIENCE, Answer, Client
from tests.doubles.faulty_origin import FaultyOrigin
from tests.peers.test_nodes_as_processes import first_port
from tests.process import Process, settings_file, until

pytestmark = pytest.mark.slow  # it starts a process

SECRET = "of-all-nodes-0123456789-0123456789"


def asked(port: int, target: bytes, body: bytes = b"") -> Answer:
    """As the other node asks it."""
    proof = peer_auth.proof(
        SECRET.encode(), sender=b"other", ring=b"0", method=b"GET", target=target, body=body, now=time.time()
    )
    fields = [(peer_auth.FIELD.decode(), proof.decode())]
    fields += [(BODY.decode(), base64.b64encode(body).decode())] if body else []
    with Client(port) as client:
        return client.ask(target.decode(), fields)


def test_a_node_exchanges_orders_before_it_serves(tmp_path: Path) -> None:
    port = first_port()
    cluster = {"nodes": {"own": f"127.0.0.1:{port}", "other": f"127.0.0.2:{port}"}, "secret": SECRET}
    with FaultyOrigin() as origin, socket.create_server(("127.0.0.2", port)) as other:
        other.settimeout(PATIENCE)
        process = Process(settings_file(tmp_path, origin, node="own", cluster=cluster))
        connection, _ = other.accept()  # it asks for what it missed, and waits for the answer

        answer = asked(port, TARGET, SpreadMessage("other").encoded())
        refused = [asked(port, target).status for target in (HELLO, b"/object", b"*egress")]

        connection.close()
        with process:
            assert answer.status == 200 and SpreadMessage.decoded(answer.body).node == "own"
            assert refused == [503, 503, 503]
            until(lambda: asked(port, HELLO).status == 200)
            assert json.loads(asked(port, HELLO).body)["node"] == "own"


class OpeningWorker(_Worker):
    """It notes what it does. `standing` is that of the process before it."""

    def __init__(self, standing: Standing) -> None:
        self.did: list[str] = []
        node: Any = SimpleNamespace(open=self.opens)
        place: Any = SimpleNamespace(worker=0, shared=SimpleNamespace(standing=[standing]))
        self._node, self._place = node, place

    async def opens(self) -> None:
        await asyncio.sleep(0)
        self.did.append("is open")

    async def _serve_nodes(self, listeners: Any) -> None:
        self.did.append("serves nodes")


@pytest.mark.parametrize("standing", [Standing.DOWN, Standing.SERVING])
def test_it_does_not_take_requests_from_a_process_that_it_replaces_before_it_is_open(standing: Standing) -> None:
    async def story() -> list[str]:
        worker = OpeningWorker(standing)
        await (await worker._open(Sockets(())))
        return worker.did

    in_order = ["is open", "serves nodes"]
    assert asyncio.run(story()) == (in_order if standing is Standing.SERVING else in_order[::-1])
