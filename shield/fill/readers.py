"""The readers of a fill: what it tells them, and which of them its answer is for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Protocol

from shield.messages import Request, ResponseHead
from shield.rules.amplification import Account
from shield.rules.interim import Interims
from shield.rules.routes import Resource


class Phase(Enum):
    """Where a fill stands, and what its readers do."""

    OPENING = "opening"  # no origin has committed to an answer: wait
    STREAMING = "streaming"  # the head is known and bytes arrive: read from your own place
    COMPLETE = "complete"  # all bytes are here and their number holds: read to the end
    FAILED = "failed"  # nothing more will come: an error before the head, an unclean end after it


OVER = (Phase.COMPLETE, Phase.FAILED)


class Reader(Protocol):
    """Who reads from a fill. Called on the event loop; must neither raise nor wait."""

    request: Request
    position: int  # absolute offset of the next byte it needs
    given: int  # bytes of the body so far, wherever they lie in it
    slack: int  # bytes that may be fetched for it beyond twice what it wants, at each of its places
    account: Account | None  # of the address that it reads for; None: nothing is kept for it
    touched: dict[int, bool]  # slices that it wants little of, and whether another reader did before

    @property
    def untaken(self) -> int:
        """Those of the bytes `given` that wait for its client to take them."""

    @property
    def stop(self) -> int | None:
        """Absolute offset where it needs no more; None: at the end of the body."""

    def advance(self) -> None:
        """There may be more: another phase or more bytes."""

    def inform(self, block: bytes) -> None:
        """An interim response of the origin's, while there is no head."""

    def detach(self) -> None:
        """The fill can't serve this reader (any more) and has let go of it: fetch what is missing by yourself."""

    def go_on_alone(self) -> None:
        """The fill brings nothing that may answer this reader's request, and has let go of it: begin anew."""


def taken(reader: Reader) -> int:
    """Bytes of the body that a reader's client has taken."""
    return reader.given - reader.untaken


class Readers:
    """Those of one fill, in the order in which they came. Its leader is the one whose request it carries out."""

    __slots__ = ("_all", "_interims", "_is_asked", "_leader", "_request", "_resource", "latecomers")

    def __init__(self, request: Request, resource: Resource) -> None:
        self._request = request
        self._resource = resource  # that is asked for
        self._all: dict[Reader, None] = {}
        self._interims: Interims | None = None
        self._leader: Reader | None = None  # whose request it is; others who come first aren't
        self._is_asked = False
        self.latecomers: set[Reader] = set()
        """Those who came after the question had gone out. To be looked at only."""

    def __iter__(self) -> Iterator[Reader]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, reader: object) -> bool:
        return reader in self._all

    def add(self, reader: Reader) -> None:
        if reader.request is self._request:
            self._leader = reader
        self._all[reader] = None
        if self._is_asked:
            self.latecomers.add(reader)

    def remove(self, reader: Reader) -> None:
        del self._all[reader]
        self.latecomers.discard(reader)
        if reader is self._leader:
            self._leader = None  # it refers to the fill: what is over must go without the garbage collector

    def question_sent(self) -> None:
        """The question goes out, perhaps once more: who comes from now on comes after it."""
        self._is_asked = True
        self.latecomers.clear()

    def tell(self) -> None:
        """There may be more for them."""
        for reader in list(self._all):
            reader.advance()

    def inform(self, head: ResponseHead) -> None:
        """Pass an interim response on to those of them whose request the origin saw."""
        if self._interims is None:
            self._interims = Interims()
        block, resource = self._interims.taken(head), self._resource
        forwarding = resource.route.forwarding
        if block is not None:
            for reader in list(self._all):
                if not forwarding.any or forwarding.fields(reader.request) == resource.forwarded:
                    reader.inform(block)

    def detach(self, reader: Reader) -> None:
        """Have one fetch for itself what it lacks."""
        self.remove(reader)
        reader.detach()

    def send_on(self, readers: Iterable[Reader]) -> None:
        """Have these begin anew."""
        for reader in readers:
            self.remove(reader)
            reader.go_on_alone()

    def late(self) -> list[Reader]:
        """Those who came after the question had gone out."""
        return [reader for reader in self._all if reader in self.latecomers] if self.latecomers else []

    def leave_to_leader(self, *, else_to_anyone: bool) -> None:
        """Have all others fetch for themselves; where the leader is gone, one may do who waited as long as it did."""
        keep = self._leader
        if keep is None and else_to_anyone:
            keep = next((reader for reader in self._all if reader not in self.latecomers), None)
        others: Iterable[Reader] = [reader for reader in self._all if reader is not keep]
        for reader in others:
            self.detach(reader)
