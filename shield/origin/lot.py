"""The origins in use at one time, as a fetch needs them: their order, and how long it waits for the first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import xxhash

from shield.origin.origin import Origin
from shield.rules.attempts import MIN_ATTEMPT_SECONDS, Contender
from shield.rules.health import HELD_BACK, Flag
from shield.rules.positions import are_all_bad, order

Moved = Callable[[str, bytes], None]
"""Called with an origin and a path for which others are tried first, since it isn't healthy."""


class Lot:
    """The origins in use at one time, and the deadline of a fetch from them."""

    __slots__ = ("budgets", "deadline_seconds", "has_time", "moved", "origins", "users")

    def __init__(self, origins: Sequence[Origin], deadline_seconds: float) -> None:
        self.origins = {origin.name: origin for origin in origins}
        self.deadline_seconds = deadline_seconds
        self.has_time = deadline_seconds >= MIN_ATTEMPT_SECONDS
        self.budgets = {origin.name: origin.seen.repeats for origin in origins}
        self.users = 0  # fetches under way that use it
        self.moved: Moved | None = None

    def order(self, names: Sequence[str], path: bytes, now: Callable[[], float]) -> Sequence[str]:
        """The order in which the named origins are tried for this path; unknown names are left out."""
        return names if len(names) == 1 and names[0] in self.origins else self._ranked(names, path, now)

    def _ranked(self, names: Sequence[str], path: bytes, now: Callable[[], float]) -> Sequence[str]:
        """The same for several names."""
        origins = self.origins
        ranked = [name for name in names if name in origins]
        return ranked if all(origins[name].seen.is_up for name in ranked) else self._by_health(ranked, path, now)

    def _by_health(self, ranked: Sequence[str], path: bytes, now: Callable[[], float]) -> Sequence[str]:
        origins, spot = self.origins, xxhash.xxh3_64_intdigest(path) / 2.0**64
        tried = order(ranked, {name: origins[name].seen.treated() for name in ranked}, spot, now())
        if self.moved is not None and tried[:1] != tuple(ranked[:1]):
            self.moved(ranked[0], path)
        return tried

    def are_all_bad(self, names: Sequence[str]) -> bool:
        """Whether all of these are known to be bad."""
        origins = self.origins
        return are_all_bad([origins[name].seen.treated() for name in names if name in origins])

    def has_room(self, name: str) -> bool:
        """Whether an origin is well, and has a place for another fetch."""
        origin = self.origins[name]
        gate, record = origin.gate, origin.seen.treated()
        return gate.used < gate.room and record.is_good and not record.flags & (Flag.THROTTLED | HELD_BACK)

    def contenders(self, order: Sequence[str]) -> list[Contender]:
        """The same as a schedule needs them."""
        seen = [(name, self.origins[name].seen) for name in order]
        return [
            Contender(name, each.patience, is_out=not each.treated().is_good, is_held=each.is_held)
            for name, each in seen
        ]

    def patience(self, order: Sequence[str]) -> float:
        """The time after which the second of an order is tried beside the first."""
        origins = self.origins
        seen = origins[order[0]].seen
        patience = math.inf if origins[order[1]].seen.is_held else seen.patience
        most = min(self.deadline_seconds / len(order), seen.spending.after)
        return min(patience, most)
