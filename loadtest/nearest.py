"""The order of origins by cost on a clock of its own: who gets the fetches, and how often does that change?

    python -m loadtest.nearest [--minutes 60] [--rates 1,10,100] [--workers 8] [--seed 1]

As `loadtest.origins`, with a route that has `choose: nearest` and regular probes of both origins, every ten seconds
give or take a fifth. The real rules, records, conductor and ranker (`rules.distance`, `rules.ranking`, `timings`,
`rankings`, `origin.ranker`). A probed object is in the origin's own cache: it arrives in 0.6 of the time.

- `well`: the far origin is listed first. *found*: the time after which the near one is first
- `hung`: the near one hangs for a minute of every five. *back*: from the end of each outage until nine of ten fetches
  go to the near one again (median, worst)
- `slow`: its times are eightfold for ten minutes of every forty. *left*: the time until fetches go to the far one;
  *back*: from the end of each spell
- `equal`: both have the same times
- `cold`: the near one's probes are as fast as ever, and all else takes five times as long

*far* is the share of fetches that began at the far origin when the near one was well, and after it had been found;
*changes* are those of the published order.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
from collections import deque
from functools import partial
from statistics import median

from loadtest.origins import MEDIANS, NAMES, OUTAGE_SECONDS, SIGMA, SIZE, SimulatedFetch, Simulation, _origins
from shield.errors import Fault
from shield.origin.ranker import Ranker
from shield.records import Came
from shield.rules.attempts import Start
from shield.rules.ranking import OriginFacts, Strategy
from shield.rules.routes import Route

SCENARIOS = ("well", "hung", "slow", "equal", "cold")
PROBE_SECONDS, PROBED_FACTOR = 10.0, 0.6
PROBE_BYTES = (4 << 10, 256 << 10)
SLOW_FACTOR, SLOW_SPELL, SLOW_EVERY = 8.0, 600.0, 2400.0
COLD_FACTOR = 5.0
RECENT = 20  # fetches of which nine of ten must go to the near one


class RankedSimulation(Simulation):
    def __init__(self, scenario: str, *, rate: float, workers: int, seed: int) -> None:
        super().__init__("hung" if scenario == "hung" else "well", rate=rate, workers=workers, seed=seed)
        self._spells = scenario
        listed = ("far", "near") if scenario == "well" else NAMES
        facts = tuple([OriginFacts(name) for name in listed])
        self._routes = [
            Route("default", origins=listed, facts=facts, choose=Strategy.NEAREST) for _ in range(workers)
        ]
        self._rankers = []
        for worker, (route, places) in enumerate(zip(self._routes, self._places, strict=True)):
            ranker = Ranker(self.rankings, worker, origins=partial(_origins, places))
            ranker.use([route])
            self._rankers.append(ranker)
        self.changes: list[float] = []
        self.found_after: float | None = None if scenario == "well" else 0.0
        self.far = self.near = 0
        self.backs: list[float] = []
        self.lefts: list[float] = []
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._was_bad = False
        self._bad_since = self._well_since = 0.0
        self._is_back = self._has_left = True
        self._before: tuple[str, ...] = listed
        self._at(self.now, self._probe_all)

    # the model

    def is_slow(self, time: float) -> bool:
        return self._spells == "slow" and (time - self._start) % SLOW_EVERY >= SLOW_EVERY - SLOW_SPELL

    def is_bad(self, time: float) -> bool:
        return self.outage(time) or self.is_slow(time)

    def _response(self, name: str, *, rare: bool) -> tuple[float, Fault | None]:
        takes, fault = super()._response(name, rare=rare)
        if self._spells == "equal":
            takes *= MEDIANS["near"] / MEDIANS[name]
        if name == "near" and self._spells == "cold":
            takes *= COLD_FACTOR
        return takes * (SLOW_FACTOR if name == "near" and self.is_slow(self.now) else 1.0), fault

    def _probe_all(self) -> None:
        """The regular probes of one prober."""
        self._at(self.now + PROBE_SECONDS * self._dice.uniform(0.8, 1.2), self._probe_all)
        for name, size in itertools.product(NAMES, PROBE_BYTES):
            takes, fault = self._response(name, rare=False)
            if name == "near" and self._spells == "cold":
                takes /= COLD_FACTOR
            takes *= PROBED_FACTOR
            if fault is None and takes < 5.0:
                seen = self._places[0][name].seen
                self._at(self.now + takes, partial(seen.probed, Came.OK, self.now + takes, takes, size))

    # the part that is measured

    def _rank(self, worker: int, now: float, conducts: bool) -> None:
        self._rankers[worker].look(now, conducts)
        order = self._listed(0)
        if worker == 0 and order != self._before:
            self._before = order
            self.changes.append(now)
            if order[0] == "near" and self.found_after is None:
                self.found_after = now - self._start

    def _listed(self, worker: int) -> tuple[str, ...]:
        choice = self._routes[worker].choice
        assert choice is not None
        return choice.order

    def _send(self, fetch: SimulatedFetch, step: Start) -> None:
        if not fetch.under_way and self.now - fetch.began < 1e-9:
            self._note(step.origin == "near")
        choice = self._routes[fetch.worker].choice
        assert choice is not None
        choice.saw(SIZE)
        super()._send(fetch, step)

    def _note(self, is_near: bool) -> None:
        """The origin of a fetch's first attempt."""
        is_bad = self.is_bad(self.now)
        self._recent.append(is_near)
        if is_bad and not self._was_bad:
            self._bad_since, self._has_left = self.now, False
        if not is_bad and self._was_bad:
            self._well_since, self._is_back = self.now, False
            self._recent.clear()
        self._was_bad = is_bad
        share = sum(self._recent) / len(self._recent) if len(self._recent) == RECENT else None
        if is_bad and not self._has_left and share is not None and share <= 0.1:
            self._has_left = True
            self.lefts.append(self.now - self._bad_since)
        if not is_bad and not self._is_back and share is not None and share >= 0.9:
            self._is_back = True
            self.backs.append(self.now - self._well_since)
        if not is_bad and self._is_back and self.found_after is not None:
            self.near += is_near
            self.far += not is_near


def _told(seconds: list[float]) -> str:
    return f"{median(seconds):.0f} s, {max(seconds):.0f} s of {len(seconds)}" if seconds else "-"


def simulate(scenario: str, *, rate: float, workers: int, seed: int, minutes: float) -> RankedSimulation:
    """The simulation after so many minutes of its own time."""

    async def run() -> RankedSimulation:
        simulation = RankedSimulation(scenario, rate=rate, workers=workers, seed=seed)
        await simulation.run(60.0 * minutes)
        return simulation

    return asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description="The order of a model's origins by cost, by the real rules.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rates", default="1,10,100", help="fetches a second, of all workers")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the conductor's lines, on a clock of its own
    medians = ", ".join([f"{name} {MEDIANS[name] * 1000:g} ms" for name in NAMES])
    print(f"{medians} (sigma {SIGMA}), outages of {OUTAGE_SECONDS:g} s")
    print(f"{'':9} fetches/s  changes  far      found   left (median, worst)  back (median, worst)")
    for scenario, rate in itertools.product(SCENARIOS, [float(rate) for rate in options.rates.split(",")]):
        done = simulate(scenario, rate=rate, workers=options.workers, seed=options.seed, minutes=options.minutes)
        far = f"{done.far / max(1, done.far + done.near):.2%}"
        found = "-" if not done.found_after else f"{done.found_after:.0f} s"
        told = f"{len(done.changes):8}  {far:8} {found:6}  {_told(done.lefts):20}  {_told(done.backs)}"
        print(f"{scenario:9} {rate:9g} {told}")


if __name__ == "__main__":
    main()
