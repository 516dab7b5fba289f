"""Top lists: keys, routes, clients and origins by requests, missed bytes and money, of the last minute.

Sketches of one worker, over a sample of its plain hits and another of its other requests; `merged_rows` adds up those
of all workers. Missed bytes are those of responses that an origin gave for just this request: not of hits, nor of
requests that waited for another's fetch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from shield.chance import draw
from shield.observe.accounting import Accounting
from shield.observe.heavy import HeavyHitters, Hitter, merged
from shield.observe.report import AskOthers
from shield.outcome import Exchange
from shield.rules.prices import Price

OF = ("keys", "routes", "clients", "origins")
BY = ("requests", "missed_bytes", "money")
SAMPLES = 200
"""Plain hits, and other requests, that are looked at in a second, about; on a busy worker each stands for others."""

_LEAST_SHARE = 1 / 1024
_STEP = 4.0  # by which the share falls within a second
WINDOW_SECONDS = 60.0
MOST_ROWS = 200

_COLUMNS = ("requests", "missed_bytes", "money", "hits", "sent_bytes")  # of sums
_CAPACITY = {"keys": 1000, "routes": 256, "clients": 1000, "origins": 256}
_FETCHED = ("miss", "bypass", "revalidated")  # requests that were fetched for by themselves, unless that failed
_FAILURE = 500
_LONGEST = 300  # characters of a name
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Top:
    """Part of the lists of one worker. `seconds`: what sums are divided by for rates."""

    seconds: float
    hitters: Sequence[Hitter]

    def encoded(self) -> bytes:
        rows = [(each.name, each.example, list(each.sums), each.error) for each in self.hitters]
        return json.dumps({"seconds": self.seconds, "rows": rows}).encode()

    @classmethod
    def decoded(cls, data: bytes) -> Top:
        plain = json.loads(data)
        return cls(plain["seconds"], [Hitter(*row) for row in plain["rows"]])


class TopLists:
    """Observes a worker's exchanges. `use` gives it prices; `tick` it once a second."""

    def __init__(
        self, accounting: Accounting, *, clock: Callable[[], float], chance: Callable[[], float] = draw
    ) -> None:
        self._accounting = accounting
        self._chance = chance
        self._hits = accounting.counters.hits
        self._share = 1.0  # of the plain hits that are looked at
        self._seen = 0  # of them, since the share was last changed or looked at
        self._others = 0  # exchanges that aren't plain hits, since the last tick
        self._every = 1  # one in so many of them is looked at, and stands for the others
        self._passing = 0  # of them, before the next that is
        self._others_seen = 0  # of those that are, since `_every` was last set
        self._clock = clock
        self._prices: Mapping[str, Price] = {}
        self.also: Callable[[Exchange, float], None] | None = None
        """Called with each exchange that is looked at, and the number that it stands for."""
        self._lists = {
            (of, by): HeavyHitters(by=place, size=len(_COLUMNS), capacity=_CAPACITY[of], seconds=WINDOW_SECONDS)
            for of in OF
            for place, by in enumerate(BY)
        }
        self._by_requests = {of: self._lists[of, "requests"] for of in OF}

    def use(self, prices: Mapping[str, Price]) -> None:
        """Reckon with these prices from now on, by origin."""
        self._prices = prices

    def open(self) -> None:
        """Begin."""
        self._accounting.add(self.note, hits=self._share)

    def tick(self) -> None:
        """Look at such shares of plain hits and of other requests as would have sufficed in the last second."""
        hits = self._accounting.counters.hits
        passed, self._hits = hits - self._hits, hits
        share = _LEAST_SHARE
        while share < 1.0 and passed * share < SAMPLES:
            share *= 2.0
        self._look_at(share)
        self._every, others, self._others, self._others_seen = 1, self._others, 0, 0
        while others > self._every * SAMPLES:
            self._every *= 2
        self._passing = self._gap()

    def _look_at(self, share: float) -> None:
        self._seen = 0
        if share != self._share:
            self._share = share
            self._accounting.add(self.note, hits=share)

    def note(self, exchange: Exchange) -> None:
        """An exchange has ended."""
        outcome, now = exchange.outcome, exchange.ended
        if outcome is not None and outcome.plain:
            example = _example(exchange)
            weight = 1.0 / self._share
            amounts = (weight, 0.0, 0.0, weight, weight * exchange.sent)
            for of, name in (("keys", _text(exchange.key)), ("routes", exchange.route), ("clients", exchange.client)):
                if name is not None:
                    self._by_requests[of].add(name, example, amounts, now)
            if self.also is not None:
                self.also(exchange, weight)
            self._seen += 1
            if self._seen > SAMPLES:  # many more than a second ago: a busy node can't wait for the next tick
                self._look_at(max(_LEAST_SHARE, self._share / _STEP))
            return
        self._others += 1
        if self._passing:
            self._passing -= 1
            return
        weight = float(self._every)
        self._others_seen += 1
        if self._others_seen > SAMPLES:
            self._others_seen, self._every = 0, self._every * int(_STEP)
        self._passing = self._gap()
        if self.also is not None:
            self.also(exchange, weight)
        example = _example(exchange)
        origin, missed, money, hit = None, 0.0, 0.0, 0.0
        if outcome is not None:
            word = outcome.word
            hit = float(word == "hit")
            if word in _FETCHED and (outcome.forward_status is not None or exchange.status < _FAILURE):
                origin, missed = outcome.origin, 0.0 if word == "revalidated" else float(exchange.sent)
                price = None if origin is None else self._prices.get(origin)
                money = 0.0 if price is None else price.of(missed, outcome.attempts or 1)
        amounts = (weight, weight * missed, weight * money, weight * hit, weight * exchange.sent)
        names = {"keys": _text(exchange.key), "routes": exchange.route, "clients": exchange.client, "origins": origin}
        for (of, _), hitters in self._lists.items():
            if (name := names[of]) is not None:
                hitters.add(name, example, amounts, now)

    def _gap(self) -> int:
        """How many exchanges pass before one is looked at: at random, so that they aren't in step with requests that
        come in turn. Drawn only for those that are, since a number from the system costs more than all else here.
        """
        return int(self._chance() * (2 * self._every - 1)) if self._every > 1 else 0

    def top(self, of: str, by: str, count: int) -> Top:
        """The greatest of this worker. `of` and `by` are in `OF` and `BY`."""
        hitters, now = self._lists[of, by], self._clock()
        return Top(hitters.covered(now), hitters.top(count, now))

    async def of_all(self, of: str, by: str, others: AskOthers) -> list[Top]:
        """The same of all workers; `others` asks the other ones by a query."""
        own = self.top(of, by, MOST_ROWS)
        return [own, *[Top.decoded(each) for each in await others(f"{of}&{by}".encode())]]

    def answer(self, query: bytes) -> bytes:
        """This worker's for another one, by its query."""
        of, _, by = query.decode("ascii", "replace").partition("&")
        is_known = (of, by) in self._lists  # else it is of another version
        return (self.top(of, by, MOST_ROWS) if is_known else Top(WINDOW_SECONDS, ())).encoded()


def merged_rows(tops: Iterable[Top], of: str, by: str, count: int) -> list[dict[str, str | float]]:
    """Rows for people, of several workers' lists: rates per second, money per hour.

    `error` is the most by which the value of `by` may be too small. `target` is the latest of a key.
    """
    parts = list(tops)
    seconds = max([part.seconds for part in parts], default=WINDOW_SECONDS)
    place = BY.index(by)
    rows = []
    for each in merged([part.hitters for part in parts], by=place, count=count):
        sums = dict(zip(_COLUMNS, each.sums, strict=True))
        if sums[by] <= 0.0 or sums["requests"] / seconds < 1e-4:
            continue
        scale = {name: _HOUR / seconds if name == "money" else 1.0 / seconds for name in _COLUMNS}
        row: dict[str, str | float] = {of.removesuffix("s"): each.name}
        row |= {name: round(sums[name] * scale[name], 6) for name in _COLUMNS}
        row["error"] = round(each.error * scale[by], 6)
        if of == "keys":
            row["target"] = each.example
        rows.append(row)
    return rows


def _example(exchange: Exchange) -> str:
    return exchange.target[:_LONGEST].decode("ascii", "replace")


def _text(key: bytes | None) -> str | None:
    """A key without its variant."""
    return None if key is None else key.partition(b" ")[0][:_LONGEST].decode("ascii", "replace")
