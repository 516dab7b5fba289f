from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from shield.edge.tls import Greeter
from tests.doubles.certificates import Authority
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.edge.greeter import greeter
from tests.edge.hypercorn_front import H2Client
from tests.node import FakeClock, Shield, settings_of

LARGE = Pattern(3_000_000)
ENDLESS = Pattern(64_000_000)


class Ground:
    """A node behind TLS, and its clients."""

    def __init__(self, directory: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
        self.authority = Authority()
        self.chain, self.key = self.authority.write_server(directory, "localhost")
        self.origin = origin
        self._clock = clock
        self.shield: Shield
        self.port = 0
        self.greeter: Greeter
        self._clients = ExitStack()

    @contextmanager
    def node(self, **changes: Any) -> Iterator[Shield]:
        tls = {"certificate_file": str(self.chain), "key_file": str(self.key), **changes.pop("tls", {})}
        settings = settings_of({"fra": self.origin}, tls=tls, **changes)
        with (
            Shield(settings, clock=self._clock) as self.shield,
            greeter(self.shield, settings) as (self.port, self.greeter),
            self._clients,
        ):
            yield self.shield

    def client(self, **how: Any) -> H2Client:
        return self._clients.enter_context(H2Client(self.port, self.authority.client(), **how))

    @property
    def statistics(self) -> Any:
        return self.shield.call(self.shield.node.front.http2.statistics)


@pytest.fixture
def ground(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> Ground:
    origin.serves("/a", b"hello", lifetime=60)
    origin.serves("/large", LARGE, lifetime=60)
    origin.serves("/endless", ENDLESS, fields={"cache-control": "no-store"})
    return Ground(tmp_path, origin, clock)


@pytest.fixture
def node(ground: Ground) -> Iterator[Shield]:
    """A node with the settings that are left out."""
    with ground.node() as made:
        yield made


@pytest.fixture
def h2(ground: Ground, node: Shield) -> H2Client:
    return ground.client()
