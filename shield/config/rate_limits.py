"""Settings of rate limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from shield.config.access import Network
from shield.config.section import Name, Section, matching
from shield.config.units import RequestRate
from shield.rules.addresses import Networks
from shield.rules.rate_limit import RateLimit, RequestPace, Subject

_AnyFieldName = Annotated[
    str, matching("[A-Za-z0-9_-]{1,64}", "a field's name, as X-Api-Key"), AfterValidator(str.lower)
]


class RateLimitSettings(Section):
    """A limit on the number of requests, counted by all workers together (GCRA: a burst, then evenly)."""

    by: Literal["address", "route", "signed-url-key", "header"] = Field(
        default="address",
        description="The unit with its own budget: a client's address (or IPv6 /64 network; behind "
        "`access.trusted_proxies` the one that they name), a route, the key of a valid signed URL, or a value of a "
        "request field. Requests without that key or field count for their address.",
    )
    header: _AnyFieldName | None = Field(
        default=None,
        description="With `by: header`, the field's name. Only one that clients can't choose, such as the CDN's: "
        "else a new value is a new budget.",
    )
    rate: RequestRate = Field(description="Requests in a time, as 100/s, 6000/min or 100000/h.")
    burst: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None,
        description="Requests that a client may send at once. If omitted: those of one second, or 1: browsers "
        "request a page's images all at once.",
    )
    action: Literal["refuse", "count"] = Field(
        default="refuse",
        description="Requests beyond it get 429 with Retry-After; or are only counted, to learn which rate is right.",
    )
    routes: tuple[Name, ...] = Field(default=(), description="Routes whose requests count. Empty: all.")
    exempt: tuple[Network, ...] = Field(
        default=(), description="Addresses and networks of clients without a limit, such as monitoring hosts."
    )

    @property
    def pace(self) -> RequestPace:
        count, seconds = self.rate.count, self.rate.seconds
        return RequestPace.of(count, seconds, self.burst or max(1, int(count / seconds)))

    def rule(self, name: str) -> RateLimit:
        """This limit as a rule."""
        return RateLimit(
            name=name,
            subject=Subject(self.by),
            pace=self.pace,
            header=(self.header or "").encode(),
            routes=frozenset(self.routes),
            exempt=Networks(self.exempt),
            refuses=self.action == "refuse",
        )
