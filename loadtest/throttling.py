"""A storm of misses at an origin that refuses what is beyond its rate: repeated as today, and with a learned limit.

    python -m loadtest.throttling [--objects 20000] [--rate 500] [--workers 4] [--seed 1]

A simulation, which takes no time of its own: everything was purged, and each object is requested once within ten
seconds, some of them by many clients. The origin serves so many requests a second (a token bucket with a tenth of a
second's worth in store) and refuses the others at once. "repeats": each miss is fetched at once, and once more within
a second if it is refused and the retry budget allows. "limit": `rules.throttling` decides, as in `origin.gate` and
`origin.limiting`, with workers that learn their leases four times a second, refused requests whose places stay taken
for a second, and misses that wait for five seconds at most. A miss that fails is asked for again
by its client after the Retry-After that it got, three times.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from shield.records import private
from shield.rules.attempts import THROTTLED_SECONDS
from shield.rules.budget import FetchAllowance
from shield.rules.throttling import (
    HOLD_SECONDS,
    PATIENCE_SECONDS,
    FetchLimit,
    Lease,
    LimitEvidence,
    MissQueue,
    leases,
    retry_after,
    shares,
)

STORM_SECONDS = 10.0
STEP_SECONDS = 0.25
REFUSAL_SECONDS = 0.02
REPEATED_AFTER = 5.0  # Retry-After where nothing better is known
VISITS = 4
CONNECTIONS = 256


@dataclass
class Miss:
    """An object that is wanted."""

    number: int
    clients: int
    asked: float
    visits: int = 1
    since: float = 0.0  # of this visit


@dataclass
class Figures:
    """What came of a storm."""

    requests: int = 0
    refused: int = 0
    served: int = 0
    lost: int = 0
    failed_visits: int = 0
    waits: list[float] = field(default_factory=list)
    peak: int = 0
    end: float = 0.0


class Simulation:
    """Events in order of time."""

    def __init__(self, seed: int, rate: float) -> None:
        self.chance = random.Random(seed)
        self.figures = Figures()
        self.now = 0.0
        self._rate = rate
        self._tokens, self._filled = rate / 10.0, 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._in_flight = 0

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), what))

    def run(self) -> Figures:
        while self._events:
            self.now, _, what = heapq.heappop(self._events)
            what()
        return self.figures

    def fetch(self, then: Callable[[bool], None]) -> None:
        """Ask the origin; `then` is told whether it gave the object."""
        self.figures.requests += 1
        self._in_flight += 1
        self.figures.peak = max(self.figures.peak, self._in_flight)
        self._tokens = min(self._rate / 10.0, self._tokens + (self.now - self._filled) * self._rate)
        self._filled = self.now
        is_served = self._tokens >= 1.0
        if is_served:
            self._tokens -= 1.0
        else:
            self.figures.refused += 1
        took = self.chance.lognormvariate(-3.2, 0.5) if is_served else REFUSAL_SECONDS

        def arrive() -> None:
            self._in_flight -= 1
            then(is_served)

        self.at(self.now + took, arrive)

    def serve(self, miss: Miss) -> None:
        self.figures.served += 1
        self.figures.waits.append(self.now - miss.asked)
        self.figures.end = self.now

    def fail(self, miss: Miss, again: float, offer: Callable[[Miss], None]) -> None:
        """Its clients get 503, and come once more."""
        self.figures.failed_visits += 1
        if miss.visits == VISITS:
            self.figures.lost += 1
            self.figures.end = self.now
            return
        miss.visits += 1
        self.at(self.now + again * self.chance.uniform(1.0, 1.5), lambda: offer(miss))


def repeats(simulation: Simulation) -> Callable[[Miss], None]:
    """Each miss is fetched at once, and repeated as the schedule of one origin does it."""
    origin = private().of(0, b"origin")
    origin.allow(FetchAllowance(0.1), FetchAllowance(0.0))

    def offer(miss: Miss) -> None:
        def again(is_served: bool) -> None:
            if is_served:
                origin.repeats.earn(1)
                simulation.serve(miss)
            else:
                simulation.fail(miss, REPEATED_AFTER, offer)

        def first(is_served: bool) -> None:
            if is_served or not origin.repeats.take():
                again(is_served)
            else:
                wait = simulation.chance.random() * THROTTLED_SECONDS
                simulation.at(simulation.now + wait, lambda: simulation.fetch(again))

        simulation.fetch(first)

    return offer


class Limited:
    """Workers with leases on a learned limit, and queues."""

    def __init__(self, simulation: Simulation, workers: int) -> None:
        self._simulation = simulation
        self._limit = FetchLimit()
        self._workers = [Worker(share) for share in shares(self._limit.room(0.0), [0] * workers, turn=0)]
        self._lately: deque[tuple[int, int]] = deque(maxlen=int(10.0 / STEP_SECONDS))  # answers and refusals
        self._answers = self._throttled = 0
        self._turn = 0
        self._misses: dict[int, Miss] = {}
        self._is_ticking = False

    def offer(self, miss: Miss) -> None:
        if not self._is_ticking:
            self._is_ticking = True
            self._simulation.at(self._simulation.now + STEP_SECONDS, self._step)
        self._wait(miss, self._simulation.now)

    def _wait(self, miss: Miss, since: float) -> None:
        worker = self._workers[miss.number % len(self._workers)]
        miss.since = since
        self._misses[miss.number] = miss
        refused = worker.queue.offer(miss.number, miss.clients, since, since + PATIENCE_SECONDS)
        if isinstance(refused, int):
            self._refuse(worker, self._misses.pop(refused))
        self._go(worker)

    def _go(self, worker: Worker) -> None:
        while worker.used < worker.lease:
            taken = worker.queue.take()
            if not isinstance(taken, int):
                return
            self._fetch(worker, self._misses.pop(taken))

    def _fetch(self, worker: Worker, miss: Miss) -> None:
        worker.used += 1
        worker.busiest = max(worker.busiest, worker.used - worker.held)

        def leave() -> None:
            worker.used -= 1
            self._go(worker)

        def let_go() -> None:
            worker.held -= 1
            leave()

        def then(is_served: bool) -> None:
            simulation = self._simulation
            if is_served:
                self._answers += 1
                simulation.serve(miss)
                leave()
                return
            self._throttled += 1
            worker.held += 1
            simulation.at(simulation.now + HOLD_SECONDS, let_go)
            again = simulation.now + simulation.chance.random() * THROTTLED_SECONDS
            simulation.at(again, lambda: self._wait(miss, miss.since))  # as old as it is

        self._simulation.fetch(then)

    def _refuse(self, worker: Worker, miss: Miss) -> None:
        again = retry_after(len(worker.queue), worker.lease, 0.04)
        self._simulation.fail(miss, again, self.offer)

    def _step(self) -> None:
        """The work of the conductor and the workers four times a second."""
        now, workers = self._simulation.now, self._workers
        self._lately.append((self._answers, self._throttled))
        answers, refused = (sum(each) for each in zip(*self._lately, strict=True))
        seen = LimitEvidence(
            in_flight=sum(max(worker.busiest, worker.used - worker.held) for worker in workers),
            throttled=self._throttled,
            share=refused / max(1, answers + refused),
            p95=0.04,
            is_answering=answers > 0,
        )
        self._limit = self._limit.after(seen, now, most=CONNECTIONS)
        self._answers = self._throttled = 0
        self._turn += 1
        demands = [worker.used + len(worker.queue) for worker in workers]
        held = [
            Lease(worker.lease, max(worker.used, worker.lease), demand)
            for worker, demand in zip(workers, demands, strict=True)
        ]
        granted = leases(self._limit.room(now), held, turn=self._turn // 2)
        for worker, lease in zip(workers, granted, strict=True):
            worker.lease, worker.busiest = lease, 0
            for late in worker.queue.expire(now):
                assert isinstance(late, int)
                self._refuse(worker, self._misses.pop(late))
            self._go(worker)
        if any(demands):
            self._simulation.at(now + STEP_SECONDS, self._step)
        else:
            self._is_ticking = False


class Worker:
    """A worker's lease, its use and its queue."""

    def __init__(self, lease: int) -> None:
        self.lease = lease
        self.used = 0  # places, those of refused requests included
        self.held = 0  # these
        self.busiest = 0
        self.queue = MissQueue()


def storm(objects: int, rate: float, workers: int, seed: int, *, is_limited: bool) -> Figures:
    """One storm."""
    simulation = Simulation(seed, rate)
    offer = Limited(simulation, workers).offer if is_limited else repeats(simulation)
    chance = random.Random(seed)
    misses = [
        Miss(number, min(1000, int(chance.paretovariate(1.0))), chance.uniform(0.0, STORM_SECONDS))
        for number in range(objects)
    ]
    for miss in misses:
        simulation.at(miss.asked, lambda miss=miss: offer(miss))  # type: ignore[misc]
    return simulation.run()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="A storm of misses at an origin that refuses what is too much.")
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second that the origin serves")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(
        f"{'':8}{'requests':>10}{'refused':>9}{'peak':>7}{'served':>8}{'503s':>8}{'lost':>7}{'p50':>8}{'p99':>8}{'end':>8}"
    )
    for name, is_limited in (("repeats", False), ("limit", True)):
        found = storm(given.objects, given.rate, given.workers, given.seed, is_limited=is_limited)
        waits = sorted(found.waits) or [0.0]
        half, most = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
        print(
            f"{name:8}{found.requests:>10,}{found.refused:>9,}{found.peak:>7,}{found.served:>8,}"
            f"{found.failed_visits:>8,}{found.lost:>7,}{half:>7.1f}s{most:>7.1f}s{found.end:>7.1f}s"
        )


if __name__ == "__main__":
    main()
