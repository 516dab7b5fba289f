"""Prices of reads from an origin: for each byte of egress, and for each request.

A preset is a provider's list price for traffic to the internet, without taxes, and without free traffic within a
region or to partners' networks: a configured price can include all that.
Prices change, so each preset states the day on which its source was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from shield.rules.zones import PACIFIC, UTC_NAME, Zones, zones_by

GB = 10**9
GIB = 1 << 30

STALE_DAYS = 180
"""A preset older than this should be checked against the provider's page."""


BILLED = ("2xx", "3xx", "4xx")
"""Classes of responses that providers bill as requests; errors of their own (5xx) aren't."""


@dataclass(frozen=True, slots=True)
class Price:
    """The price of reads in `currency`: for each GB (10^9 bytes) of egress, and for each thousand requests.

    In a month, the first `free` bytes cost nothing, and from each number of bytes in `tiers` on, a GB costs the
    price beside it; the numbers rise, and include what is free. Requests cost something if their response is of a
    class in `billed`. The provider's days and months are those of `zone`, an IANA name.
    """

    egress: float
    requests: float = 0.0
    currency: str = "USD"
    free: float = 0.0
    tiers: tuple[tuple[float, float], ...] = ()
    billed: tuple[str, ...] = BILLED
    zone: str = UTC_NAME

    def __str__(self) -> str:
        months = "" if self.zone == UTC_NAME else f", by months of {self.zone}"
        return f"{self.egress:g} {self.currency} per GB, {self.requests:g} per 1,000 requests{months}"

    def of(self, size: float, requests: float = 1.0) -> float:
        """The price of `size` bytes in this number of requests."""
        return self.egress * size / GB + self.requests * requests / 1000.0

    def of_month(self, size: float) -> float:
        """The price of all egress of a month, without requests."""
        steps = [(self.free, self.egress), *self.tiers]
        total = 0.0
        for at, (start, price) in enumerate(steps):
            stop = steps[at + 1][0] if at + 1 < len(steps) else size
            total += price * max(0.0, min(size, stop) - start) / GB
        return total


def zones_of(prices: Mapping[str, Price | None]) -> Zones:
    """The zones in which origins are billed; one without a price is in that which all others have in common."""
    return zones_by({name: price.zone for name, price in prices.items() if price is not None})


@dataclass(frozen=True, slots=True)
class PricePreset:
    """A list price. `read` is the day on which `source` was read; `caveat` states what the price omits."""

    price: Price
    read: date
    source: str
    caveat: str = ""

    def age_days(self, today: date) -> int:
        return (today - self.read).days


# Zones, by what providers publish. AWS: its Cost and Usage Reports are in UTC. Google: "all calendar times begin at
# 12 AM US and Canadian Pacific Time" (Cloud Billing Budget API, CalendarPeriod; Cloud Channel API, DateRange).
# Backblaze: charges are calculated daily at midnight UTC, and reports are by days of UTC (B2 Usage Reports). Wasabi:
# usage is added up every 24 hours at 00:30 UTC. Hetzner: calendar months, of a zone that isn't stated. Months of
# Backblaze, Cloudflare and Wasabi begin on the account's own day, which changes nothing for prices without tiers.
_AWS = ((10_000.0 * GB, 0.085), (50_000.0 * GB, 0.07), (150_000.0 * GB, 0.05))

PRESETS: Mapping[str, PricePreset] = MappingProxyType(
    {
        "aws-us-east-1": PricePreset(
            Price(0.09, 0.0004, free=100 * GB, tiers=_AWS),
            date(2026, 9, 20),
            "https://aws.amazon.com/s3/pricing/",
            "100 GB a month are free for an account, all its services together; errors 4xx are charged",
        ),
        "aws-eu-central-1": PricePreset(
            Price(0.09, 0.00043, free=100 * GB, tiers=_AWS),
            date(2026, 8, 31),
            "AWS price list, EUC1-DataTransfer-Out-Bytes and EUC1-Requests-Tier2",
            "100 GB a month are free for an account, all its services together; errors 4xx are charged",
        ),
        "gcs-us-central1": PricePreset(
            Price(0.12 * GB / GIB, 0.0004, zone=PACIFIC),
            date(2026, 9, 3),
            "https://cloud.google.com/storage/pricing",
            "to Asia and Australia it is more; from 10 TiB a month on it is less",
        ),
        "r2": PricePreset(
            Price(0.0, 0.00036),
            date(2026, 8, 3),
            "https://developers.cloudflare.com/r2/pricing/",
            "10 million requests a month are free; infrequent access costs retrieval",
        ),
        "b2": PricePreset(
            Price(0.01),
            date(2026, 9, 11),
            "https://www.backblaze.com/cloud-storage/pricing",
            "three times the stored amount is free each month, and so is traffic to partners",
        ),
        "wasabi": PricePreset(
            Price(0.0),
            date(2026, 7, 1),
            "https://wasabi.com/pricing",
            "reads beyond the stored amount in a month are throttled",
        ),
        "hetzner": PricePreset(
            Price(0.001, currency="EUR", free=1000 * GB),
            date(2026, 5, 1),
            "https://docs.hetzner.com/storage/object-storage/",
            "the free terabyte a month comes with the base price, by the hour; from 64 KB on",
        ),
        "free": PricePreset(Price(0.0), date(2026, 11, 29), "your own storage", "power and lines have their price"),
    }
)
