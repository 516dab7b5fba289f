"""Prices of reads from an origin: for each byte of egress, and for each request.

A preset is the first tier of a provider's list price for traffic to the internet, without free allowances, volume
discounts, taxes, and free traffic within a region or to partners' networks: a configured price can include all that.
Prices change, so each preset states the day on which its source was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

GB = 10**9
GIB = 1 << 30

STALE_DAYS = 180
"""A preset older than this should be checked against the provider's page."""


@dataclass(frozen=True, slots=True)
class Price:
    """The price of reads in `currency`: for each GB (10^9 bytes) of egress, and for each thousand requests."""

    egress: float
    requests: float = 0.0
    currency: str = "USD"

    def __str__(self) -> str:
        return f"{self.egress:g} {self.currency} per GB, {self.requests:g} per 1,000 requests"

    def of(self, size: float, requests: float = 1.0) -> float:
        """The price of `size` bytes in this number of requests."""
        return self.egress * size / GB + self.requests * requests / 1000.0


@dataclass(frozen=True, slots=True)
class PricePreset:
    """A list price. `read` is the day on which `source` was read; `caveat` states what the price omits."""

    price: Price
    read: date
    source: str
    caveat: str = ""

    def age_days(self, today: date) -> int:
        return (today - self.read).days


PRESETS: Mapping[str, PricePreset] = MappingProxyType(
    {
        "aws-us-east-1": PricePreset(
            Price(0.09, 0.0004),
            date(2026, 9, 20),
            "https://aws.amazon.com/s3/pricing/",
            "100 GB a month are free for an account; from 10 TB on it is less; errors 4xx are charged",
        ),
        "aws-eu-central-1": PricePreset(
            Price(0.09, 0.00043),
            date(2026, 8, 31),
            "AWS price list, EUC1-DataTransfer-Out-Bytes and EUC1-Requests-Tier2",
            "100 GB a month are free for an account; from 10 TB on it is less; errors 4xx are charged",
        ),
        "gcs-us-central1": PricePreset(
            Price(0.12 * GB / GIB, 0.0004),
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
            Price(0.001, currency="EUR"),
            date(2026, 5, 1),
            "https://docs.hetzner.com/storage/object-storage/",
            "a terabyte a month comes with the base price",
        ),
        "free": PricePreset(Price(0.0), date(2026, 11, 29), "your own storage", "power and lines have their price"),
    }
)
