"""All settings of a node."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from shield.config.access import Access
from shield.config.admin import AdminSettings
from shield.config.alarms import AlarmSettings
from shield.config.budgets import BudgetSettings
from shield.config.cluster import ClusterSettings
from shield.config.drills import DrillSettings
from shield.config.fields import ResponseFieldSettings, ServerField
from shield.config.freshness import FreshnessSettings
from shield.config.ledger import LedgerSettings
from shield.config.limits import LimitSettings
from shield.config.logs import AccessLogSettings, LogSettings, RequestIdSettings
from shield.config.origin import OriginSettings
from shield.config.price import PriceSettings, with_own_prices
from shield.config.probes import HealthSettings, ProbeSettings
from shield.config.purging import PurgeMethodSettings, PurgeSettings
from shield.config.rate_limits import RateLimitSettings
from shield.config.route import RouteSettings
from shield.config.section import (
    Directory,
    File,
    ListenAddress,
    Listens,
    Name,
    NodeName,
    Section,
    off_is_off,
)
from shield.config.tracing import TracingSettings
from shield.config.units import KIB, MIB, Duration, Size, duration, size, size_needed
from shield.rules.ranking import OriginFacts
from shield.rules.routes import Routes
from shield.rules.sites import OriginSite

S = TypeVar("S", bound=Section)


class TlsSettings(Section):
    """Certificate of the listeners for clients."""

    certificate_file: File = Field(description="PEM file with the certificate and the chain above it.")
    key_file: File = Field(description="PEM file with its key, not encrypted.")
    http2: bool = Field(
        default=True,
        description="Offer HTTP/2 (by ALPN) besides HTTP/1.1. It saves a CDN connections, and costs the node several "
        "times the CPU of HTTP/1.1 per request: off where clients choose it and CPU is short.",
    )


class FailoverSettings(Section):
    """Moving on to the next origin."""

    deadline: Duration = duration(
        "10s",
        "For all attempts together, until one origin has committed to a response. Below the 15 to 60 seconds after "
        "which CDNs give up.",
        least="100ms",
    )
    retry_budget: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1,
        description="Retries at an origin, as a share of its successes: once each, after a transient failure (500, "
        "503, a reset) if no other origin has the object, and for the rest of a body that it broke off. A tenth, so "
        "that retries don't multiply an outage. Ten are allowed from the start, for all workers. 0: none. Refusals "
        "as too many (429, SlowDown) are no part of it: these requests wait for a turn.",
    )
    retry_after: Duration = duration(
        "5s",
        "Retry-After of a 503 when no origin could answer. Long enough for a restart, short for people.",
        least="1s",
    )


class HedgeSettings(Section):
    """The same request at a second origin, while the first one is later than usual."""

    share: Annotated[float, Field(ge=0, le=0.1)] = Field(
        default=0.0,
        description="Hedges, as a share of an origin's successes; at most ten are saved. 0.02 halves the 99th "
        "percentile of an origin of which one response in a hundred is late for no reason. 0, the default: none, "
        "since otherwise nearly all are in vain, their bytes cost money, and a hung origin is discovered later.",
    )
    max_waste: Annotated[float, Field(ge=0)] = Field(
        default=0.0001,
        description="The most that the response which is given up may cost, in the currency of the origins' prices, "
        "by the mean size of their objects. A hundredth of a cent: at a share of 0.02, two dollars for a million "
        "fetches. Origins without a price cost nothing.",
    )


class AuditSettings(Section):
    """Comparison of stored objects with other origins' copies, for a sample of the fills."""

    share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Share of fills whose object is compared with the copy of another origin of the route, the "
        "primary if there is one. Most comparisons take a HEAD. An origin with other bytes isn't asked for that "
        "object for some hours. Set 0.01 where origins are replicas. Off, since requests to origins cost money.",
    )
    bytes_per_day: Size = size(
        "1GiB",
        "Bytes fetched per day and node where heads tell nothing, for copies of at most 8 MiB: some ten cents at "
        "list prices. 0: heads only.",
    )


class MemorySettings(Section):
    """The RAM tier."""

    capacity: Size = size(
        "256MiB",
        "Bytes of entries in RAM, of all workers together; 0: none. The default is safe on the smallest machine; "
        "give it half of the free memory.",
    )
    max_entry: Annotated[Size, Field(ge=1)] | None = Field(
        default=None,
        description="Bytes of the largest entry kept in RAM. If omitted: an eighth of capacity, so that one object "
        "can't evict all others.",
    )


class FillSettings(Section):
    """Fills: objects being fetched from origins."""

    memory: Size = size(
        "256MiB",
        "Bytes in the buffers of all fills together; beyond that, origins are read more slowly.",
        least=64 * KIB,
    )
    linger: Duration = duration(
        "5s",
        "How long a fill that had several readers waits, paused, for the next one: clients retry, and can join it. "
        "One that had a single reader is cancelled at once, since bytes that nobody reads cost egress.",
    )
    small: Size = size("1MiB", "A fill without readers is completed if at most this much of the body remains.")
    hit_for_miss: Duration = duration(
        "10s",
        "How long requests for a key whose response can't be shared don't wait for each other. Short: that may "
        "change.",
    )


class DirectorySettings(Section):
    """A directory of a disk tier: one for each disk."""

    path: Directory = Field(description="Absolute path. Used by this node alone; created if missing.")
    capacity: Size = size_needed("Bytes that are never exceeded, index included.", least=MIB)
    free_floor: Size = size(
        "1GiB", "Bytes of the file system that stay free for other uses: nothing is written when less is free."
    )


class TierSettings(Section):
    """A tier on disks of one speed. Keys spread over its directories by their capacities."""

    name: Name = Field(description="Name in logs and metrics.")
    directories: tuple[DirectorySettings, ...] = Field(min_length=1, description="Its directories.")


class CacheSettings(Section):
    """The tiers, and how entries get into them."""

    memory: MemorySettings = Field(default_factory=MemorySettings, description="The RAM tier.")
    tiers: tuple[TierSettings, ...] = Field(
        default=(), description="Tiers on disk, the fastest first. Entries that leave one move to the next."
    )
    slice_bytes: Size = size(
        "8MiB",
        "Larger objects are kept on disk in slices of this size, and ranges fetch only the slices they touch. Large "
        "enough to be worth a fetch each, small enough to fetch little in vain.",
        least=64 * KIB,
    )
    admission: Literal["all", "repeated"] = Field(
        default="repeated",
        description="Entries written to disk once the last tier is full: all that can be stored; or only those "
        "requested more than once, which keeps one-time requests from evicting the others and wears "
        "SSDs less.",
    )
    fills: FillSettings = Field(default_factory=FillSettings, description="Objects being fetched from origins.")


class DrainSettings(Section):
    """How a node stops on SIGTERM."""

    delay: Duration = duration(
        "0s", "Not ready but still accepting, so that a load balancer notices first. Zero: a CDN simply retries."
    )
    timeout: Duration = duration("30s", "For running transfers to finish. Below the 90s after which systemd kills.")


def _on_off(value: Any) -> Any:
    return "plain" if value is True else off_is_off(value)


def _under(own: S, common: S) -> S:
    """The keys that a section sets itself, over those of the common one."""
    return common.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


class Settings(Section):
    """A node's settings. Dependencies between values are checked when they are loaded."""

    node: NodeName = Field(
        default_factory=socket.gethostname,
        description="Name of this node in Via, Cache-Status and logs. If omitted: the host's name.",
    )
    listen: Listens = Field(
        default=(ListenAddress("127.0.0.1", 8080),),
        min_length=1,
        description="Address or list of addresses for clients. Loopback, since exposing it should be a decision.",
        json_schema_extra={"default": "127.0.0.1:8080"},
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Processes that share port, disk tiers and fills. One for each core to use.",
    )
    worker_stall: Duration = duration(
        "5s",
        "A worker that hangs for this long is killed and replaced; with several workers, the others take over its "
        "keys after one second. Far longer than any normal pause of a worker.",
        least="2s",
    )
    tls: TlsSettings | None = Field(
        default=None,
        description="Listeners for clients speak TLS (1.2 at least) with this certificate. If omitted: plain HTTP. "
        "To add or remove it needs a restart.",
    )
    access: Access | None = Field(
        default=None,
        description="Admission of clients; off: all, as `allow: all`. If omitted: all are admitted, and all "
        "listeners must be on loopback.",
    )
    purge: PurgeSettings = Field(default_factory=PurgeSettings, description="CDNs to which purges are passed on.")
    purge_method: PurgeMethodSettings | None = Field(
        default=None,
        description="The method PURGE on the listeners for clients, for tools that can't reach the admin API. If "
        "omitted: it is refused, as other methods are.",
    )
    admin: AdminSettings = Field(default_factory=AdminSettings, description="Health, metrics and state.")
    origins: Mapping[Name, OriginSettings] = Field(
        min_length=1,
        description="Origins by name (lower case), in the order in which they are tried.",
        json_schema_extra={"additionalProperties": False},  # invalid names
    )
    failover: FailoverSettings = Field(default_factory=FailoverSettings, description="Moving on to the next origin.")
    drills: DrillSettings | None = Field(
        default=None, description="A drill of failover each night. If omitted: only those that shield drill begins."
    )
    hedge: HedgeSettings = Field(
        default_factory=HedgeSettings, description="Trying a second origin while the first one is late."
    )
    audit: AuditSettings = Field(
        default_factory=AuditSettings, description="Comparison of a sample of the fills with other origins' copies."
    )
    alarms: AlarmSettings = Field(
        default_factory=AlarmSettings, description="Alarms for people, and webhooks that carry them."
    )
    probes: ProbeSettings = Field(default_factory=ProbeSettings, description="Regular probes of all origins.")
    health: HealthSettings = Field(default_factory=HealthSettings, description="Whether this node can serve.")
    routes: Mapping[Name, RouteSettings] = Field(
        default_factory=lambda: {"default": RouteSettings()},
        min_length=1,
        description="The mapping of paths to objects, by name. If omitted: one route `default` that matches all "
        "paths.",
        json_schema_extra={"additionalProperties": False},
    )
    freshness: FreshnessSettings = Field(
        default_factory=FreshnessSettings, description="Lifetimes of entries; routes may override them."
    )
    response_fields: ResponseFieldSettings = Field(
        default_factory=ResponseFieldSettings,
        description="Changes to the fields of origins' responses; routes may override them.",
    )
    server: ServerField = Field(
        default=None,
        description="Server field of all responses: any text, as shield; off: none, since it mostly helps attackers.",
        json_schema_extra={"default": "off"},
    )
    cache_status: Annotated[Literal["plain", "with-key", "off"], BeforeValidator(_on_off)] = Field(
        default="plain",
        description="Cache-Status (RFC 9211) of responses: how the request was handled; with-key adds the cache key, "
        "for debugging the mapping; off: nothing. The access log has it in any case.",
    )
    cache: CacheSettings = Field(default_factory=CacheSettings, description="The tiers and their filling.")
    cluster: ClusterSettings | None = Field(
        default=None, description="Several nodes that share one key space. If omitted: this node is alone."
    )
    state_directory: Directory | None = Field(
        default=None,
        description="Directory for the node's own records, as drained origins and reports of drills; it is made if "
        "it isn't there. If omitted: systemd's $STATE_DIRECTORY. Without both, none are kept.",
    )
    labels: Mapping[Name, Annotated[str, Field(max_length=256)]] = Field(
        default_factory=dict,
        description='Labels on each row of `shield cost --focus`, as {environment: prod, cost_centre: "4711"}.',
        json_schema_extra={"additionalProperties": {"type": "string"}},
    )
    price_list: Mapping[Name, PriceSettings] = Field(
        default_factory=dict,
        description="Prices by names that `origins.NAME.price` may have, beside the listed ones or in place of them: "
        "those that were negotiated, or have changed.",
        json_schema_extra={"additionalProperties": False},
    )
    price_list_file: File | None = Field(default=None, description="File with `price_list`, in YAML.")
    budgets: Mapping[Name, BudgetSettings] = Field(
        default_factory=dict,
        description="Budgets of egress by name: the most that may be read from origins in a day or a month.",
        json_schema_extra={"additionalProperties": False},
    )
    ledger: LedgerSettings = Field(default_factory=LedgerSettings, description="The record of egress.")
    tracing: TracingSettings | None = Field(
        default=None, description="Traces, to an OpenTelemetry collector. If omitted: none."
    )
    limits: LimitSettings = Field(default_factory=LimitSettings, description="Limits on client connections.")
    rate_limits: Mapping[Name, RateLimitSettings] = Field(
        default_factory=dict,
        description="Limits on the number of requests, by name. If omitted: none, since a CDN, with few addresses "
        "and many requests, is the client.",
        json_schema_extra={"additionalProperties": False},
    )
    drain: DrainSettings = Field(default_factory=DrainSettings, description="How the node stops.")
    log: LogSettings = Field(default_factory=LogSettings, description="The log of events.")
    access_log: AccessLogSettings = Field(default_factory=AccessLogSettings, description="The log of requests.")
    request_id: RequestIdSettings = Field(
        default_factory=RequestIdSettings, description="The name of each request, from the CDN's log to the origin's."
    )

    @model_validator(mode="before")
    @classmethod
    def _prices_by_name(cls, value: Any) -> Any:
        return with_own_prices(value)

    @model_validator(mode="after")
    def _routes_inherit(self) -> Self:
        routes = {}
        for name, route in self.routes.items():
            taken_over = {
                "freshness": _under(route.freshness, self.freshness),
                "response_fields": _under(route.response_fields, self.response_fields),
            }
            routes[name] = route.model_copy(update=taken_over)
        self.__dict__["routes"] = routes  # frozen from here on
        return self

    def facts(self) -> Mapping[str, OriginFacts]:
        """The origins by name, as far as ranking and replication need them."""
        primary = next((name for name, origin in self.origins.items() if origin.role == "primary"), None)
        return {
            name: OriginFacts(
                name,
                is_primary=origin.role == "primary",
                weight=origin.weight,
                price=None if origin.price is None else origin.price.price,
                copy_of=None if origin.role == "primary" else primary,
                holds_all=origin.holds == "all",
                max_lag=origin.max_lag,
                site=OriginSite(origin.provider, origin.region or "", origin.bucket or ""),
            )
            for name, origin in self.origins.items()
        }

    def route_table(self) -> Routes:
        """All routes. Raises ConfigError whose problems name the route."""
        names, providers = tuple(self.origins), {name: origin.profile for name, origin in self.origins.items()}
        places = {name: origin.location() for name, origin in self.origins.items() if not origin.profile.signed}
        return Routes(
            [
                route.rule(
                    name, all_origins=names, providers=providers, places=places, facts=self.facts(), node=self.node
                )
                for name, route in self.routes.items()
            ],
            own=(self.health.path or "").encode(),
        )
