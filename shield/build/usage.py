"""The ledger of a node's egress, a worker's part in it, and budgets."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from shield.config.settings import Settings
from shield.egress.budgets import BudgetTerms, BudgetWatch
from shield.egress.keeper import LedgerKeeper, OfOthers
from shield.egress.ledger import Ledger, LedgerTerms, WorkerUsage
from shield.egress.tags import TagMeter
from shield.observe.counters import Counters
from shield.origin.origins import Origins
from shield.outcome import MISS
from shield.peers.nodes import Nodes
from shield.rules.prices import Price, zones_of
from shield.rules.sites import OriginSite


def ledger_path(settings: Settings, state: Path | None) -> Path | None:
    """The file; None: none is kept. `state` is the directory for what outlasts the node."""
    path = settings.ledger.path
    if path is not None:
        return None if path == "off" else Path(path)
    name = f"ledger-{settings.node}.sqlite"
    return None if state is None else state / name


def ledger_of(settings: Settings, state: Path | None) -> Ledger | None:
    """The ledger of these settings; None: none is kept."""
    path = ledger_path(settings, state)
    if path is None:
        return None
    return Ledger(LedgerTerms(path, settings.ledger.keep, zones_of(all_prices(settings)), sites_of(settings)))


def sites_of(settings: Settings) -> dict[str, OriginSite]:
    """Where each origin is, by name."""
    return {name: facts.site for name, facts in settings.facts().items()}


def all_prices(settings: Settings) -> dict[str, Price | None]:
    """The price of each origin by name; None: it has none."""
    return {name: None if each.price is None else each.price.price for name, each in settings.origins.items()}


def budget_terms(settings: Settings) -> BudgetTerms:
    """The budgets, and the prices of origins."""
    origins, labels = settings.origins, settings.labels
    return BudgetTerms(
        tuple([each.rule(name, each.names(origins, labels)) for name, each in settings.budgets.items()]),
        all_prices(settings),
    )


EGRESS = b"*egress"
"""The order by which a node asks another one what it has read in the present day and month."""


def budget_watch(
    settings: Settings,
    origins: Origins,
    ledger: Ledger | None,
    nodes: Nodes | None,
    clock: Callable[[], float],
) -> BudgetWatch:
    """The budgets, as one worker sees them; together with the other `nodes` of a cluster."""

    async def ask_others() -> dict[str, bytes]:
        assert nodes is not None
        names = nodes.others()
        answers = await asyncio.gather(*[nodes.send(name, EGRESS) for name in names], return_exceptions=True)
        return {name: each for name, each in zip(names, answers, strict=True) if isinstance(each, bytes)}

    watch = BudgetWatch(
        budget_terms(settings),
        cells=origins.thrift.cells,
        meters=origins.meters,
        ledger=ledger,
        clock=clock,
        others=None if nodes is None else ask_others,
    )
    origins.thrift.spend = watch.look
    if nodes is not None:

        async def answer(sender: str, body: bytes) -> bytes:
            return watch.answer()

        nodes.orders[EGRESS] = answer
    return watch


def usage_of(origins: Origins, counters: Counters) -> Callable[[], WorkerUsage]:
    """What this worker has counted, at each call."""
    process = f"{os.getpid()}-{secrets.token_hex(8)}"

    def usage() -> WorkerUsage:
        served: dict[str, tuple[int, int]] = {}
        for kind, count in counters.by_class():
            served[kind.cache] = served.get(kind.cache, (0, 0))[0] + count, 0
        for word, sent in counters.sent_by_word().items():
            served[word] = served.get(word, (0, 0))[0], sent
        for word, (count, sent) in counters.of_nodes.items():
            served[word] = count, sent
            served[MISS] = served[MISS][0] - count, served[MISS][1] - sent
        tags = origins.meters.tags
        return WorkerUsage(
            process, list(origins.meters.readings()), served, [] if tags is None else list(tags.readings())
        )

    return usage


def tag_meter(settings: Settings) -> TagMeter | None:
    """The meter of tags by which cost is told; None: there are none."""
    beginnings = settings.ledger.tags
    if not beginnings:
        return None
    names = dict.fromkeys(name for route in settings.route_table() for name in route.freshness.tags)
    return TagMeter([each.encode() for each in beginnings], list(names))


def keeper_of(
    settings: Settings,
    state: Path | None,
    *,
    own: Callable[[], WorkerUsage],
    others: OfOthers,
    conducts: Callable[[], bool],
    clock: Callable[[], float],
) -> LedgerKeeper:
    """The keeper of a worker."""
    ledger = ledger_of(settings, state)
    return LedgerKeeper(ledger, own=own, others=others, conducts=conducts, clock=clock)
