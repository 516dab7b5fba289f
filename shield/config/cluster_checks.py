"""Checks of a cluster's settings across several values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

from shield.bus.address import engine_address
from shield.config.cluster import FILES
from shield.config.places import KeyPath, Problem, Tree, did_you_mean, nameable, shortened
from shield.config.section import ListenAddress
from shield.config.settings import Settings

_HERE: KeyPath = ("cluster",)


def cluster_problems(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """Members, addresses, and the proof that requests are theirs."""
    cluster = settings.cluster
    if cluster is None:
        return
    if cluster.dns is not None:
        if cluster.nodes:
            yield tree.problem((*_HERE, "dns"), "nodes are given too; expected one of the two")
        if not cluster.dns.port:
            yield tree.problem(
                (*_HERE, "dns"), f'got "{cluster.dns}"; expected the port of the nodes\' first workers'
            )
    elif not cluster.nodes:
        said = "there are none; expected all nodes of the cluster with their addresses, or dns"
        yield tree.problem((*_HERE, "nodes"), said)
    elif settings.node not in cluster.nodes:
        known = list(cluster.nodes)
        said = f"expected one of cluster.nodes: {' '.join(map(nameable, known))}{did_you_mean(settings.node, known)}"
        yield tree.problem(("node",), f'got "{shortened(settings.node)}"; {said}')
    if cluster.secret is None and cluster.tls is None:
        said = "there is none; expected secret or secret_file, or tls, so that nobody else can ask as a node"
        yield tree.problem((*_HERE, "secret"), said)
    if cluster.bus is not None and find_spec("redis") is None:
        yield tree.problem((*_HERE, "bus"), "it needs redis-py: pip install 'shield[cluster]'")
    if cluster.bus is not None:
        address = engine_address(cluster.bus.get_secret_value())
        for name in (address.ca_file, address.certificate_file, address.key_file):
            if name is not None and not os.access(name, os.R_OK):
                yield tree.problem((*_HERE, "bus"), f'it names "{shortened(name)}"; expected a file that can be read')
    yield from _addresses(settings, tree)
    for at, origin in enumerate(cluster.near):
        if origin not in settings.origins:
            known = list(settings.origins)
            said = f"expected one of {' '.join(map(nameable, known))}{did_you_mean(origin, known)}"
            yield tree.problem((*_HERE, "near", at), f'got "{shortened(origin)}"; {said}')
    for path in FILES:
        file = tree.get(path)
        if path[-1] not in ("secret_file", "bus_file") and isinstance(file, str) and not os.access(file, os.R_OK):
            yield tree.problem(path, f'got "{shortened(file)}"; expected a file that can be read')


def _addresses(settings: Settings, tree: Tree) -> Iterator[Problem]:
    """Each node has addresses of its own, with a port for each worker."""
    cluster = settings.cluster
    assert cluster is not None
    taken: dict[ListenAddress, str] = {}
    for name, node in cluster.nodes.items():
        path: KeyPath = (*_HERE, "nodes", name)
        address = node.address
        if not address.port or address.port + settings.workers > 65_536:
            said = f"expected a port from 1 to {65_536 - settings.workers}: each worker has its own, from there on"
            yield tree.problem(path, f'got "{address}"; {said}')
        other = taken.setdefault(address, name)
        if other != name:
            yield tree.problem(path, f'got "{address}", which {nameable(other)} has; expected another')
    own = {str(cluster.listens_on(settings.node, worker)) for worker in range(settings.workers)}
    others = [*[("listen", each) for each in settings.listen if each.port], ("admin.listen", settings.admin.listen)]
    for key, used in others:
        if str(used) in own:
            said = f"{key} has {used}, which is for other nodes: each worker has a port; expected another"
            yield tree.problem((*_HERE, "listen") if cluster.listen else (*_HERE, "nodes", settings.node), said)
