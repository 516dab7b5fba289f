"""Purges at CDNs, made of settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from shield.build.origins import key_source
from shield.build.spreading import passing_directory
from shield.cdn.doubts import EdgeDoubts
from shield.cdn.keys import EdgeKeys
from shield.cdn.outbox import EdgeOutbox
from shield.cdn.parting import TAKE_CALLS, EdgeParting
from shield.cdn.passing import EdgePurges
from shield.cdn.posting import EdgeTarget
from shield.cdn.whole import PURGE_WHOLE, EdgeWhole
from shield.config.purging import PLACES, EdgeSettings
from shield.config.settings import Settings
from shield.fill.spotchecks import SpotChecks
from shield.peers.nodes import Nodes
from shield.purge import Purge
from shield.regime import InForce
from shield.rules.edge_purge import APIS, CorruptTerms, EdgeProvider, EdgeSecrets, PurgeEdge
from shield.shared import Seat


def edge_targets(settings: Settings, clock: Callable[[], float]) -> list[EdgeTarget]:
    """The CDNs to which purges are passed on."""
    return [_target(name, each, clock) for name, each in settings.purge.edges.items()]


def edge_purges_of(
    settings: Settings, place: Seat, nodes: Nodes | None, *, conducts: Callable[[], bool], clock: Callable[[], float]
) -> tuple[EdgePurges, EdgeParting]:
    """What passes purges on, for the worker in this seat, and what finishes that before a stop. What waits is in the
    state directory; without one in the node's private directory, as long as it runs.
    """

    def where() -> Path:
        directory = place.state or place.private or passing_directory()
        return directory / f"edge-purges-{settings.node}.sqlite"

    outbox = EdgeOutbox(where, is_kept=place.state is not None)
    purges = EdgePurges(outbox, edge_targets(settings, clock), conducts=conducts, clock=clock)
    parting = EdgeParting(purges, outbox, nodes, clock=clock)
    if nodes is not None:
        nodes.orders[TAKE_CALLS] = parting.take_over
    return purges, parting


def edge_doubts_of(
    edges: EdgePurges,
    in_force: InForce,
    place: Seat,
    purge: Purge,
    spot_checks: SpotChecks,
    nodes: Nodes | None,
    clock: Callable[[], float],
) -> EdgeDoubts:
    """What purges objects at CDNs that are removed here since an origin's bytes are wrong."""
    share, whole = 1.0 / place.workers, EdgeWhole(edges, nodes, clock=clock)
    if nodes is not None:
        nodes.orders[PURGE_WHOLE] = whole.answer
    doubts = EdgeDoubts(edges, whole, lambda: in_force.regime.routes, worker=place.worker, share=share, clock=clock)
    purge.doubted = doubts.note
    spot_checks.removed = lambda key, origin: doubts.note(key, origin, 0)
    return doubts


def _target(name: str, settings: EdgeSettings, clock: Callable[[], float]) -> EdgeTarget:
    provider = EdgeProvider(settings.provider)
    edge = PurgeEdge(name, provider, getattr(settings, PLACES[provider]), settings.base_url, settings.tags)
    secrets = EdgeSecrets(*map(_plain, (settings.token, settings.access_key_id, settings.secret_key)))
    corrupt = CorruptTerms(settings.corrupt_urls, settings.corrupt_all)
    given, keys = settings.credentials, None
    if given is not None:
        keys = EdgeKeys(name, key_source(given), refresh=given.refresh, clock=clock)
    return EdgeTarget(edge, settings.api or APIS[provider], secrets, settings.again, keys, corrupt)


def _plain(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
