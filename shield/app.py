"""The composition root: settings in, a node out. All parts meet here; each is made in `build`, or of a few values."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import IO

from shield.admin.api import admin_api
from shield.admin.listener import AdminListener
from shield.build.origins import origins_of, owners_of
from shield.build.regime import regime_of
from shield.build.storage import storage_of
from shield.config.settings import Settings
from shield.edge.asgi import Application
from shield.edge.front import Listener
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
from shield.store.directory.files import Files

Clock = Callable[[], float]


def build(
    settings: Settings,
    *,
    clock: Clock = time.time,
    access_stream: IO[str] | None = None,
    place: Seat | None = None,
    files: Files | None = None,
) -> Node:
    """A node with these settings, or one worker of it, to be opened. Call it on the event loop.

    `files` stands for the system under the cache directories; None: the real one.
    Raises ConfigError for settings that can't be used.
    """
    place = place or Seat()
    vitals, counters, peer_counters = Vitals(), Counters(), Counters()
    storage, origins = storage_of(settings, place, clock, files), origins_of(settings, place.workers, clock)
    store, owners = storage.store, owners_of(settings, place, origins, clock)
    regime = regime_of(settings, workers=place.workers)
    in_force = InForce(regime, origins=lambda: {origin.name for origin in origins.all()})
    memory = FillMemory(settings.cache.fills.memory // place.workers)
    means = Means(owners, store, memory, policy=_policy(settings), via=via(b"1.1", settings.node), clock=clock)
    fills = FillTable(means)
    access = _access_log(settings, place, access_stream or sys.stdout, clock)
    replies, guard = _replies(settings), Guard(in_force)
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
    front = GuardedFront(proxy, regime.limits, listener=Listener.TCP, guard=guard, access=access, clock=clock)
    peers = PeerFront(peer_proxy, regime.limits, clock=clock)
    for each in (front, peers):
        in_force.followed_by(each.follow)
    purge = Purge(in_force, store)

    async def cancel_fills() -> None:
        fills.cancel_all()

    services = Services(
        *([] if access is None else [Part("the access log", ticking=access.flush, closing=access.close)]),
        storage,
        Part("the pools of origins", closing=origins.close),
        Part("the pools of workers", closing=owners.close),
        Part("fills", closing=cancel_fills),
    )
    return Node(
        name=settings.node,
        vitals=vitals,
        in_force=in_force,
        services=services,
        figures=figures,
        front=front,
        peers=peers,
        asgi=Application(proxy, listener=Listener.TCP, guard=guard, access=access),
        admin=admin_api(
            readiness=figures.readiness,
            report=figures.report_of_all,
            remove=purge.targets,
            remove_prefix=purge.prefix,
            hosts=settings.admin.hosts,
            body_seconds=settings.admin.timeout,
        ),
        admin_listener=AdminListener(
            connections=settings.admin.connections, seconds=math.ceil(settings.admin.timeout)
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
    return FillPolicy(
        linger_seconds=fills.linger,
        small_bytes=fills.small,
        hit_for_miss_seconds=fills.hit_for_miss,
        persist_seconds=settings.failover.deadline,
    )


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
    return AccessLog(stream, misses_only=only, max_bytes=settings.log.access_memory // place.workers, alone=alone)
