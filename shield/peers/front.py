"""The front for the other workers of this node, on a unix socket: they request keys that this one owns.

The same protocol, store and fills as for clients. The differences: each response states its outcome to the
requesting worker; requests for keys of other owners are refused; connections and requests aren't limited in number;
nothing is counted or logged as a client's; and targets that begin with a star
return this worker's figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from shield.edge.connection import ClientConnection
from shield.edge.front import Front, Listener
from shield.edge.states import Life
from shield.errors import RequestError
from shield.messages import Part, Request
from shield.outcome import PLAIN_HIT, Outcome
from shield.peers import words
from shield.peers.words import named, outcome_line
from shield.proxy import Proxy
from shield.reply import Replies, Reply
from shield.rules import hidden
from shield.rules.key import CacheKey
from shield.rules.limits import ClientLimits
from shield.rules.warming import MARK

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from shield.fill.table import FillTable
    from shield.observe.accounting import Accounting
    from shield.regime import InForce, Regime
    from shield.store.tiers import Store

REPORT = b"*report"
"""No object has this target, and no client's request can make another worker send it."""

SIGNS = b"*signs"
"""The same, for its signs of alarms."""

TOP = b"*top"
"""The same, for what is asked for most; with a query."""

LOG = b"*log"
"""The same, for requests as they happen; with a query."""

ENTRIES = b"*entries"
"""The same, for its entries under a key; with a query."""

USAGE = b"*usage"
"""The same, for its counts of egress."""

SPREAD = b"*spread"
"""The same, to have it look for new orders that are to be spread to other nodes."""

SUSPECTS = b"*suspects"
"""The same, for its tallies of suspects."""

PrivateAnswers = Mapping[bytes, Callable[[bytes], bytes]]
"""The answers to such targets, by their queries."""

_SEND_SECONDS = 24 * 3600  # the requesting worker enforces its clients' limit


class PeerProxy(Proxy):
    """Answers other workers, from the store and the fills of this worker's own proxy."""

    def __init__(
        self,
        in_force: InForce,
        store: Store,
        fills: FillTable,
        *,
        replies: Replies,
        accounting: Accounting,
        owns: Callable[[CacheKey], bool],
        private: PrivateAnswers,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(in_force, store, fills, replies=replies, accounting=accounting, clock=clock)
        self._owns = owns
        self._private = private

    def try_hit(self, request: Request, now: float, regime: Regime | None = None) -> Reply | None:
        if request.target[:1] == b"*":
            name, _, query = request.target.partition(b"?")
            body = self._private[name](query) if name in self._private else b"{}"
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
        for line in request.fields:
            if line[0] == words.HOPS:
                request.note_hops(2 if line[1] == b"2" else 1)
                request.fields.remove(line)
                break
        if words.WARMING in request.fields:
            request.fields.remove(words.WARMING)
            request.notable[MARK] = b""
        for line in request.fields:
            if line[0] == words.REQUEST_ID:
                request.identify(line[1])
                request.fields.remove(line)
                break
        if request.notable or resource.route.hides:
            request.notable[hidden.LINE] = b""  # never on a client's request: not one of the fields in NOTABLE
        return super().try_hit(request, now, regime)

    def identify(self, request: Request) -> None:
        """The other worker's request has the client's identifier, or none."""


class PeerFront(Front):
    """The values shared by all connections of a peer socket."""

    def __init__(
        self,
        proxy: PeerProxy,
        limits: ClientLimits,
        *,
        clock: Callable[[], float],
        listener: Listener = Listener.WORKERS,
    ) -> None:
        super().__init__(proxy, limits, listener=listener, clock=clock)

    def _own(self, limits: ClientLimits) -> ClientLimits:
        return replace(super()._own(limits), send_seconds=_SEND_SECONDS)

    def _connection(self, server_state: ServerState, life: Life) -> ClientConnection:
        return PeerConnection(self, server_state, life)


class PeerConnection(ClientConnection):
    """States the outcome of the request in each response."""

    __slots__ = ()

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        super().begin(head + outcome_line(status, outcome), data, status=status, length=length, outcome=outcome)

    def _send(self, reply: Reply, keep_alive: bool) -> None:
        reply.head += outcome_line(reply.status, reply.outcome)
        super()._send(reply, keep_alive)

    def _account(self, request: Request, reply: Reply, began: float) -> None:
        if not request.target.startswith(b"*"):  # reports don't count themselves
            super()._account(request, reply, began)
