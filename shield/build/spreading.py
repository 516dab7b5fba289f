"""Orders between the nodes of a cluster: their journal, the bus, and what carries them out."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from shield.announce import Announcer
from shield.bus.address import engine_address
from shield.bus.bus import Bus
from shield.bus.engine import EngineBus
from shield.config.cluster import ClusterSettings
from shield.config.settings import Settings
from shield.errors import StoreError
from shield.origin.origins import Origins
from shield.origin.ramps import Ramps
from shield.peers.called import CalledNodes
from shield.peers.cluster import Cluster
from shield.peers.front import SPREAD
from shield.peers.nodes import Nodes
from shield.peers.owners import Owners
from shield.purge import Purge
from shield.purge_orders import PurgeOrders
from shield.regime import InForce
from shield.rules.rate_limit import CLOSED
from shield.shared import Seat
from shield.spread.exchange import TARGET
from shield.spread.hands import Hands
from shield.spread.hints import Hints
from shield.spread.journal import OrderJournal
from shield.spread.limits import ClusterLimits
from shield.spread.outdating import Outdating
from shield.spread.sight import SpreadTerms, WhenBlind
from shield.spread.spreader import Spreader
from shield.store.tiers import Store


def spreader_of(
    settings: Settings,
    place: Seat,
    cluster: Cluster | None,
    owners: Owners,
    origins: Origins,
    ramps: Ramps,
    *,
    in_force: InForce,
    store: Store,
    orders: PurgeOrders,
    purge: Purge,
    announcer: Announcer,
    clock: Callable[[], float],
) -> Spreader | None:
    """What spreads orders, for the worker in this seat; None if the node is alone. Raises ConfigError."""
    if settings.cluster is None or settings.cluster.bus is None:
        place.shared.rates_part[0] = 0  # of a program before this one, with a bus
    if settings.cluster is None or cluster is None:
        return None
    journal = _journal(settings, place, clock)
    hands = Hands(journal, orders, purge, announcer, clock=clock)
    nodes = cluster.nodes
    called = CalledNodes(nodes)
    hints = Hints(
        origins,
        ramps,
        store,
        journal,
        others=called.others,
        region=called.region,
        worker=place.worker,
        workers=place.workers,
        conducts=lambda: origins.conducts,
        now=nodes.loop.time,
        clock=clock,
    )
    origins.ranker.prior, ramps.elsewhere = hints.prior, hints.elsewhere
    spreader = Spreader(
        journal,
        called,
        hands.carry_out,
        bus=_bus_maker(settings.cluster),
        conducts=lambda: origins.conducts,
        hints=hints,
        tell=lambda: owners.reports(SPREAD),
        outdating=Outdating(journal, hands.outdate, seconds=settings.cluster.gap_pace, clock=clock),
        terms=SpreadTerms(settings.cluster.purge_blind_max, WhenBlind(settings.cluster.when_blind)),
        now=nodes.loop.time,
        clock=clock,
        doubt=store.doubt,
        is_empty=lambda: _is_empty(store),
        is_first=place.worker == 0,
        limits=None if settings.cluster.bus is None else _limits(settings.cluster, place, nodes, in_force, clock),
    )
    nodes.orders[TARGET] = spreader.answer
    nodes.early.add(TARGET)
    cluster.copies.covers = cluster.behind.covers = spreader.covers
    cluster.behind.owes = lambda name: spreader.owed.lacks(nodes.called_of(name))
    cluster.position = spreader.position
    return spreader


def _is_empty(store: Store) -> bool:
    """Whether nothing is on any disk; RAM is empty at the start. Blocks."""
    directories = store.directories()
    try:
        return len(directories) == len(store.volumes()) and all(directory.is_empty() for directory in directories)
    except (OSError, StoreError):
        return False


def _limits(
    cluster: ClusterSettings, place: Seat, nodes: Nodes, in_force: InForce, clock: Callable[[], float]
) -> ClusterLimits:
    is_closed = cluster.limits_without_bus == "closed"
    return ClusterLimits(
        place.shared.rates,
        place.shared.rates_part,
        alone=lambda: CLOSED if is_closed else len(nodes.others()) + 1,
        clock=clock,
        are_there=lambda: in_force.regime.rates is not None,
    )


def _journal(settings: Settings, place: Seat, clock: Callable[[], float]) -> OrderJournal:
    """In the state directory; without one in the node's private directory, as long as it runs."""
    name = f"orders-{settings.node}.sqlite"
    if place.state is not None:
        return OrderJournal(place.state / name, settings.node, clock=clock)
    directory = place.private or passing_directory()
    return OrderJournal(directory / name, settings.node, clock=clock, is_kept=False)


def passing_directory() -> Path:
    """One that is gone with this process."""
    made = tempfile.mkdtemp(prefix="shield-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def bus_following(settings: Settings, spreader: Spreader | None) -> Callable[[ClusterSettings], bool]:
    """What has a spreader use the bus of other settings, as of `SecretFiles.use_bus`. Whether there is one at all is
    decided at the start."""
    used = None if settings.cluster is None else _bus_of(settings.cluster)

    def use(cluster: ClusterSettings) -> bool:
        nonlocal used
        wanted, make = _bus_of(cluster), _bus_maker(cluster)
        if spreader is None or used is None or make is None or wanted == used:
            return False
        used = wanted
        spreader.use_bus(make)
        return True

    return use


def _bus_of(cluster: ClusterSettings) -> tuple[str, str] | None:
    return None if cluster.bus is None else (cluster.bus.get_secret_value(), cluster.bus_prefix)


def _bus_maker(cluster: ClusterSettings) -> Callable[[], Bus] | None:
    url = cluster.bus
    if url is None:
        return None
    address = engine_address(url.get_secret_value())
    return lambda: EngineBus(address, prefix=cluster.bus_prefix)
