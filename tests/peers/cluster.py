"""Several nodes of a cluster in one process, each with one worker: real sockets between them."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from shield.app import build
from shield.build.cluster import members_of
from shield.config.settings import Settings
from shield.peers.cluster import Cluster
from shield.peers.node_front import NodeProxy
from shield.peers.nodes import Nodes
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of

SECRET = "a-secret-of-all-nodes-0123456789abcdef"


class ClusterNode(Shield):
    """A node, which serves others too."""

    def __init__(self, settings: Settings, for_nodes: socket.socket, clock: FakeClock) -> None:
        super().__init__(settings, clock=clock)
        assert settings.cluster is not None
        self.members = members_of(settings)
        self._for_nodes = for_nodes

    async def _open(self) -> None:
        self.node = build(self._settings, clock=self.clock, access_stream=self.access)
        await self.node.open()
        front, others = self.node.front, self.node.for_nodes
        assert others is not None
        self._server = await self._loop.create_server(
            lambda: front.protocol(None, self._state, {}),  # type: ignore[arg-type]  # it looks at nothing of it
            "127.0.0.1",
            0,
            backlog=2048,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._node_server = await self._loop.create_server(
            lambda: others.protocol(None, self._state, {}),  # type: ignore[arg-type]  # as above
            sock=self._for_nodes,
        )

    async def _close(self) -> list[str]:
        self._node_server.close()
        return await super()._close()

    def vanish(self) -> None:
        """As if it had been killed, for other nodes."""

        def end() -> None:
            for connection in list(self._state.connections):
                connection.abort()

        self.call(self._node_server.close)
        self.call(end)
        self.run(asyncio.sleep(0.05))  # for connections that were about to be accepted
        self.call(end)

    @property
    def proxy_for_nodes(self) -> NodeProxy:
        front = self.node.for_nodes
        assert front is not None and isinstance(front.proxy, NodeProxy)
        return front.proxy

    @property
    def cluster(self) -> Cluster:
        return self.proxy_for_nodes.cluster

    @property
    def others(self) -> Nodes:
        nodes = self.node.nodes
        assert nodes is not None
        return nodes

    def take_others_to_be_near(self, origin: str) -> None:
        """As if all other regions had told that they are."""

        def note() -> None:
            for other in self.others._others.values():
                other.near, other.round_trip = (origin,), 0.0

        self.call(note)

    def take_to_be_away(self, name: str, seconds: float) -> None:
        """Have it take a node that it has greeted to be so far away."""

        def note() -> None:
            self.others._others[name].round_trip = seconds

        self.call(note)

    def hold_requests_to_others(self) -> Callable[[], None]:
        """Have its requests to other nodes wait until what is returned is called."""
        cluster, released = self.cluster, asyncio.Event()
        send = cluster._ask

        async def held(*about: Any) -> Any:
            await released.wait()
            return await send(*about)

        cluster._ask = held  # type: ignore[method-assign, assignment]
        return lambda: self.call(released.set)

    def purge(self, path: str) -> None:
        """Remove an object from this node alone."""
        self.run(self.node.purge.targets([path.encode()]))

    @property
    def node_port(self) -> int:
        """Of its listener for other nodes."""
        return int(self._for_nodes.getsockname()[1])

    def believe(self, weights: Mapping[str, float]) -> None:
        """Have it take these for the members, with their weights."""
        nodes = self.others
        self.call(lambda: nodes.use({name: replace(self.members[name], weight=weights[name]) for name in weights}))

    @property
    def name(self) -> str:
        return self._settings.node

    @property
    def asked(self) -> dict[str, Any]:
        """What it asked of other nodes."""
        return dict(self.state()["cluster"]["fetches"])


@dataclass
class Three:
    """Three nodes."""

    nodes: Sequence[ClusterNode]
    clock: FakeClock

    def path(self, owner: int = 0, second: int | None = None, *, number: int = 0) -> str:
        """A path with this owner, and this second; of several, the one with this number."""
        asker = self.nodes[0]

        def find() -> str:
            assert asker.node.nodes is not None
            left = number
            for place in itertools.count():
                path = f"/object-{place}"
                order = asker.node.nodes.ring.order(asker.node.proxy.resolve(path.encode()).key.digest)
                if order[0] == self.nodes[owner].name and (second is None or second == self._place(order[1])):
                    left -= 1
                    if left < 0:
                        return path
            raise AssertionError("unreachable")

        return asker.call(find)

    def _place(self, name: str) -> int:
        return next(place for place, node in enumerate(self.nodes) if node.name == name)


@contextmanager
def three(origin: FaultyOrigin, clock: FakeClock, **changes: Any) -> Iterator[Three]:
    """Three nodes: fra-0, fra-1, fra-2. `others` are further origins, by name."""
    others = changes.pop("others", {})
    regions, near = changes.pop("regions", None), changes.pop("near", {})
    disks, slice_bytes = changes.pop("disks", None), changes.pop("slice_bytes", "8MiB")
    more = changes.pop("cluster", {})
    with ExitStack() as stack:
        # Nodes begin one after the other, and each would wait for those that don't answer yet.
        stack.enter_context(patch("shield.spread.spreader.START_SECONDS", 0.0))
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        addresses = {
            f"fra-{place}": f"127.0.0.1:{listener.getsockname()[1]}" for place, listener in enumerate(listeners)
        }
        members: dict[str, Any] = {
            name: {"address": address, "region": None if regions is None else regions[place]}
            for place, (name, address) in enumerate(addresses.items())
        }

        def settings(name: str) -> Settings:
            cluster = {"nodes": members, "secret": SECRET, "near": near.get(name, []), **more}
            return settings_of(
                {"fra": origin, **others}, node=name, cluster=cluster, **changes, **_disk(disks, name, slice_bytes)
            )

        nodes = [
            stack.enter_context(ClusterNode(settings(name), listener, clock))
            for name, listener in zip(addresses, listeners, strict=True)
        ]
        yield Three(nodes, clock)


def _disk(directory: Path | None, node: str, slice_bytes: str) -> dict[str, Any]:
    if directory is None:
        return {}
    directories = [{"path": str(directory / node), "capacity": "64MiB", "free_floor": 0}]
    tiers = [{"name": "disk", "directories": directories}]
    return {"cache": {"memory": {"capacity": "16MiB"}, "slice_bytes": slice_bytes, "tiers": tiers}}
