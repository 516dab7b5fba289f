"""The hottest entries of a node that is about to stop, handed to the nodes that will stand in for it.

The node that leaves tells the second of each key's order what is asked for most (`TAKE_OVER`); that one fetches the
entries from it, and keeps them on its own disks. What it has already isn't fetched again, and nothing comes from
origins. The keys are those of the list of what clients ask for most, a thousand of each worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence

from shield.errors import OriginError, RequestError
from shield.fill.table import FillTable
from shield.messages import Request
from shield.observe.top import TopLists
from shield.peers.cluster import Cluster
from shield.proxy import Proxy
from shield.rules.egress import FetchReason
from shield.store.tiers import Store

log = logging.getLogger("shield.peers")

TAKE_OVER = b"*take-over"
"""The target of orders to fetch entries from their sender: a list of targets in JSON. The answer is their number."""

MOST = 1000
"""Keys that a worker hands over."""

SECONDS = 5.0
"""For all of it, before a node goes on to stop."""

_AT_ONCE = 16


class Parting:
    """Of one worker: hands over, and takes over."""

    def __init__(self, cluster: Cluster, proxy: Proxy, store: Store, fills: FillTable, tops: TopLists) -> None:
        self._cluster = cluster
        self._proxy = proxy
        self._store = store
        self._fills = fills
        self._tops = tops
        cluster.nodes.orders[TAKE_OVER] = self.take_over

    async def hand_over(self) -> None:
        """Hand over what is hottest, as far as there is time."""
        wanted = self._by_worker()
        if not wanted:
            return
        began = asyncio.get_running_loop().time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                taken = await asyncio.gather(*[self._send(*place, targets) for place, targets in wanted.items()])
                said = (sum(taken), sum(map(len, wanted.values())), asyncio.get_running_loop().time() - began)
                log.info("other nodes have taken over %d of the %d hottest entries, in %.1f s", *said)

    def _by_worker(self) -> dict[tuple[str, int], list[str]]:
        """The targets of this node's own keys, the hottest first, by the node and the worker that will own them."""
        nodes, found = self._cluster.nodes, dict[tuple[str, int], list[str]]()
        for hitter in self._tops.top("keys", "requests", MOST).hitters:
            try:
                digest = self._proxy.resolve(hitter.example.encode()).key.digest
            except (RequestError, UnicodeEncodeError):
                continue
            order = nodes.ring.order(digest)
            worker = nodes.worker(order[1], digest) if order[0] == nodes.own and len(order) > 1 else None
            if worker is not None:
                found.setdefault((order[1], worker.pool_number), []).append(hitter.example)
        return found

    async def _send(self, name: str, worker: int, targets: Sequence[str]) -> int:
        body = json.dumps({"targets": targets}).encode()
        try:
            answer = await self._cluster.nodes.send(name, TAKE_OVER, body, seconds=SECONDS, worker=worker)
            return int(json.loads(answer)["taken"])
        except (OriginError, ValueError, KeyError) as error:
            log.info("node %s took nothing over: %s", name, error)
            return 0

    async def take_over(self, sender: str, body: bytes) -> bytes:
        """Fetch these entries from the node that leaves."""
        targets, turn = json.loads(body)["targets"], asyncio.Semaphore(_AT_ONCE)

        async def one(target: bytes) -> bool:
            async with turn:
                return await self._take(sender, target)

        taken = await asyncio.gather(*[one(str(target).encode()) for target in targets[:MOST]])
        return json.dumps({"taken": sum(taken)}).encode()

    async def _take(self, sender: str, target: bytes) -> bool:
        """Whether an entry is here now, or on its way."""
        try:
            resource = self._proxy.resolve(target)
        except RequestError:
            return False
        key, request = resource.key, Request(b"GET", target, [], {})
        if resource.route.forwarding.any:
            return False  # of its variants, nobody knows which is asked for
        if self._store.find(key) is not None:
            return True
        arrived = self._cluster.inherit(key, sender)
        self._fills.refresh(resource, request, None, purpose=FetchReason.WARM)
        return await arrived
