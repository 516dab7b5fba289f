"""Failover: one fetch over several origins inside one deadline, before any byte is sent to a client.

The first attempt at the best origin is made at once; all others are a `Race`. The health of origins, which
all workers judge together, decides on their order and how long a fetch waits for one of them alone.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager

from shield.budget_cells import BudgetCells
from shield.chance import draw
from shield.complaints import Complaints
from shield.egress.meter import Meters
from shield.errors import Fault, OriginError
from shield.leases import Leases
from shield.origin.conductor import Conductor
from shield.origin.faults import is_failure
from shield.origin.flow import PATIENCE_SECONDS, Flow
from shield.origin.hedging import Hedge
from shield.origin.lag import LagWatch
from shield.origin.lot import Lot, Moved
from shield.origin.origin import Origin
from shield.origin.plain import FetchTaker, PlainFetch
from shield.origin.prober import Prober
from shield.origin.race import AttemptResult, Lead, Race
from shield.origin.ranker import RankedStatistics, Ranker
from shield.origin.thrift import Thrift
from shield.origin.turns import PACED_FETCHES, Turns
from shield.origin.want import Absent, Failed, Fetched, Want
from shield.ramp_table import RampSlot
from shield.rankings import Rankings
from shield.rankings import private as private_rankings
from shield.rate_cells import RateCells
from shield.records import Records, private
from shield.rules.attempts import Schedule
from shield.rules.budget import FetchAllowance
from shield.rules.budgets import BudgetAct
from shield.rules.health import HELD_BACK, Flag, HealthState, find_trouble
from shield.rules.hedge import MOST, HedgeRules
from shield.rules.spotchecks import Quarantine
from shield.rules.throttling import with_room

log = logging.getLogger("shield.origin")

_STORED_PATIENCE = 1.0
"""Seconds that a revalidation waits before an origin is tried again: the stored entry may do instead."""


_TURN_SECONDS = 5.0
"""How long a fetch waits for its turn while all its origins are bad; then its clients get a stale entry or 503."""

_LEFT_SECONDS = 60.0
"""A removed origin is forgotten after this time without a fetch."""


class Origins:
    """All origins of a node. `fetch` walks an order of names within one deadline.

    They may be replaced by others (`adopt`): a fetch continues with those it began with. A removed one can be used
    for a while longer, by requests that began under routes that name it; its connections end with their fetches.
    """

    def __init__(
        self,
        origins: Sequence[Origin],
        *,
        deadline_seconds: float,
        clock: Callable[[], float],
        retry_share: float = 0.1,
        chance: Callable[[], float] = draw,
        records: Records | None = None,
        rankings: Rankings | None = None,
        flows: RateCells | None = None,
        budgets: BudgetCells | None = None,
        worker: int = 0,
        hedges: HedgeRules | None = None,
    ) -> None:
        """`records` to `budgets` are the memory that all workers share; None: there are no others."""
        self._records = records or private()
        self._flows = flows or RateCells()
        self.thrift = Thrift(budgets, worker, all_origins=self.all)
        self._worker = worker
        self._retry_share = retry_share
        self._hedges = hedges or HedgeRules()
        self._clock = clock
        self.meters = Meters()
        self._attach(origins)
        self._lot = Lot(origins, deadline_seconds)
        self._left: dict[str, tuple[Origin, float]] = {}  # removed ones by name, with the time of the last fetch
        self._ending: list[tuple[Origin, Lot]] = []  # closed as soon as nothing needs them
        self._closings: set[asyncio.Task[None]] = set()
        self._chance = chance
        self._turns = Turns(max(1, PACED_FETCHES // self._records.workers))
        self._complaints = Complaints(log)
        self.quarantine: Quarantine | None = None
        """Objects whose copy at an origin has been shown to have other bytes; None: there has been none."""
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self.prober = Prober(self.all, clock=clock, now=self._now)
        self.ranker = Ranker(rankings or private_rankings(), worker, origins=self.all)
        self.lag = LagWatch(self.all, clock=clock, now=self._now)
        self.conductor = Conductor(
            self._records,
            worker,
            origins=self.all,
            rescue=_rescue,
            probe=self.prober.passes,
            prober=self.prober,
            now=self._now,
            clock=clock,
            rank=self.thrift.looking(self.ranker.look),
        )

    def open(self) -> None:
        """Begin to judge them."""
        self.conductor.open()

    def adopt(
        self,
        origins: Sequence[Origin],
        *,
        deadline_seconds: float,
        retry_share: float,
        hedges: HedgeRules | None = None,
    ) -> None:
        """Use these from now on. Present ones among them stay as they are."""
        before, now = self._lot, self._now()
        known = before.origins.values()
        self._retry_share, self._hedges = retry_share, hedges or HedgeRules()
        self._records.free([origin.identity for origin in origins], [origin.name.encode() for origin in origins])
        self.thrift.keep(origins)
        self._attach([origin for origin in origins if origin not in known])
        self._allow(origins)
        self._lot = Lot(origins, deadline_seconds)
        for name, origin in before.origins.items():
            if self._lot.origins.get(name) is origin:
                continue
            self._ending.append((origin, before))
            if name not in self._lot.origins:
                self._left[name] = origin, now
        for name in self._lot.origins:
            self._left.pop(name, None)

    def _attach(self, origins: Sequence[Origin]) -> None:
        """Give each the memory that workers share."""
        for origin in origins:
            origin.seen = self._records.of(self._worker, origin.identity, origin.name.encode())
            origin.gate.attach(Leases(origin.seen) if origin.seen.is_judged else None)
            origin.clock = self._clock
            self.thrift.attach(origin)
            if origin.pool.flow is not None:
                origin.pool.flow.use(self._flows)
            origin.meters = self.meters
        self._allow(origins)

    def _allow(self, origins: Sequence[Origin]) -> None:
        """Set the budgets for extra fetches."""
        for origin in origins:
            origin.seen.allow(FetchAllowance(self._retry_share), FetchAllowance(self._hedges.share, MOST))

    def tick(self) -> None:
        """Once a second: try new credentials, and close removed origins that aren't needed any more."""
        now, clock = self._now(), self._clock()
        self.lag.tick()
        for origin in self._lot.origins.values():
            if origin.keys is not None:
                origin.keys.tick(clock)
        for name, (_, asked) in list(self._left.items()):
            if now - asked > _LEFT_SECONDS:
                del self._left[name]
        for each in list(self._ending):
            origin, lot = each
            pool, (left, _) = origin.pool, self._left.get(origin.name, (None, 0.0))
            if lot.users or left is origin or pool.in_use:
                continue
            self._ending.remove(each)
            closing = asyncio.get_running_loop().create_task(pool.close())
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)

    async def fetch(self, names: Sequence[str], want: Want) -> Fetched | Absent | Failed:
        """Try the named origins until one commits to the object. Cancellation leaves nothing behind."""
        lot = self._lot
        if self._left and not all(name in lot.origins for name in names):
            lot = self._with_left(names, lot)
        lot.users += 1
        try:
            order, began = lot.order(names, want.path, self._now), self._now()
            if self.quarantine is not None:
                order = self.quarantine.trusted(want.path, order, began)
            is_usual = want.resumes is None and lot.has_time and not (self.conductor.bad and lot.are_all_bad(order))
            if not order or len(order) < len(names) or not is_usual:
                return await self._fetch_unusual(names, order, want, lot, began)
            if (flow := lot.origins[order[0]].pool.flow) is not None:
                return await self._fetch_capped(flow, names, order, want, lot)
            if len(order) > 1:
                return await self._lead(order, want, lot, began)
            answer = lot.origins[order[0]].fetch(want, deadline=began + lot.deadline_seconds, clock=self._clock)
            return await self._alone(answer, order, want, lot, began)
        finally:
            lot.users -= 1

    def begin(self, names: Sequence[str], want: Want, taker: FetchTaker) -> PlainFetch | None:
        """Begin the same without a task, which tells `taker` its result later, never within this call.

        None, and nothing has been done: it isn't as nearly all are, so that it takes `fetch`.
        """
        lot = self._lot
        if self._left or not lot.has_time or want.resumes is not None:
            return None
        order, began = lot.order(names, want.path, self._now), self._now()
        if self.quarantine is not None:
            order = self.quarantine.trusted(want.path, order, began)
        if not order or len(order) < len(names) or (self.conductor.bad and lot.are_all_bad(order)):
            return None
        fetch = PlainFetch(self, lot, order, want, taker=taker, began=began, loop=self._loop)
        attempt = fetch.origin.begin(want, deadline=began + lot.deadline_seconds, asker=fetch)
        if attempt is None:
            return None
        fetch.wait(attempt)
        return fetch

    async def go_on(self, fetch: PlainFetch) -> Fetched | Absent | Failed:
        """The result of a fetch that isn't plain after all: its response isn't the object, or is late."""
        order, want, lot, began = fetch.order, fetch.want, fetch.lot, fetch.began
        answer = fetch.origin.go_on(fetch.attempt)
        if len(order) == 1:
            return await self._alone(answer, order, want, lot, began)
        lead = self._lead_of(order, want, lot, began, within=max(0.0, began + lot.patience(order) - self._now()))
        if fetch.is_suspicious:
            lead.suspect(fetch.origin.name)
        return await self._led(lead, answer, lambda: self._race(order, order, want, lot, began), began)

    async def _alone(
        self, attempt: Awaitable[Fetched | Absent], order: Sequence[str], want: Want, lot: Lot, began: float
    ) -> Fetched | Absent | Failed:
        """The result of a fetch with one origin, by its first attempt and others after it."""
        answer: AttemptResult
        try:
            answer = await attempt
            if isinstance(answer, Fetched):
                return answer
        except OriginError as error:
            answer = error.with_traceback(None)  # its frames hold it
        return await self._race(order, order, want, lot, began).run_after(order[0], began, answer)

    async def _fetch_capped(
        self, flow: Flow, names: Sequence[str], order: Sequence[str], want: Want, lot: Lot
    ) -> Fetched | Absent | Failed:
        """A fetch whose first origin has a cap on its bytes: it waits for its place there before it begins."""
        refused = lot.origins[order[0]].budget.does(BudgetAct.REFUSE)  # it needs no place
        over = None if refused else await _placed(flow, lot.deadline_seconds)
        began = self._now()
        race = self._race(names, order, want, lot, began)
        return await (race.run() if over is None else race.run_after(order[0], began, over))

    async def _fetch_unusual(
        self, names: Sequence[str], order: Sequence[str], want: Want, lot: Lot, began: float
    ) -> Fetched | Absent | Failed:
        """A fetch that not all is well with. While all its origins are bad, it waits for its turn."""
        has_turn: bool | None = False
        if order and lot.are_all_bad(order):
            until = began + min(_TURN_SECONDS, lot.deadline_seconds / 2.0)
            has_turn = await self._turns.take(lambda: lot.are_all_bad(order), until)
        if has_turn is None:
            lot.origins[order[0]].faults[Fault.PACED.value] += 1
            said = f"all origins are bad, and get {self._turns.used} fetches of this worker at a time"
            return Failed((OriginError(order[0], Fault.PACED, said),))
        try:
            return await self._race(names, order, want, lot, began).run()
        finally:
            if has_turn:
                self._turns.give_back()

    async def _lead(self, order: Sequence[str], want: Want, lot: Lot, began: float) -> Fetched | Absent | Failed:
        """A fetch with several origins to try: the first attempt, and others beside or after it."""
        origin = lot.origins[order[0]]
        if origin.gate.used >= origin.gate.room:
            order = with_room(order, lot.has_room)
            origin = lot.origins[order[0]]
        answer = origin.fetch(want, deadline=began + lot.deadline_seconds, clock=self._clock)
        lead = self._lead_of(order, want, lot, began, within=lot.patience(order))
        return await self._led(lead, answer, lambda: self._race(order, order, want, lot, began), began)

    def _lead_of(self, order: Sequence[str], want: Want, lot: Lot, began: float, *, within: float) -> Lead:
        """The first attempt, made by the current task, with others beside it after so many seconds."""
        first = order[0]
        return Lead(
            lot.origins[first],
            lambda: self._race(order, order, want, lot, began).beside(first, began),
            within=within,
        )

    async def _led(
        self, lead: Lead, attempt: Awaitable[Fetched | Absent], race_of: Callable[[], Race], began: float
    ) -> Fetched | Absent | Failed:
        """The result of a fetch by its first attempt, and by others beside or after it."""
        answer: AttemptResult
        try:
            answer = await attempt
        except OriginError as error:
            answer = error.with_traceback(None)  # its frames hold it
        except asyncio.CancelledError:
            if (result := lead.result_of_race()) is None:
                raise
            return result
        finally:
            lead.over()
        if isinstance(answer, Fetched):
            lead.drop()
            return answer
        if lead.race is None:
            return await race_of().run_after(lead.origin.name, began, answer)
        return await lead.joined(answer)

    def _with_left(self, names: Sequence[str], lot: Lot) -> Lot:
        """With removed origins, for requests that began when they were in use."""
        now = self._now()
        origins = dict(lot.origins)
        for name in names:
            if name in self._left:
                origins[name] = self._left[name][0]
                self._left[name] = origins[name], now
        found = Lot(list(origins.values()), lot.deadline_seconds)
        found.budgets = lot.budgets  # a removed one isn't asked again
        return found

    def _race(self, names: Sequence[str], order: Sequence[str], want: Want, lot: Lot, began: float) -> Race:
        """Further attempts of a fetch that began at `began`, by the schedule."""
        hedge = self._hedge(order, want, lot, began)
        schedule = Schedule(
            lot.contenders(order),
            deadline=began + lot.deadline_seconds,
            budgets=lot.budgets,
            chance=self._chance,
            longest_wait=_STORED_PATIENCE if want.validators else math.inf,
            resumes=want.resumes if want.resumes in lot.budgets else None,
            hedge=hedge,
        )
        unknown = [name for name in names if name not in lot.origins]
        race = Race(want, schedule, lot.origins, clock=self._clock, note=self._note, unknown=unknown, hedge=hedge)
        race.sighted = self.lag.sighted
        return race

    def _hedge(self, order: Sequence[str], want: Want, lot: Lot, began: float) -> Hedge | None:
        """The hedge of a fetch that began at `began`, in case that its first attempt is late."""
        if len(order) < 2 or not want.may_hedge:
            return None
        late, other = lot.origins[order[0]], lot.origins[order[1]]
        after = late.seen.spending.after
        return None if after == math.inf else Hedge(late, other, self._hedges.max_waste, began + after, self._now)

    def ranked(self) -> dict[str, RankedStatistics]:
        """The order of origins by cost, of each route that has one."""
        return self.ranker.statistics(self._now())

    def tell_moved(self, moved: Moved | None) -> None:
        """Call this from now on, until the origins are replaced."""
        self._lot.moved = moved

    @property
    def is_conducted_here(self) -> bool:
        """Whether this worker judges them for the node."""
        return self._records.conductor(self._now()) == self._worker

    def trouble(self, names: Sequence[str]) -> str | None:
        """Why fetches that can wait should, as far as the first of these origins is concerned; None: they needn't."""
        if self.is_frozen:
            return "the node is cut off from all origins"
        known = [origin for origin in map(self.find, names) if origin is not None]
        used = [origin for origin in known if not origin.seen.treated().flags & HELD_BACK]
        for origin in (used or known)[:1]:
            record, gate = origin.seen.treated(), origin.gate
            if origin.budget.does(BudgetAct.PAUSE):
                return f"the budget of origin {origin.name} is nearly spent"
            if record.state is not HealthState.UP:
                return f"origin {origin.name} is {record.state.name.lower()}"
            if record.flags & Flag.THROTTLED:
                return f"origin {origin.name} is throttled"
            if gate.waiting or not gate.room:
                return f"misses wait for origin {origin.name}"
        return None

    def are_cut_off(self, names: Sequence[str]) -> bool:
        """Whether all of these are known to be bad, or the node itself is cut off from all origins."""
        return bool(self._records.frozen_at) or self._lot.are_all_bad(names)

    @property
    def newcomers(self) -> Sequence[str]:
        """Origins whose share of keys is growing."""
        return [name for name in self._lot.origins if self.ramp_of(name).below[0]]

    def shares(self) -> dict[str, float]:
        """The share of keys that each origin may serve."""
        return {name: 1.0 - self.ramp_of(name).below[0] for name in self._lot.origins}

    def ramp_of(self, name: str) -> RampSlot:
        """The growth of an origin's share of keys, in the memory of all workers."""
        return self._records.ramp_of(name.encode())

    @property
    def conducts(self) -> bool:
        """Whether this worker judges the origins for all of them."""
        return self._records.conductor(self._now()) == self._worker

    def excluding_others(self) -> AbstractContextManager[None]:
        """While it is entered, no other process changes values on origins that have several writers."""
        return self._records.excluding_others()

    @property
    def is_frozen(self) -> bool:
        """Whether the fault is this node's own, so that no origin is judged."""
        return bool(self._records.frozen_at)

    def find(self, name: str) -> Origin | None:
        """An origin in use, if there is one with this name."""
        return self._lot.origins.get(name)

    def get(self, name: str) -> Origin:
        return self._lot.origins[name]

    def patience(self, name: str) -> float:
        """How long a fetch waits for an origin before the next one is tried, too; endless for a removed one."""
        origin = self._lot.origins.get(name)
        return math.inf if origin is None else origin.seen.patience

    def all(self) -> tuple[Origin, ...]:
        return tuple(self._lot.origins.values())

    async def close(self) -> None:
        await self.conductor.close()
        await self.prober.close()
        await self.lag.close()
        for origin in (*self._lot.origins.values(), *[origin for origin, _ in self._ending]):
            if origin.keys is not None:
                await origin.keys.close()
            await origin.pool.close()
        if self._closings:
            await asyncio.wait(self._closings)

    def _note(self, origin: Origin, error: OriginError, want: Want) -> None:
        origin.faults[error.fault.value] += 1
        if error.fault is Fault.OVER_BUDGET:
            return  # the budget was said to be spent
        path = want.path.decode("ascii", "replace")
        if want.request is not None and (identifier := want.request.identifier) is not None:
            path = f"{path} (request {identifier.decode('ascii', 'replace')})"
        self._complaints.say((error.origin, error.fault), self._now(), "%s; for %s", error, path)
        seen, now = origin.seen, self._now()
        if not is_failure(error.fault) or not seen.is_up or self._records.frozen_at:
            return
        if find_trouble(seen.evidence(seen.record().since, now), now) is not None:
            seen.suspect(now)
            self.conductor.notice([origin])


async def _placed(flow: Flow, deadline_seconds: float) -> OriginError | None:
    """Wait for a place under the cap of an origin; the error if that would take too long."""
    try:
        wait, size = flow.take_place(min(PATIENCE_SECONDS, deadline_seconds / 2.0))
    except OriginError as error:
        return error
    if wait:
        try:
            await asyncio.sleep(wait)
        except asyncio.CancelledError:
            flow.give_back(size)
            raise
    return None


def _rescue(origin: Origin) -> None:
    """Let all fetches that wait for an origin continue at others."""
    for each in origin.waiting:
        each.suspect(origin.name)
