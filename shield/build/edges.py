"""Purges at CDNs, made of settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from shield.build.spreading import passing_directory
from shield.cdn.outbox import EdgeOutbox
from shield.cdn.passing import EdgePurges
from shield.cdn.posting import EdgeTarget
from shield.config.purging import PLACES, EdgeSettings
from shield.config.settings import Settings
from shield.rules.edge_purge import APIS, EdgeProvider, EdgeSecrets, PurgeEdge
from shield.shared import Seat


def edge_targets(settings: Settings) -> list[EdgeTarget]:
    """The CDNs to which purges are passed on."""
    return [_target(name, each) for name, each in settings.purge.edges.items()]


def edge_purges_of(
    settings: Settings, place: Seat, *, conducts: Callable[[], bool], clock: Callable[[], float]
) -> EdgePurges:
    """What passes purges on, for the worker in this seat. What waits is in the state directory; without one in
    the node's private directory, as long as it runs.
    """

    def where() -> Path:
        directory = place.state or place.private or passing_directory()
        return directory / f"edge-purges-{settings.node}.sqlite"

    return EdgePurges(EdgeOutbox(where), edge_targets(settings), conducts=conducts, clock=clock)


def _target(name: str, settings: EdgeSettings) -> EdgeTarget:
    provider = EdgeProvider(settings.provider)
    edge = PurgeEdge(name, provider, getattr(settings, PLACES[provider]), settings.base_url, settings.tags)
    secrets = EdgeSecrets(*map(_plain, (settings.token, settings.access_key_id, settings.secret_key)))
    return EdgeTarget(edge, settings.api or APIS[provider], secrets, settings.again)


def _plain(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
