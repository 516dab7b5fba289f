"""Two workers of a node in one process, over their real unix sockets."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shield.app import build
from shield.config.settings import Settings
from shield.messages import Request
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.shared import Seat, Shared, Standing
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of


class Worker(Shield):
    """A node's worker, which serves its peers too."""

    def __init__(self, settings: Settings, place: Seat, clock: FakeClock) -> None:
        super().__init__(settings, clock=clock)
        self._place = place

    async def _open(self) -> None:
        self.node = build(self._settings, clock=self.clock, access_stream=self.access, place=self._place)
        await self.node.open()
        front, peers = self.node.front, self.node.peers
        self._server = await self._loop.create_server(
            lambda: front.protocol(None, self._state, {}),  # type: ignore[arg-type]  # it looks at nothing of it
            "127.0.0.1",
            0,
            backlog=2048,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._peer_server = await self._loop.create_unix_server(
            lambda: peers.protocol(None, self._state, {}),  # type: ignore[arg-type]  # as above
            self._place.peers[self._place.worker],
        )
        self._place.shared.standing[self._place.worker] = Standing.SERVING

    async def _close(self) -> list[str]:
        self._peer_server.close()
        return await super()._close()

    def stop_listening_to_peers(self) -> None:
        self.call(self._peer_server.close)

    def drop_connections(self) -> None:
        """As if it had been killed."""
        self.call(lambda: [connection.abort() for connection in list(self._state.connections)])

    def fetch(self, target: str, want: Want) -> Fetched | Absent | Failed:
        """What its source of fills brings, closed unread."""

        async def fetch() -> Fetched | Absent | Failed:
            want.key = self.node.proxy.resolve(target.encode()).key
            want.request = Request.of(b"GET", target.encode())
            result = await self.node.owners.fetch(("fra",), want)
            if isinstance(result, Fetched):
                result.response.close()
            return result

        return self.run(fetch())


@dataclass
class Two:
    """Two workers, and a path that one of them owns: the other asks it."""

    asker: Worker
    owner: Worker
    shared: Shared
    path: str

    @property
    def asked(self) -> dict[str, Any]:
        """What the owner's peers asked of it, by what became of that."""
        return dict(self.owner.state()["peers"]["requests"])


@contextmanager
def two(origin: FaultyOrigin, clock: FakeClock, **changes: Any) -> Iterator[Two]:
    directory = Path(tempfile.mkdtemp(prefix="shield-"))
    shared = Shared(workers=2)
    paths = (str(directory / "0"), str(directory / "1"))
    settings = settings_of({"fra": origin}, **changes)
    try:
        with (
            Worker(settings, Seat(0, 2, shared, paths, private=directory), clock) as asker,
            Worker(settings, Seat(1, 2, shared, paths, private=directory), clock) as owner,
        ):
            yield Two(asker, owner, shared, _owned_by(owner))
    finally:
        shared.close()
        shutil.rmtree(directory)


def _owned_by(worker: Worker) -> str:
    def find() -> str:
        node = worker.node
        paths = (f"/object-{number}" for number in itertools.count())
        return next(path for path in paths if node.owners.owns(node.proxy.resolve(path.encode()).key))

    return worker.call(find)
