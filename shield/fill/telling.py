"""Readers that are told of a fill's progress together: what all of them would do is done once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from shield.fill.readers import OVER, Phase, Reader, Readers, has_all
from shield.outcome import Forward, Outcome
from shield.store.entry import Entry

Shown = tuple[Outcome, bytes, bytes]
"""The outcome of a request, the lines that state it, and the head of the whole response with them."""


class Telling:
    """What a fill knows while it tells several readers."""

    __slots__ = ("_collapsed", "_entry", "_forward", "_shown", "leaver")

    def __init__(self) -> None:
        self.leaver: Reader | None = None  # one of those that have left meanwhile: one that has all if there is one
        self._shown: Shown | None = None  # by the last one that rendered it, for such a request:
        self._entry: Entry | None = None
        self._forward: Forward | None = None
        self._collapsed = False

    def shown(self, entry: Entry | None, forward: Forward | None, collapsed: bool) -> Shown | None:
        """What others have sent that were forwarded for the same reason; `entry` is the one that answers them."""
        is_same = self._forward is forward and self._collapsed is collapsed and self._entry is entry
        return self._shown if is_same else None

    def show(self, shown: Shown, entry: Entry | None, forward: Forward | None, collapsed: bool) -> None:
        """Have others send the same."""
        self._shown, self._entry, self._forward, self._collapsed = shown, entry, forward, collapsed

    def left(self, reader: Reader) -> None:
        if self.leaver is None or has_all(reader):
            self.leaver = reader


class Teller(Protocol):
    """A fill."""

    phase: Phase
    telling: Telling | None  # only while it tells several

    def progressed(self) -> None:
        """Readers have advanced."""

    def left(self, reader: Reader) -> None:
        """A reader has left, perhaps with others."""


def tell(fill: Teller, readers: Readers) -> None:
    """Tell several readers of a fill to advance; what follows for the fill is done when all have been told."""
    if fill.telling is not None:
        tell_all(readers)
        return
    telling = fill.telling = Telling()
    try:
        tell_all(readers)
    finally:
        fill.telling = None
    if fill.phase in OVER:
        return
    if telling.leaver is None:
        fill.progressed()
    else:
        fill.left(telling.leaver)


def tell_all(readers: Iterable[Reader]) -> None:
    """Tell them to advance. Those that have got everything leave once all have been told: what is recorded of one
    mustn't delay the bytes of the next.
    """
    for reader in [reader for reader in list(readers) if reader.push()]:
        reader.conclude()
