"""Prices of reads from an origin: for each byte of egress, and for each request.

A preset is a provider's list price for traffic to the internet, without taxes; a configured price can be for traffic
within a region or to a partner's network, include surcharges, and share an account's allowance.
Prices change, so each preset states the day on which its source was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

from shield.rules.zones import PACIFIC, UTC_NAME, Zones, zones_by

GB = 10**9
GIB = 1 << 30

STALE_DAYS = 180
"""A preset older than this should be checked against the provider's page."""


CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")
"""Classes of responses by which requests are counted; none: there was no response."""

BILLED = ("2xx", "3xx", "4xx")
"""Classes of responses that providers bill as requests; errors of their own (5xx) aren't."""


@dataclass(frozen=True, slots=True)
class Price:
    """The price of reads in `currency`: for each `unit` of bytes (GB or GIB) of egress, and for each thousand
    requests.

    In a month, the first `free` bytes and `free_requests` cost nothing, and from each number of bytes in `tiers` on,
    a unit costs the price beside it; the numbers rise, and include the free allowance. `surcharges`, by name, are for
    each unit from the first one on, as of retrieval or of a NAT gateway. Requests cost something if their response is
    of a class in `billed`. Origins of one `account` share the free allowance and their tiers. The provider's days and
    months are those of `zone`, an IANA name. Beyond `limit` bytes a month (0: none) the provider throttles instead of
    billing.
    """

    egress: float
    requests: float = 0.0
    currency: str = "USD"
    free: float = 0.0
    tiers: tuple[tuple[float, float], ...] = ()
    billed: tuple[str, ...] = BILLED
    zone: str = UTC_NAME
    unit: int = GB
    free_requests: float = 0.0
    surcharges: tuple[tuple[str, float], ...] = ()
    account: str = ""
    limit: float = 0.0

    def __str__(self) -> str:
        months = "" if self.zone == UTC_NAME else f", by months of {self.zone}"
        more = "".join([f" and {price:g} for {name}" for name, price in self.surcharges])
        egress = f"{self.egress:g} {self.currency} per {self.unit_name}{more}"
        shared = f", in account {self.account}" if self.account else ""
        return f"{egress}, {self.requests:g} per 1,000 requests{months}{shared}"

    @property
    def unit_name(self) -> str:
        return "GiB" if self.unit == GIB else "GB"

    def of(self, size: float, requests: float = 1.0) -> float:
        """The price of `size` bytes in this number of requests."""
        return (self.egress + self._surcharge) * size / self.unit + self.requests * requests / 1000.0

    def of_month(self, size: float) -> float:
        """The price of all egress of a month, without requests."""
        steps = [(self.free, self.egress), *self.tiers]
        total = self._surcharge * size
        for at, (start, price) in enumerate(steps):
            stop = steps[at + 1][0] if at + 1 < len(steps) else size
            total += price * max(0.0, min(size, stop) - max(start, self.free))
        return total / self.unit

    def of_requests(self, billed: float) -> float:
        """The price of all billed requests of a month."""
        return self.requests * max(0.0, billed - self.free_requests) / 1000.0

    def billed_of(self, statuses: Sequence[int]) -> int:
        """How many of these requests, by class as in `CLASSES`, are billed."""
        return sum([count for name, count in zip(CLASSES, statuses, strict=True) if name in self.billed])

    @property
    def _surcharge(self) -> float:
        return sum([price for _, price in self.surcharges]) if self.surcharges else 0.0


def zones_of(prices: Mapping[str, Price | None]) -> Zones:
    """The zones in which origins are billed; one without a price is in that which all others have in common."""
    return zones_by({name: price.zone for name, price in prices.items() if price is not None})


@dataclass(frozen=True, slots=True)
class PricePreset:
    """A list price. `read` is the day on which `source` was read; `caveat` states the omissions of the price.

    `free_stored` times the stored bytes are free each month; beyond `most_stored` times of them reads are throttled.
    To destinations in `free_to` egress costs nothing.
    """

    price: Price
    read: date
    source: str
    caveat: str = ""
    free_stored: float = 0.0
    most_stored: float = 0.0
    free_to: tuple[str, ...] = ()

    def age_days(self, today: date) -> int:
        return (today - self.read).days


# Zones, by what providers publish. AWS: its Cost and Usage Reports are in UTC. Google: "all calendar times begin at
# 12 AM US and Canadian Pacific Time" (Cloud Billing Budget API, CalendarPeriod; Cloud Channel API, DateRange).
# Backblaze: charges are calculated daily at midnight UTC, and reports are by days of UTC (B2 Usage Reports). Wasabi:
# usage is added up every 24 hours at 00:30 UTC. Hetzner: calendar months, of a zone that isn't stated. Months of
# Backblaze, Cloudflare and Wasabi begin on the account's own day, which changes nothing for prices without tiers.
# A GB of AWS's is 2^30 bytes (S3 FAQs: 10 TB are 10,995,116,277,760 bytes), and its TB 1,024 of them.
_AWS = ((10_240.0 * GIB, 0.085), (51_200.0 * GIB, 0.07), (153_600.0 * GIB, 0.05))
_AWS_CAVEAT = (
    "100 GiB a month are free for an account, all its services together: origins of one are to name it (account); "
    "errors 4xx are charged"
)

PRESETS: Mapping[str, PricePreset] = MappingProxyType(
    {
        "aws-us-east-1": PricePreset(
            Price(0.09, 0.0004, free=100.0 * GIB, tiers=_AWS, unit=GIB),
            date(2026, 9, 20),
            "https://aws.amazon.com/s3/pricing/",
            _AWS_CAVEAT,
            free_to=("region",),
        ),
        "aws-eu-central-1": PricePreset(
            Price(0.09, 0.00043, free=100.0 * GIB, tiers=_AWS, unit=GIB),
            date(2026, 8, 31),
            "AWS price list, EUC1-DataTransfer-Out-Bytes and EUC1-Requests-Tier2",
            _AWS_CAVEAT,
            free_to=("region",),
        ),
        "gcs-us-central1": PricePreset(
            Price(0.12, 0.0004, zone=PACIFIC, unit=GIB),
            date(2026, 9, 3),
            "https://cloud.google.com/storage/pricing",
            "to Asia and Australia it is more; from 10 TiB a month on it is less",
            free_to=("region",),
        ),
        "r2": PricePreset(
            Price(0.0, 0.00036, free_requests=10e6),
            date(2026, 8, 3),
            "https://developers.cloudflare.com/r2/pricing/",
            "10 million requests a month are free for an account; infrequent access costs retrieval (surcharges)",
        ),
        "b2": PricePreset(
            Price(0.01),
            date(2026, 9, 11),
            "https://www.backblaze.com/cloud-storage/pricing",
            "three times the stored amount is free each month (stored), and so is traffic to partners",
            free_stored=3.0,
            free_to=("partner",),
        ),
        "wasabi": PricePreset(
            Price(0.0),
            date(2026, 7, 1),
            "https://wasabi.com/pricing",
            "reads beyond the stored amount in a month are throttled (stored)",
            most_stored=1.0,
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
