"""Tells what failovers and other lifetimes would cost, by the ledger's last hour."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

from shield.egress.ledger import Ledger
from shield.errors import StoreError
from shield.rules.budgets import UsageSum
from shield.rules.foretold import HOUR, Takeover, lifetime_note, takeovers
from shield.rules.prices import Price
from shield.rules.routes import Route

_REVALIDATION = "revalidation"


class EgressForecaster:
    """Of one worker. Without a `ledger` nothing can be told: StoreError."""

    def __init__(
        self,
        ledger: Ledger | None,
        *,
        routes: Callable[[], Iterable[Route]],
        prices: Callable[[], Mapping[str, Price | None]],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._routes = routes
        self._prices = prices
        self._clock = clock

    async def takeovers(self, name: str, able: Collection[str]) -> list[Takeover]:
        """What others give in an hour if this origin is out. Raises StoreError."""
        usage = await self._of_last_hour()
        by_route: dict[str, UsageSum] = {}
        for (origin, route, _), given in usage.items():
            if origin == name:
                by_route[route] = _plus(by_route.get(route, UsageSum()), given)
        return takeovers(name, by_route, self._routes(), self._prices(), able)

    async def lifetimes(self, wanted: Iterable[Route]) -> list[str]:
        """What the lifetimes of other routes would change, a sentence for each. Raises StoreError."""
        after = {route.name: route for route in wanted}
        pairs = [(route, after[route.name]) for route in self._routes() if route.name in after]
        if all(one.freshness == other.freshness for one, other in pairs):
            return []
        usage, said = await self._of_last_hour(), []
        for one, other in pairs:
            given = {
                origin: each
                for (origin, route, reason), each in usage.items()
                if route == one.name and reason == _REVALIDATION
            }
            note = lifetime_note(one.name, one.freshness, other.freshness, given, self._prices())
            if note is not None:
                said.append(note)
        return said

    async def _of_last_hour(self) -> dict[tuple[str, str, str], UsageSum]:
        """By origin, route and reason."""
        if self._ledger is None:
            raise StoreError("no ledger is kept, so what origins gave in the last hour isn't known")
        now, loop = self._clock(), asyncio.get_running_loop()
        rows = await loop.run_in_executor(None, self._ledger.rows, now - HOUR, now + 1.0)
        found: dict[tuple[str, str, str], UsageSum] = {}
        for row in rows:
            if row.origin:
                key = row.origin, row.route, row.reason
                found[key] = _plus(found.get(key, UsageSum()), UsageSum(row.received, row.statuses))
        return found


def _plus(one: UsageSum, other: UsageSum) -> UsageSum:
    statuses = [a + b for a, b in zip(one.statuses, other.statuses, strict=True)]
    return UsageSum(one.received + other.received, tuple(statuses))
