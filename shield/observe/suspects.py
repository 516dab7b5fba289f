"""Tallies of a worker's requests and fetches, by which suspects are found: `rules.suspects` judges them.

Bytes asked of origins are counted of all fetches, and bytes sent of all requests that aren't plain hits; the queries
of a path and the objects of a client of a sample, that of the top lists. All of it is of the last minutes: of this
generation, and of the one before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar

import xxhash

from shield.observe.accounting import Accounting
from shield.outcome import Exchange
from shield.rules.key import CacheKey
from shield.rules.prices import Price
from shield.rules.suspects import USUAL_SECONDS, KeyTally, NameTally, Tallies, together

GENERATION_SECONDS = USUAL_SECONDS / 2.0
CAPACITY = 2048
"""Names of a kind in a generation; when there are more, the lesser half is forgotten."""

_SENT = 200  # of each kind, to the worker that asks
_LONGEST: Final = 300  # characters of a name
_FETCHED: Final = ("miss", "bypass", "revalidated")
_ABSENT: Final = (404, 410)

N = TypeVar("N", str, bytes)
T = TypeVar("T")


class Asking(Protocol):
    """A fetch: the key that it is for, and its purpose if that isn't a client's request."""

    @property
    def key(self) -> CacheKey | None: ...

    @property
    def purpose(self) -> object | None: ...


class SuspectLists:
    """Those of one worker. `tick` once a second."""

    def __init__(self, accounting: Accounting, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._prices: Mapping[str, Price] = {}
        self._began = self._turned = clock()
        self._young, self._old = Tallies(), Tallies()
        # Their keys, as bytes: most are counted twice, when the fetch and when the request ends.
        self._young_keys: dict[bytes, KeyTally] = {}
        self._old_keys: dict[bytes, KeyTally] = {}
        self._last: tuple[bytes, KeyTally] = b"", KeyTally()
        accounting.add(self.note)

    def use(self, prices: Mapping[str, Price]) -> None:
        """Reckon with these prices from now on, by origin."""
        self._prices = prices

    def tick(self) -> None:
        """Begin another generation if it is time."""
        now = self._clock()
        if not 0.0 <= now - self._turned < GENERATION_SECONDS:
            self._began, self._turned = self._turned, now
            self._old, self._young = self._young, Tallies()
            self._old_keys, self._young_keys = self._young_keys, {}
            self._last = b"", KeyTally()

    def asked(self, origin: str, want: Asking, size: int) -> None:
        """An origin has answered with an object, or with a part of one, of so many bytes."""
        if want.key is None or want.purpose is not None or not size:
            return  # for no client, or nothing but a head
        tally = self._key(want.key.text)
        tally.asked += size
        tally.fetches += 1
        price = self._prices.get(origin)
        if price is not None:
            tally.money += price.of(size)

    def note(self, exchange: Exchange) -> None:
        """An exchange that is no plain hit has ended."""
        key, outcome = exchange.key, exchange.outcome
        if key is None or outcome is None:
            return
        tally, flavours = self._key(key), self._young.flavours
        tally.requests += 1
        tally.sent += exchange.sent
        if exchange.status == 206:
            tally.ranges += 1
        word = outcome.word
        if word == "bypass":
            tally.bypassed += 1
            flavours["bypassed"] += 1
        if word not in _FETCHED:
            return
        flavours["missed"] += 1
        if exchange.status == 206:
            flavours["ranges"] += 1
        if exchange.method == b"HEAD":
            flavours["heads"] += 1
        if b"?" in key:
            flavours["queries"] += 1
        if exchange.status in _ABSENT:
            flavours["absent"] += 1

    def sampled(self, exchange: Exchange, weight: float) -> None:
        """An exchange of the sample, which stands for so many."""
        key, outcome = exchange.key, exchange.outcome
        if key is None or outcome is None:
            return
        clients = self._young.clients
        client = clients.get(exchange.client) or _added(clients, exchange.client, NameTally(), _by_missed)
        if outcome.word not in _FETCHED:
            client.others += weight
            return
        price = None if outcome.origin is None else self._prices.get(outcome.origin)
        bytes_, money = weight * exchange.sent, 0.0 if price is None else weight * price.of(exchange.sent)
        path, mark, query = key.partition(b"?")
        of = [(client, path)]
        if mark:
            paths, name = self._young.paths, _text(path)
            of.append((paths.get(name) or _added(paths, name, NameTally(), _by_missed), query))
        for tally, what in of:
            tally.missed += weight
            tally.bytes += bytes_
            tally.money += money
            tally.mark(xxhash.xxh3_64_intdigest(what))

    def tallies(self) -> Tallies:
        """Those of the last minutes."""
        self._old.keys, self._young.keys = _named(self._old_keys), _named(self._young_keys)
        found = together([self._old, self._young])
        found.seconds = max(1.0, min(2.0 * GENERATION_SECONDS, self._clock() - self._began))
        return found

    def answer(self, query: bytes) -> bytes:
        """For another worker: the greatest of each kind."""
        found = self.tallies()
        found.keys = _greatest(found.keys, _by_asked)
        found.paths, found.clients = _greatest(found.paths, _by_missed), _greatest(found.clients, _by_missed)
        return json.dumps(found.plain(), separators=(",", ":")).encode()

    def _key(self, text: bytes) -> KeyTally:
        last, tally = self._last
        if text is last:
            return tally
        name = text if len(text) <= _LONGEST and b" " not in text else text.partition(b" ")[0][:_LONGEST]
        keys = self._young_keys
        tally = keys.get(name) or _added(keys, name, KeyTally(), _by_asked)
        self._last = text, tally
        return tally


def _named(keys: Mapping[bytes, KeyTally]) -> dict[str, KeyTally]:
    return {_text(key): tally for key, tally in keys.items()}


def _text(name: bytes) -> str:
    return name[:_LONGEST].decode("ascii", "replace")


def _by_asked(tally: KeyTally) -> float:
    return tally.asked


def _by_missed(tally: NameTally) -> float:
    return tally.missed


def _added(names: dict[N, T], name: N, tally: T, rank: Callable[[T], float]) -> T:
    """A new name, for which lesser ones make room."""
    if len(names) >= CAPACITY:
        ranked, texts = sorted([(rank(each), at) for at, each in enumerate(names.values())]), list(names)
        for _, at in ranked[: CAPACITY // 2]:
            del names[texts[at]]
    names[name] = tally
    return tally


def _greatest(names: dict[str, T], rank: Callable[[T], float]) -> dict[str, T]:
    best = sorted(names, key=lambda each: -rank(names[each]))[:_SENT]
    return {name: names[name] for name in best}
