"""The composition root: settings in, a node out. Here all parts meet; each is made in `build`, or of a few values."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import IO

from shield.admin.api import admin_api
from shield.build.origins import origins_of, owners_of
from shield.build.regime import regime_of
from shield.build.secrets import SecretFiles
from shield.build.storage import storage_of
from shield.config.loading import Loaded
from shield.config.settings import Settings
from shield.edge.asgi import Application
from shield.edge.guard import Guard, GuardedFront
from shield.figures import Figures, Vitals
from shield.fill.buffer import FillMemory
from shield.fill.means import FillPolicy, Means
from shield.fill.table import FillTable
from shield.node import Node, Part, Services
from shield.observe.access import AccessLog
from shield.observe.counters import Counters
from shield.peers.front import PeerFront, PeerProxy
from shield.proxy import Proxy
from shield.purge import Purge
from shield.regime import InForce
from shield.reply import Replies
from shield.rules.headers import via
from shield.shared import Seat

Clock = Callable[[], float]


def build(
    settings: Settings,
    *,
    clock: Clock = time.time,
    access_stream: IO[str] | None = None,
    place: Seat | None = None,
    loaded: Loaded | None = None,
) -> Node:
    """A node of these settings, or one worker of it, to be opened. Call it on the event loop.

    With `loaded`, of which `settings` are, it follows files with secrets and certificates.

    Raises ConfigError for settings that can't be used.
    """
    place = place or Seat()
    vitals, counters, peer_counters = Vitals(), Counters(), Counters()
    storage, origins = storage_of(settings, place, clock), origins_of(settings, place.workers, clock)
    store, owners = storage.store, owners_of(settings, place, origins, clock)
    regime = regime_of(settings, workers=place.workers)
    in_force = InForce(regime, origins=lambda: {origin.name for origin in origins.all()})
    memory = FillMemory(settings.cache.fills.memory // place.workers)
    means = Means(owners, store, memory, policy=_policy(settings), via=via(b"1.1", settings.node), clock=clock)
    fills = FillTable(means)
    secrets = SecretFiles(origins, in_force)
    if loaded is not None:
        secrets.follow(loaded)
    access = _access_log(settings, place, access_stream or sys.stdout, clock)
    replies, guard = _replies(settings), Guard(in_force, counters=counters)
    figures = Figures(
        name=settings.node,
        started=clock(),
        clock=clock,
        vitals=vitals,
        counters=counters,
        peer_counters=peer_counters,
        guard=guard,
        store=store,
        fills=fills,
        owners=owners,
        origins=origins,
        access=access,
        place=place,
    )
    proxy = Proxy(in_force, store, fills, replies=replies, counters=counters, clock=clock)
    peer_proxy = PeerProxy(
        in_force,
        store,
        fills,
        replies=replies,
        counters=peer_counters,
        owns=owners.owns,
        report=lambda: figures.report().encoded(),
        clock=clock,
    )
    front = GuardedFront(proxy, regime.limits, guard=guard, access=access, clock=clock)
    peers = PeerFront(peer_proxy, regime.limits, clock=clock)
    for each in (front, peers):
        in_force.followed_by(each.follow)
    purge = Purge(in_force, store)

    async def cancel_fills() -> None:
        fills.cancel_all()

    services = Services(
        *([] if access is None else [Part("the access log", ticking=access.flush, closing=access.close)]),
        storage,
        secrets,
        Part("the pools of origins", closing=origins.close),
        Part("the pools of workers", closing=owners.close),
        Part("fills", closing=cancel_fills),
    )
    return Node(
        name=settings.node,
        vitals=vitals,
        in_force=in_force,
        services=services,
        secrets=secrets,
        figures=figures,
        front=front,
        peers=peers,
        asgi=Application(proxy, guard=guard, access=access),
        admin=admin_api(
            is_ready=figures.is_ready,
            report=figures.report_of_all,
            remove=purge.targets,
            remove_prefix=purge.prefix,
            hosts=settings.admin.hosts,
        ),
        proxy=proxy,
        guard=guard,
        purge=purge,
        store=store,
        fills=fills,
        owners=owners,
        origins=origins,
    )


def _policy(settings: Settings) -> FillPolicy:
    fills = settings.cache.fills
    return FillPolicy(linger_seconds=fills.linger, small_bytes=fills.small, hit_for_miss_seconds=fills.hit_for_miss)


def _replies(settings: Settings) -> Replies:
    return Replies(
        node=settings.node,
        via=via(b"1.1", settings.node),
        retry_after_seconds=settings.failover.retry_after,
        server=None if settings.server is None else settings.server.encode(),
        cache_status=settings.cache_status,
    )


def _access_log(settings: Settings, place: Seat, stream: IO[str], clock: Clock) -> AccessLog | None:
    if settings.log.access == "off":
        return None
    only, alone = settings.log.access == "misses", place.shared.writing_out
    return AccessLog(stream, misses_only=only, clock=clock, alone=alone)
