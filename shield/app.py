"""The composition root: everything is made and wired here, and only here are settings seen.

Each object gets its own few values. What a running node offers to its worker is `Node`.
"""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import IO

from starlette.applications import Starlette

from shield import __version__
from shield.admin.api import admin_api
from shield.config.origin import OriginSettings
from shield.config.settings import LimitSettings, Settings, TierSettings
from shield.edge.asgi import Application
from shield.edge.front import Listener
from shield.edge.guard import Guard, GuardedFront
from shield.edge.limits import ClientLimits
from shield.edge.tls import server_context
from shield.errors import ConfigError, StoreError
from shield.figures import disk_families, labelled, number
from shield.fill.buffer import FillMemory
from shield.fill.fill import FillPolicy
from shield.fill.table import FillTable
from shield.observe.access import AccessLog
from shield.observe.counters import Counters
from shield.observe.metrics import Family, Sample
from shield.observe.report import Report, together
from shield.origin.dial import Endpoint
from shield.origin.origin import Origin
from shield.origin.origins import Origins
from shield.origin.pool import Pool
from shield.origin.resolver import Resolver
from shield.origin.signer import Credentials, Signer
from shield.origin.terms import PoolLimits, Timeouts
from shield.origin.tls import client_context
from shield.peers.front import REPORT, PeerFront, PeerProxy
from shield.peers.owners import Owners, Ring
from shield.proxy import Proxy
from shield.purge import Purge
from shield.reply import Replies
from shield.rules.access import AccessRules, Rule
from shield.rules.headers import via
from shield.rules.loops import Gateway
from shield.rules.targeted import SURROGATE, capability
from shield.shared import SLOTS, Place, Standing
from shield.store.admission import Admission
from shield.store.directory.files import Files
from shield.store.directory.log import Limits as DiskLimits
from shield.store.disk import Disk, Tier
from shield.store.memory import MemoryTier
from shield.store.tiers import Store
from shield.store.volume import Holder, Volume, boot_id

Clock = Callable[[], float]

_MEAN_ENTRY = 40 << 10


class Node:
    """One node, wired and ready to be listened for. Made on the event loop that it runs on; `close` it."""

    def __init__(self, settings: Settings, *, place: Place, clock: Clock, access_stream: IO[str]) -> None:
        self.name = settings.node
        self.ready = True
        self.connections = 0  # clients', counted by the worker
        self.loop_lag_seconds = 0.0

        self._started = clock()
        self._clock = clock
        self._counters = Counters()
        self._store = _store(settings, place, clock)
        self._place = place
        self._origins = _origins(settings, place.workers, clock)
        self._owners = _owners(settings, place, self._origins, clock)
        member = via(b"1.1", settings.node)
        fills = settings.cache.fills
        self._fills = FillTable(
            self._owners,
            self._store,
            FillMemory(fills.memory // place.workers),
            policy=FillPolicy(
                linger_seconds=fills.linger, small_bytes=fills.small, hit_for_miss_seconds=fills.hit_for_miss
            ),
            via=member,
            clock=clock,
        )
        replies = Replies(
            node=settings.node,
            via=member,
            retry_after_seconds=settings.failover.retry_after,
            server=None if settings.server is None else settings.server.encode(),
            cache_status=settings.cache_status,
        )
        routes, limits = (
            settings.route_table(),
            _limits(settings.limits, place.workers, memory=settings.cache.memory.capacity),
        )
        self.proxy = Proxy(routes, self._store, self._fills, replies=replies, counters=self._counters, clock=clock)
        self.purge = Purge(routes, self._store)
        peers = PeerProxy(
            routes,
            self._store,
            self._fills,
            replies=replies,
            owns=self._owners.owns,
            report=lambda: self.report().encoded(),
            clock=clock,
        )
        self._peer_counters = peers.counters
        self._access = _access_log(settings, place, access_stream)
        self.guard = Guard(access_rules(settings), resolve=self.proxy.resolve)
        self.front = GuardedFront(
            self.proxy, limits, listener=Listener.TCP, guard=self.guard, access=self._access, clock=clock
        )
        self.peers = PeerFront(peers, limits, clock=clock)
        self.asgi = Application(self.proxy, limits, listener=Listener.TCP, guard=self.guard, access=self._access)
        self.admin: Starlette = admin_api(
            is_ready=self._is_ready,
            report=self._report_of_all,
            remove=self.purge.targets,
            remove_prefix=self.purge.prefix,
            hosts=settings.admin.hosts,
        )

    def tick(self) -> None:
        """What is due once a second."""
        self._store.tick()
        if self._access is not None:
            self._access.flush()

    async def close(self) -> None:
        """End what is under way and every connection to an origin."""
        self._fills.cancel_all()
        await self._owners.close()
        await self._origins.close()
        await self._store.close()
        if self._access is not None:
            await self._access.close()

    def report(self) -> Report:
        """This worker's figures."""
        return Report(self.state(), self._families())

    async def _report_of_all(self) -> Report:
        """The node's, as far as its workers answer."""
        reports = [self.report().encoded(), *await self._owners.reports(REPORT)]
        return together([Report.decoded(report) for report in reports])

    def _is_ready(self) -> bool:
        """Whether all of the node serves and goes on to."""
        alone = self._place.workers == 1
        return self.ready and (alone or set(self._place.shared.standing) == {Standing.SERVING})

    def state(self) -> Mapping[str, object]:
        """What this worker is doing, for people."""
        return {
            "node": self.name,
            "version": __version__,
            "ready": self.ready,
            "uptime_seconds": round(self._clock() - self._started, 1),
            "connections": self.connections,
            "loop_lag_seconds": round(self.loop_lag_seconds, 4),
            "requests": {"plain_hit": self._counters.hits, **self._counters.requests},
            "sent_bytes": self._counters.sent_bytes,
            **asdict(self._store.statistics()),
            "fills": asdict(self._fills.statistics()),
            "peers": {**asdict(self._owners.statistics()), "requests": self._peer_requests()},
            "origins": {origin.name: asdict(origin.statistics()) for origin in self._origins.all()},
        }

    def _peer_requests(self) -> dict[str, int]:
        """Other workers' requests by what became of them."""
        counters = self._peer_counters
        return {**counters.requests, "hit": counters.requests.get("hit", 0) + counters.hits}

    def _families(self) -> list[Family]:
        counters = self._counters
        store, fills = self._store.statistics(), self._fills.statistics()
        memory = store.memory
        origins = [(origin.name, origin.statistics()) for origin in self._origins.all()]
        words = {**counters.requests, "hit": counters.requests.get("hit", 0) + counters.hits}
        dropped = 0 if self._access is None else self._access.dropped
        return [
            labelled("requests", "Requests by what became of them", "cache", words),
            labelled("denied", "Requests not let in, by the rule that didn't hold", "rule", self.guard.denied),
            number("sent_bytes", "Body bytes sent to clients", counters.sent_bytes),
            number("connections", "Open client connections", self.connections, gauge=True),
            Family(
                "loop_lag_seconds",
                "How late the event loop was last",
                [Sample(self.loop_lag_seconds)],
                gauge=True,
                alike=True,
            ),
            number("memory_entries", "Entries in the RAM tier", memory.entries, gauge=True),
            number("memory_used_bytes", "Bytes used in the RAM tier", memory.used_bytes, gauge=True),
            number("memory_capacity_bytes", "Bytes the RAM tier may use", memory.capacity_bytes, gauge=True),
            number("memory_evictions", "Entries evicted from the RAM tier", memory.evictions),
            number("fills_in_flight", "Fills under way", fills.in_flight, gauge=True),
            number("fills", "Fills started", fills.started),
            number("fills_collapsed", "Requests that joined a fill under way", fills.collapsed),
            number("fills_broken", "Fills that failed after their head was sent", fills.broken),
            number("fills_memory_used_bytes", "Bytes reserved by fills", fills.memory_used_bytes, gauge=True),
            labelled(
                "peer_requests", "Requests of other workers by what became of them", "cache", self._peer_requests()
            ),
            number("peer_fetches", "Fetches that went to another worker", self._owners.statistics().asked),
            number(
                "peer_fetches_done_without",
                "Fetches of another worker's keys that went to origins since it gave no answer",
                self._owners.statistics().done_without,
            ),
            labelled(
                "origin_fetches", "Requests sent to an origin", "origin", {name: o.fetches for name, o in origins}
            ),
            labelled(
                "origin_absent", "Objects an origin didn't have", "origin", {name: o.absent for name, o in origins}
            ),
            Family(
                "origin_faults",
                "Attempts at an origin that failed",
                [
                    Sample(count, {"origin": name, "fault": fault})
                    for name, o in origins
                    for fault, count in o.faults.items()
                ],
            ),
            Family(
                "origin_connections",
                "Connections to an origin",
                [
                    Sample(count, {"origin": name, "state": state})
                    for name, o in origins
                    for state, count in (("idle", o.pool.idle), ("busy", o.pool.busy))
                ],
                gauge=True,
            ),
            number("access_log_dropped", "Access log lines lost", dropped),
            *([] if store.disk is None else disk_families(store.disk)),
        ]


def build(
    settings: Settings,
    *,
    clock: Clock = time.time,
    access_stream: IO[str] | None = None,
    place: Place | None = None,
) -> Node:
    """A node of these settings, or one worker of it. Call it on the event loop.

    Raises ConfigError for what can't be used.
    """
    return Node(settings, place=place or Place(), clock=clock, access_stream=access_stream or sys.stdout)


def _store(settings: Settings, place: Place, clock: Clock) -> Store:
    """The tiers of one worker. Raises ConfigError when another node has one of the directories."""
    cache = settings.cache
    capacity = cache.memory.capacity // place.workers
    memory = MemoryTier(capacity=capacity, max_entry=min(cache.memory.max_entry or capacity // 8, capacity))
    if not cache.tiers:
        return Store(memory, place.shared)
    disk = Disk(place.shared, clock=clock)
    holder = Holder(settings.node, boot_id(), place.worker)
    files = Files()
    max_open = files.max_open() // 4 // sum(len(tier.directories) for tier in cache.tiers)
    tiers = []
    for level, tier in enumerate(cache.tiers):
        volumes = [
            Volume(
                directory.path,
                DiskLimits(capacity=directory.capacity, free_floor=directory.free_floor, max_open=max_open),
                holder=holder,
                files=files,
                judge=disk.judge(level),
            )
            for directory in tier.directories
        ]
        tiers.append(Tier(tier.name, level, volumes, [directory.capacity for directory in tier.directories]))
    try:
        disk.open(tiers)
    except StoreError as error:
        raise ConfigError([str(error)]) from None
    admission = Admission(_entries(cache.tiers) // place.workers) if cache.admission == "repeated" else None
    return Store(memory, place.shared, disk=disk, slice_bytes=cache.slice_bytes, admission=admission)


def hit_slots(settings: Settings) -> int:
    """Counters of hits: about one for each entry that the disks may hold, in powers of two; a byte each."""
    return min(max(SLOTS, 1 << (_entries(settings.cache.tiers) - 1).bit_length()), 1 << 26)


def _entries(tiers: Sequence[TierSettings]) -> int:
    """About how many entries fit into tiers, of an image platform's."""
    capacity = sum(directory.capacity for tier in tiers for directory in tier.directories)
    return max(1, capacity // _MEAN_ENTRY)


def listener_tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS of the listeners for clients, if they speak it. Raises ConfigError."""
    tls, rules = settings.tls, access_rules(settings)
    if tls is None:
        return None
    certificate = None if settings.access is None else settings.access.client_certificate
    return server_context(
        tls.certificate_file,
        tls.key_file,
        client_ca_file=None if certificate is None else certificate.ca_file,
        client_needed=rules is not None and rules.always(Rule.CLIENT_CERTIFICATE),
    )


def access_rules(settings: Settings) -> AccessRules | None:
    """Who may ask; None where nothing is said of it."""
    if settings.access is None:
        return None
    return settings.access.rules({name: route.access for name, route in settings.routes.items()})


def signer(settings: Settings, name: str) -> Signer:
    """What signs for an origin. Raises ConfigError."""
    origin, credentials = settings.origins[name], None
    if origin.access_key_id is not None and origin.secret_key is not None:
        token = origin.session_token
        try:
            credentials = Credentials(
                origin.access_key_id.get_secret_value(),
                origin.secret_key.get_secret_value(),
                token.get_secret_value() if token is not None else None,
            )
        except ValueError as error:
            raise ConfigError([f"origins.{name}.{error}"]) from None
    routes = settings.route_table()
    tells_digests = any(name in route.origins and route.fields.digests != "off" for route in routes)
    return Signer(
        origin.profile, origin.location(), credentials, asks_checksums=tells_digests and origin.profile.checksums
    )


def _origins(settings: Settings, workers: int, clock: Clock) -> Origins:
    made = [
        _origin(
            name,
            origin,
            workers,
            signer=signer(settings, name),
            gateway=_gateway(settings, name),
        )
        for name, origin in settings.origins.items()
    ]
    return Origins(made, deadline_seconds=settings.failover.deadline, clock=clock)


def _gateway(settings: Settings, name: str) -> Gateway:
    """How an origin of that name is told who asks."""
    node = settings.node.encode()
    heeds = any(name in route.origins and SURROGATE in route.freshness.targeted for route in settings.route_table())
    return Gateway(node, via(b"1.1", settings.node), capability=capability(node) if heeds else b"")


def _owners(settings: Settings, place: Place, origins: Origins, clock: Clock) -> Owners:
    """The node's workers as a source, with a little more patience than each of them has with origins."""
    standing, times = place.shared.standing, [origin.timeouts for origin in settings.origins.values()]
    ring = Ring(place.worker, place.peers, is_down=lambda worker: standing[worker] != Standing.SERVING)
    timeouts = Timeouts(
        connect=1.0,
        first_byte=settings.failover.deadline + 1.0,
        between_bytes=max(each.between_bytes for each in times) + 5.0,
        total=max(each.total for each in times) + 5.0,
    )
    return Owners(origins, ring, node=settings.node, timeouts=timeouts, clock=clock)


def _origin(name: str, origin: OriginSettings, workers: int, *, signer: Signer, gateway: Gateway) -> Origin:
    where = origin.location()
    context = client_context(origin.ca_file) if where.tls else None
    times = origin.timeouts
    return Origin(
        name,
        role=origin.role,
        provider=origin.profile,
        signer=signer,
        pool=Pool(
            Endpoint(name, where.host, where.port, context, where.host if where.tls else None),
            timeouts=Timeouts(
                connect=times.connect,
                first_byte=times.first_byte,
                between_bytes=times.between_bytes,
                total=times.total,
            ),
            limits=PoolLimits(connections=-(-origin.connections // workers)),
            resolver=Resolver(where.host, where.port, refresh=origin.dns_refresh),
        ),
        denied_is_absent=origin.access_denied_is_absent,
        passes_errors=origin.pass_errors,
        gateway=gateway,
    )


def _limits(limits: LimitSettings, workers: int, *, memory: int) -> ClientLimits:
    return ClientLimits(
        keep_alive_seconds=round(limits.keep_alive),
        head_seconds=round(limits.head),
        send_seconds=round(limits.send),
        send_bytes=limits.send_bytes,
        unsent_bytes=(limits.unsent or memory) // workers,
        max_connections=-(-limits.connections // workers),
        max_connections_per_address=-(-limits.connections_per_address // workers),
        max_requests=limits.requests,
        max_pipelined=limits.pipelined,
        max_head_bytes=limits.head_bytes,
        max_target_bytes=limits.target_bytes,
        max_fields=limits.fields,
    )


def _access_log(settings: Settings, place: Place, stream: IO[str]) -> AccessLog | None:
    if settings.log.access == "off":
        return None
    only, alone = settings.log.access == "misses", place.shared.writing_out
    return AccessLog(stream, misses_only=only, alone=alone)
