"""A node, or one worker of it, as its process uses it: fronts for connections, and services with a lifecycle.

All parts are passed in, by `app.build`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shield.admin.api import AdminApi
from shield.admin.listener import AdminListener
from shield.admin.reload import Reload
from shield.admin.upgrade import Upgrade
from shield.alarms.watch import AlarmWatch
from shield.checkup import Checkup
from shield.drill.drills import Drills
from shield.edge.asgi import Application
from shield.edge.guard import Guard
from shield.edge.http2.front import ClientFront
from shield.edge.tls import ServerContext
from shield.figures import Figures, Vitals
from shield.fill.table import FillTable
from shield.observe.access import AccessLog
from shield.observe.report import Report
from shield.origin.origins import Origins
from shield.peers.front import PeerFront
from shield.peers.node_front import NodeFront
from shield.peers.nodes import Nodes
from shield.peers.owners import Owners
from shield.proxy import Proxy
from shield.purge import Purge
from shield.purge_orders import PurgeOrders
from shield.regime import InForce
from shield.spread.spreader import Spreader
from shield.store.tiers import Store
from shield.tracing.service import Tracing

log = logging.getLogger("shield.node")


class Service(Protocol):
    """A part that lives as long as the node: opened before anything is served, closed after the last request."""

    @property
    def name(self) -> str: ...

    async def open(self) -> None:
        """Begin. Raises ConfigError for settings that can't be used; then it needs no closing."""

    def tick(self) -> None:
        """Periodic work; call once a second."""

    async def close(self) -> None:
        """End work under way, and release resources."""


def _nothing() -> None:
    pass


async def _nothing_to_close() -> None:
    pass


@dataclass(frozen=True, slots=True)
class CallbackService:
    """A service made from methods of an object that isn't one."""

    name: str
    opening: Callable[[], None] = _nothing
    ticking: Callable[[], None] = _nothing
    closing: Callable[[], Awaitable[None]] = _nothing_to_close

    async def open(self) -> None:
        self.opening()

    def tick(self) -> None:
        self.ticking()

    async def close(self) -> None:
        await self.closing()


class Services:
    """Services in order: each depends on those before it."""

    def __init__(self, *services: Service) -> None:
        self._services = services

    async def open(self) -> None:
        """Open all in order. If one raises, those before it are closed again."""
        for place, service in enumerate(self._services):
            try:
                await service.open()
            except BaseException:
                await Services(*self._services[:place]).close()
                raise

    def tick(self) -> None:
        """Periodic work; call once a second."""
        for service in self._services:
            service.tick()

    async def close(self) -> bool:
        """Close all, the last first; returns whether all of them closed without error.

        One failure doesn't keep the others from being closed.
        """
        well = True
        for service in reversed(self._services):
            try:
                await service.close()
            except Exception:
                log.exception("%s can't be closed", service.name)
                well = False
        return well


class Secrets(Service, Protocol):
    """Follows files with secrets and certificates; `show` is given each context for handshakes to come with clients,
    `show_nodes` for those with other nodes.
    """

    show: Callable[[ServerContext], None]
    show_nodes: Callable[[ServerContext], None]

    async def look(self) -> None:
        """Look now, and have used what is there."""


class Prepared(Protocol):
    """Settings on their way."""

    def commit(self) -> None:
        """From now on they hold, for requests that begin."""

    async def discard(self) -> None:
        """They won't hold."""


class Renewal(Protocol):
    """Puts other settings in force."""

    @property
    def edition(self) -> Any:
        """What is in force; `Any` since a node doesn't see settings."""

    async def prepare(self, edition: Any) -> Prepared:
        """All that an edition takes, made but not used. Raises ConfigError."""

    def note_refusal(self) -> None:
        """A later edition was refused."""


@dataclass(slots=True, kw_only=True)
class Node:
    """Made on the event loop that it runs on. `open` it before its fronts take connections, `close` it after."""

    name: str
    vitals: Vitals
    in_force: InForce
    services: Services
    secrets: Secrets
    renewal: Renewal | None  # None: it was made of bare settings
    reload: Reload
    upgrade: Upgrade
    figures: Figures
    checkup: Checkup

    access: AccessLog

    # its interfaces
    front: ClientFront
    peers: PeerFront
    for_nodes: NodeFront | None  # of the cluster; None: the node is alone
    asgi: Application
    admin: AdminApi
    admin_listener: AdminListener

    # its parts
    proxy: Proxy
    guard: Guard
    purge: Purge
    purge_orders: PurgeOrders
    spreader: Spreader | None  # None: the node is alone
    store: Store
    fills: FillTable
    owners: Owners
    nodes: Nodes | None  # of the cluster
    partings: Sequence[Callable[[], Coroutine[Any, Any, None]]]  # before it stops; together, a few seconds at most
    origins: Origins
    drills: Drills
    alarms: AlarmWatch
    tracing: Tracing

    async def hand_over(self) -> None:
        """Do before it stops what other nodes, and CDNs, need of it. Takes a few seconds at most."""
        found = await asyncio.gather(*[part() for part in self.partings], return_exceptions=True)
        for error in found:
            if isinstance(error, Exception):
                log.error("something isn't handed over", exc_info=error)

    async def open(self) -> None:
        """Call before anything is served but `for_nodes`. Raises ConfigError for settings that can't be used."""
        await self.services.open()
        if self.for_nodes is not None:
            self.for_nodes.begin()

    def tick(self) -> None:
        """Periodic work; call once a second."""
        self.services.tick()

    async def close(self) -> bool:
        """End work under way and every connection to an origin; returns whether all ended without error."""
        return await self.services.close()

    def report(self) -> Report:
        """This worker's figures."""
        return self.figures.report()

    def state(self) -> dict[str, object]:
        """This worker's state, for operators."""
        return self.figures.state()
