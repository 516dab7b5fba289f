"""A front: what all connections of a listener share, and where its connections come from."""

from __future__ import annotations

import asyncio
import socket
import ssl
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from shield.edge.door import Door
from shield.edge.states import Life
from shield.edge.tls import Greeter
from shield.observe.access import AccessLog
from shield.observe.accounting import Accounting
from shield.proxy import Proxy
from shield.regime import Regime
from shield.rules.addresses import UNIX
from shield.rules.limits import ClientLimits

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState


class Listener(Enum):
    """Where a front's connections come from. That decides which limits hold for them; an address never does."""

    TCP = "tcp"  # clients, each with an address: all limits hold
    UNIX = "unix"  # clients behind a unix socket: all limits hold but that of connections per address
    WORKERS = "workers"  # workers of this node: neither their connections nor their requests are numbered

    @property
    def numbers(self) -> bool:
        """Whether connections, and requests on each of them, are limited in number."""
        return self is not Listener.WORKERS

    def name_of(self, peer: object) -> str:
        """A client's name, of what the system says of the other end of a connection: its address, "" if it has left
        already; "unix" for a unix socket's.
        """
        if self is not Listener.TCP:
            return UNIX
        return str(peer[0]) if isinstance(peer, (tuple, list)) and peer else ""


class Reconsidering(Protocol):
    """A connection, as its front knows it."""

    def reconsider(self, limits: ClientLimits) -> None:
        """Another regime is in force, with these limits."""

    def account_to(self, accounting: Accounting) -> None:
        """Record exchanges there that end from now on."""


class Front:
    """What all connections of a listener share. Each kind of connection has its own kind of front, which makes it."""

    def __init__(
        self,
        proxy: Proxy,
        limits: ClientLimits,
        *,
        listener: Listener,
        access: AccessLog | None,
        clock: Callable[[], float],
    ) -> None:
        self.proxy = proxy
        self.listener = listener
        self.limits = self._own(limits)
        self.access = access
        self.accounting = Accounting(proxy.counters, access)
        self.clock = clock
        self.door = Door(self.limits, clock=clock)
        self.loop = asyncio.get_running_loop()
        self.connections: set[Reconsidering] = set()

    def follow(self, regime: Regime) -> None:
        """From now on this regime holds, for connections that are open, too."""
        self.limits = self.door.limits = self._own(regime.limits)
        for connection in self.connections:
            connection.reconsider(self.limits)

    def wind_down(self) -> None:
        """Have each connection, open or to come, end with its next answer."""
        self.limits = self.door.limits = replace(self.limits, max_requests=1)
        for connection in self.connections:
            connection.reconsider(self.limits)

    def log_to(self, access: AccessLog | None) -> None:
        """Log the exchanges that end from now on there, those of open connections too."""
        self.access = access
        self.accounting = Accounting(self.proxy.counters, access)
        for connection in self.connections:
            connection.account_to(self.accounting)

    def _own(self, limits: ClientLimits) -> ClientLimits:
        """The limits of this front's connections."""
        return limits if self.listener is Listener.TCP else replace(limits, max_connections_per_address=0)

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        """uvicorn's `http=` factory."""
        return self._connection(server_state, Life.OUTSIDE)

    def greet(self, listener: socket.socket, context: ssl.SSLContext, server_state: ServerState) -> Greeter:
        """Take connections for which `protocol` is to be made behind TLS."""
        return Greeter(
            listener,
            context,
            self.door,
            welcome=lambda: self._behind_tls(server_state),
            inside=lambda: len(server_state.connections),
            seconds=lambda: self.limits.head_seconds,
        )

    def _behind_tls(self, server_state: ServerState) -> asyncio.Protocol:
        """The protocol of a connection whose TLS is about to begin, and which the door has counted."""
        return self._connection(server_state, Life.OPEN)

    @abstractmethod
    def _connection(self, server_state: ServerState, life: Life) -> asyncio.Protocol:
        """A connection that isn't made yet: OUTSIDE, or OPEN if the door has counted it already."""
