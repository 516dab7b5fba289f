"""Usage as rows of FOCUS, the FinOps Open Cost and Usage Specification, versions 1.2 and 1.3 (focus.finops.org).

Ours are estimates and no invoice: the billed cost is 0, and the estimate is the effective, contracted and list cost.
These are alike, since what of a price was negotiated isn't known, and the product of a unit price and a quantity: the
unit price is the mean of the month, over its tiers and its free allowance. An empty field is a null.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from shield.rules.bill import Charge, Charges, Usage
from shield.rules.prices import Price
from shield.rules.sites import NOWHERE, OriginSite
from shield.rules.zones import month_around

_OF_BOTH = (
    *("BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodStart", "BillingPeriodEnd"),
    *("BilledCost", "EffectiveCost", "ContractedCost", "ListCost"),
    *("ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency"),
    *("ChargePeriodStart", "ChargePeriodEnd", "ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit"),
    *("InvoiceIssuerName", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceType"),
    *("ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceId", "Tags"),
    *("PricingCategory", "ListUnitPrice", "ContractedUnitPrice"),
)
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "1.2": _OF_BOTH,
    "1.3": (*_OF_BOTH, "ServiceProviderName", "HostProviderName"),
}
"""The columns of each version, in our order."""

_HOUR = 3600
_NAMES = {
    "aws": "AWS",
    "gcs": "Google Cloud",
    "r2": "Cloudflare",
    "b2": "Backblaze",
    "wasabi": "Wasabi",
}


def focus_rows(
    usage: Sequence[Usage],
    prices: Mapping[str, Price | None],
    site_of: Callable[[str, float], OriginSite | None],
    labels: Mapping[str, Mapping[str, str]],
    version: str,
) -> Iterator[dict[str, str]]:
    """Two rows, of bytes and of requests, for each hour, origin, route and reason, or for each day where only that is
    known; origins without a price are left out. Times are of UTC, and the billing period is the month of the
    provider's zone. `site_of` tells where an origin was at a time; `labels` are by origin, and tags of its rows as
    they are, beside our own, which begin with `x_`.
    """
    rates = Charges(usage, prices)
    periods: dict[tuple[int, int, str, str, str], list[Usage]] = {}
    for each in usage:
        if each.origin and prices.get(each.origin) is not None:
            start = each.at // _HOUR * _HOUR
            key = start, start + max(_HOUR, each.span), each.origin, each.route, each.reason
            periods.setdefault(key, []).append(each)
    for (start, stop, origin, route, reason), rows in sorted(periods.items(), key=lambda item: item[0]):
        charge = rates.of(origin, start)
        assert charge is not None
        site = site_of(origin, start) or NOWHERE
        tags = {
            **labels.get(origin, {}),
            "x_origin": origin,
            "x_route": route,
            "x_reason": reason,
            "x_estimate": "true",
        }
        common = _common((start, stop), charge, site._replace(bucket=site.bucket or origin), tags, version)
        size = sum([each.received for each in rows])
        yield {**common, **_egress(size, charge)}
        yield {**common, **_requests(rows, charge)}


def _common(
    period: tuple[int, int], charge: Charge, site: OriginSite, tags: Mapping[str, str], version: str
) -> dict[str, str]:
    start, stop = month_around(period[0], charge.price.zone)
    named = _NAMES.get(site.provider, site.provider)
    more = {"ServiceProviderName": named, "HostProviderName": named} if version != "1.2" else {}
    return {
        "BillingAccountId": charge.price.account or site.bucket,
        "BillingAccountName": charge.price.account or site.bucket,
        "BillingCurrency": charge.currency,
        "BillingPeriodStart": _time(start),
        "BillingPeriodEnd": _time(stop),
        "BilledCost": "0",
        "ChargeCategory": "Usage",
        "ChargeClass": "",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _time(period[0]),
        "ChargePeriodEnd": _time(period[1]),
        "InvoiceIssuerName": named,
        "ProviderName": named,
        "PublisherName": named,
        "RegionId": site.region,
        "RegionName": site.region,
        "ResourceId": site.bucket,
        "ResourceType": "Bucket",
        "PricingCategory": "Standard",
        "ServiceName": "Object storage",
        "Tags": json.dumps(tags, separators=(",", ":"), sort_keys=True),
        **more,
    }


def _egress(size: int, charge: Charge) -> dict[str, str]:
    price = charge.price
    return {
        "ChargeDescription": "Estimate: egress from object storage",
        "ServiceCategory": "Networking",
        "ServiceSubcategory": "Network Connectivity",
        "SkuId": "egress",
        "SkuMeter": "Data transfer out",
        "SkuPriceId": "egress",
        **_quantity(size / price.unit, price.unit_name),
        **_cost(size / price.unit, charge.each_byte * price.unit),
    }


def _requests(rows: Sequence[Usage], charge: Charge) -> dict[str, str]:
    thousands = sum([charge.price.billed_of(each.statuses) for each in rows]) / 1000.0
    return {
        "ChargeDescription": "Estimate: requests to object storage",
        "ServiceCategory": "Storage",
        "ServiceSubcategory": "Object Storage",
        "SkuId": "requests",
        "SkuMeter": "Read requests",
        "SkuPriceId": "requests",
        **_quantity(thousands, "1000 Requests"),
        **_cost(thousands, charge.each_request * 1000.0),
    }


def _quantity(number: float, unit: str) -> dict[str, str]:
    shown = _number(number)
    return {"ConsumedQuantity": shown, "ConsumedUnit": unit, "PricingQuantity": shown, "PricingUnit": unit}


def _cost(quantity: float, each: float) -> dict[str, str]:
    # The product of what is shown of both, to the last digit.
    unit_price = _number(each)
    cost = f"{Decimal(unit_price) * Decimal(_number(quantity)):f}"
    cost = cost.rstrip("0").rstrip(".") if "." in cost else cost
    return {
        **dict.fromkeys(("ListUnitPrice", "ContractedUnitPrice"), unit_price),
        **dict.fromkeys(("EffectiveCost", "ContractedCost", "ListCost"), cost),
    }


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
