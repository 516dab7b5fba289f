"""Orders between the nodes of a cluster: their journal, the bus, and what carries them out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from shield.announce import Announcer
from shield.bus.address import engine_address
from shield.bus.bus import Bus
from shield.bus.engine import EngineBus
from shield.config.cluster import ClusterSettings
from shield.config.settings import Settings
from shield.peers.cluster import Cluster
from shield.peers.front import SPREAD
from shield.peers.owners import Owners
from shield.purge import Purge
from shield.purge_orders import PurgeOrders
from shield.shared import Seat
from shield.spread.exchange import TARGET
from shield.spread.hands import Hands
from shield.spread.journal import OrderJournal
from shield.spread.spreader import Spreader, SpreadTerms, WhenBlind


def spreader_of(
    settings: Settings,
    place: Seat,
    cluster: Cluster | None,
    owners: Owners,
    *,
    conducts: Callable[[], bool],
    orders: PurgeOrders,
    purge: Purge,
    announcer: Announcer,
    clock: Callable[[], float],
) -> Spreader | None:
    """What spreads orders, for the worker in this seat; None if the node is alone. Raises ConfigError."""
    if settings.cluster is None or cluster is None:
        return None
    journal = _journal(settings, place, clock)
    hands = Hands(journal, orders, purge, announcer, clock=clock)
    nodes = cluster.nodes
    spreader = Spreader(
        journal,
        nodes,
        hands.carry_out,
        bus=_bus_maker(settings.cluster),
        conducts=conducts,
        tell=lambda: owners.reports(SPREAD),
        outdate=hands.outdate,
        terms=SpreadTerms(settings.cluster.purge_blind_max, WhenBlind(settings.cluster.when_blind)),
        now=nodes.loop.time,
        is_first=place.worker == 0,
    )
    nodes.orders[TARGET] = spreader.exchange.answer
    cluster.copies.covers = spreader.covers
    return spreader


def _journal(settings: Settings, place: Seat, clock: Callable[[], float]) -> OrderJournal:
    """In the state directory; without one where the workers' sockets are, as long as the node runs."""
    name = f"orders-{settings.node}.sqlite"
    if place.state is not None:
        return OrderJournal(place.state / name, settings.node, clock=clock)
    directory = Path(place.peers[0]).parent if place.peers else Path(tempfile.mkdtemp(prefix="shield-"))
    return OrderJournal(directory / name, settings.node, clock=clock, is_kept=False)


def _bus_maker(cluster: ClusterSettings) -> Callable[[], Bus] | None:
    url = cluster.bus
    if url is None:
        return None
    address = engine_address(url.get_secret_value())
    return lambda: EngineBus(address, prefix=cluster.bus_prefix)
