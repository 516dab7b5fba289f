"""What a simulation has found: ratios, requests and bytes of origins, and their price, of the whole log and a month.

A sample stands for all by its share: misses are scaled up, and the hit ratio follows from them and from the number of
all requests. That is better than the sample's own ratio, in which one hot object more or less counts for much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from shield.rules.bill import Charges, Usage, bill
from shield.rules.prices import Price
from shield.simulate.node import SimulatedCounts

MONTH_SECONDS = 30 * 86400.0
_SURE = 1.96  # standard errors within which 95 of 100 lie


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value; that it is off by more than `error` has a chance of one in twenty. 0.0: nothing was estimated; None:
    one sample can't tell.
    """

    value: float
    error: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """How much of the log was replayed: requests in it, those in all samples, the share of keys in each sample, and
    the seconds that count.
    """

    requests: int
    sampled: int
    share: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Foretold:
    """The figures of one node. `hits` are ratios by tier, `requests` and `received` those of origins by reason.
    `money` is for a month of such traffic, by currency; `unpriced` are bytes a month of origins without a price.
    `guessed` are the shares of requests and of bytes from origins whose objects' sizes had to be guessed, `placed`
    is that of requests for parts whose places had to be.
    """

    name: str
    asked: int
    refused: float
    hit: Estimate
    hits: dict[str, Estimate]
    requests: dict[str, Estimate]
    received: dict[str, Estimate]
    all_requests: Estimate
    all_received: Estimate
    money: dict[str, Estimate]
    unpriced: Estimate
    guessed: float
    guessed_bytes: float
    placed: float = 0.0
    crowded: int | None = None  # entries that a sample's RAM has room for, at least; None: it had room for all
    unfit: int = 0  # entries and slices too large for a sample's disks alone


def foretold(
    name: str,
    samples: Sequence[SimulatedCounts],
    of: Replayed,
    *,
    tiers: Sequence[str],
    prices: Mapping[str, Price | None],
) -> Foretold:
    """The figures of a node, from those of the samples."""
    counted = sum(each.requests for each in samples)
    refused = sum(each.refused for each in samples) / max(counted, 1)
    # Of those after the warm-up, and of all keys.
    asked = counted if of.share >= 1.0 else round(of.requests * counted / max(of.sampled, 1))
    usable = max(asked * (1.0 - refused), 1.0)

    def scaled(values: Sequence[float], whole: float = 1.0) -> Estimate:
        return _estimate([value / of.share / whole for value in values], of.share)

    def share(values: Sequence[float]) -> Estimate:
        found = scaled(values, usable)
        return Estimate(min(max(1.0 - found.value, 0.0), 1.0), found.error)

    reasons = sorted({account.reason for each in samples for account in each.fetches})
    bills = [_bill(each, of, prices) for each in samples]
    all_bytes = sum(each.received for one in samples for each in one.fetches.values())
    return Foretold(
        name,
        asked,
        refused,
        hit=share([each.requests - each.refused - sum(each.hits.values()) for each in samples]),
        hits={
            "memory": share([each.requests - each.refused - each.hits.get("memory", 0) for each in samples]),
            **{tier: scaled([each.hits.get(tier, 0) for each in samples], usable) for tier in tiers},
        },
        requests={reason: scaled([_sum(each, reason, "requests") for each in samples]) for reason in reasons},
        received={reason: scaled([_sum(each, reason, "received") for each in samples]) for reason in reasons},
        all_requests=scaled([_sum(each, None, "requests") for each in samples]),
        all_received=scaled([_sum(each, None, "received") for each in samples]),
        money={
            currency: _estimate([money.get(currency, 0.0) for money, _ in bills], of.share)
            for currency in sorted({currency for money, _ in bills for currency in money})
        },
        unpriced=_estimate([unpriced for _, unpriced in bills], of.share),
        guessed=sum(each.guessed for each in samples) / max(counted, 1),
        guessed_bytes=sum(each.guessed_bytes for each in samples) / max(all_bytes, 1),
        placed=sum(each.placed for each in samples) / max(counted, 1),
        crowded=min((each.crowded for each in samples if each.crowded is not None), default=None),
        unfit=sum(each.unfit for each in samples),
    )


def _estimate(values: Sequence[float], share: float) -> Estimate:
    """Of values that each stand for all."""
    if share >= 1.0:
        return Estimate(sum(values))
    if len(values) < 2:
        return Estimate(fmean(values), None)
    return Estimate(fmean(values), _SURE * stdev(values) / math.sqrt(len(values)))


def _sum(counts: SimulatedCounts, reason: str | None, what: str) -> int:
    return sum(
        getattr(each, what) for account, each in counts.fetches.items() if reason is None or account.reason == reason
    )


def _bill(
    counts: SimulatedCounts, of: Replayed, prices: Mapping[str, Price | None]
) -> tuple[dict[str, float], float]:
    """The price of a month of such traffic, by currency, and bytes without a price."""
    times = MONTH_SECONDS / max(of.seconds, 1.0) / of.share
    usage = [
        Usage(
            0,
            account.origin,
            account.route,
            account.reason,
            round(each.received * times),
            [round(count * times) for count in each.classes],
        )
        for account, each in counts.fetches.items()
    ]
    total = bill(usage, Charges(usage, prices)).total
    return total.money, float(total.unpriced)
