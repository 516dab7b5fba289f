"""What other workers of the node are answered, by one that has no others."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, cast

from shield.peers.front import REPORT
from shield.peers.words import named
from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.wire import Wire
from tests.node import Shield


def ask(shield: Shield, target: bytes) -> bytes:
    """To be called on the node's loop."""
    connection: Any
    connection, wire = shield.node.peers.protocol(cast(Any, None), shield._state, {}), Wire()
    connection.connection_made(wire)
    host = named(shield.node.proxy.resolve(target).key) if target == b"/a" else b"x"
    connection.data_received(b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    connection.connection_lost(None)
    return bytes(wire.written)


def test_requests_of_workers_are_counted_and_their_reports_are_not(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"hello", lifetime=60)
    shield.get("/a")

    for target in (b"/a", b"/a", REPORT, b"/%zz"):
        shield.call(partial(ask, shield, target))
    report = json.loads(shield.call(lambda: ask(shield, REPORT)).partition(b"\r\n\r\n")[2])

    assert cast(Any, shield.state())["peers"]["requests"] == {"refused": 1, "hit": 2}
    assert b"refused" in json.dumps(report).encode()
