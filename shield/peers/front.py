"""The front for the other workers of this node, on a unix socket: they ask for what this one owns.

The same protocol, store and fills as for clients. What differs: each answer says for the asking worker what became of
its request, what isn't owned here is refused, no limit on connections holds, nothing is counted or logged as a
client's, and the target `REPORT` gives this worker's figures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from shield.edge.connection import ClientConnection, Front
from shield.errors import RequestError
from shield.messages import Request
from shield.outcome import Outcome
from shield.peers.words import named, told
from shield.proxy import Proxy
from shield.reply import PLAIN_HIT, Part, Replies, Reply
from shield.rules import hidden
from shield.rules.key import CacheKey
from shield.rules.limits import ClientLimits

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from shield.fill.table import FillTable
    from shield.observe.counters import Counters
    from shield.regime import InForce, Regime
    from shield.store.tiers import Store

REPORT = b"*report"
"""No object's target, and none that a client's request could have another worker asked for."""

_SEND_SECONDS = 24 * 3600  # the asking worker holds its clients to their limit


class PeerProxy(Proxy):
    """Decides what other workers get, from the store and the fills of this one's own proxy."""

    def __init__(
        self,
        in_force: InForce,
        store: Store,
        fills: FillTable,
        *,
        replies: Replies,
        counters: Counters,
        owns: Callable[[CacheKey], bool],
        report: Callable[[], bytes],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(in_force, store, fills, replies=replies, counters=counters, clock=clock)
        self._owns = owns
        self._report = report

    def try_hit(self, request: Request, now: float, regime: Regime | None = None) -> Reply | None:
        if request.target == REPORT:
            body = self._report()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(body)
            return Reply(200, head, (body,), len(body), PLAIN_HIT)
        try:
            resource = (regime or self.in_force.regime).targets.resolve(request.target)
        except RequestError as error:
            return self.refuse(error, request, now)
        if not self._owns(resource.key):
            return self.refuse(RequestError(421, "not-the-owner"), request, now)
        if (b"host", named(resource.key)) not in request.fields:
            return self.refuse(RequestError(421, "another-key"), request, now)
        if request.notable or resource.route.hides:
            request.notable[hidden.LINE] = b""  # on no client's request: it isn't one of the fields in NOTABLE
        return super().try_hit(request, now, regime)


class PeerFront(Front):
    """What all connections of a peer socket share."""

    def __init__(self, proxy: PeerProxy, limits: ClientLimits, *, clock: Callable[[], float]) -> None:
        super().__init__(proxy, _among_workers(limits), access=None, clock=clock)

    def _limits_under(self, regime: Regime) -> ClientLimits:
        return _among_workers(regime.limits)

    def _connection(self, server_state: ServerState) -> ClientConnection:
        return PeerConnection(self, server_state)


class PeerConnection(ClientConnection):
    """Says with each answer what became of the request."""

    __slots__ = ()

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        super().begin(head + told(status, outcome), data, status=status, length=length, outcome=outcome)

    def _send(self, reply: Reply, keep_alive: bool) -> None:
        reply.head += told(reply.status, reply.outcome)
        super()._send(reply, keep_alive)


def _among_workers(limits: ClientLimits) -> ClientLimits:
    return replace(limits, max_connections=sys.maxsize, send_seconds=_SEND_SECONDS)
