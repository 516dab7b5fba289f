"""The sources of fills: origins, and the workers that own keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from shield.config.origin import SECRETS, OriginSettings
from shield.config.settings import Settings
from shield.errors import ConfigError
from shield.origin.dial import Endpoint
from shield.origin.origin import Origin
from shield.origin.origins import Origins
from shield.origin.pool import Pool
from shield.origin.resolver import Resolver
from shield.origin.signer import Credentials, Signer
from shield.origin.terms import MessageLimits, PoolLimits, Timeouts
from shield.origin.tls import client_context
from shield.peers.owners import Owners, Ring
from shield.rules.headers import via
from shield.rules.loops import Gateway
from shield.rules.targeted import SURROGATE, capability
from shield.shared import Seat, Standing

_SILENT_SECONDS = 1.0  # workers give four signs of life in it; beyond, others fetch what a worker owns themselves


def signer(settings: Settings, name: str) -> Signer:
    """The signer of requests to an origin. Raises ConfigError."""
    origin = settings.origins[name]
    given = {key: value.get_secret_value() for key in SECRETS if (value := getattr(origin, key)) is not None}
    routes = settings.route_table()
    tells_digests = any(name in route.origins and route.fields.digests != "off" for route in routes)
    return Signer(
        origin.profile,
        origin.location(),
        credentials_of(name, given),
        asks_checksums=tells_digests and origin.profile.checksums,
    )


def credentials_of(name: str, given: Mapping[str, str]) -> Credentials | None:
    """An origin's credentials out of its secrets by their keys; None without an id or a key. Raises ConfigError."""
    if "access_key_id" not in given or "secret_key" not in given:
        return None
    try:
        return Credentials(given["access_key_id"], given["secret_key"], given.get("session_token"))
    except ValueError as error:
        raise ConfigError([f"origins.{name}.{error}"]) from None


def origins_of(settings: Settings, workers: int, clock: Callable[[], float]) -> Origins:
    """All origins, for one of so many workers. Raises ConfigError."""
    made = [
        _origin(name, origin, workers, signer=signer(settings, name), gateway=_gateway(settings, name))
        for name, origin in settings.origins.items()
    ]
    failover = settings.failover
    return Origins(made, deadline_seconds=failover.deadline, retry_share=failover.retry_budget, clock=clock)


def _gateway(settings: Settings, name: str) -> Gateway:
    """How this node introduces itself to an origin of that name."""
    node = settings.node.encode()
    heeds = any(name in route.origins and SURROGATE in route.freshness.targeted for route in settings.route_table())
    return Gateway(node, via(b"1.1", settings.node), capability=capability(node) if heeds else b"")


def owners_of(settings: Settings, place: Seat, origins: Origins, clock: Callable[[], float]) -> Owners:
    """The node's workers as a source, with a little more patience than each of them has with origins."""
    shared, times = place.shared, [origin.timeouts for origin in settings.origins.values()]
    standing, now = shared.standing, asyncio.get_running_loop().time  # which is the clock of signs of life

    def is_silent(worker: int) -> bool:
        return shared.is_silent(worker, now(), _SILENT_SECONDS)

    ring = Ring(
        place.worker,
        place.peers,
        is_down=lambda worker: standing[worker] != Standing.SERVING or is_silent(worker),
        is_silent=is_silent,
    )
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
            limits=PoolLimits(
                connections=-(-origin.connections // workers), message=MessageLimits(bare_lf=origin.lenient_heads)
            ),
            resolver=Resolver(where.name, where.port, refresh=origin.dns_refresh),
        ),
        denied_is_absent=origin.access_denied_is_absent,
        passes_errors=origin.pass_errors,
        gateway=gateway,
    )
