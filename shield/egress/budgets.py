"""Budgets of egress, as one worker sees them: it adds what it has counted to the sums of the node, four times a
second, and the conductor judges by these sums what budgets do.

So between a byte's arrival and its effect half a second passes at most, and bodies under way still arrive: by so much
a budget may be exceeded. A fetch reads one word of shared memory. What was read before the node started comes from
the ledger, and what other nodes of a cluster have read from them, every two seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from shield.budget_cells import NUMBERS, BudgetCell
from shield.complaints import Complaints
from shield.egress.ledger import Ledger
from shield.egress.meter import Meters
from shield.errors import StoreError
from shield.rules.budgets import (
    PERIODS,
    BudgetAct,
    BudgetStanding,
    EgressBudget,
    OriginSums,
    Period,
    UsageSum,
    acts_by_origin,
    cost_of_more,
    judge_budget,
    sums_of_account,
)
from shield.rules.moments import shown
from shield.rules.prices import CLASSES, Price, zones_of
from shield.rules.zones import Zones

log = logging.getLogger("shield.egress")

_AGAIN_SECONDS = 30.0  # after the ledger couldn't be read
_ASK_LOOKS = 8  # between two questions to other nodes
_LOOKS = 4  # without budgets, one in so many adds up: it takes a while with many routes
_NOTHING = (0,) * NUMBERS


AskNodes = Callable[[], Awaitable[Mapping[str, bytes]]]
"""The answers (`BudgetWatch.answer`) of those other nodes that answer, by name."""


NodeSums = Mapping[Period, tuple[int, UsageSum]]
"""What another node has read, with when its period began."""


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """What settings say: the budgets, and the prices of origins, by name."""

    budgets: tuple[EgressBudget, ...] = ()
    prices: Mapping[str, Price | None] = field(default_factory=dict)


class BudgetWatch:
    """Of one worker. `look` is called four times a second, with whether this worker conducts.

    Its `cells` are by origin, of all that are in use. Without a `ledger` a restart of the node forgets what was read.
    """

    def __init__(
        self,
        terms: BudgetTerms,
        *,
        cells: Callable[[], Mapping[str, BudgetCell]],
        meters: Meters,
        ledger: Ledger | None,
        clock: Callable[[], float],
        others: AskNodes | None = None,
    ) -> None:
        """`others` asks the other nodes of the cluster; None: there is none."""
        self._others = others
        self._asking: asyncio.Task[None] | None = None
        self._elsewhere: dict[str, Mapping[str, NodeSums]] = {}  # by node and origin
        self._terms = terms
        self._zones = zones_of(terms.prices)
        self._cells = cells
        self._meters = meters
        self._ledger = ledger
        self._clock = clock
        self._counted: dict[str, Sequence[int]] = {}  # by origin: what was added to the cells so far
        self._looks = 0
        self._seeding: asyncio.Task[None] | None = None
        self._unread: set[str] = set()  # origins whose periods are of another zone now, in which the ledger has more
        self._not_before = -math.inf
        self._complaints = Complaints(log, seconds=600.0)
        self._said: dict[str, BudgetAct] = {}
        self.costs: dict[tuple[str, str], float] = {}
        """By origin and currency: the price of what this worker has counted."""

    def use(self, terms: BudgetTerms) -> None:
        """Hold to these budgets and prices from now on. Sums stay: they are of origins, not of budgets. Those of
        an origin that is billed in another zone now are read from the ledger.
        """
        self._terms = terms
        self._zones = zones_of(terms.prices)

    def look(self, conducts: bool) -> None:
        """Add up; as the conductor, judge."""
        self._looks += 1
        if self._terms.budgets or self._looks % _LOOKS == 1:
            self.publish()
        if conducts:
            self._judge()

    def publish(self) -> None:
        """Add what this worker has counted since the last time to the sums of the node."""
        counted: dict[str, list[int]] = {}
        for reading in self._meters.readings():
            sums = counted.get(reading.account.origin)
            if sums is None:
                sums = counted[reading.account.origin] = [0] * NUMBERS
            sums[0] += reading.received
            for status, count in reading.statuses.items():
                sums[_column(status)] += count
        cells = self._cells()
        for name, sums in counted.items():
            before = self._counted.get(name, _NOTHING)
            if sums == before:
                continue
            more = [now - then for now, then in zip(sums, before, strict=True)]
            cell, price = cells.get(name), self._terms.prices.get(name)
            self._counted[name] = sums
            if price is not None:
                month = UsageSum() if cell is None else self._month_of(name, cells)
                place = name, price.currency
                self.costs[place] = self.costs.get(place, 0.0) + cost_of_more(price, month, more[0], more[1:])
            if cell is not None:
                cell.add(more)

    def _month_of(self, name: str, cells: Mapping[str, BudgetCell]) -> UsageSum:
        """What was read in this month by the account of an origin."""
        prices = self._terms.prices
        price = prices.get(name)
        if price is None or not price.account:
            return cells[name].sums()[Period.MONTH]
        sums = {each: cell.sums() for each, cell in cells.items()}
        return sums_of_account(name, sums, prices, Period.MONTH)

    def standings(self) -> list[BudgetStanding]:
        """How all budgets stand, by the sums of all workers. By any worker."""
        terms, now = self._terms, self._clock()
        if not terms.budgets:
            return []
        sums = {name: cell.sums() for name, cell in self._cells().items()}
        return [judge_budget(each, sums, terms.prices, self._zones, now) for each in terms.budgets]

    def prices(self) -> Mapping[str, Price | None]:
        """Of all origins."""
        return self._terms.prices

    def totals(self) -> dict[str, UsageSum]:
        """What each origin has given since the node's memory was made: for rates."""
        found = {}
        for name, cell in self._cells().items():
            received, *statuses = cell.total()
            found[name] = UsageSum(received, tuple(statuses))
        return found

    def _judge(self) -> None:
        now, cells = self._clock(), self._cells()
        for name, cell in cells.items():
            if cell.is_seeded:
                self._roll(name, cell, now)
        self._unread.intersection_update(cells)
        unknown = [name for name, cell in cells.items() if not cell.is_seeded or name in self._unread]
        if unknown:
            self._seed(unknown, now)
        is_due = self._looks % _ASK_LOOKS == 0 and self._asking is None and bool(self._terms.budgets)
        if self._others is not None and is_due:
            self._asking = asyncio.get_running_loop().create_task(self._ask_others(self._others))
        standings = self.standings()
        acts = acts_by_origin(standings)
        for name, cell in cells.items():
            cell.act(*acts.get(name, (BudgetAct(0), 0.0)))
        self._say(standings)

    def _say(self, standings: Iterable[BudgetStanding]) -> None:
        """Note in the log what changes."""
        for each in standings:
            name, before = each.budget.name, self._said.get(each.budget.name)
            self._said[name] = each.acts
            if before == each.acts or (before is None and not each.acts):
                continue
            does = ", ".join(_WORDS[act] for act in BudgetAct if each.acts & act) or "nothing is held back any more"
            until = f" until {shown(each.until)}" if each.acts else ""
            log.warning("%s: %s%s", each, does, until)

    # what other nodes have read

    def answer(self) -> bytes:
        """What this node has read in the present periods, for another node. By any worker."""
        said = {
            name: {period.value: [cell.begun(period), each.received, *each.statuses] for period, each in sums.items()}
            for name, cell in self._cells().items()
            for sums in (cell.own_sums(),)
        }
        return json.dumps(said, separators=(",", ":")).encode()

    async def _ask_others(self, ask: AskNodes) -> None:
        try:
            for node, data in (await ask()).items():
                try:
                    self._elsewhere[node] = _read(data)
                except ValueError as error:
                    self._complaints.say(node, self._clock(), "node %s: its egress can't be read: %s", node, error)
            for name, cell in self._cells().items():
                given = [sums.get(name, {}) for sums in self._elsewhere.values()]
                cell.note_others(
                    {
                        period: added([each for begun, each in found if begun == cell.begun(period)])
                        for period in PERIODS
                        for found in ([sums[period] for sums in given if period in sums],)
                    }
                )
        finally:
            self._asking = None

    # what was read before

    def _roll(self, name: str, cell: BudgetCell, now: float) -> None:
        """Begin the periods that are due; in another zone, those of that."""
        zone = self._zones.of(name)
        if cell.is_of(zone):
            cell.roll(now, zone)
            return
        cell.move(now, zone)  # what was counted so far is of some hours more or less
        if self._ledger is not None:
            self._unread.add(name)

    def _seed(self, origins: Sequence[str], now: float) -> None:
        """Begin to fetch from the ledger what these gave before."""
        if self._ledger is None:
            for name in origins:
                self._cells()[name].seed({}, _NOTHING, now, self._zones.of(name))
        elif self._seeding is None and now >= self._not_before:
            # At first nothing of this run is in the ledger yet. After a failure, or a change of the zone, all until
            # now is, or soon will be.
            is_first = self._not_before < 0.0
            cells = {name: self._cells()[name] for name in origins}
            totals = {
                name: _NOTHING if is_first and not cell.is_seeded else cell.total() for name, cell in cells.items()
            }
            self._seeding = asyncio.get_running_loop().create_task(self._read_ledger(totals, now))

    async def _read_ledger(self, totals: Mapping[str, Sequence[int]], now: float) -> None:
        assert self._ledger is not None
        zones = self._zones
        try:
            loop = asyncio.get_running_loop()
            sums = await loop.run_in_executor(None, sums_in, self._ledger, zones, now)
        except StoreError as error:
            self._not_before = now + _AGAIN_SECONDS
            self._complaints.say("ledger", now, "budgets count from the node's start, for now: %s", error)
        else:
            self._not_before = -math.inf
            cells = self._cells()
            for name, total in totals.items():
                if name in cells and (not cells[name].is_seeded or name in self._unread):
                    cells[name].seed(sums.get(name, {}), total, now, zones.of(name))
            self._unread.difference_update(totals)
        finally:
            self._seeding = None

    async def close(self) -> None:
        """Add up what is left."""
        self.publish()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        if self._seeding is not None:
            await self._seeding


def added(sums: Iterable[UsageSum]) -> UsageSum:
    """The sums of several nodes together."""
    received, statuses = 0, [0] * len(CLASSES)
    for each in sums:
        received += each.received
        statuses = [a + b for a, b in zip(statuses, each.statuses, strict=True)]
    return UsageSum(received, tuple(statuses))


def _read(data: bytes) -> dict[str, NodeSums]:
    """Another node's answer, by origin. Raises ValueError."""
    found: dict[str, NodeSums] = {}
    try:
        for name, sums in json.loads(data).items():
            known = {Period(word): [int(number) for number in numbers] for word, numbers in sums.items()}
            found[str(name)] = {
                period: (begun, UsageSum(received, tuple(statuses)))
                for period, (begun, received, *statuses) in known.items()
                if len(statuses) == len(CLASSES)
            }
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{error!r}") from None
    return found


def sums_in(ledger: Ledger, zones: Zones, now: float) -> dict[str, OriginSums]:
    """What the ledger has of each origin in the present periods of its zone. Blocks; raises StoreError."""
    found: dict[str, dict[Period, UsageSum]] = {}
    for zone, period in product(zones.all(), PERIODS):
        for origin, (received, *statuses) in ledger.sums(*period.around(now, zone)).items():
            if zones.of(origin) == zone:
                found.setdefault(origin, {})[period] = UsageSum(received, tuple(statuses))
    return dict(found)


_WORDS = {
    BudgetAct.DEARER: "other origins are preferred",
    BudgetAct.PAUSE: "hedges, comparisons and warming pause",
    BudgetAct.STALE: "stale entries are served",
    BudgetAct.REFUSE: "fetches are refused",
}


def _column(status: int) -> int:
    """The place of a status among a cell's numbers."""
    name = f"{status // 100}xx"
    return 1 + (CLASSES.index(name) if name in CLASSES else len(CLASSES) - 1)
