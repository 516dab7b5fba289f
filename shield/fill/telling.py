"""Readers that are told of a fill's progress together: what all of them would do is done once."""

from __future__ import annotations

from typing import Protocol

from shield.fill.readers import OVER, Phase, Reader, Readers, has_all
from shield.outcome import Forward, Outcome
from shield.store.entry import Entry


class Shown:
    """The outcome of a request, and its rendering: `trailer` are the lines that state it, `head` is that of the whole
    response with them. Readers that are told together send the same if they were forwarded for the same reason.
    """

    __slots__ = ("_collapsed", "_entry", "_forward", "head", "outcome", "trailer")

    def __init__(
        self,
        entry: Entry | None,
        forward: Forward | None,
        collapsed: bool,
        outcome: Outcome,
        trailer: bytes,
        head: bytes,
    ) -> None:
        """`entry` is the one that answers the request, if any."""
        self._entry = entry
        self._forward = forward
        self._collapsed = collapsed
        self.outcome = outcome
        self.trailer = trailer
        self.head = head

    def suits(self, entry: Entry | None, forward: Forward | None, collapsed: bool) -> bool:
        """Whether it is that of such a request."""
        return self._forward is forward and self._collapsed is collapsed and self._entry is entry


class Telling:
    """What a fill knows while it tells several readers."""

    __slots__ = ("leaver", "shown")

    def __init__(self) -> None:
        self.shown: Shown | None = None  # by the last one that rendered it
        self.leaver: Reader | None = None  # one of those that have left meanwhile: one that has all if there is one

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
    """Tell the readers of a fill to advance; what follows for the fill is done when all have been told."""
    if len(readers) < 2 or fill.telling is not None:
        readers.tell()
        return
    telling = fill.telling = Telling()
    try:
        readers.tell()
    finally:
        fill.telling = None
    if fill.phase in OVER:
        return
    if telling.leaver is None:
        fill.progressed()
    else:
        fill.left(telling.leaver)
