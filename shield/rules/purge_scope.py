"""The extent of an order to purge, and the cost of fetching it again: for dry runs. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shield.rules.prices import Price
from shield.rules.purge_orders import PurgeOrder

GENTLE_ENTRIES = 1000
"""More than this at a time aren't removed without a word about soft purges."""


class PurgeScope:
    """The entries that an order covers. `keys` are the texts of the keys of its paths."""

    def __init__(self, order: PurgeOrder, keys: Collection[bytes]) -> None:
        self._everything = order.everything
        self._keys = frozenset(keys)
        self._tags = frozenset(order.tags)
        texts = order.prefix_texts
        self._in_any_space = tuple([text for text in texts if text.startswith(b"/")])
        self._in_a_space = tuple([text for text in texts if not text.startswith(b"/")])
        self._globs = [_compiled(text) for text in order.glob_texts]

    @property
    def is_exact(self) -> bool:
        """Whether it covers nothing but the keys of paths."""
        return not (self._everything or self._tags or self._in_any_space or self._in_a_space or self._globs)

    def covers(self, text: bytes, tags: bytes) -> bool:
        """Whether it covers the entry with this key's text, and these tags, a line each."""
        text = text.partition(b" ")[0]  # variants are purged with their key
        if self._everything or text in self._keys or text.startswith(self._in_a_space):
            return True
        if self._in_any_space and text.startswith(self._in_any_space, text.find(b":") + 1):
            return True
        if self._tags and tags and not self._tags.isdisjoint(tags.split(b"\n")):
            return True
        return any(pattern(text) for pattern in self._globs)


@dataclass(slots=True)
class ScopeTally:
    """The extent so far. `by_origin`: entries and bytes by the origin that they came from, "" if unknown."""

    entries: int = 0
    bytes: int = 0
    by_origin: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, origin: str | None, size: int) -> None:
        self.entries += 1
        self.bytes += size
        entries, held = self.by_origin.get(origin or "", (0, 0))
        self.by_origin[origin or ""] = (entries + 1, held + size)

    def scaled(self, factor: float) -> ScopeTally:
        """An estimate for so many times as much."""
        by_origin = {name: (round(n * factor), round(size * factor)) for name, (n, size) in self.by_origin.items()}
        return ScopeTally(round(self.entries * factor), round(self.bytes * factor), by_origin)

    def plus(self, other: ScopeTally) -> ScopeTally:
        by_origin = dict(self.by_origin)
        for name, (entries, size) in other.by_origin.items():
            before = by_origin.get(name, (0, 0))
            by_origin[name] = (before[0] + entries, before[1] + size)
        return ScopeTally(self.entries + other.entries, self.bytes + other.bytes, by_origin)


@dataclass(frozen=True, slots=True)
class Bearing:
    """What an origin bears, and takes: fetches at once (None: no limit is known), the 95th percentile of its first
    bytes in seconds, and its price."""

    limit: int | None = None
    p95_seconds: float | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True)
class Refetch:
    """What an origin is asked for if all that an order covers is requested again. `seconds` is how long it takes at
    least, at its limit, if nothing else is fetched; None: it isn't known."""

    origin: str
    requests: int
    bytes: int
    money: float | None
    currency: str | None
    limit: int | None
    seconds: float | None

    def shown(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "requests": self.requests,
            "bytes": self.bytes,
            "money": None if self.money is None else round(self.money, 6),
            "currency": self.currency,
            "limit": self.limit,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
        }


def refetches(tally: ScopeTally, origins: Mapping[str, Bearing]) -> list[Refetch]:
    """The fetches by origin: by the one that an entry came from, although another may be chosen next time."""
    found = []
    for name, (requests, size) in sorted(tally.by_origin.items()):
        bearing = origins.get(name, Bearing())
        price, limit, p95 = bearing.price, bearing.limit, bearing.p95_seconds
        seconds = None if limit is None or p95 is None else requests / max(1, limit) * p95
        money = None if price is None else price.of(size, requests)
        found.append(Refetch(name, requests, size, money, None if price is None else price.currency, limit, seconds))
    return found


def advice(order: PurgeOrder, tally: ScopeTally, fetches: Sequence[Refetch]) -> list[str]:
    """Points to consider before the order is given, a sentence each; none if it does no harm."""
    if not tally.entries:
        return ["no stored entry matches; fetches in progress aren't counted"]
    if order.soft:
        return []
    said = []
    for each in fetches:
        if each.limit is not None and each.requests > each.limit:
            took = "" if each.seconds is None else f", {each.seconds:,.0f} s of them"
            said.append(
                f"origin {each.origin or 'unknown'} gets {each.limit:,} fetches at a time, and this can ask it for "
                f"{each.requests:,}{took}: misses wait for their turn meanwhile"
            )
    if (said or tally.entries > GENTLE_ENTRIES) and not order.takedown:
        said.append(
            "a soft purge asks the origins for the same objects, but clients get the stale ones meanwhile, as long "
            "as the grace of these lasts"
        )
    return said


def _compiled(text: bytes) -> Callable[[bytes], object]:
    pattern = b".*".join([re.escape(part) for part in text.split(b"*")])
    return re.compile(rb"[^/]*:" + pattern if text.startswith(b"/") else pattern, re.DOTALL).fullmatch
