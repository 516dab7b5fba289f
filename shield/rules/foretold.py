"""What a failover and other lifetimes would cost an hour, said before they are done: by what origins gave in the last
hour. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shield.rules.budgets import UsageSum, worded
from shield.rules.freshness import FreshnessRules
from shield.rules.prices import Price
from shield.rules.routes import Route

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Takeover:
    """What another origin gives in an hour of a route in place of one that is out, and the prices of both for it;
    None: not known. `to` None: no other origin of the route is well.
    """

    route: str
    to: str | None
    received: int
    requests: int
    before: float | None
    after: float | None
    currency: str | None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "route": self.route,
            "to": self.to,
            "bytes": self.received,
            "requests": self.requests,
            "before": None if self.before is None else round(self.before, 6),
            "after": None if self.after is None else round(self.after, 6),
            "currency": self.currency,
        }


def takeovers(
    name: str,
    usage: Mapping[str, UsageSum],
    routes: Iterable[Route],
    prices: Mapping[str, Price | None],
    able: Collection[str],
) -> list[Takeover]:
    """Who gives what the named origin gave in the last hour, by route: the next in the order of the route that is
    `able`. With `weighted`, where keys have different orders, the one that is next for one of them.
    """
    found = []
    for route in routes:
        given = usage.get(route.name)
        if given is None or name not in route.origins:
            continue
        others = [each for each in route.order(b"") if each != name and each in able]
        to = others[0] if others else None
        own, other = prices.get(name), None if to is None else prices.get(to)
        before, after = [None if each is None else each.of(given.received, given.requests) for each in (own, other)]
        price = other or own
        if own is not None and other is not None and own.currency != other.currency:
            before = None  # nothing is converted
        found.append(
            Takeover(
                route.name,
                to,
                given.received,
                given.requests,
                before,
                after,
                None if price is None else price.currency,
            )
        )
    return found


def lifetime_note(
    route: str,
    before: FreshnessRules,
    after: FreshnessRules,
    revalidations: Mapping[str, UsageSum],
    prices: Mapping[str, Price | None],
) -> str | None:
    """What another lifetime makes of a route's `revalidations` of an hour, by origin, at most; None if it stays."""
    old, new = _lifetime(before), _lifetime(after)
    if old == new or not old or not new:
        return None
    times = old / new
    requests = sum([each.requests for each in revalidations.values()])
    said = f"route {route}: entries live {new:g} s instead of {old:g} s, where origins don't say"
    if not requests:
        return f"{said}; in the last hour none was revalidated"
    grow = f"from {requests:,} an hour to {requests * times:,.0f}"
    if times < 1.0:
        return f"{said}; revalidations may fall {grow}"
    money: dict[str, float] = {}
    for name, each in revalidations.items():
        price = prices.get(name)
        if price is not None:
            more = price.of((times - 1.0) * each.received, (times - 1.0) * each.requests)
            money[price.currency] = money.get(price.currency, 0.0) + more
    cost = "".join([f", {worded(amount, currency)} more an hour" for currency, amount in money.items() if amount])
    return f"{said}; revalidations may rise {grow}{cost}, at most"


def _lifetime(rules: FreshnessRules) -> float | None:
    """That of responses without one of their own."""
    lifetime = rules.forced_lifetime if rules.forced_lifetime is not None else rules.default_lifetime
    return None if lifetime is None else min(lifetime, rules.max_lifetime)
