"""Whether a node asks another region, which is near to an origin, before it asks that origin. Pure.

Both ways are compared as `ranking` compares origins: in seconds, with money converted by `Route.exchange`. The way
through the other region takes a round trip, and costs that region's egress; if the object isn't stored there, its
read from the origin, too. How often it is stored is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shield.rules.prices import GB, Price

EXPLORED = 64
"""Where too little was stored in the other region so far to be worth it, one fetch in so many tries it again."""

_MOST_COUNTED = 1000
_LONGEST_NAME = 64
_MOST_ORIGINS = 64


@dataclass(frozen=True, slots=True)
class RegionOffer:
    """Prices in a node's region: those of reading from origins, by name, and that of egress to other regions, as far
    as they are known.
    """

    prices: Mapping[str, Price] = field(default_factory=dict)
    sending: Price | None = None

    def plain(self) -> dict[str, object]:
        """For JSON."""
        said: dict[str, object] = {"prices": {name: _of_price(price) for name, price in self.prices.items()}}
        return said if self.sending is None else said | {"sending": _of_price(self.sending)}

    @classmethod
    def read(cls, said: object) -> RegionOffer:
        """Another node's offer from JSON; malformed parts are left out."""
        if not isinstance(said, dict):
            return cls()
        told = said.get("prices")
        prices = list(told.items())[:_MOST_ORIGINS] if isinstance(told, dict) else []
        read = {str(name)[:_LONGEST_NAME]: price for name, each in prices if (price := _price(each)) is not None}
        return cls(read, _price(said.get("sending")))


class RegionHits:
    """The share of fetches through another region that were stored there, of the last thousand or so."""

    __slots__ = ("_asked", "_hits", "_turns")

    def __init__(self) -> None:
        self._asked = self._hits = self._turns = 0

    def note(self, *, was_hit: bool) -> None:
        self._asked += 1
        self._hits += was_hit
        if self._asked >= _MOST_COUNTED:
            self._asked //= 2
            self._hits //= 2

    @property
    def share(self) -> float:
        """From 0 to 1; 0 before anything is known."""
        return self._hits / self._asked if self._asked else 0.0

    def explores(self) -> bool:
        """Whether it is this fetch that finds out again."""
        self._turns += 1
        return self._turns % EXPLORED == 1


@dataclass(frozen=True, slots=True)
class TwoWays:
    """The way to an origin, and that through a region which is near to it.

    `round_trip` to that region and `first_byte` of the origin are in seconds; 0.0: the origin wasn't measured.
    `price` is that of reading from the origin here, `size` in bytes; `exchange` are the seconds that a unit of money
    is worth, 0.0: none.
    """

    origin: str
    round_trip: float
    first_byte: float
    price: Price | None
    offer: RegionOffer
    size: float
    exchange: float

    def is_better_beyond(self, share: float) -> bool:
        """Whether the other region is to be asked first, with this share of fetches stored there."""
        saved = self._saved(share)
        if self.first_byte:
            return self.round_trip < self.first_byte + self.exchange * saved
        return self.exchange * saved >= 0.0  # nothing is known of distances but that one is near

    def _saved(self, share: float) -> float:
        """Money, for this object; 0.0 where prices aren't known, or can't be compared."""
        there, sending, here = self.offer.prices.get(self.origin), self.offer.sending, self.price
        if here is None or there is None or sending is None or len({p.currency for p in (here, there, sending)}) > 1:
            return 0.0
        return here.of(self.size) - sending.of(self.size) - (1.0 - share) * there.of(self.size)


def _of_price(price: Price) -> list[object]:
    return [price.of(GB, 0.0), price.requests, price.currency]


def _price(said: object) -> Price | None:
    if not isinstance(said, list) or len(said) != 3:
        return None
    egress, requests, currency = said
    are_numbers = all(isinstance(each, int | float) and 0.0 <= each < 1e9 for each in (egress, requests))
    if not are_numbers or not isinstance(currency, str) or len(currency) != 3:
        return None
    return Price(float(egress), float(requests), currency)
