"""Counts of requests by result, and of bytes to clients. Plain numbers: written by one loop, read by the metrics."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from shield.outcome import End, Exchange

NEVER = sys.maxsize


@dataclass(slots=True)
class Counters:
    """`hits` are plain hits, counted apart from `requests` (by word) because they are the hot path.

    A broken or abandoned exchange is counted as such in addition; one without a response only as such. `watch` is
    called with each exchange that is added. `due` is the number of hits from which on the next one is a sample
    (`Accounting`).
    """

    hits: int = 0
    sent_bytes: int = 0
    due: int = NEVER
    requests: dict[str, int] = field(default_factory=dict)
    watch: Callable[[Exchange], None] | None = None

    def add(self, exchange: Exchange) -> None:
        """Count an exchange that has ended."""
        outcome = exchange.outcome
        self.sent_bytes += exchange.sent
        if outcome is not None:
            if outcome.plain:
                self.hits += 1
            else:
                self._count(outcome.word)
        if exchange.end is not End.WHOLE or self.watch is not None:
            self._add_more(exchange)

    def _add_more(self, exchange: Exchange) -> None:
        if exchange.end is not End.WHOLE:
            self._count(exchange.end.value)
        if self.watch is not None:
            self.watch(exchange)

    def _count(self, word: str) -> None:
        self.requests[word] = self.requests.get(word, 0) + 1
