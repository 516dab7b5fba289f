"""A node that starts, as it runs: it answers orders of others before it serves, and refuses all else."""

from __future__ import annotations

import base64
import json
import socket
import time
from pathlib import Path

import pytest

from shield.peers.nodes import BODY, HELLO
from shield.rules import peer_auth
from shield.rules.spreading import SpreadMessage
from shield.spread.exchange import TARGET
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
