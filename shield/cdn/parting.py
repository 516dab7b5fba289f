"""Calls of CDNs' APIs that a node still has to make when it is told to stop: it makes those that are due, and hands
the others to another node of its cluster, since it may not come back. What neither works for stays in its file.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from shield.cdn.outbox import EdgeOutbox, HandedCall
from shield.cdn.passing import EdgePurges
from shield.errors import ShieldError, StoreError
from shield.rules.edge_purge import EdgeCall

log = logging.getLogger("shield.purge")

TAKE_CALLS = b"*edge-calls"
"""The target of orders to make calls in place of their sender: a list of calls in JSON. The answer says which were
taken."""

FINISH_SECONDS, HAND_SECONDS = 5.0, 5.0
"""For making calls that are due, and for handing over the others, before a node goes on to stop."""

_LOOK_SECONDS = 0.05
_MOST_BYTES = 128 << 10  # of a message
_SEND_SECONDS = 3.0
_LONGEST_PACE = 10.0  # seconds after a call from another node


class HandOverNodes(Protocol):
    """The other nodes of the cluster."""

    def others(self) -> tuple[str, ...]: ...

    async def send(self, name: str, target: bytes, body: bytes = b"", *, seconds: float = 2.0) -> bytes: ...


class EdgeParting:
    """Of one worker; the one that passes purges on does it for the node. `clock` is epoch seconds."""

    def __init__(
        self,
        purges: EdgePurges,
        outbox: EdgeOutbox,
        nodes: HandOverNodes | None,
        *,
        clock: Callable[[], float],
        rest: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`nodes`: None if the node is alone."""
        self._purges = purges
        self._outbox = outbox
        self._nodes = nodes
        self._clock = clock
        self._rest = rest

    async def leave(self) -> None:
        """Make the calls that are due, and hand over the rest. Never raises."""
        if not self._purges.begin_to_leave():
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS):
                    while await asyncio.to_thread(self._are_due):
                        self._purges.tick()
                        await self._rest(_LOOK_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(HAND_SECONDS):
                    await self._hand_over()
        except StoreError as error:
            log.error("calls of CDNs' APIs can't be finished: %s", error)

    def _are_due(self) -> bool:
        """Whether a CDN that takes calls has some due."""
        now = self._clock()
        return any(self._outbox.due(name, now, 1) for name in self._purges.open_edges())

    async def _hand_over(self) -> None:
        nodes = [] if self._nodes is None else list(self._nodes.others())
        while nodes:
            calls = await asyncio.to_thread(self._outbox.remaining)
            if not calls:
                return
            taken = 0
            for batch in _batches(calls):
                places = await self._send(nodes[0], batch)
                await asyncio.to_thread(self._outbox.handed, places, f"handed over to {nodes[0]}, which sends it")
                taken += len(places)
                if len(places) < len(batch):
                    break
            if taken:
                log.info("calls of CDNs' APIs handed over to node %s: %d", nodes[0], taken)
            nodes.pop(0)

    async def _send(self, name: str, calls: Sequence[HandedCall]) -> Sequence[HandedCall]:
        """Those that the node took."""
        assert self._nodes is not None
        known, now = self._purges.places(), self._clock()
        said = [
            {
                "id": each.id,
                "edge": each.edge,
                "place": known[each.edge],
                "round": each.round,
                "in": max(0.0, each.due - now),
                "notes": list(each.notes),
                "call": each.call.plain(),
            }
            for each in calls
            if each.edge in known
        ]
        if not said:
            return ()
        try:
            body = json.dumps({"calls": said}).encode()
            answer = json.loads(await self._nodes.send(name, TAKE_CALLS, body, seconds=_SEND_SECONDS))
            taken = {(str(order_id), str(edge)) for order_id, edge in answer["taken"]}
        except (ShieldError, ValueError, KeyError, TypeError) as error:
            log.info("node %s takes no calls of CDNs' APIs over: %s", name, error)
            return ()
        return [each for each in calls if (each.id, each.edge) in taken]

    async def take_over(self, sender: str, body: bytes) -> bytes:
        """Make these calls in place of another node, at CDNs that this one knows under the same names."""
        known, now = self._purges.places(), self._clock()
        calls = [
            HandedCall(
                0,
                str(each["id"]),
                str(each["edge"]),
                2 if each["round"] == 2 else 1,
                now + min(3600.0, max(0.0, float(each["in"]))),
                tuple(map(str, each["notes"])),
                _patient(EdgeCall.read(each["call"])),
            )
            for each in json.loads(body)["calls"]
            if known.get(each["edge"]) == each["place"]
        ]
        calls = [each for each in calls if self._purges.is_purge(each.edge, each.call)]
        taken = await asyncio.to_thread(self._outbox.take, calls, now)
        if taken:
            log.info("calls of CDNs' APIs taken over from node %s: %d", sender, taken)
        places = sorted({(call.id, call.edge) for call in calls}) if taken else []
        return json.dumps({"taken": places}).encode()


def _patient(call: EdgeCall) -> EdgeCall:
    """It rests the others for a moment at most."""
    return replace(call, pace=min(_LONGEST_PACE, max(0.0, call.pace)))


def _batches(calls: Sequence[HandedCall]) -> Iterator[Sequence[HandedCall]]:
    """Of calls in the order of their ids, so that an order's are together."""
    batch: list[HandedCall] = []
    size = 0
    for call in calls:
        size += len(call.call.body) + len(call.call.target) + sum(map(len, call.notes)) + 300
        if batch and size > _MOST_BYTES and call.id != batch[-1].id:
            yield batch
            batch, size = [], 0
        batch.append(call)
    if batch:
        yield batch
