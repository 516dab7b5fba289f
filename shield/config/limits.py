"""Limits on clients: their connections, requests, and bytes of origins."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shield.config.access import Network
from shield.config.section import OrOff, Section
from shield.config.units import KIB, MIB, ByteRate, Duration, Size, duration, size


class AmplificationSettings(Section):
    """Limits on origin traffic for an address (or IPv6 /64 network) in excess of its clients' traffic."""

    ratio: Annotated[float, Field(ge=1)] = Field(
        default=2.0,
        description="Origin bytes that are free for each byte that clients take, besides 64 KiB for each request. "
        "Two: bytes that are fetched for later requests cost no more than that on average.",
    )
    burst: Size = size(
        "64MiB",
        "The budget: origin bytes beyond that. With an empty budget, ranges are fetched exactly or answered with "
        "the whole, and bodies are fetched no faster than clients take them. Enough for some slices; a CDN's reads "
        "refill it faster than they spend it.",
        least=MIB,
    )
    recovery: Duration = duration("10m", "Time in which an empty budget is refilled in any case.", least="1s")
    exempt: tuple[Network, ...] = Field(
        default=(), description="Addresses and networks without a limit, such as those of a CDN or a monitoring host."
    )


class LimitSettings(Section):
    """Limits on client connections. Durations are counted in steps of one second."""

    keep_alive: Duration = duration(
        "650s",
        "How long an idle connection stays open. Longer than CDNs keep theirs (up to 600s), so that they close "
        "first.",
        least="1s",
    )
    head: Duration = duration("10s", "For a request's head to arrive: CDNs send it in one packet.", least="1s")
    send: Duration = duration(
        "60s",
        "A client must take `send_bytes` of its response in this time. Longer than any stall of a live connection.",
        least="1s",
    )
    send_bytes: Size = size(
        "16KiB",
        "Bytes that a client must take within `send`, or it is disconnected: far below any CDN's rate, far above "
        "attacks that hold connections open.",
        least=1,
    )
    max_rate: Annotated[Annotated[ByteRate, Field(ge=64 * KIB)] | None, OrOff()] = Field(
        default=None,
        description="Bytes per second towards a client on one connection, as 20MB/s; off: any. The kernel paces it, "
        "over TCP on Linux; HTTP/2 for all streams together. For nodes that clients reach themselves: a CDN sends "
        "many clients' requests on one connection.",
        json_schema_extra={"default": "off"},
    )
    unsent: Size | None = Field(
        default=None,
        description="Bytes of bodies that slow clients keep in memory, each body counted once, even if evicted; "
        "beyond that, the clients that keep most are disconnected. If omitted: the size of the RAM tier.",
    )
    connections: int = Field(
        default=10_000,
        ge=1,
        description="Client connections at a time. CDNs open hundreds; an idle one costs a few KiB. Beyond that, the "
        "one that has been idle for longest is closed, or the new one if none is idle. Split evenly between workers.",
    )
    connections_per_address: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="Client connections from one address (or IPv6 /64 network); 0: any number. If omitted: a quarter "
        "of connections, so that no client can use up all, but any number for `access.addresses` and "
        "`access.trusted_proxies`, since a CDN has few addresses. Beyond that, the connection of that address that "
        "has been idle for longest is closed, or the new one if none is idle. Split evenly between workers.",
    )
    requests: int = Field(
        default=0,
        ge=0,
        description="Requests on one connection, which is closed after the last one; 0: any number. A limit spreads "
        "clients over nodes again from time to time.",
    )
    streams: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Requests at once on one HTTP/2 connection; more are refused so that clients send them again. A "
        "hundred: the usual value, which CDNs and browsers expect.",
    )
    pipelined_bytes: Size = size(
        "32KiB",
        "Bytes of requests that a client sends ahead of responses on one connection. Beyond that, they are dropped, "
        "and the connection is closed after the responses before them. CDNs send none ahead.",
        least=KIB,
    )
    amplification: Annotated[AmplificationSettings | None, OrOff()] = Field(
        default_factory=AmplificationSettings,
        description="Limits on origin traffic in excess of client traffic; off: none.",
    )
    head_bytes: Size = size(
        "32KiB", "Size of a request's head: 431 beyond it. CDNs add a few KiB of their own fields.", least=KIB
    )
    target_bytes: Size = size(
        "8KiB",
        "Size of a request's target: 414 beyond it. Fits a fully escaped key of 1024 bytes and a query.",
        least=256,
    )
    fields: int = Field(default=100, ge=1, description="Fields in a request: 431 beyond it. CDNs send about 40.")
