"""The front of listeners for clients: HTTP/1.1, and HTTP/2 where TLS has agreed on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from shield.edge.front import Listener
from shield.edge.guard import Guard, GuardedFront
from shield.edge.http2.connection import Http2Connection
from shield.edge.http2.traffic import Traffic
from shield.edge.states import Life
from shield.rules.limits import ClientLimits

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from shield.proxy import Proxy


class ClientFront(GuardedFront):
    """A guarded front whose connections behind TLS speak what their clients chose."""

    def __init__(
        self,
        proxy: Proxy,
        limits: ClientLimits,
        *,
        listener: Listener,
        guard: Guard,
        clock: Callable[[], float],
        http2: Traffic,
    ) -> None:
        super().__init__(proxy, limits, listener=listener, guard=guard, clock=clock)
        self.http2 = http2

    def _behind_tls(self, server_state: ServerState) -> asyncio.Protocol:
        return _AlpnChoice(self, server_state)

    def agreed(self, protocol: str | None, server_state: ServerState) -> asyncio.Protocol:
        """A connection that speaks this protocol, by its name in ALPN (RFC 7301); the door has counted it already."""
        if protocol == "h2":
            return Http2Connection(self, self.http2, server_state)
        return self._connection(server_state, Life.OPEN)


class _AlpnChoice(asyncio.Protocol):
    """Gives way, when TLS begins, to the protocol on which client and server have agreed: only then is it known."""

    def __init__(self, front: ClientFront, server_state: ServerState) -> None:
        self._front = front
        self._server_state = server_state

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        agreed = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        protocol = self._front.agreed(agreed, self._server_state)
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)
