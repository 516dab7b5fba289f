"""A node's listener that speaks TLS, in the test's process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from shield.build.listeners import listener_tls
from shield.config.settings import Settings
from tests.node import Shield


@contextmanager
def greeting(shield: Shield, settings: Settings) -> Iterator[int]:
    """The port of a listener that speaks TLS."""
    context = listener_tls(settings)
    assert context is not None
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    greeter = shield.call(lambda: shield.node.front.greet(listener, context, shield._state))
    try:
        yield listener.getsockname()[1]
    finally:
        shield.call(greeter.close)
