"""Purge orders carried out, each id once: logged before, so that a kill doesn't end them, and noted as done after.

An order that is sent twice, since its first answer was lost, gets the first receipt.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shield.cdn.outbox import EdgeStatus
from shield.errors import RequestError, ShieldError
from shield.purge import Purge
from shield.regime import InForce
from shield.rules import moments
from shield.rules.changes import ChangeKind
from shield.rules.purge_lines import LoggedPurge
from shield.rules.purge_orders import OrderError, PurgeOrder, from_text, in_words, shown, to_text
from shield.rules.purging import MarkKind
from shield.rules.written import keys_of

log = logging.getLogger("shield.purge")

MOST_REPEATED = 1000
"""Things named by an order that is carried out again after a kill; of one with more, the caller has got no receipt,
and sends it again."""

_BATCH = 500  # paths checked before others have their turn


class OrderConflictError(ShieldError):
    """Another order was carried out, or is being carried out, under this id."""


@dataclass(frozen=True, slots=True)
class PurgeReceipt:
    """An order of the log. `durable`: it holds over restarts and kills. `workers` are those of the node, in all of
    which it holds, `applied` the nodes; in those that are `missing` it doesn't yet. `edge` says what becomes of it at
    CDNs.
    """

    logged: LoggedPurge
    durable: bool
    workers: int
    applied: tuple[str, ...]
    missing: tuple[str, ...] = ()
    edge: Mapping[str, EdgeStatus] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """Of the response with it: 202 as long as any node is missing."""
        return 202 if self.missing else 200

    def shown(self) -> dict[str, Any]:
        """As JSON has it."""
        logged = self.logged
        return {
            "id": logged.id,
            "sequence": logged.sequence,
            "at": logged.at,
            "who": logged.who,
            "soft": logged.soft,
            "takedown": logged.takedown,
            **{kind: logged.counts.get(kind, 0) for kind in ("paths", "tags", "prefixes", "globs")},
            "all": bool(logged.counts.get("all")),
            "origins": logged.counts.get("origins", 0),
            "examples": list(logged.examples),
            "removed": logged.removed,
            "completed": logged.completed,
            "durable": self.durable,
            "workers": self.workers,
            "applied": list(self.applied),
            "missing": list(self.missing),
            "edge": {name: status.shown() for name, status in self.edge.items()},
        }


@dataclass(frozen=True, slots=True)
class PurgeOrderStatistics:
    """Orders that this worker carried out, by kind and way: `("tags", "soft")`."""

    orders: Mapping[tuple[str, str], int] = field(default_factory=dict)


class PurgeOrders:
    """Of one worker, for the whole node. A service of the node: `close` waits for the orders under way."""

    name = "purge orders"

    def __init__(
        self,
        in_force: InForce,
        purge: Purge,
        *,
        node: str,
        workers: int,
        clock: Callable[[], float],
    ) -> None:
        self._in_force = in_force
        self._purge = purge
        self._node = node
        self._workers = workers
        self._clock = clock
        self._under_way: dict[str, tuple[str, asyncio.Task[PurgeReceipt]]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    async def open(self) -> None:
        """Does nothing."""

    def tick(self) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """Wait for the orders under way."""
        if self._under_way:
            await asyncio.wait([task for _, task in self._under_way.values()])

    @staticmethod
    def new_id() -> str:
        """An id for an order that has none."""
        return secrets.token_hex(8)

    async def carry_out(self, order: PurgeOrder, who: str) -> PurgeReceipt:
        """Carry out an order, unless that has been done, and return its receipt.

        When this returns, no worker serves what was purged, and no fill from before brings it back. It goes on if the
        caller is cancelled. Raises OrderError, OrderConflictError and TooManyGlobsError, which leave everything as it
        was, and StoreError if it can't be written to a disk.
        """
        digest = order.digest
        under_way = self._under_way.get(order.id)
        if under_way is None:
            task = asyncio.get_running_loop().create_task(self._once(order, digest, who))
            self._under_way[order.id] = under_way = digest, task
            task.add_done_callback(lambda _: self._under_way.pop(order.id))
        if under_way[0] != digest:
            raise _conflict(order)
        return await asyncio.shield(under_way[1])

    async def carry_out_again(self, logged: LoggedPurge) -> None:
        """Carry out an order of the log that was interrupted. Raises ShieldError if it can't be done."""
        order = from_text(logged.id, logged.order)
        if order is None:
            raise OrderError(f"purge {logged.id}: it isn't kept as a whole; send it again")
        await self.carry_out(order, logged.who)

    async def distrust(self, origin: str, since: float, order_id: str) -> bool:
        """Remove the entries and slices that were filled from an origin since then, epoch seconds, since their bytes
        may be wrong; False if that has been done under this id. Raises StoreError: then nothing is removed.

        A kill in between may leave the purge without its place in the log, but not the other way round.
        """
        log_of_purges = self._purge.log
        if await asyncio.to_thread(log_of_purges.find, order_id) is not None:
            return False
        await self._purge.mark(MarkKind.ORIGIN, (origin.encode(),), after=since)
        done = LoggedPurge(
            order_id,
            self._clock(),
            f"shield: origin {origin} is corrupt",
            counts={"origins": 1},
            examples=(f"origin {shown(origin)} since {moments.shown(since)}",),
            completed=True,
        )
        await asyncio.to_thread(log_of_purges.append, done)
        self._counts["origins", "hard"] = self._counts.get(("origins", "hard"), 0) + 1
        return True

    async def history(self, most: int) -> list[PurgeReceipt]:
        """The latest purges of the node, the newest first. Raises StoreError."""
        found = await asyncio.to_thread(self._purge.log.recent, most)
        return [self._receipt(logged) for logged in found]

    def statistics(self) -> PurgeOrderStatistics:
        return PurgeOrderStatistics(dict(self._counts))

    async def _once(self, order: PurgeOrder, digest: str, who: str) -> PurgeReceipt:
        await self._check(order)
        text = to_text(order) if sum(order.counts.values()) <= MOST_REPEATED else ""
        wish = LoggedPurge(
            order.id,
            self._clock(),
            who,
            counts=order.counts,
            examples=order.examples,
            soft=order.soft,
            takedown=order.takedown,
            digest=digest,
            order=text,
        )
        logged, _ = await asyncio.to_thread(self._purge.log.append, wish)
        if logged.digest != digest:
            raise _conflict(order)
        if logged.completed:
            return self._receipt(logged)
        removed = await self._purge_paths(order)
        await self._mark(order)
        await asyncio.to_thread(self._purge.log.complete, order.id, removed)
        self._note(order, logged)
        return self._receipt(replace(logged, completed=True, removed=removed))

    async def check(self, order: PurgeOrder) -> None:
        """Raise the errors of `carry_out`, except StoreError, before anything is done."""
        await self._check(order)
        known = await asyncio.to_thread(self._purge.log.find, order.id)
        if known is not None and known.digest != order.digest:
            raise _conflict(order)

    async def _check(self, order: PurgeOrder) -> None:
        """Raise OrderError for a path that no request could have, and TooManyGlobsError, before anything is done."""
        routes = self._in_force.regime.routes
        for at, name in enumerate(order.paths):
            try:
                keys_of(name, routes)
            except RequestError as error:
                said = f"paths[{at}]: got {_shown(name)}; it would be rejected in a request: {error.reason}"
                raise OrderError(said) from None
            if at % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)
        self._purge.check_globs(order.glob_texts)

    async def _purge_paths(self, order: PurgeOrder) -> int | None:
        """The number of entries that were stored; None: it isn't counted."""
        if not order.paths:
            return None
        if order.takedown:
            return (await self._purge.take_down(order.paths))[0]
        if order.soft:
            await self._purge.outdate(ChangeKind.PURGED, order.paths)
            return None
        return await self._purge.targets(order.paths)

    async def _mark(self, order: PurgeOrder) -> None:
        wanted: Sequence[tuple[MarkKind, tuple[bytes, ...]]] = (
            (MarkKind.GLOB, order.glob_texts),
            (MarkKind.TAG, order.tags),
            (MarkKind.PREFIX, order.prefix_texts),
            (MarkKind.ALL, (b"",) if order.everything else ()),
        )
        for kind, texts in wanted:
            if texts:
                await self._purge.mark(kind, texts, soft=order.soft)

    def _receipt(self, logged: LoggedPurge) -> PurgeReceipt:
        purge = self._purge
        is_durable = purge.keeps_takedowns if logged.takedown else purge.log.is_durable
        return PurgeReceipt(logged, is_durable, self._workers, (self._node,))

    def _note(self, order: PurgeOrder, logged: LoggedPurge) -> None:
        way = "takedown" if order.takedown else "soft" if order.soft else "hard"
        for kind in order.counts:
            self._counts[kind, way] = self._counts.get((kind, way), 0) + 1
        named = ", ".join(logged.examples)
        more = "" if sum(order.counts.values()) <= len(logged.examples) else ", ..."
        log.info("purge %s by %s: %s, %s: %s%s", logged.id, logged.who, way, in_words(order.counts), named, more)


def _conflict(order: PurgeOrder) -> OrderConflictError:
    return OrderConflictError(f"id: another order was sent as {shown(order.id)}; expected an id of its own for each")


def _shown(name: bytes) -> str:
    return shown(name.decode("ascii", "replace"))
