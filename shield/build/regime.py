"""The regime for given settings. Pure: it opens nothing, so that settings can be tried before they are in force."""

from __future__ import annotations

from shield.config.access_checks import unshared
from shield.config.limits import AmplificationSettings
from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.regime import Regime
from shield.rules.access import AccessRules
from shield.rules.addresses import Networks
from shield.rules.amplification import AmplificationLimits
from shield.rules.limits import ClientLimits
from shield.rules.purge_access import PurgeAccess
from shield.rules.rate_limit import RateLimits

_LEAST_ADDRESSES = 4  # fewer addresses can't use up all connections


def regime_of(settings: Settings, *, workers: int, generation: int = 1) -> Regime:
    """The regime for one of `workers` workers. Raises ConfigError."""
    problems = unshared(settings)
    if problems:
        raise ConfigError(problems)
    return Regime(
        settings.route_table(),
        access_rules(settings),
        _limits(settings, workers),
        _amplification(settings.limits.amplification, workers),
        generation,
        _buckets(settings),
        _rates(settings),
        purge_access(settings),
    )


def _rates(settings: Settings) -> RateLimits | None:
    if not settings.rate_limits:
        return None
    limits = tuple(said.rule(name) for name, said in settings.rate_limits.items())
    if settings.access is None:
        return RateLimits(limits=limits)
    return RateLimits(
        limits=limits,
        trusted=Networks(settings.access.trusted_proxies),
        client_fields=frozenset(settings.access.client_fields()),
    )


def _buckets(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The origins of each bucket by its name, for announcements."""
    found: dict[str, tuple[str, ...]] = {}
    for name, origin in settings.origins.items():
        if origin.bucket is not None:
            found[origin.bucket] = (*found.get(origin.bucket, ()), name)
    return found


def access_rules(settings: Settings) -> AccessRules | None:
    """The rules by which clients are admitted; None without an access section."""
    if settings.access is None:
        return None
    return settings.access.rules(
        {name: route.access for name, route in settings.routes.items()}, settings.health.access
    )


def purge_access(settings: Settings) -> PurgeAccess | None:
    """Who may send PURGE; None: nobody."""
    return None if settings.purge_method is None else settings.purge_method.access()


def _limits(settings: Settings, workers: int) -> ClientLimits:
    limits, access, memory = settings.limits, settings.access, settings.cache.memory.capacity
    per_address, exempt = limits.connections_per_address, None
    if per_address is None:
        per_address = -(-limits.connections // _LEAST_ADDRESSES)
        exempt = None if access is None else Networks((*access.addresses, *access.trusted_proxies))
    return ClientLimits(
        keep_alive_seconds=round(limits.keep_alive),
        head_seconds=round(limits.head),
        send_seconds=round(limits.send),
        send_bytes=limits.send_bytes,
        unsent_bytes=(limits.unsent or memory) // workers,
        max_connections=-(-limits.connections // workers),
        max_connections_per_address=-(-per_address // workers),
        exempt=exempt,
        max_requests=limits.requests,
        max_rate=limits.max_rate or 0,
        max_streams=limits.streams,
        pipelined_bytes=limits.pipelined_bytes,
        max_head_bytes=limits.head_bytes,
        max_target_bytes=limits.target_bytes,
        max_fields=limits.fields,
    )


def _amplification(said: AmplificationSettings | None, workers: int) -> AmplificationLimits | None:
    if said is None:
        return None
    return AmplificationLimits(
        ratio=said.ratio,
        burst=-(-said.burst // workers),
        recovery_seconds=said.recovery,
        exempt=Networks(said.exempt),
    )
