"""The other nodes of the cluster, as one worker sees them: their workers, connections to them, and which are down.

Whether a worker of another node is down shows in our own requests to it. One that sends nothing for half a second
while something waits for it is asked for a greeting, beside that; without an answer within a second it counts as
down: the waits end at once, and nothing is sent to it but a greeting a second, until that is answered. So a node that
is frozen, or cut off, costs those that wait for it two seconds once, and nobody a failed request. While it sends
bodies it is greeted every two seconds; after a second greeting without an answer they break off, and continue
elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from shield.complaints import Complaints
from shield.errors import Fault, OriginError
from shield.messages import Field
from shield.origin.asked import Asked
from shield.origin.dial import Endpoint
from shield.origin.pool import Pool
from shield.origin.resolver import Resolver
from shield.origin.terms import PoolLimits, Timeouts
from shield.peers import words
from shield.peers.other import NodeMember, NodeStatistics, NodeWorker, OtherNode, worker_of
from shield.peers.watch import Watch
from shield.rules import peer_auth
from shield.rules.beyond import RegionOffer
from shield.rules.peer_secrets import PeerSecrets
from shield.rules.ring import NodeRing

log = logging.getLogger("shield.peers")

T = TypeVar("T")

OrderHandler = Callable[[str, bytes], Awaitable[bytes]]
"""Carries out an order of the node of this name, with its body, and returns the answer."""

HELLO = b"*hello"
"""The target of greetings: the answer tells how many workers a node has, and its ring."""

BODY = b"shield-body"
"""The field of orders with a piece of their body, in base64: requests between workers have no bodies."""

LARGEST = 256 << 10
"""Bytes of an order, and of its answer, at most."""

_PIECE = 6 << 10
_LIMITS = PoolLimits(connections=1024, watch=0.0)
_QUIET_SECONDS = 0.5  # after which one that something waits for is asked for a greeting
_HELLO_SECONDS = 1.5  # in which it has to answer: a node under a herd may be late
_OWN_LAG_SECONDS = 0.5  # later than that, it was this worker that had no time to read the answer
_NEWS_SECONDS = 30.0  # between two to one that isn't
_CHANGING_SECONDS = 5.0  # the same while a new secret takes the place of another one
_RETRY_SECONDS = 1.0  # between two greetings to one that is down
_SENDING_SECONDS = 2.0  # between two greetings to one that sends bodies
_SILENCES = 2  # greetings without an answer, after which bodies from it break off: a worker under a herd may miss one


class Nodes:
    """Made and used within one event loop; `close` it.

    `secrets` sign requests; `tls` is the context of connections, None: they are plain. `near` are the origins that
    this node's region is near to.
    """

    def __init__(
        self,
        own: str,
        members: Mapping[str, NodeMember],
        *,
        workers: int,
        timeouts: Timeouts,
        secrets: PeerSecrets,
        tls: ssl.SSLContext | None,
        clock: Callable[[], float],
        near: Collection[str] = (),
    ) -> None:
        self.own = self.called = own  # of members by DNS the first becomes the address
        self.clock = clock
        self.secrets = secrets
        self.loop = asyncio.get_running_loop()
        self._workers = workers
        self._timeouts = timeouts
        self._tls = tls
        self._watch = Watch(self._is_silent)
        self._all: dict[int, NodeWorker] = {}
        self._made = 0
        self._down: set[int] = set()  # workers, by number
        self._others: dict[str, OtherNode] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._ends = asyncio.Event()
        self._complaints = Complaints(log)
        self._lacked = False  # some of the others didn't have the newest secret
        self.orders: dict[bytes, OrderHandler] = {}
        """What this node does for others, by target: all begin with a star."""
        self.early: set[bytes] = set()
        """Those that it carries out before it is open, too."""
        self.members: Mapping[str, NodeMember] = {}
        self.near = near
        self.own_offer: Callable[[], RegionOffer] = RegionOffer
        """What this node tells of prices in its own."""
        self.regions: Mapping[str, NodeRing] = {}
        """The rings of other regions."""
        self.ring = NodeRing({own: 1.0})
        self.use(members)

    # membership

    def use(self, members: Mapping[str, NodeMember]) -> None:
        """These are the members from now on; those that stay keep their connections. Without this node among them,
        it owns no keys, and asks others for all. Raises ValueError if there are none.
        """
        region = members[self.own].region if self.own in members else ""
        own = {name: member.weight for name, member in members.items() if member.region == region}
        ring = NodeRing(own or {name: member.weight for name, member in members.items()})
        if ring.id != self.ring.id:
            log.info(
                "the cluster has %d nodes here: %s (ring %s)",
                len(ring.names),
                ", ".join(ring.names),
                ring.id.decode(),
            )
        self.ring = ring
        self.members = dict(members)
        rest: dict[str, dict[str, float]] = {}
        for name, member in members.items():
            if member.region != region:
                rest.setdefault(member.region, {})[name] = member.weight
        self.regions = {each: NodeRing(weights) for each, weights in rest.items()}
        for name, member in members.items():
            before = self._others.get(name)
            if name == self.own or (before is not None and before.member == member):
                continue
            if before is not None:
                self._leave(before)
            self._others[name] = OtherNode(member, self._workers)
        for name in [name for name in self._others if name not in members]:
            self._leave(self._others.pop(name))

    def ring_near(self, origin: str) -> NodeRing | None:
        """The ring of another region that is near to an origin, as its nodes tell; None if there is none."""
        for name, other in self._others.items():
            region = self.members[name].region
            if origin in other.near and region in self.regions:
                return self.regions[region]
        return None

    def round_trip(self, name: str) -> float | None:
        """Seconds to a node and back, by its last greeting; None if there was none."""
        other = self._others.get(name)
        return None if other is None else other.round_trip

    def offer(self, name: str) -> RegionOffer:
        """What a node told of prices in its region."""
        other = self._others.get(name)
        return RegionOffer() if other is None else other.offer

    def others(self) -> tuple[str, ...]:
        """The names of the other members, sorted."""
        return tuple(sorted(self._others))

    def called_of(self, name: str) -> str:
        """What a member calls itself in orders."""
        other = self._others.get(name)
        return name if other is None else other.called

    def member_called(self, called: str) -> str:
        """The member that calls itself so; the name itself if there is none."""
        if called in self._others:
            return called
        return next((name for name, other in self._others.items() if other.called == called), called)

    def call(self, name: str, called: str) -> None:
        """A member says that it is called so."""
        if (other := self._others.get(name)) is not None:
            other.called = called

    def _leave(self, other: OtherNode) -> None:
        for worker in other.asked.values():
            self._forget(worker)
            if worker.greeting is not None:
                worker.greeting.cancel()
            self._later(self._retired(worker.pool))

    def _forget(self, worker: NodeWorker) -> None:
        self._all.pop(worker.number, None)
        self._down.discard(worker.number)

    async def _retired(self, pool: Pool) -> None:
        """Close the pool of a worker that isn't asked any more, once the bodies that it sends have come."""
        pool.close_idle()
        until = self.loop.time() + self._timeouts.total
        while pool.in_use and self.loop.time() < until and not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS):
                    await self._ends.wait()
        await pool.close()

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    # their workers

    def worker(self, name: str, digest: bytes | None = None) -> NodeWorker | None:
        """The worker of a node that owns the key with this digest there; without one, the first that isn't down.

        None if it is down, or the node has left.
        """
        other = self._others.get(name)
        if other is None:
            return None
        if digest is not None:
            worker = self._worker(other, worker_of(other.workers, digest))
            return worker if worker.down_since is None else None
        for number in range(other.workers):
            worker = self._worker(other, number)
            if worker.down_since is None:
                return worker
        return None

    def is_up(self, name: str) -> bool:
        """Whether a worker of the node may answer."""
        return self.worker(name) is not None

    def _worker(self, other: OtherNode, number: int) -> NodeWorker:
        worker = other.asked.get(number)
        if worker is None:
            member, self._made = other.member, self._made + 1
            pool = self._pool(member, number)
            worker = other.asked[number] = NodeWorker(self._made, number, pool, self.loop.time())
            self._all[worker.number] = worker
        return worker

    def _pool(self, member: NodeMember, number: int) -> Pool:
        endpoint = Endpoint(member.name, member.host, member.port + number, self._tls)
        resolver = Resolver(member.host, member.port + number)
        return Pool(endpoint, timeouts=self._timeouts, limits=_LIMITS, resolver=resolver)

    async def waiting(self, name: str, worker: NodeWorker, work: Awaitable[T]) -> T:
        """The result of a request to a worker. Raises OriginError, also when the worker turns out to be down."""
        worker.heard = max(worker.heard, self.loop.time() - _QUIET_SECONDS / 2)
        try:
            result = await self._watch.wait(worker.number, work)
        except TimeoutError:
            raise OriginError(name, Fault.FIRST_BYTE_TIMEOUT, "it hangs, or is cut off") from None
        except OriginError as error:
            if error.fault in _DOWN:
                self._note_down(name, worker, error)
            raise
        worker.heard = self.loop.time()
        return result

    def _is_silent(self, number: int) -> bool:
        """Whether a worker that something waits for is down; greets it if it has been quiet."""
        worker = self._all.get(number)
        if worker is None or worker.down_since is not None:
            return True
        if self.loop.time() - worker.heard > _QUIET_SECONDS:
            self._greet(worker)
        return False

    def _greet(self, worker: NodeWorker) -> None:
        if worker.greeting is None:
            other = next((each for each in self._others.values() if worker in each.asked.values()), None)
            if other is not None:
                worker.greeting = self.loop.create_task(self._greeted(other, worker))

    async def _greeted(self, other: OtherNode, worker: NodeWorker) -> None:
        name, began = other.member.name, self.loop.time()
        try:
            said = await self._asked(worker, HELLO, b"", _HELLO_SECONDS, name=name)
        except OriginError as error:
            is_late = error.fault is Fault.FIRST_BYTE_TIMEOUT
            if not is_late or self.loop.time() - began < _HELLO_SECONDS + _OWN_LAG_SECONDS:
                self._note_down(name, worker, error)
                if error.fault in _SILENT:  # one that refuses connections may be finishing what it sends
                    worker.silences += 1
                    if worker.silences >= _SILENCES:
                        worker.pool.break_off("it hangs, or is cut off")
        else:
            self._note_up(name, worker)
            self._learn(other, said)
            other.round_trip = self.loop.time() - began
        finally:
            worker.greeting = None

    def _note_down(self, name: str, worker: NodeWorker, error: OriginError) -> None:
        now = self.loop.time()
        worker.retry_at = now + _RETRY_SECONDS
        if worker.down_since is None:
            worker.down_since = now
            self._down.add(worker.number)
            said = (name, worker.pool_number, error.fault.value, error.detail)
            self._complaints.say(name, now, "node %s, worker %d: down: %s: %s; its keys are asked of the next", *said)

    def _note_up(self, name: str, worker: NodeWorker) -> None:
        worker.heard, worker.silences = self.loop.time(), 0
        if worker.down_since is not None:
            log.info("node %s, worker %d: answers again", name, worker.pool_number)
            worker.down_since = None
            self._down.discard(worker.number)

    def _learn(self, other: OtherNode, said: bytes) -> None:
        """Take over what a node has told of itself."""
        try:
            told = json.loads(said)
            workers, other.ring, other.version = int(told["workers"]), str(told["ring"]), str(told["version"])
            other.near = tuple(map(str, told.get("near", ())))
            other.offer = RegionOffer.read(told.get("offer"))
            other.secrets, other.refusals = frozenset(map(str, told.get("secrets", ()))), 0
            other.called = str(told.get("called", other.called))[:128]
        except (ValueError, TypeError, KeyError):
            return
        if not 1 <= workers <= 256:
            return
        self._note_secrets()
        other.workers = workers
        for number in [number for number in other.asked if number >= workers]:
            worker = other.asked.pop(number)
            self._forget(worker)
            self._later(self._retired(worker.pool))
        region = self.members[other.member.name].region
        own = self.regions.get(region, self.ring).id.decode()
        if other.ring != own:
            said_of = (other.member.name, other.ring, own)
            self._complaints.say(
                ("ring", other.member.name),
                self.loop.time(),
                "node %s has ring %s, by this one's settings %s: compare cluster.nodes",
                *said_of,
            )

    async def greet(self, name: str) -> bool:
        """Have a node tell of itself again; whether it has."""
        other = self._others.get(name)
        worker = self.worker(name)
        if other is None or worker is None:
            return False
        self._greet(worker)
        greeting = worker.greeting
        if greeting is not None:
            await asyncio.wait((greeting,))
        return worker.down_since is None

    def heard_from(self, name: str) -> None:
        """A node has sent something: if it was down, it may be back."""
        if self._down and (other := self._others.get(self.member_called(name))) is not None:
            for worker in list(other.asked.values()):
                if worker.down_since is not None:
                    self._greet(worker)

    def tick(self) -> None:
        """Call once a second: greets those that are down, and once in a while all: they may have changed."""
        now = self.loop.time()
        if self.secrets.forget(self.clock()):
            log.info("the former secret of the cluster is no longer accepted")
        between = _NEWS_SECONDS if len(self.secrets.accepted) < 2 else _CHANGING_SECONDS
        for other in self._others.values():
            if now >= other.greet_at:
                other.greet_at = now + (between if other.ring else _RETRY_SECONDS)
                self._greet(self._worker(other, 0))
            for worker in list(other.asked.values()):
                is_sending = worker.pool.in_use and now - worker.heard >= _SENDING_SECONDS
                if is_sending if worker.down_since is None else now >= worker.retry_at:
                    self._greet(worker)

    # orders

    async def send(
        self, name: str, target: bytes, body: bytes = b"", *, seconds: float = 2.0, worker: int | None = None
    ) -> bytes:
        """The answer of a node to an order, which begins with a star: of this worker, or of any. Raises OriginError
        if it gives none within `seconds`, and ValueError for a body that is too large.

        Whoever listens can repeat it for half a minute, so that orders must bear that.
        """
        if len(body) > LARGEST:
            raise ValueError(f"{len(body)} bytes are too many for an order: {LARGEST} at most")
        asked = self.worker(name) if worker is None else self._others[name].asked.get(worker)
        if asked is None or asked.down_since is not None:
            raise OriginError(name, Fault.CONNECT, "it is down")
        return await self._asked(asked, target, body, seconds, name=name)

    async def _asked(self, worker: NodeWorker, target: bytes, body: bytes, seconds: float, *, name: str) -> bytes:
        deadline = self.loop.time() + seconds
        coded = b64encode(body)
        pieces = [(BODY, coded[at : at + _PIECE]) for at in range(0, len(coded), _PIECE)]
        fields = (self.proof(name, b"GET", target, body), *pieces)
        try:
            async with asyncio.timeout(seconds):
                head = words.request_head(b"GET", target, fields)
                response = await worker.pool.fetch(Asked(head, b"GET", deadline))
                if response.head.status != 200:
                    response.close()
                    raise OriginError(name, Fault.REFUSED, self._refusal(name, response.head.status))
                answer = await response.read(LARGEST)
        except TimeoutError:
            raise OriginError(name, Fault.FIRST_BYTE_TIMEOUT, f"no answer within {seconds:g} s") from None
        worker.heard = self.loop.time()
        return answer

    def _refusal(self, name: str, status: int) -> str:
        """What an answer with this status means; note it."""
        if status in (500, 503):
            return "it is starting" if status == 503 else "it can't carry that out: its log says why"
        if status != 403:
            return f"it answers {status}"
        if (other := self._others.get(name)) is not None:
            other.secrets, other.refusals = frozenset(), other.refusals + 1
        return "it answers 403: it has another secret, or clocks differ"

    def proof(self, name: str, method: bytes, target: bytes, body: bytes = b"") -> Field:
        """The field line that proves to a node where a request comes from."""
        sender, ring, other = self.called.encode(), self.ring.id, self._others.get(name)
        secret = self.secrets.signing(() if other is None else other.secrets, 0 if other is None else other.refusals)
        said = peer_auth.proof(
            secret, sender=sender, ring=ring, method=method, target=target, body=body, now=self.clock()
        )
        return peer_auth.FIELD, said

    # secrets and certificates

    def use_secrets(self, secrets: Sequence[bytes]) -> bool:
        """The settings have these from now on, the newest first; whether they are others than before."""
        if not self.secrets.renew(secrets, self.clock()):
            return False
        self._lacked = True
        for other in self._others.values():
            other.greet_at = 0.0
        return True

    def use_tls(self, tls: ssl.SSLContext) -> None:
        """Shake hands by this context from now on. Connections that are open end with their responses."""
        self._tls = tls
        for other in self._others.values():
            for worker in other.asked.values():
                before, worker.pool = worker.pool, self._pool(other.member, worker.pool_number)
                self._later(self._retired(before))

    def lacking(self) -> tuple[str, ...]:
        """Other nodes that haven't told yet that they accept the newest secret."""
        newest = self.secrets.newest
        return tuple(sorted(name for name, other in self._others.items() if newest and newest not in other.secrets))

    def _note_secrets(self) -> None:
        if self._lacked and not self.lacking():
            self._lacked = False
            log.info("all other nodes accept the new secret of the cluster")

    def statistics(self) -> list[NodeStatistics]:
        return [
            NodeStatistics(
                name,
                f"{other.member.host}:{other.member.port}",
                other.member.region,
                other.workers,
                tuple(sorted(number for number, worker in other.asked.items() if worker.down_since is not None)),
                other.ring,
                other.version,
            )
            for name, other in sorted(self._others.items())
        ]

    async def close(self) -> None:
        self._watch.close()
        self._ends.set()
        for name in list(self._others):
            self._leave(self._others.pop(name))
        if self._leaving:
            await asyncio.wait(self._leaving)


_DOWN = frozenset(
    {Fault.CONNECT, Fault.CONNECT_TIMEOUT, Fault.TLS, Fault.RESOLVE, Fault.FIRST_BYTE_TIMEOUT, Fault.RESET}
)


_SILENT = frozenset({Fault.CONNECT_TIMEOUT, Fault.FIRST_BYTE_TIMEOUT})
