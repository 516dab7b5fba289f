"""Counts of requests, bytes to clients, and times. Plain numbers: written by one loop, read by the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from shield.histograms import Histogram
from shield.outcome import PLAIN_HIT, End, Exchange, Forward

MEASURED = 64
"""One in so many plain hits of a route is measured, and stands for the others: a clock is read for no other."""

NO_RESPONSE = "abandoned"
"""The word for a request whose client left before there was a response."""

_METHODS = {b"GET": "GET", b"HEAD": "HEAD", b"OPTIONS": "OPTIONS", b"PURGE": "PURGE"}
_STATUSES = {hundreds: f"{hundreds}xx" for hundreds in range(1, 6)}


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
    """`plain` are by route, and counted apart from `requests` because they are the hot path.

    `requests` are by word; a broken or abandoned exchange is counted as such in addition, one without a response only
    as such. `watch` is called with each exchange that is added.
    """

    plain: dict[str, PlainHits] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)  # body bytes by word, without those of plain hits
    forwarded: dict[Forward, int] = field(default_factory=dict)
    cut_short: dict[tuple[str, str], int] = field(default_factory=dict)  # responses by route and end
    times: dict[str, Times] = field(default_factory=dict)  # by word
    watch: Callable[[Exchange], None] | None = None
    _by_class: dict[tuple[str | None, bytes, int, str], int] = field(default_factory=dict)

    def add_plain(self, route: str, sent: int) -> bool:
        """Count a plain hit by GET, with status 200. Returns whether to measure it: then call `measured`."""
        try:
            hits = self.plain[route]
        except KeyError:
            hits = self.plain[route] = PlainHits()
        hits.count = count = hits.count + 1
        hits.sent += sent
        return not count % MEASURED

    def measured(self, seconds: float) -> None:
        """The time from the head of a request to the end of its plain hit."""
        times = self._times("hit")
        times.first_byte.add(seconds, MEASURED)
        times.total.add(seconds, MEASURED)

    def add(self, exchange: Exchange) -> None:
        """Count an exchange that has ended."""
        outcome, is_whole = exchange.outcome, exchange.end is End.WHOLE
        if outcome is PLAIN_HIT and exchange.status == 200 and exchange.method == b"GET":
            self.add_plain(exchange.route or "", exchange.sent)
            word = "hit"
        else:
            word = NO_RESPONSE if outcome is None else outcome.word
            self._add_other(exchange, word)
        if exchange.answered is not None:
            times = self._times(word)
            times.first_byte.add(exchange.answered - exchange.began)
            times.total.add(exchange.ended - exchange.began)
        if not is_whole or self.watch is not None:
            self._add_more(exchange)

    def _add_other(self, exchange: Exchange, word: str) -> None:
        outcome, method = exchange.outcome, exchange.method
        self.sent[word] = self.sent.get(word, 0) + exchange.sent
        place = (exchange.route, method if method in _METHODS else b"", exchange.status // 100, word)
        self._by_class[place] = self._by_class.get(place, 0) + 1
        if outcome is not None:
            self.requests[word] = self.requests.get(word, 0) + 1
            if outcome.forward is not None:
                self.forwarded[outcome.forward] = self.forwarded.get(outcome.forward, 0) + 1

    def _add_more(self, exchange: Exchange) -> None:
        if exchange.end is not End.WHOLE:
            end = exchange.end.value
            self.requests[end] = self.requests.get(end, 0) + 1
            if exchange.outcome is not None:
                place = exchange.route or "", end
                self.cut_short[place] = self.cut_short.get(place, 0) + 1
        if self.watch is not None:
            self.watch(exchange)

    def _times(self, word: str) -> Times:
        times = self.times.get(word)
        if times is None:
            times = self.times[word] = Times()
        return times

    # for the figures

    @property
    def hits(self) -> int:
        """Those that are counted apart."""
        return sum([hits.count for hits in self.plain.values()])

    @property
    def sent_bytes(self) -> int:
        """Body bytes to clients."""
        return self._plain_bytes + sum(self.sent.values())

    @property
    def _plain_bytes(self) -> int:
        return sum([hits.sent for hits in self.plain.values()])

    def by_class(self) -> Iterator[tuple[RequestClass, int]]:
        """All requests, each counted once."""
        for route, hits in self.plain.items():
            yield RequestClass(route, "GET", "2xx", "hit"), hits.count
        for (name, method, hundreds, word), count in self._by_class.items():
            known = _METHODS.get(method, "OTHER")
            said = "none" if word == NO_RESPONSE else _status(hundreds)
            yield RequestClass(name or "", known, said, word), count

    def sent_by_word(self) -> dict[str, int]:
        """Body bytes to clients by the result of their requests, plain hits among the other hits."""
        return {**self.sent, "hit": self.sent.get("hit", 0) + self._plain_bytes}


def _status(hundreds: int) -> str:
    return _STATUSES.get(hundreds, "other")
