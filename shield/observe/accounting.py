"""The end of every request: the one place that feeds counters, the access log and all others that observe exchanges.

Plain hits are the hot path. They are counted, and only a sample of them becomes exchanges: as many as the observers
want. All other exchanges are passed to each observer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shield.chance import draw
from shield.observe.counters import NEVER, Counters
from shield.outcome import Exchange

Observer = Callable[[Exchange], None]
"""Called on the event loop with an exchange that has ended; must neither raise nor wait."""


@dataclass(slots=True)
class _Sampler:
    """An observer that wants a share of the plain hits. `due`: the number of the next one for it."""

    observer: Observer
    share: float
    due: int


class Accounting:
    """Records the exchanges of a worker's clients, at whatever front.

    A front adds plain hits to `counters` itself, and makes an `Exchange` of one only if `counters.hits` has reached
    `counters.due` (`sampled`); all others end with `finished`.
    """

    __slots__ = ("_chance", "_observers", "_samplers", "counters")

    def __init__(self, counters: Counters, *, chance: Callable[[], float] = draw) -> None:
        self.counters = counters
        self._chance = chance
        self._observers: tuple[Observer, ...] = ()
        self._samplers: list[_Sampler] = []

    def add(self, observer: Observer, *, hits: float = 0.0) -> None:
        """Call it with each exchange from now on that isn't a plain hit, and with this share of the plain hits, taken
        at random. An observer that is present gets this share from now on.
        """
        self.remove(observer)
        self._observers = (*self._observers, observer)
        if hits > 0.0:
            sampler = _Sampler(observer, min(hits, 1.0), 0)
            sampler.due = self._next(sampler)
            self._samplers.append(sampler)
            self._plan()

    def remove(self, observer: Observer) -> None:
        """Don't call it any more; without effect if it isn't there."""
        self._observers = tuple([each for each in self._observers if each != observer])
        self._samplers = [each for each in self._samplers if each.observer != observer]
        self._plan()

    def finished(self, exchange: Exchange) -> None:
        """Record an exchange that has ended. Call once for each."""
        counters = self.counters
        counters.add(exchange)
        outcome = exchange.outcome
        if outcome is None or not outcome.plain:
            for observe in self._observers:
                observe(exchange)
        elif counters.hits >= counters.due:
            self.sampled(exchange)

    def sampled(self, exchange: Exchange) -> None:
        """Pass on a plain hit that has been counted and is due."""
        hits = self.counters.hits
        for sampler in self._samplers:
            if hits >= sampler.due:
                sampler.due = self._next(sampler)
                sampler.observer(exchange)
        self._plan()

    def _next(self, sampler: _Sampler) -> int:
        """At random, so that the sample isn't in step with requests that come in turn."""
        if sampler.share >= 1.0:
            return self.counters.hits + 1
        return self.counters.hits + 1 + int(self._chance() * (2.0 / sampler.share - 1.0))

    def _plan(self) -> None:
        self.counters.due = min([each.due for each in self._samplers], default=NEVER)
