"""All settings of a node."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from shield.config.access import Access
from shield.config.fields import ResponseFieldSettings, Server
from shield.config.origin import OriginSettings
from shield.config.route import FreshnessSettings, RouteSettings
from shield.config.section import (
    Address,
    Directory,
    File,
    Listen,
    Listens,
    Name,
    Node,
    OrOff,
    Section,
    Text,
    off_is_off,
)
from shield.config.units import KIB, MIB, Duration, Size, duration, size, size_needed
from shield.rules.routes import Routes

S = TypeVar("S", bound=Section)


class AdminSettings(Section):
    """Health, metrics and state, for operators."""

    listen: Annotated[Listen | None, OrOff()] = Field(
        default=Address("127.0.0.1", 9180),
        description="Address of the admin API; off or null: none. Loopback, since whoever reaches it is let in.",
        json_schema_extra={"default": "127.0.0.1:9180"},
    )

    hosts: tuple[Text, ...] = Field(
        default=(),
        description='Names by which it is asked for, besides addresses, localhost and names without dots; ["*"]: '
        "any. Else a web page could have a browser on this machine ask, by a name of its own that points here.",
    )
    connections: int = Field(
        default=100,
        ge=1,
        description="Connections to it at once; beyond, the one that has been idle for longest is closed, or the new "
        "one if all are being answered. Monitoring needs few.",
    )
    timeout: Duration = duration(
        "30s",
        "For a request's head to arrive, for its body, and for a client that has stopped taking its answer to go on.",
        least="1s",
    )


class TlsSettings(Section):
    """Certificate of the listeners for clients."""

    certificate_file: File = Field(description="PEM file with the certificate and the chain above it.")
    key_file: File = Field(description="PEM file with its key, not encrypted.")


class FailoverSettings(Section):
    """Moving on to the next origin."""

    deadline: Duration = duration(
        "10s",
        "For all attempts together, until one origin has committed to an answer. Below the 15 to 60 seconds after "
        "which CDNs give up.",
        least="100ms",
    )
    retry_budget: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1,
        description="Share of an origin's requests that may be asked again, once each, when its failure may pass "
        "(500, 503, 429, a reset) and no other origin has the object. A tenth: an outage isn't multiplied. A few "
        "are allowed from the start. 0: never.",
    )
    retry_after: Duration = duration(
        "5s",
        "Retry-After of a 503 when no origin could answer. Long enough for a restart, short for people.",
        least="1s",
    )


class MemorySettings(Section):
    """The RAM tier."""

    capacity: Size = size(
        "256MiB",
        "Bytes of entries held in RAM, of all workers together; 0: none. Safe on the smallest machine; give it half "
        "of what is free.",
    )
    max_entry: Annotated[Size, Field(ge=1)] | None = Field(
        default=None,
        description="Bytes of the largest entry taken. Left out: an eighth of capacity, so that one object can't "
        "drive out all others.",
    )


class FillSettings(Section):
    """Objects on their way from origins."""

    memory: Size = size(
        "256MiB",
        "Bytes that all fills in flight hold together; beyond, origins are read more slowly.",
        least=64 * KIB,
    )
    linger: Duration = duration(
        "5s", "How long a fill that nobody reads any more goes on: clients retry, and find it under way."
    )
    small: Size = size("1MiB", "What is left of a body at most for a fill without readers to go on to its end.")
    hit_for_miss: Duration = duration(
        "10s",
        "How long requests for what can't be stored don't wait for each other. Short: an object may become storable.",
    )


class DirectorySettings(Section):
    """A directory of a disk tier: one for each disk."""

    path: Directory = Field(
        description="Where it is, as an absolute path. Of this node alone; made if it isn't there."
    )
    capacity: Size = size_needed("Bytes that are never exceeded, index included.", least=MIB)
    free_floor: Size = size(
        "1GiB", "Bytes of the file system that stay free for others: nothing is written when less is left."
    )


class TierSettings(Section):
    """A tier on disks of one speed. Keys spread over its directories by their capacities."""

    name: Name = Field(description="In logs and metrics.")
    directories: tuple[DirectorySettings, ...] = Field(min_length=1, description="Where it is kept.")


class CacheSettings(Section):
    """Where entries are, and how they get there."""

    memory: MemorySettings = Field(default_factory=MemorySettings, description="The RAM tier.")
    tiers: tuple[TierSettings, ...] = Field(
        default=(), description="Tiers on disk, the fastest first. What leaves one moves to the next."
    )
    slice_bytes: Size = size(
        "8MiB",
        "Larger objects are kept on disk in slices of this size, and ranges fetch only those they touch. Large "
        "enough for a fetch of each to be worth its price, small enough for little to be fetched in vain.",
        least=64 * KIB,
    )
    admission: Literal["all", "repeated"] = Field(
        default="repeated",
        description="What is written to disk once the last tier is full: all that can be stored; or only what was "
        "asked for more than once, which keeps what comes again from being pushed out by what doesn't, and wears "
        "SSDs less.",
    )
    fills: FillSettings = Field(default_factory=FillSettings, description="Objects on their way from origins.")


class LimitSettings(Section):
    """What client connections may use. Durations are counted in steps of one second."""

    keep_alive: Duration = duration(
        "650s",
        "An idle connection stays open. Longer than CDNs keep theirs (up to 600s), so that they close first.",
        least="1s",
    )
    head: Duration = duration("10s", "For a request's head to arrive: CDNs send it in one packet.", least="1s")
    send: Duration = duration(
        "60s",
        "A client must take `send_bytes` of its answer in this time. Longer than any hiccup of a line that lives.",
        least="1s",
    )
    send_bytes: Size = size(
        "16KiB",
        "What a client must take in the time of `send`, or it is cut off: far below what any CDN reads, far above "
        "what holds connections for ever.",
        least=1,
    )
    unsent: Size | None = Field(
        default=None,
        description="Answers that clients are slow to take, together, each counted once; beyond, those that hold "
        "most are cut off. Left out: as much as the RAM tier. Their bytes stay in memory though they may be evicted.",
    )
    connections: int = Field(
        default=10_000,
        ge=1,
        description="Connections of clients at once. CDNs come with hundreds; an idle one costs few KiB. Beyond, "
        "the one that was idle for longest is closed, or the new one if none is idle. Workers share them evenly.",
    )
    connections_per_address: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Of them, from one address (of IPv6: one network of 64 bits); 0: any number. Left out: a quarter "
        "of all, so that nobody alone can use them up, and any number for `access.addresses` and "
        "`access.trusted_proxies`, since a CDN comes from few addresses. Beyond, the connection of that address that "
        "has been idle for longest is closed, or the new one if none is idle. Workers share it out evenly.",
    )
    requests: int = Field(
        default=0,
        ge=0,
        description="Requests on one connection, which is closed after the last; 0: any number. To spread clients "
        "over nodes anew from time to time.",
    )
    pipelined_bytes: Size = size(
        "32KiB",
        "Requests that a client has sent ahead of answers on one connection. Of more, the rest is dropped, and the "
        "connection ends after those before. CDNs send none ahead.",
        least=KIB,
    )
    head_bytes: Size = size(
        "32KiB", "Size of a request's head: 431 beyond. CDNs add a few KiB of fields of their own.", least=KIB
    )
    target_bytes: Size = size(
        "8KiB",
        "Size of a request's target: 414 beyond. A key of 1024 bytes, all escaped, and a query fit.",
        least=256,
    )
    fields: int = Field(default=100, ge=1, description="Fields of a request's head: 431 beyond. CDNs send about 40.")


class DrainSettings(Section):
    """How a node stops on SIGTERM."""

    delay: Duration = duration(
        "0s", "Not ready but still accepting, so that a load balancer notices first. Zero: a CDN simply retries."
    )
    timeout: Duration = duration("30s", "For running transfers to finish. Below the 90s after which systemd kills.")


def _on_off(value: Any) -> Any:
    return "plain" if value is True else off_is_off(value)


class LogSettings(Section):
    """What is written: events to standard error, requests to standard output."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Events from here up.")
    format: Literal["text", "json"] = Field(default="text", description="Events as text for people or JSON lines.")
    access: Annotated[Literal["off", "misses", "all"], BeforeValidator(off_is_off)] = Field(
        default="misses",
        description="Requests, as JSON lines. `misses` leaves out plain hits, which the CDN has logged already.",
    )
    access_memory: Size = size(
        "8MiB",
        "Lines of requests that wait in memory while what reads them is slow, of all workers together; beyond, they "
        "are lost and counted. Some seconds of a busy node.",
        least=64 * KIB,
    )


def _under(own: S, common: S) -> S:
    """The keys that a section gives itself, over those of the common one."""
    return common.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


class Settings(Section):
    """A node's settings. What depends on each other is checked when they are loaded."""

    node: Node = Field(
        default_factory=socket.gethostname,
        description="Name of this node in Via, Cache-Status and logs. Left out: the host's name.",
    )
    listen: Listens = Field(
        default=(Address("127.0.0.1", 8080),),
        min_length=1,
        description="Address or list of addresses for clients. Loopback: to listen in the open is a decision.",
        json_schema_extra={"default": "127.0.0.1:8080"},
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Processes that share port, disk tiers and fills. One for each core that is to be used.",
    )
    worker_stall: Duration = duration(
        "5s",
        "One of several workers that hangs for so long is killed and replaced; the others do its work after one "
        "second. Far longer than any pause that a worker makes by itself.",
        least="2s",
    )
    tls: TlsSettings | None = Field(
        default=None,
        description="Listeners for clients speak TLS (1.2 at least) with this certificate. Left out: plain HTTP.",
    )
    access: Access | None = Field(
        default=None,
        description="Who may ask; off: everyone, as `allow: all`. Left out: everyone who reaches a listener, all of "
        "which must then be on loopback.",
    )
    admin: AdminSettings = Field(default_factory=AdminSettings, description="Health, metrics and state.")
    origins: Mapping[Name, OriginSettings] = Field(
        min_length=1,
        description="Origins by name (lower case), in the order they are tried.",
        json_schema_extra={"additionalProperties": False},  # names that aren't as they should be
    )
    failover: FailoverSettings = Field(default_factory=FailoverSettings, description="Moving on to the next origin.")
    routes: Mapping[Name, RouteSettings] = Field(
        default_factory=lambda: {"default": RouteSettings()},
        min_length=1,
        description="How paths map to objects, by name. Left out: one route `default` that matches all paths.",
        json_schema_extra={"additionalProperties": False},
    )
    freshness: FreshnessSettings = Field(
        default_factory=FreshnessSettings, description="How long entries hold; routes may differ."
    )
    response_fields: ResponseFieldSettings = Field(
        default_factory=ResponseFieldSettings,
        description="What is made of the fields of origins' answers; routes may differ.",
    )
    server: Server = Field(
        default=None,
        description="Server field of all answers: any text, as shield; off: none, since it helps nobody but those "
        "who look for holes.",
        json_schema_extra={"default": "off"},
    )
    cache_status: Annotated[Literal["plain", "with-key", "off"], BeforeValidator(_on_off)] = Field(
        default="plain",
        description="Cache-Status (RFC 9211) of answers: what became of the request; with-key tells the cache key, "
        "too, for looking into what maps to what; off: nothing. The access log has it in any case.",
    )
    cache: CacheSettings = Field(default_factory=CacheSettings, description="Where entries are.")
    limits: LimitSettings = Field(default_factory=LimitSettings, description="What client connections may use.")
    drain: DrainSettings = Field(default_factory=DrainSettings, description="How the node stops.")
    log: LogSettings = Field(default_factory=LogSettings, description="What is written.")

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

    def route_table(self) -> Routes:
        """All routes. Raises ConfigError whose problems name the route."""
        names, providers = tuple(self.origins), {name: origin.profile for name, origin in self.origins.items()}
        return Routes(
            route.rule(name, all_origins=names, providers=providers, node=self.node)
            for name, route in self.routes.items()
        )
