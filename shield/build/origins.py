"""The sources of fills: origins, and the workers that own keys."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shield.config.credentials import CredentialSettings
from shield.config.origin import SECRETS, OriginSettings
from shield.config.settings import Settings
from shield.errors import ConfigError, CredentialsError
from shield.origin.dial import Endpoint
from shield.origin.flow import Flow
from shield.origin.key_sources import AwsChainKeys, CommandKeys, KeySource
from shield.origin.origin import Origin
from shield.origin.origins import Origins
from shield.origin.pool import Pool
from shield.origin.resolver import Resolver
from shield.origin.signer import Credentials, Signer
from shield.origin.terms import MessageLimits, PoolLimits, Timeouts
from shield.origin.tls import client_context
from shield.peers.owners import Owners, Ring
from shield.rules.headers import via
from shield.rules.hedge import HedgeRules
from shield.rules.loops import Gateway
from shield.rules.ranking import OriginFacts
from shield.rules.targeted import SURROGATE, capability
from shield.shared import Seat, Standing

_SILENT_SECONDS = 1.0  # four heartbeats of a worker; after a longer silence, others fetch its keys themselves


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that an origin is made of, except its credentials. Equal blueprints make equal origins."""

    name: str
    settings: OriginSettings  # without secrets
    node: str
    heeds_surrogates: bool
    naming: str | None
    asks_checksums: bool
    workers: int
    authorities: bytes = b""  # the contents of `ca_file`
    facts: OriginFacts | None = None


def blueprints(settings: Settings, workers: int) -> dict[str, Blueprint]:
    """The blueprints of all origins by name, for one of `workers` workers. Blocks. Raises ConfigError."""
    return {name: _blueprint(settings, name, workers) for name in settings.origins}


def _blueprint(settings: Settings, name: str, workers: int) -> Blueprint:
    origin = settings.origins[name]
    routes = settings.route_table()
    # Clients get them, or they prove that others have the same bytes.
    needs_digests = any(
        name in route.origins and (route.fields.digests != "off" or len(route.origins) > 1) for route in routes
    )
    try:
        authorities = b"" if origin.ca_file is None else origin.ca_file.read_bytes()
    except OSError as error:
        said = f"{origin.ca_file}: certificates of authorities can't be read: {error.strerror}"
        raise ConfigError([said]) from None
    return Blueprint(
        name,
        origin.model_copy(update={**dict.fromkeys((*SECRETS, *(f"{key}_file" for key in SECRETS))), "labels": {}}),
        settings.node,
        any(name in route.origins and SURROGATE in route.freshness.targeted for route in routes),
        None if origin.profile.signed else settings.request_id.send,
        needs_digests and origin.profile.checksums,
        workers,
        authorities,
        settings.facts()[name],
    )


def signer(settings: Settings, name: str) -> Signer:
    """The signer of requests to an origin, to show them: without the credentials that its source would give. Raises
    ConfigError.
    """
    given = credentials(settings, name)
    if given is None and settings.origins[name].credentials is not None:
        given = Credentials("of-its-source", "unknown")
    return _signer(_blueprint(settings, name, 1), given)


def _signer(plan: Blueprint, credentials: Credentials | None) -> Signer:
    origin = plan.settings
    return Signer(origin.profile, origin.location(), credentials, asks_checksums=plan.asks_checksums)


def credentials(settings: Settings, name: str) -> Credentials | None:
    """An origin's credentials, if its settings have any. Raises ConfigError."""
    origin = settings.origins[name]
    given = {key: value.get_secret_value() for key in SECRETS if (value := getattr(origin, key)) is not None}
    return credentials_of(name, given)


def obtained_credentials(settings: Settings, name: str) -> Credentials | None:
    """An origin's credentials, from its source if it has one. Blocks, for as long as a command takes. Raises
    ConfigError.
    """
    source = settings.origins[name].credentials
    if source is None:
        return credentials(settings, name)
    try:
        return key_source(source).obtain()
    except CredentialsError as error:
        raise ConfigError([f"origins.{name}.credentials: {error}"]) from None


def key_source(settings: CredentialSettings) -> KeySource:
    """The source of credentials by these settings."""
    if settings.command:
        return CommandKeys(settings.command, timeout=settings.timeout)
    return AwsChainKeys(settings.profile)


def credentials_of(name: str, given: Mapping[str, str]) -> Credentials | None:
    """An origin's credentials from its secrets by key; None without an id or a key. Raises ConfigError."""
    if "access_key_id" not in given or "secret_key" not in given:
        return None
    try:
        return Credentials(given["access_key_id"], given["secret_key"], given.get("session_token"))
    except ValueError as error:
        raise ConfigError([f"origins.{name}.{error}"]) from None


def origins_of(settings: Settings, place: Seat, clock: Callable[[], float]) -> Origins:
    """All origins, for the worker in this seat. Raises ConfigError."""
    made = [
        origin_of(plan, credentials(settings, name), authorities_of(plan))
        for name, plan in blueprints(settings, place.workers).items()
    ]
    failover = settings.failover
    return Origins(
        made,
        deadline_seconds=failover.deadline,
        retry_share=failover.retry_budget,
        hedges=HedgeRules(settings.hedge.share, settings.hedge.max_waste),
        clock=clock,
        records=place.shared.records,
        rankings=place.shared.rankings,
        flows=place.shared.flows,
        budgets=place.shared.budgets,
        worker=place.worker,
    )


def _flow(plan: Blueprint) -> Flow | None:
    rate = plan.settings.max_rate
    return None if rate is None else Flow(plan.name, rate, asyncio.get_running_loop().time)


def _gateway(plan: Blueprint) -> Gateway:
    """This node's identification to an origin."""
    node = plan.node.encode()
    said = capability(node) if plan.heeds_surrogates else b""
    return Gateway(node, via(b"1.1", plan.node), capability=said, naming=(plan.naming or "").encode())


def owners_of(settings: Settings, place: Seat, origins: Origins, clock: Callable[[], float]) -> Owners:
    """The node's workers as a source of fills. Their timeouts are a little longer than those for origins."""
    shared = place.shared
    standing, now = shared.standing, asyncio.get_running_loop().time  # the clock of heartbeats

    def is_silent(worker: int) -> bool:
        return shared.is_silent(worker, now(), _SILENT_SECONDS)

    ring = Ring(
        place.worker,
        place.peers,
        is_down=lambda worker: standing[worker] != Standing.SERVING or is_silent(worker),
        is_silent=is_silent,
    )
    timeouts = among_workers(settings)
    return Owners(origins, ring, node=settings.node, timeouts=timeouts, clock=clock)


def among_workers(settings: Settings) -> Timeouts:
    """A worker's timeout for another one, in seconds: a little longer than that one's for origins."""
    times = [origin.timeouts for origin in settings.origins.values()]
    return Timeouts(
        connect=1.0,
        first_byte=settings.failover.deadline + 1.0,
        between_bytes=max(each.between_bytes for each in times) + 5.0,
        total=max(each.total for each in times) + 5.0,
    )


def authorities_of(plan: Blueprint) -> ssl.SSLContext | None:
    """The TLS context for an origin; None without TLS. Blocks for some milliseconds. Raises ConfigError."""
    return client_context(plan.settings.ca_file) if plan.settings.location().tls else None


def all_authorities(settings: Settings) -> tuple[ssl.SSLContext, ...]:
    """The TLS contexts for all origins. While they are held, an origin that is made has its context at once, in this
    process and in those forked from it. Blocks. Raises ConfigError.
    """
    made = (client_context(each.ca_file) for each in settings.origins.values() if each.location().tls)
    return tuple(dict.fromkeys(made))


def origin_of(plan: Blueprint, credentials: Credentials | None, context: ssl.SSLContext | None) -> Origin:
    """An origin for use within the running event loop. Raises ConfigError."""
    name, origin, where = plan.name, plan.settings, plan.settings.location()
    times = origin.timeouts
    made = Origin(
        name,
        provider=origin.profile,
        signer=_signer(plan, credentials),
        pool=Pool(
            Endpoint(name, where.host, where.port, context, where.host if where.tls else None),
            timeouts=Timeouts(
                connect=times.connect,
                first_byte=times.first_byte,
                between_bytes=times.between_bytes,
                total=times.total,
            ),
            limits=PoolLimits(
                connections=-(-origin.connections // plan.workers),
                message=MessageLimits(bare_lf=origin.lenient_heads),
            ),
            resolver=Resolver(where.name, where.port, refresh=origin.dns_refresh),
            flow=_flow(plan),
        ),
        denied_is_absent=origin.access_denied_is_absent,
        passes_errors=origin.pass_errors,
        gateway=_gateway(plan),
        facts=plan.facts,
        most=origin.connections,
    )
    made.hedges.price = None if origin.price is None else origin.price.price
    return made
