"""A node's listener that speaks TLS, in the test's process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from shield.build.listeners import listener_tls
from shield.config.settings import Settings
from shield.edge.tls import Greeter
from tests.node import Shield


@contextmanager
def greeting(shield: Shield, settings: Settings) -> Iterator[int]:
    """The port of a listener that speaks TLS."""
    with greeter(shield, settings) as (port, _):
        yield port


@contextmanager
def greeter(shield: Shield, settings: Settings) -> Iterator[tuple[int, Greeter]]:
    """The port of such a listener, and what takes its connections."""
    context = listener_tls(settings)
    assert context is not None
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    made = shield.call(lambda: shield.node.front.greet(listener, context, shield._state))
    try:
        yield listener.getsockname()[1], made
    finally:
        shield.call(made.close)
