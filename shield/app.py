"""The composition root: settings in, a node out. All parts meet here; each is made in `build`, or of a few values."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from shield.admin.alarms import alarming
from shield.admin.announce import announcing
from shield.admin.api import admin_api
from shield.admin.auditing import AuditFile, AuditLog, auditing
from shield.admin.budgets import budgeting
from shield.admin.configuration import configuring
from shield.admin.decisions import deciding
from shield.admin.doorkeeper import Doorkeeper
from shield.admin.drill import drilling
from shield.admin.entries import entry_routes
from shield.admin.feed import LiveFeed
from shield.admin.listener import AdminListener
from shield.admin.livelog import log_route
from shield.admin.log_level import log_level_routes
from shield.admin.origins import OriginOrders, origin_routes
from shield.admin.page import page_routes
from shield.admin.purge import purge_routes
from shield.admin.ramps import ramp_routes
from shield.admin.reload import Reload, reloading
from shield.admin.removal import removal
from shield.admin.suspects import suspecting
from shield.admin.takedown import takedown
from shield.admin.top import top_route
from shield.admin.upgrade import Upgrade, upgrading
from shield.admin.warm import warming
from shield.admin.watching import figure_routes, health_routes
from shield.alarms.memory import file_of
from shield.alarms.signs import OwnSigns, troubles_of_node
from shield.alarms.watch import AlarmSources, AlarmWatch
from shield.announce import Announcer
from shield.build.alarms import alarm_terms
from shield.build.cluster import cluster_of, cluster_parts, handing_over
from shield.build.drills import drill_terms
from shield.build.edges import edge_doubts_of, edge_purges_of
from shield.build.edition import Edition
from shield.build.fills import fill_policy, spot_terms
from shield.build.inspection import Inspection
from shield.build.keys import ObtainedKeys
from shield.build.origins import blueprints, origins_of, owners_of
from shield.build.probes import probe_plan
from shield.build.regime import regime_of
from shield.build.renewal import Parts, WorkerRenewal, configuration_of
from shield.build.replies import log_requests, prices_of, replies_of, request_ids, try_log_file
from shield.build.secrets import SecretFiles
from shield.build.sights import sights_of, spike_terms
from shield.build.spreading import bus_following, spreader_of
from shield.build.storage import storage_of
from shield.build.tokens import admin_tokens
from shield.build.tracing import tracing_of
from shield.build.usage import budget_watch, keeper_of, tag_meter, usage_of
from shield.checkup import Checkup
from shield.config.settings import Settings
from shield.decisions import DecisionFiles, DecisionRecorder
from shield.distrust import Distrust
from shield.drill.drills import Drills
from shield.drill.history import DrillHistory
from shield.edge.asgi import Application
from shield.edge.front import Listener
from shield.edge.guard import Guard
from shield.edge.http2.front import ClientFront
from shield.edge.http2.traffic import Traffic
from shield.edge.rates import RateLimiter
from shield.egress.foretelling import EgressForecaster
from shield.egress.spikes import SpikeSources, SpikeWatch
from shield.figures import Figures, Vitals
from shield.fill.buffer import FillMemory
from shield.fill.means import Means
from shield.fill.spotchecks import SpotChecks
from shield.fill.table import FillTable
from shield.kept import KeptFile
from shield.node import CallbackService, Node, Services
from shield.observe.access import AccessLog
from shield.observe.accounting import Accounting
from shield.observe.continuity import Continuity
from shield.observe.counters import STANDS_FOR, Counters
from shield.observe.levels import LogLevels
from shield.observe.livelog import LiveLog
from shield.observe.output import LogOutput
from shield.observe.request_ids import RequestIds
from shield.observe.suspects import SuspectLists
from shield.observe.top import TopLists
from shield.origin.drains import Drains
from shield.origin.ramps import Ramps
from shield.peers.front import ENTRIES, LOG, REPORT, SIGNS, SPREAD, SUSPECTS, TOP, USAGE, PeerFront, PeerProxy
from shield.process import Pauses
from shield.proxy import Proxy
from shield.purge import Purge
from shield.purge_forecast import PurgeForecaster
from shield.purge_orders import PurgeOrders
from shield.purge_request import PurgeRequests
from shield.regime import InForce
from shield.rules.headers import via
from shield.shared import Seat
from shield.spread.everywhere import Everywhere
from shield.spread_figures import SpreadFigures
from shield.store.contents import Contents
from shield.store.directory.files import Files
from shield.warm import Warmer

Clock = Callable[[], float]


def build(
    settings: Settings,
    *,
    clock: Clock = time.time,
    access_stream: IO[str] | None = None,
    place: Seat | None = None,
    edition: Edition | None = None,
    files: Files | None = None,
) -> Node:
    """A node with these settings, or one worker of it, to be opened. Call it on the event loop.

    With the `edition` of these settings it follows files with secrets and certificates, and can be renewed. `files`
    stands for the system under the cache directories; None: the real one.

    Raises ConfigError for settings that can't be used.
    """
    place = place or Seat()
    vitals, counters, peer_counters, pauses = Vitals(), Counters(), Counters(), Pauses(time.perf_counter)
    accounting = Accounting(counters)
    accounting.add(counters.measure, hits=1.0 / STANDS_FOR)
    storage, origins = storage_of(settings, place, clock, files), origins_of(settings, place, clock)
    store, owners = storage.store, owners_of(settings, place, origins, clock)
    regime = regime_of(settings, workers=place.workers, generation=1 if edition is None else edition.generation)
    origins.prober.plan = probe_plan(settings, regime.routes)
    in_force = InForce(regime, origins=lambda: {origin.name for origin in origins.all()})
    origins.ranker.use(regime.routes)
    memory = FillMemory(settings.cache.fills.memory // place.workers)
    cluster = cluster_of(settings, place, owners, origins, store, clock)
    source = cluster or (owners if len(place.peers) > 1 else origins)
    means = Means(source, store, memory, policy=fill_policy(settings), via=via(b"1.1", settings.node), clock=clock)
    means.changes = place.shared.changes
    means.lag = origins.lag
    means.are_cut_off = origins.are_cut_off
    means.are_paused, means.are_saving = origins.thrift.are_paused, origins.thrift.are_saving
    spot_checks = SpotChecks(origins, store, spot_terms(settings, place.workers), clock=clock)
    means.spot_checks = spot_checks
    fills = FillTable(means)
    doorkeeper = Doorkeeper(admin_tokens(settings.admin))
    secrets, keys = SecretFiles(origins, in_force, cluster), ObtainedKeys(origins, clock=clock)
    secrets.admit = doorkeeper.admit_by
    log = AccessLog(LogOutput(access_stream or sys.stdout, alone=place.shared.writing_out))
    log_requests(settings, log, accounting, workers=place.workers)
    drills = Drills(
        place.shared.drill,
        place.worker,
        origins=origins,
        routes=in_force.origins_by_route,
        counters=counters,
        terms=drill_terms(settings),
        history=None if place.state is None else DrillHistory(place.state / f"drills-{settings.node}.jsonl"),
        clock=clock,
    )
    recorder = DecisionRecorder(
        None if place.state is None else DecisionFiles(place.state, settings.node),
        origins=origins,
        drill=place.shared.drill,
        regime=regime,
        clock=clock,
    )
    in_force.followed_by(recorder.follow)
    replies, http2 = replies_of(settings), Traffic()
    guard = Guard(in_force, RateLimiter(in_force, place.shared.rates, place.shared.rates_part))
    ids = request_ids(settings, RequestIds())
    proxy = Proxy(in_force, store, fills, replies=replies, accounting=accounting, clock=clock, ids=ids)
    contents = Contents(store, place.worker, clock=clock)
    tops = TopLists(accounting, clock=clock)
    tops.use(prices_of(settings))
    suspects = SuspectLists(accounting, clock=clock)
    suspects.use(prices_of(settings))
    tops.also = suspects.sampled
    origins.thrift.watch(suspects.asked)
    live = LiveLog(accounting, lambda query: owners.reports(LOG + b"?" + query), clock=clock)
    peer_proxy = PeerProxy(
        in_force,
        store,
        fills,
        replies=replies,
        accounting=Accounting(peer_counters),
        owns=owners.owns,
        private={
            REPORT: lambda query: figures.report().encoded(),
            SIGNS: lambda query: signs.encoded(),
            TOP: tops.answer,
            LOG: live.answer,
            ENTRIES: contents.answer,
            SUSPECTS: suspects.answer,
            USAGE: lambda query: usage().encoded(),
            SPREAD: lambda query: b"{}" if spreader is None else spreader.ring(),
        },
        clock=clock,
    )
    origins.meters.tags, usage = tag_meter(settings), usage_of(origins, counters)
    keeper = keeper_of(
        settings,
        place.state,
        own=usage,
        others=lambda: owners.reports(USAGE),
        conducts=lambda: origins.conducts,
        clock=clock,
    )
    nodes = None if cluster is None else cluster.nodes
    budgets = budget_watch(settings, origins, keeper.ledger, nodes, clock)
    sights = sights_of(suspects, tops, owners, purged=lambda: place.shared.purges[0], clock=clock)
    spikes = SpikeWatch(
        spike_terms(settings),
        SpikeSources(budgets.totals, budgets.prices, sights, lambda: origins.conducts),
        ledger=keeper.ledger,
        clock=clock,
    )
    front = ClientFront(proxy, regime.limits, listener=Listener.TCP, guard=guard, clock=clock, http2=http2)
    purge = Purge(in_force, store, means.changes, log=storage.log, clock=clock, directory=place.state)
    purge_orders = PurgeOrders(in_force, purge, node=settings.node, workers=place.workers, clock=clock)
    purge.carry_out = purge_orders.carry_out_again
    distrust = Distrust(purge_orders, clock=clock)
    origins.conductor.doubted = distrust.doubt
    announcer = Announcer(in_force, purge, store, fills)
    ramps = Ramps(origins, in_force.origins_by_route, clock=clock, directory=place.state)
    ramps.doubted = distrust.doubt
    spreader = spreader_of(
        settings,
        place,
        cluster,
        owners,
        origins,
        ramps,
        in_force=in_force,
        store=store,
        orders=purge_orders,
        purge=purge,
        announcer=announcer,
        clock=clock,
    )
    secrets.use_bus = bus_following(settings, spreader)
    edges, parting = edge_purges_of(settings, place, nodes, conducts=lambda: origins.conducts, clock=clock)
    doubts = edge_doubts_of(edges, in_force, place, purge, spot_checks, nodes, clock)
    everywhere = Everywhere(purge_orders, purge, announcer, spreader, edges)
    purge_requests = proxy.purges = PurgeRequests(everywhere, clock=clock)
    forecaster = PurgeForecaster(in_force, store, origins, workers=place.workers)
    tracing = tracing_of(settings, place, means, accounting, clock)
    warmer = Warmer(proxy, store, origins, clock=clock)
    of_cluster = None
    if cluster is not None:
        cluster.prices = budgets.prices
        of_cluster = cluster_parts(
            settings, place, cluster, in_force, store, fills, replies=replies, owns=owners.owns, clock=clock
        )
    figures = Figures(
        name=settings.node,
        started=clock(),
        clock=clock,
        vitals=vitals,
        counters=counters,
        peer_counters=peer_counters,
        guard=guard,
        warmer=warmer,
        doorkeeper=doorkeeper,
        door=front.door,
        http2=http2,
        store=store,
        fills=fills,
        owners=owners,
        origins=origins,
        drills=drills,
        spot_checks=spot_checks,
        access=log,
        purges=purge_orders,
        pauses=pauses,
        continuity=Continuity(Path(place.peers[0]).parent if place.peers else None),
        purge=purge,
        place=place,
        cluster=None if of_cluster is None else of_cluster.figures(),
        spread=None if spreader is None else SpreadFigures(spreader, lambda: origins.conducts),
        tracing=tracing.statistics,
        budgets=budgets,
        keeper=keeper,
        spikes=spikes,
        edges=edges,
    )
    terms = alarm_terms(settings)
    signs = OwnSigns(
        figures=figures,
        limits=terms.limits,
        troubles=(
            secrets.troubles,
            keys.troubles,
            storage.log.troubles,
            edges.troubles,
            *(() if spreader is None else (spreader.troubles,)),
        ),
    )
    accounting.add(signs.observe)
    alarms = AlarmWatch(
        place.shared.alarms,
        AlarmSources(
            own=signs.read,
            others=lambda: owners.reports(SIGNS),
            of_node=lambda: troubles_of_node(figures, drills, ramps),
            conducts=lambda: origins.conducts,
        ),
        terms,
        node=settings.node,
        clock=clock,
        file=KeptFile(place.state, file_of(settings.node)),
    )
    peers = PeerFront(peer_proxy, regime.limits, clock=clock)
    for each in (front, peers):
        in_force.followed_by(each.follow)
    in_force.followed_by(lambda regime: origins.ranker.use(regime.routes))

    async def cancel_fills() -> None:
        fills.cancel_all()

    def look_at_fills() -> None:
        fills.look(means.loop.time(), origins.patience)

    asgi, hosts = Application(proxy, listener=Listener.TCP, guard=guard), list(settings.admin.hosts)
    levels = LogLevels(settings.log.level, place.shared.log_level, clock=clock)
    renewal = None
    if edition is not None:
        vitals.configuration = configuration_of(edition)
        secrets.follow(edition.loaded)
        parts = Parts(
            workers=place.workers,
            vitals=vitals,
            in_force=in_force,
            origins=origins,
            drills=drills,
            owners=owners,
            nodes=nodes,
            secrets=secrets,
            keys=keys,
            store=store,
            proxies=(proxy, peer_proxy, *(() if of_cluster is None else (of_cluster.proxy,))),
            means=means,
            spot_checks=spot_checks,
            accounting=accounting,
            access=log,
            ids=ids,
            tops=tops,
            keeper=keeper,
            budgets=budgets,
            spikes=spikes,
            suspects=suspects,
            signs=signs,
            alarms=alarms,
            edges=edges,
            tracing=tracing,
            admin_hosts=hosts,
            doorkeeper=doorkeeper,
            levels=levels,
        )
        renewal = WorkerRenewal(parts, edition, blueprints(settings, place.workers))
    keys.follow(settings)
    reload, upgrade = Reload(), Upgrade()
    forecasts = EgressForecaster(
        keeper.ledger, routes=lambda: in_force.regime.routes, prices=budgets.prices, clock=clock
    )
    inspection = None if renewal is None else Inspection(renewal, forecasts, clock=clock)
    if inspection is not None:
        reload.compare = inspection.compare
    audit = AuditLog(
        None if place.state is None else AuditFile(place.state / f"audit-{settings.node}.jsonl"), clock=clock
    )
    checkup = Checkup(figures, proxy, frozen=lambda: bool(place.shared.records.frozen_at))
    proxy.health = checkup.answer
    drains = Drains(origins, in_force.origins_by_route, clock=clock, directory=place.state)
    orders = OriginOrders(
        figures.standing,
        drains.drain,
        drains.restore,
        lambda name: origins.prober.examine(origins.get(name)),
        lambda name: forecasts.takeovers(name, drains.able()),
    )

    feed = LiveFeed(figures.report_of_all, histograms=frozenset({"request_first_byte_seconds"}), clock=clock)

    services = Services(
        CallbackService("the level of the log", ticking=levels.tick),
        CallbackService("pauses", opening=pauses.begin, closing=pauses.end),
        tracing,
        CallbackService(
            "the access log", opening=lambda: try_log_file(settings), ticking=log.flush, closing=log.close
        ),
        storage,
        purge,
        purge_orders,
        CallbackService("PURGE requests", closing=purge_requests.close),
        CallbackService("doubtful entries", closing=distrust.close),
        secrets,
        keys,
        CallbackService("the pools of origins", opening=origins.open, ticking=origins.tick, closing=origins.close),
        CallbackService("ramps", ticking=ramps.tick, closing=ramps.close),
        CallbackService("drills", opening=drills.open, closing=drills.close),
        CallbackService(
            "the basis of decisions", opening=recorder.open, ticking=recorder.tick, closing=recorder.close
        ),
        CallbackService("the pools of workers", closing=owners.close),
        *([] if of_cluster is None else [of_cluster]),
        *([] if spreader is None else [spreader]),
        edges,
        doubts,
        CallbackService("comparisons of copies", closing=spot_checks.close),
        CallbackService("fills", ticking=look_at_fills, closing=cancel_fills),
        CallbackService("signs of alarms", ticking=signs.tick),
        alarms,
        CallbackService("budgets", closing=budgets.close),
        CallbackService("suspects", ticking=suspects.tick),
        CallbackService("spikes", ticking=spikes.tick, closing=spikes.close),
        CallbackService("the ledger", ticking=keeper.tick, closing=keeper.close),
        CallbackService("the live figures", closing=feed.close),
        CallbackService("what is asked for most", opening=tops.open, ticking=tops.tick),
        CallbackService("the live log", ticking=live.tick, closing=live.close),
        CallbackService("the checkup", ticking=checkup.tick, closing=checkup.close),
    )
    return Node(
        name=settings.node,
        vitals=vitals,
        in_force=in_force,
        services=services,
        secrets=secrets,
        renewal=renewal,
        reload=reload,
        upgrade=upgrade,
        figures=figures,
        checkup=checkup,
        access=log,
        front=front,
        peers=peers,
        for_nodes=None if of_cluster is None else of_cluster.front,
        asgi=asgi,
        admin=admin_api(
            [
                *health_routes(figures.readiness, checkup.fresh),
                *figure_routes(figures.report_of_all),
                removal(everywhere.remove, everywhere.remove_prefix),
                takedown(everywhere.take_down, everywhere.lift),
                announcing(everywhere.announce),
                reloading(reload),
                upgrading(upgrade.ask),
                *drilling(drills),
                *ramp_routes(ramps),
                deciding(recorder),
                budgeting(budgets.standings),
                suspecting(sights),
                warming(warmer.warm),
                alarming(alarms.shown),
                *origin_routes(orders),
                *purge_routes(everywhere, forecaster.forecast),
                auditing(audit),
                *([] if inspection is None else [configuring(inspection.show)]),
                *log_level_routes(levels),
                *entry_routes(in_force, contents, lambda query: owners.reports(ENTRIES + b"?" + query)),
                *page_routes(feed),
                top_route(lambda of, by: tops.of_all(of, by, lambda query: owners.reports(TOP + b"?" + query))),
                log_route(live),
            ],
            doorkeeper=doorkeeper,
            witness=audit,
            hosts=hosts,
            body_seconds=settings.admin.timeout,
        ),
        admin_listener=AdminListener(
            connections=settings.admin.connections, seconds=math.ceil(settings.admin.timeout)
        ),
        proxy=proxy,
        guard=guard,
        purge=purge,
        purge_orders=purge_orders,
        spreader=spreader,
        store=store,
        fills=fills,
        owners=owners,
        nodes=nodes,
        partings=(parting.leave, *handing_over(cluster, proxy, store, fills, tops)),
        origins=origins,
        drills=drills,
        alarms=alarms,
        tracing=tracing,
    )
