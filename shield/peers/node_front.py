"""The front for other nodes of the cluster: a TCP listener for each worker, on which they ask for the keys of this
node.

What workers of one node ask each other (`front`), with these differences: each request proves that it comes from the
cluster (`rules.peer_auth`); the other node is told nothing but objects, greetings, and the answers to orders; a
request is answered from the store or by origins, never by another node. It listens before the node is open, so that
nodes which start together learn from each other what they missed; all else is refused until then.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from shield import __version__
from shield.complaints import Complaints
from shield.edge.front import Listener
from shield.edge.states import Life
from shield.errors import RequestError, ShieldError
from shield.messages import Part, Request
from shield.outcome import PLAIN_HIT, Outcome
from shield.peers import words
from shield.peers.cluster import Cluster
from shield.peers.front import PeerConnection, PeerFront, PeerProxy
from shield.peers.nodes import BODY, HELLO, LARGEST
from shield.reply import Client, Reply, UnderWay, WholeReply
from shield.rules import peer_auth
from shield.rules.freshness import Freshness
from shield.rules.heat import Heat
from shield.rules.limits import ClientLimits
from shield.store.directory.record import RecordKind
from shield.store.entry import Entry
from shield.store.tiers import Cold

if TYPE_CHECKING:
    from uvicorn.server import ServerState

    from shield.regime import Regime

log = logging.getLogger("shield.peers")

HOT_HITS, HOT_SECONDS = 100, 2.0
"""So many hits of other nodes within so many seconds make an entry hot for all of them."""

_HEAD_BYTES = 2 * LARGEST  # with the body of an order
_FIELDS = 200
_CONNECTIONS = 4096  # each may send a head of that size before it has proved anything
_SLICES = 64  # looked for


class NodeProxy(PeerProxy):
    """Answers other nodes. `join` it to its cluster before it is used."""

    def join(self, cluster: Cluster, *, workers: int, is_tls: bool) -> None:
        """`is_tls`: connections have proved where they come from."""
        self.cluster = cluster
        self._workers = workers
        self._secrets = None if is_tls and not cluster.nodes.secrets.accepted else cluster.nodes.secrets
        self.orders = cluster.nodes.orders
        self.denied: dict[str, int] = {}  # requests, by the objection to them
        self._heat = Heat(times=HOT_HITS, seconds=HOT_SECONDS)
        self.position: Callable[[], bytes] = lambda: b""
        """What it tells other nodes of its position in the log of purges."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._complaints = Complaints(log, seconds=60.0)
        self.is_open = False
        """Whether objects and greetings are answered."""

    def try_hit(self, request: Request, now: float, regime: Regime | None = None) -> Reply | None:
        if not request.hops:  # else it was judged before
            peer = self._judge(request, now)
            if isinstance(peer, str):
                self.denied[peer] = self.denied.get(peer, 0) + 1
                denial = self.refuse(RequestError(403, "not-of-the-cluster"), request, now)
                denial.close = True
                return denial
            if not self.is_open and request.target not in self.cluster.nodes.early:
                return self.refuse(RequestError(503, "starting"), request, now)
            self.cluster.nodes.heard_from(peer.name)
            if request.target[:1] == b"*":
                return self._told(request, now)
            if request.method not in (b"GET", b"HEAD"):
                return self.refuse(RequestError(405, "method-not-allowed"), request, now)
            request.note_hops(1)
        if words.STORED_ONLY in request.fields and (refusal := self._not_stored(request, now, regime)) is not None:
            return refusal
        reply = super().try_hit(request, now, regime)
        if reply is not None:
            if reply.outcome.hit and self.is_hot(request.target, now):
                reply.head += b"%b: %b\r\n" % words.HOT
            return reply
        resource = self.resolve(request.target, regime)
        if not self.cluster.answers_for(resource.key):
            return self.refuse(RequestError(421, "not-the-owner"), request, now)
        if self.cluster.asks_for(resource.key, request.hops) and self._fills.under_way(resource) is not None:
            return self.refuse(RequestError(421, "in-circles"), request, now)
        return None

    def _judge(self, request: Request, now: float) -> peer_auth.AskingNode | str:
        """The node that sent a request, or the objection to it. Takes its proof and its body out of its fields."""
        value, coded, kept = b"", [], []
        for line in request.fields:
            if line[0] == peer_auth.FIELD:
                value = line[1]
            elif line[0] == BODY:
                coded.append(line[1])
            else:
                kept.append(line)
        try:
            body = base64.b64decode(b"".join(coded), validate=True) if coded else b""
        except binascii.Error:
            return "malformed body"
        accepted = None if self._secrets is None else self._secrets.accepted
        peer = peer_auth.sender_of(value, accepted, method=request.method, target=request.target, body=body, now=now)
        request.fields[:] = kept
        if not isinstance(peer, str) and request.target[:1] == b"*":
            request.fields.append((BODY, body))
            request.fields.append((peer_auth.FIELD, peer.name.encode()))
        return peer

    def _not_stored(self, request: Request, now: float, regime: Regime | None) -> Reply | None:
        """A refusal unless a fresh entry is stored as a whole: nothing is fetched, nor refreshed."""
        try:
            resource = self.resolve(request.target, regime)
        except RequestError as error:
            return self.refuse(error, request, now)
        if resource.route.forwarding.any:
            resource = self._store.variants.of(resource, request)
        found = self._store.find(resource.key)
        if isinstance(found, Cold):
            record = found.place.found
            is_there = self._is_usable(record.freshness, now) and record.kind == RecordKind.WHOLE
        else:
            is_there = found is not None and self._is_usable(found.freshness, now) and self._is_whole(found)
        return None if is_there else self.refuse(RequestError(404, "not-stored"), request, now)

    def _is_usable(self, freshness: Freshness, now: float) -> bool:
        return freshness.ttl(now) > 0.0 and freshness.born >= self._store.doubted_before

    def _is_whole(self, entry: Entry) -> bool:
        """Whether all of its body is here; of a very large one, whether its first slices are."""
        if not entry.is_large:
            return not entry.is_marker
        slices = self._store.slices(entry)
        return all(slices.has(number) for number in range(min(-(-entry.length // entry.slice_bytes), _SLICES)))

    def is_hot(self, target: bytes, now: float) -> bool:
        """Note a hit; whether many nodes ask for an entry, though perhaps none of them often."""
        return self._heat.hit(self.resolve(target).key.digest, now)

    def _told(self, request: Request, now: float) -> Reply | None:
        """The answer to a greeting; None for an order that is carried out."""
        if request.target == HELLO:
            nodes = self.cluster.nodes
            said = {
                "node": nodes.own,
                "called": nodes.called,
                "workers": self._workers,
                "ring": nodes.ring.id.decode(),
                "version": __version__,
                "near": list(nodes.near),
                "offer": nodes.own_offer().plain(),
                "secrets": nodes.secrets.told(now),
            }
            return _in_json(json.dumps(said).encode())
        if request.target in self.orders:
            return None
        return self.refuse(RequestError(404, "no-such-order"), request, now)

    def open(self, request: Request, client: Client, regime: Regime | None = None, *, peer: str = "") -> UnderWay:
        if request.target[:1] != b"*":
            return super().open(request, client, regime)
        order = WholeReply(client)
        task = asyncio.get_running_loop().create_task(self._carry_out(request, order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return order

    async def _carry_out(self, request: Request, order: WholeReply) -> None:
        sender, body = request.get(peer_auth.FIELD).decode("ascii", "replace"), b""
        for name, value in request.fields:
            if name == BODY:
                body = value
        try:
            answer = await self.orders[request.target](sender, body)
        except ShieldError as error:
            now, said = asyncio.get_running_loop().time(), (request.target.decode("ascii", "replace"), sender, error)
            self._complaints.say(sender, now, "order %s of node %s can't be carried out: %s", *said)
            order.end(self.refuse(RequestError(500, "order-failed"), request, self.clock()))
        except Exception:
            log.exception("order %s of node %s failed", request.target.decode("ascii", "replace"), sender)
            order.end(self.refuse(RequestError(500, "order-failed"), request, self.clock()))
        else:
            order.end(_in_json(answer))

    async def close(self) -> None:
        """Wait for orders under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def _in_json(body: bytes) -> Reply:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    return Reply(200, head, (body,), len(body), PLAIN_HIT)


class NodeConnection(PeerConnection):
    """Tells with each response up to where this node has carried out purges, and whether its fetch began earlier."""

    __slots__ = ()

    def begin(self, head: bytes, data: Part | None, *, status: int, length: int | None, outcome: Outcome) -> None:
        joined = b"%b: %b\r\n" % words.JOINED if outcome.collapsed else b""
        super().begin(head + joined + self._position(), data, status=status, length=length, outcome=outcome)

    def _send(self, reply: Reply, keep_alive: bool) -> None:
        reply.head += self._position()
        super()._send(reply, keep_alive)

    def _position(self) -> bytes:
        """The field line, with its end."""
        proxy = self._proxy
        assert isinstance(proxy, NodeProxy)
        position = proxy.position()
        return b"%b: %b\r\n" % (words.PURGED, position) if position else b""


class NodeFront(PeerFront):
    """The values shared by all connections of other nodes."""

    def __init__(self, proxy: NodeProxy, limits: ClientLimits, *, clock: Callable[[], float]) -> None:
        super().__init__(proxy, limits, listener=Listener.TCP, clock=clock)

    def begin(self) -> None:
        """The node is open: answer everything."""
        assert isinstance(self.proxy, NodeProxy)
        self.proxy.is_open = True

    def _connection(self, server_state: ServerState, life: Life) -> NodeConnection:
        return NodeConnection(self, server_state, life)

    def _own(self, limits: ClientLimits) -> ClientLimits:
        """Connections are limited in number, since anybody may open them; requests on them aren't."""
        return replace(
            super()._own(limits),
            max_connections=min(_CONNECTIONS, limits.max_connections),
            max_connections_per_address=0,
            max_rate=0,
            max_requests=0,
            max_head_bytes=_HEAD_BYTES,
            max_fields=_FIELDS,
        )
