"""The order of origins by cost for routes with `choose: nearest`, and by price for those with `cheapest`: one of a
node's workers, the conductor, determines it once a second and publishes it; all workers have it in use within a
quarter of a second. Budgets of egress can make an origin dearer for both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shield.origin.origin import Origin
from shield.rankings import RankingPlace, Rankings
from shield.records import Seen
from shield.rules.budgets import DEAR_SECONDS, BudgetAct
from shield.rules.choice import Choice
from shield.rules.distance import Timing, measured_of, sizes_of
from shield.rules.ranking import MOST_RANKED, Hold, OriginFacts, OriginPlace, Strategy, by_cost
from shield.rules.routes import Route

log = logging.getLogger("shield.origin")

Prior = Callable[[str], Sequence[Timing] | None]

_LOOKS = 4  # of one turn: each route is judged once in it, some at each look


@dataclass(frozen=True, slots=True)
class PlaceStatistics:
    """An origin's position in a route's order, the reason, and the parts of its cost; None: it isn't measured."""

    position: int  # from 1
    why: str
    cost_seconds: float | None = None
    first_byte_seconds: float | None = None
    transfer_seconds: float | None = None
    money_seconds: float | None = None
    penalty_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RankedStatistics:
    """A route that orders its origins by cost: the mean size of a response, and the origins by name, in order."""

    expected_bytes: int
    exchange_seconds: float
    origins: dict[str, PlaceStatistics]


class Ranker:
    """The orders of one worker's routes. `use` those in force; `look` is called four times a second."""

    def __init__(self, rankings: Rankings, worker: int, *, origins: Callable[[], Iterable[Origin]]) -> None:
        self._rankings = rankings
        self._worker = worker
        self._origins = origins
        self._ranked: list[_Ranked] = []
        self._looks = 0
        self.prior: Prior = lambda name: None
        """Timings of an origin that this node hasn't measured, by others; None: there are none."""

    def use(self, routes: Iterable[Route]) -> None:
        """These routes are in force from now on. Those that stay keep their order and measurements."""
        routes = [route for route in routes if route.choice is not None and len(route.origins) <= MOST_RANKED]
        self._rankings.free([_identity(route) for route in routes])
        self._ranked = [_Ranked(route, self._rankings.of(self._worker, _identity(route))) for route in routes]

    def look(self, now: float, conducts: bool) -> None:
        """Take over the published orders; as the conductor, determine some of them first."""
        self._looks += 1
        for at, ranked in enumerate(self._ranked):
            if not conducts and ranked.place.is_shared:
                ranked.hold = None  # another worker's is the one that counts
            elif (self._looks + at) % _LOOKS == 0:
                ranked.judge(self._origins(), now, self.prior)
            ranked.follow()

    def statistics(self, now: float) -> dict[str, RankedStatistics]:
        """The order of each route with its reasons."""
        by_cost = [ranked for ranked in self._ranked if ranked.route.choose is Strategy.NEAREST]
        return {ranked.route.name: ranked.statistics(self._origins(), now, self.prior) for ranked in by_cost}


class _Ranked:
    """A route, its place in shared memory, and the conductor's hold of its order."""

    __slots__ = ("_choice", "_facts", "_names", "_word", "hold", "place", "route")

    def __init__(self, route: Route, place: RankingPlace) -> None:
        assert route.choice is not None
        self.route = route
        self.place = place
        self.hold: Hold | None = None
        self._choice: Choice = route.choice
        self._choice.sizes = place.own
        self._facts = route.facts or tuple([OriginFacts(name) for name in route.origins])
        self._names = route.calm_order  # before anything is published
        self._word = 0
        self.follow()

    def follow(self) -> None:
        """Let fetches use the published order."""
        word = self.place.word
        if word != self._word:
            self._word, self._choice.order = word, self.place.order(self._names)

    def judge(self, origins: Iterable[Origin], now: float, prior: Prior) -> None:
        """Advance the order by one step, and publish it if it has changed."""
        names = self._names
        before = self.place.order(names)
        if self.route.choose is Strategy.CHEAPEST:
            dear = _dear(origins)
            order = tuple(sorted(names, key=lambda name: name in dear))
            if order != before:
                self.place.publish(order, names)
                said = "route %s: its origins are tried in another order now, by price and budgets: %s"
                log.warning(said, self.route.name, ", ".join(order))
            return
        hold = self.hold or Hold(before)
        self.hold, _ = hold.step(self._by_cost(origins, now, prior)[0], now)
        if self.hold.order != before:
            self.place.publish(self.hold.order, names)
            said = ", ".join(self.hold.order)
            log.warning("route %s: its origins are tried in another order now, by cost: %s", self.route.name, said)

    def statistics(self, origins: Iterable[Origin], now: float, prior: Prior) -> RankedStatistics:
        ranked, expected = self._by_cost(origins, now, prior)
        _, places = Hold(self.place.order(self._names)).step(ranked, now)
        found = {place.name: _shown(position, place) for position, place in enumerate(places, 1)}
        return RankedStatistics(round(expected), self.route.exchange, found)

    def _by_cost(self, origins: Iterable[Origin], now: float, prior: Prior) -> tuple[Sequence[OriginPlace], float]:
        """The origins in the order of their costs at present, and the expected size of a response."""
        asked = [origin for origin in origins if origin.name in self.route.origins]
        seen = {origin.name: origin.seen for origin in asked}
        sizes, dear = sizes_of(*self.place.sizes()), _dear(asked)
        measured = measured_of(
            {name: _timings(name, each, prior) for name, each in seen.items()},
            sizes,
            now,
            penalties={
                name: each.timings.penalty + (DEAR_SECONDS if name in dear else 0.0) for name, each in seen.items()
            },
            out=[name for name, each in seen.items() if each.is_held or not each.treated().is_good],
        )
        exchange = self.route.exchange
        return by_cost(self._facts, measured, size=sizes.expected, exchange=exchange), sizes.expected


def _timings(name: str, seen: Seen, prior: Prior) -> Sequence[Timing]:
    """This node's own, and before it has any, those of others."""
    own = seen.timings.timings()
    return own if any(each.first_byte for each in own) else prior(name) or own


def _dear(origins: Iterable[Origin]) -> set[str]:
    """Those that a budget makes count as more expensive."""
    return {origin.name for origin in origins if origin.budget.does(BudgetAct.DEARER)}


def _identity(route: Route) -> bytes:
    """The same for all workers, and another one with other origins."""
    return "\n".join([route.name, route.choose.value, *route.calm_order]).encode()


def _shown(position: int, place: OriginPlace) -> PlaceStatistics:
    cost = place.cost
    if cost is None:
        return PlaceStatistics(position, place.placing.value)
    parts = (cost.total, cost.first_byte, cost.transfer, cost.money, cost.penalty)
    return PlaceStatistics(position, place.placing.value, *[round(part, 4) for part in parts])
