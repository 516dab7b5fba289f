"""Settings of nightly drills."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from shield.config.section import Name, Section
from shield.config.units import Duration, ExpectedError, Portion, duration, share
from shield.rules.drill import LONGEST_SECONDS, DrillMode, DrillOrder

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])").fullmatch


def _time_of_day(value: object) -> object:
    match = _TIME(value) if isinstance(value, str) else None
    if match is None:
        raise ExpectedError('expected a time of the day in UTC, in quotes, as "03:30"')
    return 3600.0 * int(match[1]) + 60.0 * int(match[2])


TimeOfDay = Annotated[
    float,
    BeforeValidator(_time_of_day),
    WithJsonSchema({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "examples": ["03:30"]}),
]


class DrillSettings(Section):
    """A drill each night: at one origin after another, whose requests for a few keys fail on purpose."""

    at: TimeOfDay = Field(description='When it begins, in UTC and in quotes, as "03:30": an hour with few requests.')
    mode: Literal["blackhole", "refuse", "5xx", "throttle", "slow", "corrupt", "expired-key"] = Field(
        default="blackhole",
        description="The fault. `blackhole` is the one that failover has most trouble with: no answer at all.",
    )
    scope: Portion = share(
        "0.1%",
        "Share of the keys that it concerns. Few, since it's every night; with few misses it takes more.",
        least=1e-6,
    )
    lasts: Annotated[Duration, Field(le=LONGEST_SECONDS)] = duration(
        "60s", "How long it lasts, an hour at most.", least="1s"
    )
    budget: Portion = share(
        "0.1%",
        "It ends at once when more than this share of clients' requests fail meanwhile, or two in few requests.",
    )
    origins: tuple[Name, ...] = Field(
        default=(), description="Origins that it is for, by name. If omitted: all that aren't alone in their routes."
    )

    def order(self) -> DrillOrder:
        """The drill as it is ordered each night, for an origin that is chosen then."""
        return DrillOrder("", DrillMode(self.mode), self.lasts, self.scope, self.budget, is_nightly=True)
