"""The regime that settings describe. Pure: nothing is opened, so that settings can be tried before they hold."""

from __future__ import annotations

from shield.config.access_checks import unshared
from shield.config.settings import LimitSettings, Settings
from shield.errors import ConfigError
from shield.regime import Regime
from shield.rules.access import AccessRules
from shield.rules.limits import ClientLimits


def regime_of(settings: Settings, *, workers: int, generation: int = 1) -> Regime:
    """What these settings say of routes, access and limits, for one of so many workers. Raises ConfigError."""
    problems = unshared(settings)
    if problems:
        raise ConfigError(problems)
    return Regime(
        settings.route_table(),
        access_rules(settings),
        _limits(settings.limits, workers, memory=settings.cache.memory.capacity),
        generation,
    )


def access_rules(settings: Settings) -> AccessRules | None:
    """The rules by which clients are let in; None where nothing is said of it."""
    if settings.access is None:
        return None
    return settings.access.rules({name: route.access for name, route in settings.routes.items()})


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
