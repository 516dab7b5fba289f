"""Orders that are given to this node, carried out here and at all other nodes of its cluster, if it is in one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from shield.announce import Announced, Announcer
from shield.cdn.passing import EdgePurges
from shield.errors import ShieldError, StoreError
from shield.purge import Purge
from shield.purge_orders import PurgeOrders, PurgeReceipt
from shield.rules.announcements import Announcement
from shield.rules.purge_orders import MOST_PATHS, PurgeOrder
from shield.rules.spreading import SpreadOrder, missing_at
from shield.rules.written import prefixes_of
from shield.spread.hands import announcement_wishes, lift_wishes, release, wishes_of
from shield.spread.journal import OrderWish
from shield.spread.spreader import Spreader

log = logging.getLogger("shield.cluster")


class Everywhere:
    """What the admin API and the method PURGE give orders to. Without a `spreader` the node is alone.

    An order is on this node's disk before anything is done, and then goes on, whatever becomes of the caller. The
    answer waits two seconds at most for the other nodes.
    """

    def __init__(
        self,
        orders: PurgeOrders,
        purge: Purge,
        announcer: Announcer,
        spreader: Spreader | None,
        edges: EdgePurges | None = None,
    ) -> None:
        """`edges` pass purges on to CDNs: those that are given to this node, once the others have them."""
        self._edges = edges
        self._orders = orders
        self._purge = purge
        self._announcer = announcer
        self._spreader = spreader

    def new_id(self) -> str:
        """An id for an order that has none."""
        return self._orders.new_id()

    async def carry_out(self, order: PurgeOrder, who: str) -> PurgeReceipt:
        """As `PurgeOrders.carry_out`; the receipt says at which nodes, and what becomes of it at CDNs."""
        edges = self._edges
        if edges is None:
            return await self._carry_out(order, who)
        async with self._passing_on(order):
            receipt = await self._carry_out(order, who)
        return replace(receipt, edge=await edges.status(order.id))

    @asynccontextmanager
    async def _passing_on(self, order: PurgeOrder) -> AsyncIterator[None]:
        """Around carrying out an order: it goes on to CDNs, unless it is refused. One that couldn't be written to
        this node's disk goes there, too, a little later."""
        edges = self._edges
        is_new = edges is not None and await edges.hold(order)
        try:
            yield
        except StoreError:
            raise
        except ShieldError:
            if is_new and edges is not None:
                await edges.withdraw(order.id)
            raise
        if is_new and edges is not None:
            await edges.release(order.id)

    async def _carry_out(self, order: PurgeOrder, who: str) -> PurgeReceipt:
        spreader = self._spreader
        if spreader is None:
            return await self._orders.carry_out(order, who)
        await self._orders.check(order)
        given = await spreader.give(wishes_of(order, who))
        try:
            receipt = await self._orders.carry_out(order, who)
        except StoreError as error:
            raise StoreError(f"{error}; it is in the journal of orders, and carried out again later") from None
        await spreader.given(given)
        missing = await spreader.missing(given)
        applied = {*receipt.applied, *spreader.others()} - {*missing}
        return replace(
            receipt,
            durable=receipt.durable and spreader.journal.is_kept,
            applied=tuple(sorted(applied)),
            missing=missing,
        )

    async def history(self, most: int) -> list[PurgeReceipt]:
        """As `PurgeOrders.history`; of orders that were given to this node it says at which others they hold, and
        what became of them at CDNs."""
        receipts = await self._orders.history(most)
        if self._edges is not None:
            known = await self._edges.statuses([each.logged.id for each in receipts])
            receipts = [replace(each, edge=known.get(each.logged.id, {})) for each in receipts]
        spreader = self._spreader
        if spreader is None:
            return receipts
        newest = await asyncio.to_thread(spreader.journal.newest_of, [each.logged.id for each in receipts])
        state = await asyncio.to_thread(spreader.journal.state)
        others = spreader.others()

        def spread(receipt: PurgeReceipt) -> PurgeReceipt:
            sequence = newest.get(receipt.logged.id)
            if sequence is None:
                return receipt
            missing = missing_at(others, state.acknowledged, sequence)
            applied = tuple(sorted({*receipt.applied, *others} - {*missing}))
            return replace(receipt, applied=applied, missing=missing)

        return [spread(receipt) for receipt in receipts]

    async def remove(self, names: Sequence[bytes]) -> int:
        """As `Purge.targets`."""
        async with self._all_passing_on(names):
            given = await self._give_paths(names, takedown=False)
            removed = await self._purge.targets(names)
            await self._given(given)
        return removed

    async def remove_prefix(self, prefix: str) -> None:
        """Remove all keys with this prefix. Raises StoreError."""
        order = PurgeOrder(self.new_id(), prefixes=(prefix,))
        async with self._passing_on(order):
            given = [] if self._spreader is None else await self._spreader.give(wishes_of(order, "local"))
            await self._purge.prefix(prefixes_of(prefix))
            await self._given(given)

    async def take_down(self, names: Sequence[bytes]) -> tuple[int, bool]:
        """As `Purge.take_down`."""
        async with self._all_passing_on(names):
            given = await self._give_paths(names, takedown=True)
            done = await self._purge.take_down(names)
            await self._given(given)
        return done

    async def lift(self, names: Sequence[bytes]) -> int:
        """As `Purge.lift`."""
        given = await self._give(lift_wishes(self.new_id(), names, "local"))
        lifted = await self._purge.lift(names)
        if self._spreader is not None:
            await asyncio.to_thread(release, self._spreader.journal, frozenset(names))
        await self._given(given)
        return lifted

    async def announce(self, announcement: Announcement) -> Announced:
        """As `Announcer.announce`. Only this node fetches objects."""
        if self._spreader is None:
            return await self._announcer.announce(announcement)
        wanted = self._announcer.meaning(announcement).wanted
        given = await self._give(announcement_wishes(self.new_id(), wanted, "local"))
        announced = await self._announcer.announce(announcement)
        await self._given(given)
        return announced

    def _all_passing_on(self, names: Sequence[bytes]) -> AbstractAsyncContextManager[None]:
        return self._passing_on(PurgeOrder(self.new_id(), paths=tuple(names)))

    async def _give_paths(self, names: Sequence[bytes], *, takedown: bool) -> list[SpreadOrder]:
        if self._spreader is None:
            return []
        await self._purge.check(names)
        wishes: list[OrderWish] = []
        for at in range(0, len(names), MOST_PATHS):
            part = PurgeOrder(self.new_id(), paths=tuple(names[at : at + MOST_PATHS]), takedown=takedown)
            wishes += await asyncio.to_thread(wishes_of, part, "local")
        return await self._give(wishes)

    async def _give(self, wishes: Sequence[OrderWish]) -> list[SpreadOrder]:
        return [] if self._spreader is None or not wishes else await self._spreader.give(wishes)

    async def _given(self, given: Sequence[SpreadOrder]) -> None:
        """They were carried out here; wait for the others."""
        if self._spreader is None or not given:
            return
        await self._spreader.given(given)
        missing = await self._spreader.missing(given)
        if missing:
            named = ", ".join(missing)
            log.warning(
                "order %s: not carried out yet at %s; it is as soon as they can be reached", given[0].id, named
            )
