"""The cluster of a node: the other nodes as a source of fills, and the listener for them."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from shield.build.origins import among_workers
from shield.cluster_figures import ClusterFigures
from shield.config.cluster import ClusterTls
from shield.config.settings import Settings
from shield.edge.tls import ServerContext, server_context
from shield.errors import ConfigError
from shield.fill.table import FillTable
from shield.observe.accounting import Accounting
from shield.observe.counters import Counters
from shield.observe.top import TopLists
from shield.origin.origin import Origin
from shield.origin.origins import Origins
from shield.origin.terms import Timeouts
from shield.peers.behind import Behind
from shield.peers.cluster import Cluster
from shield.peers.copies import SHARE, HotCopies
from shield.peers.members import DnsMembers
from shield.peers.node_front import NodeFront, NodeProxy
from shield.peers.nodes import Nodes
from shield.peers.other import NodeMember
from shield.peers.owners import Owners
from shield.peers.parting import Parting
from shield.proxy import Proxy
from shield.regime import InForce, Regime
from shield.reply import Replies
from shield.rules.beyond import RegionOffer
from shield.rules.key import CacheKey
from shield.rules.peer_secrets import PeerSecrets
from shield.shared import Seat
from shield.store.tiers import Store


@dataclass(frozen=True, slots=True)
class ClusterParts:
    """What a worker has of the cluster, as a service of the node. `counters` are those of other nodes' requests."""

    cluster: Cluster
    front: NodeFront
    proxy: NodeProxy
    counters: Counters
    members: DnsMembers | None = None  # None: the settings name them
    name: str = "the cluster"

    def figures(self) -> ClusterFigures:
        return ClusterFigures(self.cluster, self.proxy, self.counters)

    async def open(self) -> None:
        if self.members is not None:
            await self.members.open()

    def tick(self) -> None:
        if self.members is not None:
            self.members.tick()
        self.cluster.nodes.tick()
        self.cluster.copies.tick()
        self.cluster.behind.tick()

    async def close(self) -> None:
        if self.members is not None:
            await self.members.close()
        await self.proxy.close()
        await self.cluster.nodes.close()


def cluster_parts(
    settings: Settings,
    place: Seat,
    cluster: Cluster,
    in_force: InForce,
    store: Store,
    fills: FillTable,
    *,
    replies: Replies,
    owns: Callable[[CacheKey], bool],
    clock: Callable[[], float],
) -> ClusterParts:
    """What answers other nodes, for the worker in this seat, which `owns` keys among those of its node."""
    counters = Counters()
    proxy = NodeProxy(
        in_force,
        store,
        fills,
        replies=replies,
        accounting=Accounting(counters),
        owns=owns,
        private={},
        clock=clock,
    )
    has_tls = settings.cluster is not None and settings.cluster.tls is not None
    proxy.join(cluster, workers=place.workers, is_tls=has_tls)
    proxy.position = cluster.position
    _compare_prices(settings, cluster, in_force)
    front = NodeFront(proxy, in_force.regime.limits, clock=clock)
    in_force.followed_by(front.follow)
    members, dns = None, None if settings.cluster is None else settings.cluster.dns
    if settings.cluster is not None and dns is not None:
        members = DnsMembers(cluster.nodes, dns.host, dns.port, settings.cluster.address)
    return ClusterParts(cluster, front, proxy, counters, members)


def _compare_prices(settings: Settings, cluster: Cluster, in_force: InForce) -> None:
    """Have the cluster compare prices of regions, and tell other nodes of those here."""
    given = None if settings.cluster is None else settings.cluster.price
    sending, nodes = None if given is None else given.price, cluster.nodes

    def offer() -> RegionOffer:
        known = cluster.prices()
        return RegionOffer({name: price for name in nodes.near if (price := known.get(name)) is not None}, sending)

    def follow(regime: Regime) -> None:
        cluster.exchanges = {route.name: route.exchange for route in regime.routes}

    nodes.own_offer = offer
    follow(in_force.regime)
    in_force.followed_by(follow)


def handing_over(
    cluster: Cluster | None, proxy: Proxy, store: Store, fills: FillTable, tops: TopLists
) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
    """What hands the hottest entries to other nodes before this one stops; nothing if it is alone."""
    return () if cluster is None else (Parting(cluster, proxy, store, fills, tops).hand_over,)


def nodes_tls(settings: Settings) -> ServerContext | None:
    """TLS of the listener for other nodes, if they use it. Raises ConfigError."""
    tls = None if settings.cluster is None else settings.cluster.tls
    if tls is None:
        return None
    try:
        return server_context(tls.certificate_file, tls.key_file, client_ca_file=tls.ca_file)
    except ConfigError as error:
        raise ConfigError([f"cluster.{problem}" for problem in error.problems]) from None


@dataclass(frozen=True, slots=True)
class NodesTls:
    """Both ends of connections between nodes, for handshakes to come. `contents` tells it from others."""

    server: ServerContext
    client: ssl.SSLContext
    contents: bytes


def renewed_tls(settings: Settings) -> NodesTls | None:
    """Certificates of connections between nodes, as their files are now; None: plain. Raises ConfigError."""
    tls, server = None if settings.cluster is None else settings.cluster.tls, nodes_tls(settings)
    if tls is None or server is None:
        return None
    client, read = _client_tls(tls), hashlib.sha256()
    for file in (tls.certificate_file, tls.key_file, tls.ca_file):
        try:
            read.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise ConfigError([f"cluster.tls: {file} can't be read: {error.strerror}"]) from None
    return NodesTls(server, client, read.digest())


def _client_tls(tls: ClusterTls) -> ssl.SSLContext:
    """TLS of connections to other nodes: a certificate of the cluster's authority is all that they have to show,
    since they are found by addresses. Raises ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(tls.ca_file)
        context.load_cert_chain(tls.certificate_file, tls.key_file, password="")
    except OSError as error:  # ssl.SSLError is one
        why = "they aren't in PEM, or don't belong together" if isinstance(error, ssl.SSLError) else error.strerror
        files = f"{tls.certificate_file}, {tls.key_file} and {tls.ca_file}"
        raise ConfigError([f"cluster.tls: {files} can't be used: {why}"]) from None
    return context


def members_of(settings: Settings) -> dict[str, NodeMember]:
    """The nodes that the settings name; this one alone if DNS does."""
    cluster = settings.cluster
    if cluster is None or cluster.dns is not None:
        return {settings.node: NodeMember(settings.node, "", 0)}
    return {
        name: NodeMember(name, node.address.host, node.address.port, node.weight, node.region or "")
        for name, node in cluster.nodes.items()
    }


def timeouts_of(settings: Settings) -> Timeouts:
    """Towards other nodes, as towards workers of this one."""
    return among_workers(settings)


def cluster_of(
    settings: Settings, place: Seat, owners: Owners, origins: Origins, store: Store, clock: Callable[[], float]
) -> Cluster | None:
    """The other nodes as a source of fills, for the worker in this seat; None if this node is alone. Raises
    ConfigError.
    """
    cluster = settings.cluster
    if cluster is None:
        return None
    timeouts = timeouts_of(settings)
    nodes = Nodes(
        settings.node,
        members_of(settings),
        workers=place.workers,
        timeouts=timeouts,
        secrets=PeerSecrets(cluster.secrets()),
        tls=None if cluster.tls is None else _client_tls(cluster.tls),
        clock=clock,
        near=cluster.near,
    )
    copies = HotCopies(store, capacity=settings.cache.memory.capacity // place.workers // SHARE)
    made = Cluster(owners, nodes, copies, Behind(store), timeouts=timeouts, clock=clock)
    made.distance = lambda name: _first_byte(origins.get(name))
    return made


def _first_byte(origin: Origin) -> float:
    """Its median time to the first byte, of the size class that is fastest; 0.0 before it was measured."""
    return min([each.first_byte for each in origin.seen.timings.timings() if each.first_byte], default=0.0)
