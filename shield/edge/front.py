"""The state that all connections of a listener share, and the kinds of listeners."""

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
from shield.edge.plain import WATCHED, PlainHeads
from shield.edge.states import Life
from shield.edge.tls import Greeter
from shield.proxy import Proxy
from shield.regime import Regime
from shield.rules.addresses import UNIX
from shield.rules.limits import ClientLimits

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState


_WATCHES = 8  # sets of watched fields whose lines are remembered


class Listener(Enum):
    """The kind of a listener. It alone decides which limits apply to connections; addresses never do."""

    TCP = "tcp"  # clients with an address: all limits apply
    UNIX = "unix"  # clients on a unix socket: all limits apply except that on connections per address
    WORKERS = "workers"  # workers of this node: no limit on connections or requests

    @property
    def numbers(self) -> bool:
        """Whether its connections, and the requests on each of them, are limited in number."""
        return self is not Listener.WORKERS

    def name_of(self, peer: object) -> str:
        """The name of a peer, from the address that the system gives: its IP address, "" if it has disconnected
        already; "unix" for a listener without addresses.
        """
        if self is not Listener.TCP:
            return UNIX
        return str(peer[0]) if isinstance(peer, (tuple, list)) and peer else ""


class Reconsidering(Protocol):
    """The interface of a connection to its front."""

    def reconsider(self, limits: ClientLimits) -> None:
        """Follow a new regime, which has these limits."""

    def wind_down(self) -> None:
        """Close after the response in progress, if that can still say so."""


class Front:
    """The shared state of a listener's connections, and their factory: each class of connections has its subclass."""

    def __init__(
        self,
        proxy: Proxy,
        limits: ClientLimits,
        *,
        listener: Listener,
        clock: Callable[[], float],
    ) -> None:
        self.proxy = proxy
        self.listener = listener
        self.limits = self._own(limits)
        self.accounting = proxy.accounting
        self.clock = clock
        self.door = Door(self.limits, clock=clock)
        self.loop = asyncio.get_running_loop()
        self.connections: set[Reconsidering] = set()
        self._plain_heads: dict[tuple[bytes, frozenset[bytes]], PlainHeads] = {}

    def plain_heads(self, watched: frozenset[bytes] = WATCHED) -> PlainHeads:
        """The reader of plain heads for connections that watch these fields."""
        node = self.proxy.replies.node
        lines = self._plain_heads.get((node, watched))
        if lines is None:
            if len(self._plain_heads) >= _WATCHES:
                self._plain_heads.clear()  # of settings before these
            lines = self._plain_heads[node, watched] = PlainHeads(node, watched)
        return lines

    def follow(self, regime: Regime) -> None:
        """Apply a new regime, to open connections too."""
        self.limits = self.door.limits = self._own(regime.limits)
        for connection in self.connections:
            connection.reconsider(self.limits)

    def wind_down(self) -> None:
        """Close each connection, present or future, after its next response."""
        self.limits = self.door.limits = replace(self.limits, max_requests=1)
        for connection in self.connections:
            connection.reconsider(self.limits)
            connection.wind_down()

    def _own(self, limits: ClientLimits) -> ClientLimits:
        """The limits that apply to this kind of listener."""
        if self.listener is Listener.TCP:
            return limits
        return replace(limits, max_connections_per_address=0, max_rate=0)

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
        """Accept TLS connections from `listener`; each gets a protocol once its handshake is done."""
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
        """A connection's protocol, before its transport: OUTSIDE, or OPEN if the door has counted it already."""
