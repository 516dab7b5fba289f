"""Settings of regular probes, and of the health path."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shield.config.access import RouteAccess
from shield.config.section import OrOff, Section, Text, matching
from shield.config.units import Duration, parse_duration

OwnPath = Annotated[str, matching(r"/[A-Za-z0-9._~/-]{1,200}", "a path as /.shield/health, without a query")]


class ProbeSettings(Section):
    """Regular probes of all origins: small signed fetches by one worker, whether or not clients need the origin."""

    interval: Annotated[Annotated[Duration, Field(ge=1.0)] | None, OrOff()] = Field(
        default=parse_duration("10s"),
        description="Time between two probes of an origin, more or less a fifth; off: none. Each fetches 4 KiB, one "
        "in seven 256 KiB: 8,640 requests and 330 MiB a day. Often enough to notice a fault on a quiet node.",
        json_schema_extra={"default": "10s"},
    )
    canaries: tuple[Text, ...] = Field(
        default=(),
        description="Paths or URLs of clients whose objects are fetched, from all origins of their routes. If "
        "omitted: objects that clients requested lately. Best are objects of 256 KiB or more that never change.",
    )


class HealthSettings(Section):
    """Whether this node can serve, for a CDN or DNS that chooses among nodes. The admin API has it at /health."""

    path: Annotated[OwnPath | None, OrOff()] = Field(
        default=None,
        description="Path on the listeners for clients, which then names no object; off: none. 200 while the node "
        "can serve, else 503; with ?strict 503 as soon as its best origin is bad. JSON: a verdict on each origin.",
        json_schema_extra={"default": "off"},
    )
    access: RouteAccess | None = Field(
        default=None,
        description="Requirements in place of access.require, as for routes; off: none. If omitted: the same.",
    )
