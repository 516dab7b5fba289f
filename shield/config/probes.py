"""Settings of regular probes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shield.config.section import OrOff, Section, Text
from shield.config.units import Duration, parse_duration


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
