"""The source of fills in a cluster: the node that owns the key, the second of its order, or this node's origins.

Each key has one owner among the nodes, and one among the workers of each node. A worker asks the right worker of the
owner itself, so that a request crosses the network once. That worker answers from its store or by a fill from
origins, and asks no other node: one hop, ever. A fill that waits for another node is never joined by a node's
request, since two nodes whose rings differ could then wait for each other.

If the owner is down all nodes ask the second of the key's order, so that there is still one request to the origin; if
that is down, too, or this node is the second, this node fetches for itself, through the worker that owns the key
here. No request fails because of another node.

Another node's response isn't kept: it has it, and nodes together hold more than one of them. What is asked for often
is kept as a *hot copy* in RAM (`rules.heat`), with its age.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shield.complaints import Complaints
from shield.errors import Fault, OriginError
from shield.messages import Field, Request
from shield.origin.plain import Fetching, FetchTaker
from shield.origin.terms import Timeouts
from shield.origin.want import Absent, Failed, Fetched, Keeping, Want
from shield.outcome import PEER_FILLED, PEER_HIT
from shield.peers import words
from shield.peers.asking import Respondent, ask
from shield.peers.behind import Behind
from shield.peers.copies import HotCopies
from shield.peers.nodes import Nodes
from shield.peers.other import NodeWorker
from shield.peers.owners import Owners
from shield.rules.beyond import RegionHits, TwoWays
from shield.rules.distance import sizes_of
from shield.rules.heritage import Heritage
from shield.rules.key import CacheKey
from shield.rules.prices import Price
from shield.rules.ranking import TYPICAL_BYTES

log = logging.getLogger("shield.peers")

Answered = Fetched | Absent | Failed

_STORED_SECONDS = 1.0  # to look into a store

# The owner's statement on the object, or the end of this worker: others wouldn't change it.
_FINAL = frozenset({Fault.VALIDATOR, Fault.CANCELLED})
# Origins told the owner that this is enough, or that nobody gets the object.
_FOR_ALL = frozenset({Fault.THROTTLED, Fault.OVER_LIMIT, Fault.FORBIDDEN, Fault.PACED, Fault.COLD, Fault.VALIDATOR})


@dataclass(slots=True)
class ClusterStatistics:
    """Fetches of keys that other nodes own, by what became of them."""

    owner: int = 0  # answered by the owner
    second: int = 0  # by the second of the key's order
    without: int = 0  # fetched here, since neither answered
    hits: int = 0  # among the first two: the node had it stored
    beyond: int = 0  # of keys that this one owns: answered by another region, which is near the origin
    beyond_hits: int = 0  # of these: it had them stored
    refused: int = 0  # a node was asked that doesn't own the key, by its own ring
    failures: dict[str, int] = field(default_factory=dict)  # to answer, by node


class Cluster:
    """Fills have it as their `Means.source`. Made and used within one event loop; `close` its nodes afterwards.

    `owners` are the workers of this node. `timeouts` are those towards other nodes.
    """

    def __init__(
        self,
        owners: Owners,
        nodes: Nodes,
        copies: HotCopies,
        behind: Behind,
        *,
        timeouts: Timeouts,
        clock: Callable[[], float],
    ) -> None:
        self._owners = owners
        self.nodes = nodes
        self.copies = copies
        self.behind = behind
        self._timeouts = timeouts
        self._clock = clock
        self._now = asyncio.get_running_loop().time
        self._asking: dict[tuple[bytes, int], int] = {}  # texts of keys, and whom a node is being asked for them
        self.distance: Callable[[str], float] = lambda origin: 0.0
        """The median time to an origin's first byte, in seconds; 0.0 before it was measured."""
        self.prices: Callable[[], Mapping[str, Price | None]] = dict
        """Those of reading from origins here, by name."""
        self.exchanges: Mapping[str, float] = {}
        """The seconds of waiting that a unit of money is worth, by a route's name."""
        self.position: Callable[[], bytes] = lambda: b""
        """What this node tells others of its position in the log of purges."""
        self._region_hits: dict[str, RegionHits] = {}  # by region
        self._bequeathed: dict[bytes, tuple[str, asyncio.Future[bool]]] = {}  # by the key's text
        self._complaints = Complaints(log)
        self._figures = ClusterStatistics()
        self.heritage = Heritage(self._now())

    def asks_for(self, key: CacheKey, hops: int) -> bool:
        """Whether a node is being asked for the key that a request which has come so far could wait for."""
        return any((key.text, level) in self._asking for level in range(1, hops + 1))

    def answers_for(self, key: CacheKey) -> bool:
        """Whether this node answers others for the key: it is the owner or the second, by its own ring."""
        return self.nodes.own in self.nodes.ring.order(key.digest)[:2]

    def fetch(self, names: Sequence[str], want: Want) -> Coroutine[Any, Any, Answered]:
        """As `Origins.fetch`, through the node that owns the key. Leaves nothing when cancelled."""
        key, request = want.key, want.request
        if key is None or request is None or want.alone:
            return self._owners.fetch(names, want)
        if key.text in self._bequeathed:
            return self._take_over(key, request, want)
        order = self.nodes.ring.order(key.digest)
        if order[0] != self.nodes.own and not request.hops:
            return self._fetch_from(order[:2], key, request, names, want)
        if self._may_ask_on(request, key):
            return self._fetch_here(order, key, request, names, want)
        return self._owners.fetch(names, want)

    def inherit(self, key: CacheKey, sender: str) -> asyncio.Future[bool]:
        """Have the next fetch of a key get what this node has stored, or nothing; whether it had it."""
        arrived: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._bequeathed[key.text] = (sender, arrived)
        asyncio.get_running_loop().call_later(_STORED_SECONDS + 1.0, self._give_up, key.text, arrived)
        return arrived

    def _give_up(self, text: bytes, arrived: asyncio.Future[bool]) -> None:
        """It wasn't fetched: a fill of it was under way."""
        if not arrived.done():
            self._bequeathed.pop(text, None)
            arrived.set_result(False)

    async def _take_over(self, key: CacheKey, request: Request, want: Want) -> Answered:
        sender, arrived = self._bequeathed.pop(key.text)
        found = await self._inherit(sender, key, request, want)
        if not arrived.done():
            arrived.set_result(found is not None)
        return found or Failed((OriginError(sender, Fault.CANCELLED, "it isn't handed over"),))

    def begin(self, names: Sequence[str], want: Want, taker: FetchTaker) -> Fetching | None:
        """As `Origins.begin`, of a key that this node fetches from origins; None for others."""
        key, request = want.key, want.request
        if key is not None and request is not None and not want.alone:
            is_others = self.nodes.ring.order(key.digest)[0] != self.nodes.own and not request.hops
            if is_others or key.text in self._bequeathed or self._may_ask_on(request, key):
                return None
        return self._owners.begin(names, want, taker)

    def _may_ask_on(self, request: Request, key: CacheKey) -> bool:
        """Whether another node may have what this one would fetch: one that stood in for it, or of another region."""
        return (self.heritage.is_open or bool(self.nodes.regions)) and request.hops < 2 and self._owners.owns(key)

    async def _fetch_here(
        self, order: Sequence[str], key: CacheKey, request: Request, names: Sequence[str], want: Want
    ) -> Answered:
        """As the owner, or in its place: from the node that stood in for this one, another region, or origins."""
        found: Answered | None = None
        if self.heritage.is_open and order[0] == self.nodes.own and len(order) > 1 and not want.validators:
            found = await self._inherit(order[1], key, request, want)
        if found is None and (beyond := self._beyond(names, key, want)):
            found = await self._asked(beyond, key, request, want, hops=2)
            if found is not None:
                was_hit = isinstance(found, Fetched) and found.detail == PEER_HIT
                self._figures.beyond += 1
                self._figures.beyond_hits += was_hit
                self._hits_in(beyond[0]).note(was_hit=was_hit)
        return await self._owners.fetch(names, want) if found is None else found

    def _beyond(self, names: Sequence[str], key: CacheKey, want: Want) -> Sequence[str]:
        """The key's first two nodes in another region, if that is near the best of these origins and this one isn't,
        and they are nearer than that origin, or cheaper.
        """
        nodes = self.nodes
        if not nodes.regions or names[0] in nodes.near or (ring := nodes.ring_near(names[0])) is None:
            return ()
        order = ring.order(key.digest)[:2]
        away = nodes.round_trip(order[0])
        if away is None:
            return ()
        name, hits = names[0], self._hits_in(order[0])
        here, offer, exchange = self.prices().get(name), nodes.offer(order[0]), self.exchanges.get(want.route, 0.0)
        ways = TwoWays(name, away, self.distance(name), here, offer, _size(want), exchange)
        if ways.is_better_beyond(hits.share) or (ways.is_better_beyond(1.0) and hits.explores()):
            return order
        return ()

    def _hits_in(self, node: str) -> RegionHits:
        """Those in the region of a node."""
        region = self.nodes.members[node].region
        hits = self._region_hits.get(region)
        if hits is None:
            hits = self._region_hits[region] = RegionHits()
        return hits

    async def _inherit(self, name: str, key: CacheKey, request: Request, want: Want) -> Fetched | None:
        """The entry that the second of the key's order has stored.

        That is no second hop: the other node looks into its store, and waits for nobody.
        """
        worker, found = self.nodes.worker(name, key.digest), None
        if worker is not None and want.method == b"GET":
            with contextlib.suppress(OriginError):
                found = await self.nodes.waiting(name, worker, self._ask_for_stored(name, worker, key, request, want))
            self.heritage.note(was_there=found is not None, now=self._now())
        return found

    async def _ask_for_stored(
        self, name: str, worker: NodeWorker, key: CacheKey, request: Request, want: Want
    ) -> Fetched | None:
        told: dict[bytes, bytes] = {}
        further = (self.nodes.proof(name, want.method, request.target), words.STORED_ONLY)
        deadline = self._now() + _STORED_SECONDS
        other = Respondent(name, worker.pool)
        found = await ask(other, key, request, want, further, deadline=deadline, clock=self._clock, told=told)
        if not isinstance(found, Fetched):
            return None
        if not found.was_hit or not self.copies.is_safe(key, told.get(words.PURGED, b"")):
            found.response.close()
            return None
        found.was_hit, found.by_node, found.detail, found.keep = False, True, PEER_HIT, Keeping.ALL
        return found

    async def _fetch_from(
        self, order: Sequence[str], key: CacheKey, request: Request, names: Sequence[str], want: Want
    ) -> Answered:
        found = await self._asked(order, key, request, want, hops=1)
        if found is not None:
            return found
        self._figures.without += 1
        request.note_hops(1)  # the worker that owns the key here needn't ask them again
        return await self.fetch(names, want)

    async def _asked(
        self, order: Sequence[str], key: CacheKey, request: Request, want: Want, *, hops: int
    ) -> Answered | None:
        """The answer of the first of these nodes that gives one; what they are asked has come so far then."""
        asking, asked = self._asking, (key.text, hops)
        want.asks = hops
        asking[asked] = asking.get(asked, 0) + 1
        try:
            return await self._from_nodes(order, key, request, want)
        finally:
            want.asks = 0
            left = asking[asked] - 1
            if left:
                asking[asked] = left
            else:
                del asking[asked]

    async def _from_nodes(self, order: Sequence[str], key: CacheKey, request: Request, want: Want) -> Answered | None:
        """The answer of the owner, else of the second; None if this node is to fetch."""
        for place, name in enumerate(order):
            if name == self.nodes.own:
                return None  # it is the second itself
            result = await self._from_node(name, key, request, want)
            if result is None:
                continue
            if isinstance(result, Failed):
                return result if _holds_for_all(result) else None
            if want.asks == 1:
                self._figures.owner += not place
                self._figures.second += place > 0
            return result
        return None

    async def _from_node(self, name: str, key: CacheKey, request: Request, want: Want) -> Answered | None:
        """The answer of a node; None if it gives none."""
        for _ in range(2):
            worker = self.nodes.worker(name, key.digest)
            if worker is None:
                return None
            try:
                return await self.nodes.waiting(name, worker, self._ask(name, worker, key, request, want))
            except OriginError as error:
                if error.fault in _FINAL:
                    return Failed((error,))
                if error.fault is not Fault.REFUSED:
                    self._figures.failures[name] = self._figures.failures.get(name, 0) + 1
                    self._complain(name, error)
                    return None
                self._figures.refused += 1
                # Perhaps it has another number of workers than we think: it tells, and the right one is asked.
                if not await self.nodes.greet(name) or self.nodes.worker(name, key.digest) is worker:
                    self._complain(name, error)
                    return None
        return None

    async def _ask(
        self, name: str, worker: NodeWorker, key: CacheKey, request: Request, want: Want
    ) -> Answered | None:
        further: tuple[Field, ...] = (self.nodes.proof(name, want.method, request.target),)
        if want.asks > 1:
            further += ((words.HOPS, b"%d" % want.asks),)
        deadline = self._now() + self._timeouts.first_byte
        told: dict[bytes, bytes] = {}
        other = Respondent(name, worker.pool)
        found = await ask(other, key, request, want, further, deadline=deadline, clock=self._clock, told=told)
        if isinstance(found, Fetched):
            is_older = found.was_hit or words.JOINED[0] in told  # than this request
            if is_older and not self.behind.may_serve(name, key, told.get(words.PURGED, b"")):
                found.response.close()
                return None
            self._take(found, key, want, told)
        return found

    def _take(self, fetched: Fetched, key: CacheKey, want: Want, told: Mapping[bytes, bytes]) -> None:
        """Note that the response is another node's, and whether to keep a copy."""
        fetched.by_node, fetched.keep = True, Keeping.NOWHERE
        fetched.detail = fetched.detail or (PEER_HIT if fetched.was_hit else PEER_FILLED)
        was_hit, fetched.was_hit = fetched.was_hit, False  # of this node
        self._figures.hits += was_hit
        if want.asks > 1:  # this node owns it in its region
            if self.copies.is_safe(key, told.get(words.PURGED, b"")):
                fetched.keep = Keeping.ALL
            return
        if not was_hit:
            return
        position, hot = told.get(words.PURGED, b""), words.HOT[0] in told
        if self.copies.admits(key, want, fetched, self._clock(), told=position, hot=hot):
            fetched.keep = Keeping.MEMORY

    def statistics(self) -> ClusterStatistics:
        return self._figures

    def _complain(self, name: str, error: OriginError) -> None:
        said = (name, error.fault.value, error.detail)
        self._complaints.say(name, self._now(), "node %s gave no response: %s: %s; asking the next", *said)


def _size(want: Want) -> float:
    """The bytes that are wanted, as far as that is known; else as many as responses of the route mostly have."""
    if want.span is not None and not want.tentative:
        return want.span.stop - want.span.start
    if want.length is not None:
        return want.length
    sizes = [] if want.choice is None else list(want.choice.sizes)
    return sizes_of(sizes[::2], sizes[1::2]).expected if any(sizes) else TYPICAL_BYTES


def _holds_for_all(failed: Failed) -> bool:
    """Whether this node's own origins wouldn't give anything else, or there is no time to ask them."""
    return failed.is_late or any(error.fault in _FOR_ALL for error in failed.failures)
