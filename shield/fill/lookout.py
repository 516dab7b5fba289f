"""A look at all bodies under way, once a second: the rest of one that is late may be had elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from shield.rules.lateness import Arrival

_WEIGHT = 0.2  # of a new rate in the norm of an origin


class Watched(Protocol):
    """A body under way, of which other origins may have the same bytes."""

    @property
    def sender(self) -> str:
        """The origin that it comes from now."""

    @property
    def place(self) -> int:
        """Absolute offset of its next byte."""

    @property
    def left(self) -> int:
        """Bytes still to arrive."""

    @property
    def is_held(self) -> bool:
        """Whether it isn't read at the moment, or others are being asked already."""

    def late(self) -> None:
        """Nothing, or very little, comes: look for an origin that is proven to have the same bytes."""


class Lookout:
    """Of one worker."""

    def __init__(self) -> None:
        self._seen: dict[Watched, Arrival] = {}
        self._norms: dict[str, float] = {}  # by origin: bytes per second of bodies that take long

    def look(self, bodies: Iterable[Watched], now: float, *, patience: Callable[[str], float]) -> None:
        """Look at all bodies. `patience` is that with an origin's first byte, in seconds."""
        before, self._seen = self._seen, {}
        for body in bodies:
            progress, sender = before.get(body), body.sender
            if progress is None:
                self._seen[body] = Arrival(body.place, now)
                continue
            self._seen[body] = progress
            progress.look(body.place, now, is_held=body.is_held)
            if progress.is_late(left=body.left, patience=patience(sender), norm=self._norms.get(sender)):
                body.late()
            elif (rate := progress.measured(now)) is not None:
                norm = self._norms.get(sender, rate)
                self._norms[sender] = norm + (rate - norm) * _WEIGHT
