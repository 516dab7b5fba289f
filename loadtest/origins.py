"""The health of origins on a clock of its own: are outages seen, and how often is a healthy origin suspected?

    python -m loadtest.origins [--minutes 30] [--rates 1,10,100] [--workers 8] [--seed 1]

The real rules, records and conductor (`rules.health`, `rules.attempts`, `records`, `origin.conductor`), with fetches
and origins that are a model: first bytes of a near origin (median 40 ms, log-normal) and of a far one (110 ms), and a
few objects that take ten times as long at both. No socket and no waiting: ten minutes take some seconds. The
constants of these rules rest on this; look at it before and after a change of one.

- `well`: both origins answer. *suspected* and *out* should be 0; *beside* is the share of fetches for which the far
  origin was tried beside the near one
- `hung`, `failing`, `half`: the near one hangs, fails, or fails for every second fetch, for a minute of every five.
  *seen* is the time until it is suspected (median, worst)
- `stragglers`: one response in a hundred of either takes twenty times as long, without a cause in the object. *p99*,
  *p99.9*: seconds to the first byte; *hedges*, *won*: shares of the fetches, with `--hedge`
- *slow*: ordinary objects that took longer than a second, in each outage (`well`: their share)
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import cast

from shield import rankings
from shield.budget_cells import BudgetCell, unbudgeted
from shield.errors import Fault
from shield.origin.conductor import STEP_SECONDS, Conductor
from shield.origin.hedging import Hedge
from shield.origin.origin import Origin
from shield.records import Came, Seen, private
from shield.rules.attempts import Contender, Done, Extra, Schedule, Start, Wait
from shield.rules.budget import FetchAllowance
from shield.rules.health import HealthState
from shield.rules.hedge import MOST, HedgeTally
from shield.rules.positions import order

NAMES = ("near", "far")
MEDIANS = {"near": 0.040, "far": 0.110}
SIGMA = 0.5  # of the logarithm: a tenth takes twice the median
RARE, RARE_FACTOR = 0.005, 10.0  # objects that take long at both origins
FIRST_BYTE_SECONDS, DEADLINE_SECONDS = 5.0, 10.0
OUTAGE_SECONDS, EVERY_SECONDS = 60.0, 300.0
SLOW_SECONDS = 1.0
SIZE = 40_000  # bytes of an object
SCENARIOS = ("well", "stragglers", "hung", "failing", "half")
STRAGGLERS, STRAGGLER_FACTOR = 0.01, 20.0  # responses that take long for no reason of the object


class OpenGate:
    """Throttling isn't simulated."""

    def look(self, now: float) -> None: ...

    def take_over(self, now: float) -> None: ...


@dataclass
class Place:
    """An origin as one worker sees it; what a conductor looks at."""

    name: str
    seen: Seen
    waiting: set[SimulatedFetch] = field(default_factory=set)
    sample: tuple[bytes, bytes] | None = None
    most: int = 64  # connections
    hedges: HedgeTally = field(default_factory=HedgeTally)
    budget: BudgetCell = field(default_factory=unbudgeted)

    @property
    def label(self) -> str:
        return self.name

    @property
    def gate(self) -> OpenGate:
        return OpenGate()

    def note_whole(self) -> None:
        """Bodies aren't simulated."""


@dataclass(eq=False)
class SimulatedFetch:
    """One fetch: its schedule, and its attempts under way, each with its slot and when it began."""

    number: int
    worker: int
    began: float
    schedule: Schedule
    under_way: dict[str, tuple[int, float]] = field(default_factory=dict)
    hedged: str | None = None


@dataclass
class Totals:
    fetches: int = 0
    beside: int = 0
    hedges: int = 0
    hedges_won: int = 0
    times: list[float] = field(default_factory=list)  # until a response
    failed: int = 0
    slow: list[float] = field(default_factory=list)  # when they began
    suspected: list[float] = field(default_factory=list)
    out: list[float] = field(default_factory=list)


class Simulation:
    def __init__(
        self, scenario: str, *, rate: float, workers: int, seed: int, hedge: float = 0.0, far: float = MEDIANS["far"]
    ) -> None:
        self._medians = {**MEDIANS, "far": far}
        self.totals = Totals()
        self._scenario = scenario
        self._rate = rate
        self._dice = random.Random(f"{scenario} {rate} {seed}")
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.now = 1000.0
        self._start = self.now
        self._numbers = itertools.count()
        records, self.rankings = private(workers), rankings.private(workers)
        self._places = [
            {name: Place(name, records.of(worker, name.encode())) for name in NAMES} for worker in range(workers)
        ]
        for place in itertools.chain.from_iterable(places.values() for places in self._places):
            place.seen.allow(FetchAllowance(0.1), FetchAllowance(hedge, MOST))
        self._conductors = [
            Conductor(
                records,
                worker,
                origins=partial(_origins, places),
                rescue=lambda origin: self._rescue(cast(Place, origin)),
                probe=lambda origin, deadline: self._probe(origin.name, deadline),
                now=lambda: self.now,
                clock=lambda: self.now,
                chance=self._dice.random,
                rank=partial(self._rank, worker),
            )
            for worker, places in enumerate(self._places)
        ]
        self._state = HealthState.UP

    async def run(self, seconds: float) -> Totals:
        self._at(self.now, self._arrive)
        ticks = 0
        while self.now < self._start + seconds:
            due = self._start + ticks * STEP_SECONDS
            if self._events and self._events[0][0] <= due:
                self.now, _, work = heapq.heappop(self._events)
                work()
                continue
            self.now, ticks = due, ticks + 1
            for conductor in self._conductors:
                conductor.look(self.now)
            self._watch()
            for _ in range(3):
                await asyncio.sleep(0)  # probes go on
        for conductor in self._conductors:
            await conductor.close()
        return self.totals

    def _rank(self, worker: int, now: float, conducts: bool) -> None:
        """The origins aren't ordered by cost here."""

    def _listed(self, worker: int) -> Sequence[str]:
        """The order of a worker's fetches while all origins are well."""
        return NAMES

    def _watch(self) -> None:
        state = self._places[0]["near"].seen.record().state
        if state is not self._state and state is HealthState.SUSPECT:
            self.totals.suspected.append(self.now)
        if state is HealthState.OPEN and self._state in (HealthState.UP, HealthState.SUSPECT):
            self.totals.out.append(self.now)
        self._state = state

    def _at(self, time: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), work))

    def outage(self, time: float) -> bool:
        """Whether the near origin fails then."""
        passed = (time - self._start) % EVERY_SECONDS
        return self._scenario not in ("well", "stragglers") and passed >= EVERY_SECONDS - OUTAGE_SECONDS

    def _arrive(self) -> None:
        self._at(self.now + self._dice.expovariate(self._rate), self._arrive)
        number = next(self._numbers)
        worker = number % len(self._places)
        places = self._places[worker]
        names = order(
            self._listed(worker), {n: p.seen.treated() for n, p in places.items()}, self._dice.random(), self.now
        )
        contenders = [
            Contender(name, places[name].seen.patience, is_out=not places[name].seen.treated().is_good)
            for name in names
        ]
        schedule = Schedule(
            contenders,
            deadline=self.now + DEADLINE_SECONDS,
            budgets={name: places[name].seen.repeats for name in NAMES},
            hedge=self._hedge(places, names),
            chance=self._dice.random,
        )
        self.totals.fetches += 1
        self._step(SimulatedFetch(number, worker, self.now, schedule))

    def _hedge(self, places: Mapping[str, Place], names: Sequence[str]) -> Hedge | None:
        late, other = (cast(Origin, places[name]) for name in names)
        after = late.seen.spending.after
        return None if after == math.inf else Hedge(late, other, math.inf, self.now + after, lambda: self.now)

    def _step(self, fetch: SimulatedFetch) -> None:
        while True:
            step = fetch.schedule.next(self.now)
            if isinstance(step, Start):
                self._send(fetch, step)
            elif isinstance(step, Wait):
                if step.until < math.inf:
                    self._at(step.until, lambda: self._step(fetch))
                return
            elif isinstance(step, Done):
                if not fetch.under_way and fetch.began is not math.inf:
                    self.totals.failed += 1
                return

    def _send(self, fetch: SimulatedFetch, step: Start) -> None:
        place = self._places[fetch.worker][step.origin]
        if fetch.under_way:
            self.totals.beside += 1
        if step.extra is Extra.HEDGE:
            self.totals.hedges += 1
            fetch.hedged = step.origin
        fetch.under_way[step.origin] = place.seen.begin(self.now), self.now
        place.waiting.add(fetch)
        takes, fault = self._response(step.origin, rare=_is_rare(fetch.number))
        limit = min(step.deadline - self.now, FIRST_BYTE_SECONDS)
        if takes > limit:
            takes, fault = limit, Fault.FIRST_BYTE_TIMEOUT
        self._at(self.now + takes, lambda: self._end(fetch, step.origin, fault))

    def _response(self, name: str, *, rare: bool) -> tuple[float, Fault | None]:
        takes = self._medians[name] * self._dice.lognormvariate(0.0, SIGMA) * (RARE_FACTOR if rare else 1.0)
        if self._scenario == "stragglers" and self._dice.random() < STRAGGLERS:
            takes *= STRAGGLER_FACTOR
        elif name == "near" and self.outage(self.now):
            if self._scenario == "hung":
                return math.inf, None
            if self._scenario == "failing" or self._dice.random() < 0.5:
                return takes, Fault.SERVER
        return takes, None

    def _end(self, fetch: SimulatedFetch, name: str, fault: Fault | None) -> None:
        if name not in fetch.under_way:
            return  # it was given up
        place = self._places[fetch.worker][name]
        slot, began = fetch.under_way.pop(name)
        place.waiting.discard(fetch)
        place.seen.end(slot)
        if fault is not None:
            place.seen.failed(Came.FAILED, self.now, b"%d" % fetch.number)
            fetch.schedule.failed(name, fault, self.now)
            self._step(fetch)
            return
        place.seen.succeeded(Came.OK, self.now, self.now - began, SIZE)
        place.sample = b"/", b""
        fetch.schedule.fetched(name)
        self.totals.hedges_won += fetch.hedged == name
        self.totals.times.append(self.now - fetch.began)
        for other, (slot, began) in fetch.under_way.items():
            late = self._places[fetch.worker][other]
            late.waiting.discard(fetch)
            late.seen.end(slot)
            if self.now - began >= late.seen.patience:
                late.seen.failed(Came.FAILED, self.now, b"%d" % fetch.number)
        fetch.under_way.clear()
        if self.now - fetch.began > SLOW_SECONDS and not _is_rare(fetch.number):
            self.totals.slow.append(fetch.began)
        fetch.began = math.inf

    def _rescue(self, place: Place) -> None:
        for fetch in list(place.waiting):
            fetch.schedule.suspect(place.name)
            self._step(fetch)

    async def _probe(self, name: str, deadline: float) -> bool:
        takes, fault = self._response(name, rare=False)
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        passes = self.now + takes <= deadline and fault is None
        self._at(min(self.now + takes, deadline), lambda: None if answered.done() else answered.set_result(passes))
        return await answered


def _slowest(totals: Totals, share: float) -> float:
    times = sorted(totals.times)
    return times[int(share * len(times))]


def _is_rare(number: int) -> bool:
    return random.Random(number).random() < RARE


def _origins(places: Mapping[str, Place]) -> list[Origin]:
    """A conductor looks at nothing else of an origin."""
    return cast(list[Origin], list(places.values()))


def _detections(simulation: Simulation, totals: Totals) -> list[float]:
    """For each outage: seconds until the near origin was suspected or put out."""
    found: list[tuple[float, float]] = []
    for at in sorted({*totals.suspected, *totals.out}):
        if simulation.outage(at):
            passed = (at - 1000.0) % EVERY_SECONDS - (EVERY_SECONDS - OUTAGE_SECONDS)
            if not found or at - found[-1][0] > EVERY_SECONDS / 2:
                found.append((at, passed))
    return [passed for _, passed in found]


def main() -> None:
    parser = argparse.ArgumentParser(description="Outages of a model's origins, judged by the real rules.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rates", default="1,10,100", help="fetches a second, of all workers")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hedge", type=float, default=0.0, help="the setting hedge.share")
    parser.add_argument(
        "--far", type=float, default=MEDIANS["far"], help="median first byte of the other, in seconds"
    )
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the conductor's lines, on a clock of its own
    print(
        f"{'':10} fetches/s  suspected  out  beside   slow              failed    p99  p99.9   hedges     won"
        "  seen (median, worst)"
    )
    for scenario, rate in itertools.product(SCENARIOS, [float(rate) for rate in options.rates.split(",")]):
        simulation = Simulation(
            scenario, rate=rate, workers=options.workers, seed=options.seed, hedge=options.hedge, far=options.far
        )
        totals = asyncio.run(simulation.run(60.0 * options.minutes))
        slow = f"{len(totals.slow) / totals.fetches:.3%}"
        if scenario not in ("well", "stragglers"):
            outages = max(1, int(60.0 * options.minutes // EVERY_SECONDS))
            slow = f"{sum(map(simulation.outage, totals.slow)) / outages:.1f} per outage"
        seen = _detections(simulation, totals)
        told = f"{median(seen):.2f} s, {max(seen):.2f} s of {len(seen)}" if seen else "-"
        beside = totals.beside / totals.fetches
        print(
            f"{scenario:10} {rate:9g} {len(totals.suspected):10} {len(totals.out):4} {beside:7.2%}"
            f"   {slow:16} {totals.failed:7} {_slowest(totals, 0.99):6.3f} {_slowest(totals, 0.999):6.3f}"
            f" {totals.hedges / totals.fetches:8.2%} {totals.hedges_won / totals.fetches:7.2%}  {told}"
        )


if __name__ == "__main__":
    main()
