"""Counts of requests, bytes to clients, and times. Plain numbers: written by one loop, read by the metrics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from shield.histograms import Histogram
from shield.outcome import MISS, PEER_FILLED, PEER_HIT, End, Exchange, Forward

NEVER: Final = sys.maxsize

STANDS_FOR: Final = 128
"""One in so many plain hits is measured, and stands for the others: no clock is read for these."""

NO_RESPONSE: Final = "abandoned"
"""The word for a request whose client left before there was a response."""

_OF_NODES: Final = {PEER_HIT, PEER_FILLED}
_METHODS: Final = {b"GET": "GET", b"HEAD": "HEAD", b"OPTIONS": "OPTIONS", b"PURGE": "PURGE"}
_STATUSES: Final = {hundreds: f"{hundreds}xx" for hundreds in range(1, 6)}


@dataclass(frozen=True, slots=True)
class RequestClass:
    """What requests are counted by: `route` is a name of the settings, or empty; `method` OTHER for unusual ones."""

    route: str
    method: str
    status: str  # 2xx and so on, none without a response
    cache: str  # the outcome's word


@dataclass(slots=True)
class Times:
    """Of requests with one result: until the head of the response was written, and until its end."""

    first_byte: Histogram = field(default_factory=Histogram)
    total: Histogram = field(default_factory=Histogram)


@dataclass(slots=True)
class PlainHits:
    """Those of one route with status 200 and by GET, and their body bytes."""

    count: int = 0
    sent: int = 0


@dataclass(slots=True)
class Counters:
    """`hits` are all plain hits, counted apart from `requests` (by word) because they are the hot path; `plain` are
    nearly all of them, by route.

    A broken or abandoned exchange is counted among `requests` as such in addition; one without a response only as
    such. `watch` is called with each exchange that is added. `due` is the number of hits from which on the next is a
    sample (`Accounting`).
    """

    hits: int = 0
    due: int = NEVER
    plain: dict[str, PlainHits] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)  # body bytes by word, without those of `plain`
    forwarded: dict[Forward, int] = field(default_factory=dict)
    cut_short: dict[tuple[str, str], int] = field(default_factory=dict)  # responses by route and end
    times: dict[str, Times] = field(default_factory=dict)  # by word
    of_nodes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the misses: requests and body bytes that came from other nodes, by the detail, which says whether stored."""
    watch: Callable[[Exchange], None] | None = None
    _by_class: dict[tuple[str | None, bytes, int, str], int] = field(default_factory=dict)

    def add_plain(self, route: str, sent: int) -> bool:
        """Count a plain hit that `is_counted_apart`. Returns whether it is due as a sample."""
        self.hits = number = self.hits + 1
        try:
            hits = self.plain[route]
        except KeyError:
            hits = self.plain[route] = PlainHits()
        hits.count += 1
        hits.sent += sent
        return number >= self.due

    def add(self, exchange: Exchange) -> None:
        """Count an exchange that has ended."""
        if is_counted_apart(exchange):
            self.add_plain(exchange.route or "", exchange.sent)
        else:
            self._add_other(exchange)
        if exchange.end is not End.WHOLE or self.watch is not None:
            self._add_more(exchange)

    def _add_other(self, exchange: Exchange) -> None:
        outcome, method, word = exchange.outcome, exchange.method, NO_RESPONSE
        if outcome is not None:
            word = outcome.word
            if outcome.plain:
                self.hits += 1
            else:
                self.requests[word] = self.requests.get(word, 0) + 1
            if outcome.detail in _OF_NODES and word == MISS:
                count, sent = self.of_nodes.get(outcome.detail, (0, 0))
                self.of_nodes[outcome.detail] = count + 1, sent + exchange.sent
            if outcome.forward is not None:
                self.forwarded[outcome.forward] = self.forwarded.get(outcome.forward, 0) + 1
        self.sent[word] = self.sent.get(word, 0) + exchange.sent
        place = (exchange.route, method if method in _METHODS else b"", exchange.status // 100, word)
        self._by_class[place] = self._by_class.get(place, 0) + 1

    def _add_more(self, exchange: Exchange) -> None:
        if exchange.end is not End.WHOLE:
            end = exchange.end.value
            self.requests[end] = self.requests.get(end, 0) + 1
            if exchange.outcome is not None:
                place = exchange.route or "", end
                self.cut_short[place] = self.cut_short.get(place, 0) + 1
        if self.watch is not None:
            self.watch(exchange)

    def measure(self, exchange: Exchange) -> None:
        """Note the times of an exchange that has ended. Observes exchanges: one in `STANDS_FOR` of the plain hits."""
        outcome = exchange.outcome
        if outcome is None or exchange.answered is None:
            return
        times = self.times.get(outcome.word)
        if times is None:
            times = self.times[outcome.word] = Times()
        weight = STANDS_FOR if outcome.plain else 1
        times.first_byte.add(exchange.answered - exchange.began, weight)
        times.total.add(exchange.ended - exchange.began, weight)

    # for the figures

    @property
    def sent_bytes(self) -> int:
        """Body bytes to clients."""
        return self._plain_bytes + sum(self.sent.values())

    @property
    def _plain_bytes(self) -> int:
        return sum([hits.sent for hits in self.plain.values()])

    def by_class(self) -> Iterator[tuple[RequestClass, int]]:
        """All requests, each counted once; a class may come twice."""
        for route, hits in self.plain.items():
            yield RequestClass(route, "GET", "2xx", "hit"), hits.count
        for (name, method, hundreds, word), count in self._by_class.items():
            status = "none" if word == NO_RESPONSE else _STATUSES.get(hundreds, "other")
            yield RequestClass(name or "", _METHODS.get(method, "OTHER"), status, word), count

    def sent_by_word(self) -> dict[str, int]:
        """Body bytes to clients by the result of their requests, plain hits among the other hits."""
        return {**self.sent, "hit": self.sent.get("hit", 0) + self._plain_bytes}


def is_counted_apart(exchange: Exchange) -> bool:
    """Whether it is a plain hit of the usual kind."""
    outcome = exchange.outcome
    return outcome is not None and outcome.plain and exchange.status == 200 and exchange.method == b"GET"
