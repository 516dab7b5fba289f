"""Purges of everything at a CDN, for the sake of an origin that turned out to be corrupt: one for the whole cluster.

All nodes find out at about the same time. So each asks the first of them to make the call, which makes one, and once
more after `again`: the second call covers all that others find before it. It answers once the CDN has taken the
first; a node that gets no such answer makes the call itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Protocol

from shield.cdn.parting import HandOverNodes
from shield.cdn.passing import EdgePurges
from shield.errors import ShieldError
from shield.rules.purge_orders import PurgeOrder

log = logging.getLogger("shield.purge")

PURGE_WHOLE = b"*edge-everything"
"""The target of orders to purge everything at a CDN: its name, its place and an origin, in JSON. The answer says what
became of it."""

_MADE = frozenset({"sent", "done"})  # states of an order at a CDN that has taken it
_WAIT_SECONDS, _LOOK_SECONDS = 5.0, 0.2  # for the CDN to take it
_SEND_SECONDS = 8.0


class AskedNodes(HandOverNodes, Protocol):
    """The other nodes of the cluster. `own` is the name of this one."""

    own: str


class EdgeWhole:
    """Of one worker. `clock` is epoch seconds."""

    def __init__(
        self,
        purges: EdgePurges,
        nodes: AskedNodes | None,
        *,
        clock: Callable[[], float],
        rest: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`nodes`: None if the node is alone."""
        self._purges = purges
        self._nodes = nodes
        self._clock = clock
        self._rest = rest

    async def purge(self, origin: str, edge: str, name: str) -> str:
        """Have everything purged at a CDN, by this node or another one; returns the name of that one, or nothing.
        `name` is of the finding at this node: it leads to one purge.
        """
        nodes, again = self._nodes, self._purges.again(edge)
        for other in sorted(nodes.others()) if nodes is not None and again else ():
            assert nodes is not None
            if other > nodes.own:
                break
            if await self._asked(nodes, other, origin, edge):
                return other
        await self._here(origin, edge, name)
        return ""

    async def _asked(self, nodes: AskedNodes, other: str, origin: str, edge: str) -> bool:
        """Whether another node has purged it."""
        body = json.dumps({"origin": origin, "edge": edge, "place": self._purges.places().get(edge)}).encode()
        try:
            answer = json.loads(await nodes.send(other, PURGE_WHOLE, body, seconds=_SEND_SECONDS))
            return answer["state"] in _MADE
        except (ShieldError, ValueError, KeyError, TypeError) as error:
            log.info("node %s doesn't purge %s for all nodes: %s", other, edge, error)
            return False

    async def answer(self, sender: str, body: bytes) -> bytes:
        """Purge everything at a CDN in place of another node, if this one knows it under the same name."""
        said = json.loads(body)
        origin, edge, state = str(said["origin"])[:64], str(said["edge"]), "unknown"
        if self._purges.again(edge) and self._purges.places().get(edge) == said["place"]:
            order_id = await self._here(origin, edge, "")
            loop = asyncio.get_running_loop()
            until = loop.time() + _WAIT_SECONDS
            while (state := await self._state(order_id, edge)) not in _MADE and loop.time() < until:
                await self._rest(_LOOK_SECONDS)
            log.warning("origin %s: everything is purged at %s, as node %s asks: %s", origin, edge, sender, state)
        return json.dumps({"state": state}).encode()

    async def _here(self, origin: str, edge: str, name: str) -> str:
        """Make the call, unless one was made since when its second comes after now; returns the order's id."""
        again = self._purges.again(edge)
        # What is found within one of these spans comes before the second call of the first that is found in it.
        order_id = f"corrupt-{origin}-{again:g}s-{self._clock() // again:.0f}-all" if again else f"{name}-all"
        await self._purges.pass_on(PurgeOrder(order_id, everything=True), edge)
        return order_id

    async def _state(self, order_id: str, edge: str) -> str:
        known = (await self._purges.statuses((order_id,))).get(order_id, {})
        return known[edge].state if edge in known else "lost"
