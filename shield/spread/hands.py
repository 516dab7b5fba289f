"""Orders of other nodes, carried out at this one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from shield.announce import Announcer
from shield.complaints import Complaints
from shield.errors import RequestError, ShieldError
from shield.purge import Purge
from shield.purge_orders import OrderConflictError, PurgeOrders
from shield.rules.changes import ChangeKind
from shield.rules.purge_orders import (
    MOST_GLOBS,
    MOST_PATHS,
    MOST_PREFIXES,
    MOST_TAGS,
    OrderError,
    PurgeOrder,
    from_text,
    to_text,
)
from shield.rules.purging import MarkKind
from shield.rules.spreading import MOST_BYTES, SpreadKind, SpreadOrder, parts_of
from shield.spread.journal import OrderJournal, OrderWish

log = logging.getLogger("shield.cluster")
T = TypeVar("T")

_MANY = 8
"""Purges that come at once are carried out together from this number on: each costs some writes to all disks."""


class Hands:
    """Carries out orders of other nodes with the means of this one."""

    def __init__(
        self,
        journal: OrderJournal,
        orders: PurgeOrders,
        purge: Purge,
        announcer: Announcer,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._orders = orders
        self._purge = purge
        self._announcer = announcer
        self._clock = clock
        self._complaints = Complaints(log, seconds=60.0)

    async def carry_out(self, orders: Sequence[SpreadOrder]) -> list[SpreadOrder]:
        """Returns those that were carried out, or never can be: the others are to be tried again."""
        done: list[SpreadOrder] = []
        for batch in _batches(orders):
            try:
                if len(batch) > 1:
                    await self._together(batch)
                else:
                    await self._one(batch[0])
            except (OrderError, RequestError) as error:
                for order in batch:
                    log.warning("order %s given to %s has no effect here: %s", order.id, order.node, error)
            except ShieldError as error:
                text = "orders given to other nodes can't be carried out here yet: %s: %s"
                self._complaints.say("failed", self._clock(), text, batch[0].id, error)
                continue
            done += batch
        return done

    async def outdate(self, share: int) -> None:
        """Make all that is stored of one of the `SHARES` parts of all keys stale. Raises StoreError."""
        await self._purge.mark(MarkKind.SHARE, (b"%d" % share,), soft=True)

    async def _together(self, batch: Sequence[SpreadOrder]) -> None:
        """As one order: they are the same kind of purge."""
        parts = [part for order in batch if (part := from_text(order.id, order.text)) is not None]
        first, last = batch[0], batch[-1]
        order = PurgeOrder(
            "",
            paths=_all_of([part.paths for part in parts]),
            tags=_all_of([part.tags for part in parts]),
            prefixes=_all_of([part.prefixes for part in parts]),
            globs=_all_of([part.globs for part in parts]),
            everything=any(part.everything for part in parts),
            soft=parts[0].soft,
        )
        order = replace(order, id=f"{first.id[:60]}@{first.node[:30]}+{order.digest[:16]}")
        await self._orders.carry_out(order, f"{first.who}, at {first.node}, and others, up to {last.id}")

    async def _one(self, order: SpreadOrder) -> None:
        if order.kind is SpreadKind.LIFT:
            await self._lift(order)
        elif order.kind is SpreadKind.ANNOUNCE:
            await self._announcer.carry_out(_changes(order.text))
        else:
            await self._purge_by(order)

    async def _purge_by(self, order: SpreadOrder) -> None:
        wanted = from_text(order.id, order.text)
        if wanted is None:
            raise OrderError("it can't be read; is it of a later version?")
        who = f"{order.who}, at {order.node}"
        if wanted.takedown:
            lifted = {
                name
                for later in await asyncio.to_thread(self._journal.later, order, [SpreadKind.LIFT])
                for name in _names(later.text)
            }
            over = tuple([path for path in wanted.paths if path in lifted])
            if over:  # what was stored before is removed all the same: the end of a takedown brings nothing back
                await self._purge.targets(over)
                wanted = replace(wanted, paths=tuple([path for path in wanted.paths if path not in lifted]))
            if not wanted.paths:
                return
        try:
            await self._orders.carry_out(wanted, who)
        except OrderConflictError:
            other = replace(wanted, id=f"{wanted.id[:90]}@{order.node[:30]}")
            log.warning("order %s: another one has this id here: it is carried out as %s", wanted.id, other.id)
            await self._orders.carry_out(other, who)

    async def _lift(self, order: SpreadOrder) -> None:
        names = _names(order.text)
        for later in await asyncio.to_thread(self._journal.later, order, [SpreadKind.PURGE]):
            again = from_text(later.id, later.text)
            if again is not None and again.takedown:
                names = [name for name in names if name not in again.paths]
        if names:
            await self._purge.lift(names)
        await asyncio.to_thread(release, self._journal, frozenset(names))


def release(journal: OrderJournal, lifted: frozenset[bytes]) -> None:
    """Let takedowns be forgotten that are over. Blocks."""
    over = []
    for order in journal.holding():
        wanted = from_text(order.id, order.text)
        if wanted is None or lifted.issuperset(wanted.paths):
            over.append(order.place)
    if over:
        journal.release(over)


def wishes_of(order: PurgeOrder, who: str) -> list[OrderWish]:
    """An order to purge as orders that fit into messages."""
    whole = OrderWish(order.id, SpreadKind.PURGE, to_text(order), who, order.takedown)
    if len(whole.text) <= MOST_BYTES:
        return [whole]
    bare = PurgeOrder(order.id, soft=order.soft, takedown=order.takedown)
    parts: list[PurgeOrder] = []
    for names in _parts(order.paths):
        parts.append(replace(bare, paths=names))
    for names in _parts(order.tags):
        parts.append(replace(bare, tags=names))
    parts += [replace(bare, prefixes=tuple(texts)) for texts in parts_of(order.prefixes) if texts]
    parts += [replace(bare, globs=tuple(texts)) for texts in parts_of(order.globs) if texts]
    return [
        OrderWish(f"{order.id[:120]}@{number}", SpreadKind.PURGE, to_text(part), who, order.takedown)
        for number, part in enumerate(parts, 1)
    ]


def lift_wishes(order_id: str, names: Sequence[bytes], who: str) -> list[OrderWish]:
    """The end of takedowns, likewise."""
    texts = [json.dumps([name.decode("latin-1") for name in part]) for part in _parts(names)]
    return [OrderWish(f"{order_id}@{at}", SpreadKind.LIFT, text, who) for at, text in enumerate(texts, 1)]


def announcement_wishes(order_id: str, wanted: Mapping[ChangeKind, Sequence[bytes]], who: str) -> list[OrderWish]:
    """An announcement of changes, likewise."""
    texts = [
        json.dumps({kind.name: [name.decode("latin-1") for name in part]})
        for kind, names in wanted.items()
        for part in _parts(names)
    ]
    return [OrderWish(f"{order_id}@{at}", SpreadKind.ANNOUNCE, text, who) for at, text in enumerate(texts, 1)]


def _parts(names: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    texts = parts_of([name.decode("latin-1") for name in names])
    return [tuple([text.encode("latin-1") for text in part]) for part in texts if part]


def _names(text: str) -> list[bytes]:
    """Raises OrderError."""
    try:
        said = json.loads(text)
        return [str(name).encode("latin-1") for name in said] if isinstance(said, list) else []
    except (ValueError, RecursionError):
        raise OrderError("it can't be read; is it of a later version?") from None


def _changes(text: str) -> dict[ChangeKind, list[bytes]]:
    """Raises OrderError."""
    try:
        said = dict(json.loads(text))
        return {ChangeKind[kind]: [str(name).encode("latin-1") for name in names] for kind, names in said.items()}
    except (KeyError, ValueError, TypeError, RecursionError):
        raise OrderError("it can't be read; is it of a later version?") from None


def _batches(orders: Sequence[SpreadOrder]) -> list[list[SpreadOrder]]:
    """Orders by themselves; of many, plain purges that can be carried out together in lists."""
    if len(orders) < _MANY:
        return [[order] for order in orders]
    batches: list[list[SpreadOrder]] = []
    sizes = _BatchRoom()
    for order in orders:
        wanted = from_text(order.id, order.text) if order.kind is SpreadKind.PURGE else None
        if wanted is None or wanted.takedown:
            batches.append([order])
            sizes = _BatchRoom()
        elif sizes.take(wanted):
            batches[-1].append(order)
        else:
            batches.append([order])
            sizes = _BatchRoom(wanted)
    return batches


class _BatchRoom:
    """What fits into an order besides others."""

    def __init__(self, first: PurgeOrder | None = None) -> None:
        self._soft = None if first is None else first.soft
        self._is_open = first is not None
        self._counts = dict.fromkeys(("paths", "tags", "prefixes", "globs"), 0)
        if first is not None:
            self._add(first)

    def take(self, order: PurgeOrder) -> bool:
        if not self._is_open or order.soft is not self._soft:
            return False
        most = {"paths": MOST_PATHS, "tags": MOST_TAGS, "prefixes": MOST_PREFIXES, "globs": MOST_GLOBS // 2}
        if any(count + order.counts.get(word, 0) > most[word] for word, count in self._counts.items()):
            return False
        self._add(order)
        return True

    def _add(self, order: PurgeOrder) -> None:
        for word in self._counts:
            self._counts[word] += order.counts.get(word, 0)


def _all_of(lists: Sequence[Sequence[T]]) -> tuple[T, ...]:
    return tuple(dict.fromkeys([each for texts in lists for each in texts]))
