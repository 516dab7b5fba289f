"""The bus between the nodes of a cluster, as its users see it: four verbs, whatever the engine.

Nothing in it is needed to serve a request, and nothing in it is the only copy of anything: nodes keep their orders on
their own disks, and what they say of themselves expires. So an engine may be killed, frozen, emptied or replaced.

Every verb ends within seconds, and raises BusError if the engine hasn't done it by then; it may have been done all
the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from shield.errors import ShieldError

BEGINNING = "0-0"
"""The position before all entries of a stream."""

MOST_ENTRIES = 100_000
"""Of a stream, about, unless it is told otherwise."""


class BusError(ShieldError):
    """The engine can't be used. It says which, and why; it has no password in it."""


class BusEntry(NamedTuple):
    """An entry of a stream. Positions of a stream rise, as `order_of` compares them."""

    stream: str
    position: str
    data: bytes


class BusTick(NamedTuple):
    """The state of the engine, and what living nodes said last, this one too.

    `epoch` is another one once the engine was emptied or replaced. `newest` is the position of the newest entry of
    each stream that was asked for; `BEGINNING` if it is empty.
    """

    epoch: str
    newest: Mapping[str, str]
    said: Mapping[str, bytes]


class LeaseClaim(NamedTuple):
    """A wish for a part of something that all nodes share, as GCRA counts it: microseconds of a budget's time.

    `cost` is how far it moves the time at which the budget is whole again. It is refused if that time is more than
    `tolerance` away already; None: never, since it was spent before it was asked for.
    """

    name: str
    cost: int
    tolerance: int | None = None


class Granted(NamedTuple):
    """The answer to a claim: whether it was granted, and the microseconds until its budget is whole again."""

    is_granted: bool
    ahead: int


class Bus(Protocol):
    """An engine."""

    @property
    def place(self) -> str:
        """Where it is, for people; without a password."""

    async def append(self, stream: str, data: bytes, keep: int = MOST_ENTRIES) -> str:
        """Add an entry to a stream, of which about so many are kept; returns its position."""

    async def read_from(self, cursors: Mapping[str, str], seconds: float) -> list[BusEntry]:
        """Some entries of these streams after these positions, in their order; waits for one so long at most."""

    async def tick(self, node: str, said: bytes, lifetime: float, streams: Sequence[str] = ()) -> BusTick:
        """Say something to the other nodes, which is forgotten after so many seconds."""

    async def lease(self, claims: Sequence[LeaseClaim]) -> list[Granted]:
        """Take parts of what is shared, each by itself."""

    async def close(self) -> None:
        """Release its connections."""


def order_of(position: str) -> tuple[int, int]:
    """A position as something that can be compared; of what is none, that of the beginning."""
    first, _, second = position.partition("-")
    return (int(first), int(second)) if first.isdecimal() and second.isdecimal() else (0, 0)
