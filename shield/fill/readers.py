"""The readers of a fill, and how they are told of its progress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Protocol

from shield.messages import Request, ResponseHead
from shield.rules import exact
from shield.rules.amplification import Account
from shield.rules.interim import Interims
from shield.rules.routes import Resource


class Phase(Enum):
    """The state of a fill, and what its readers do in it."""

    OPENING = "opening"  # no origin has committed to an answer: wait
    STREAMING = "streaming"  # the head is known and bytes arrive: read from your own place
    COMPLETE = "complete"  # all bytes are here and their number holds: read to the end
    FAILED = "failed"  # nothing more will come: an error before the head, an unclean end after it


OVER = (Phase.COMPLETE, Phase.FAILED)


class Reader(Protocol):
    """A reader of a fill. Called on the event loop; must neither raise nor wait."""

    request: Request
    position: int  # absolute offset of the next byte it needs
    given: int  # bytes of the body so far, at whatever place
    slack: int  # bytes that may be fetched for it beyond twice its own, at each of its places
    account: Account | None  # the budget of its address; None: it has no limit
    touched: dict[int, bool]  # slices of which it needs little, and whether another reader did before

    @property
    def untaken(self) -> int:
        """Those of the bytes `given` that wait for its client."""

    @property
    def stop(self) -> int | None:
        """Absolute offset at which it is done; None: the end of the body."""

    def advance(self) -> None:
        """The phase has changed, or bytes have arrived."""

    def inform(self, block: bytes) -> None:
        """An interim response of the origin, before the head."""

    def detach(self) -> None:
        """The fill has released this reader, which it can't serve (any more): fetch the missing bytes by yourself."""

    def go_on_alone(self) -> None:
        """The fill's response may not answer this reader's request, and it has released the reader: begin anew."""


def taken(reader: Reader) -> int:
    """Bytes of the body that a reader's client has taken."""
    return reader.given - reader.untaken


def keeps_up(reader: Reader, end: int) -> bool:
    """Whether bytes up to the absolute offset `end` may have been fetched for what a reader's client has taken; both
    count from the reader's own first byte.
    """
    size = end - reader.position + reader.given
    # Asked in this order since `untaken` costs system calls.
    return exact.is_worth(size, reader.given) and exact.is_worth(size, taken(reader))


class Readers:
    """The readers of one fill, in the order of their arrival. The leader's request is the one sent to the origin."""

    __slots__ = ("_all", "_interims", "_is_asked", "_leader", "_request", "_resource", "latecomers")

    def __init__(self, request: Request, resource: Resource) -> None:
        self._request = request
        self._resource = resource  # of the request
        self._all: dict[Reader, None] = {}
        self._interims: Interims | None = None
        self._leader: Reader | None = None  # the reader with that request, even if others came first
        self._is_asked = False
        self.latecomers: set[Reader] = set()
        """Readers that came after the request was sent. Read only."""

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
            self._leader = None  # it refers to the fill, which must be freed without the garbage collector

    def question_sent(self) -> None:
        """The request is sent, perhaps again: readers that come from now on are latecomers."""
        self._is_asked = True
        self.latecomers.clear()

    def tell(self) -> None:
        """Tell all of them to advance."""
        for reader in list(self._all):
            reader.advance()

    def inform(self, head: ResponseHead) -> None:
        """Pass an interim response on to the readers whose request matches the one that the origin saw."""
        if self._interims is None:
            self._interims = Interims()
        block, resource = self._interims.taken(head), self._resource
        forwarding = resource.route.forwarding
        if block is not None:
            for reader in list(self._all):
                if not forwarding.any or forwarding.fields(reader.request) == resource.forwarded:
                    reader.inform(block)

    def detach(self, reader: Reader) -> None:
        """Release a reader, which fetches its missing bytes by itself."""
        self.remove(reader)
        reader.detach()

    def send_on(self, readers: Iterable[Reader]) -> None:
        """Release these readers, which begin anew."""
        for reader in readers:
            self.remove(reader)
            reader.go_on_alone()

    def late(self) -> list[Reader]:
        """Readers that came after the request was sent."""
        return [reader for reader in self._all if reader in self.latecomers] if self.latecomers else []

    def leave_to_leader(self, *, else_to_anyone: bool) -> None:
        """Release all readers but the leader. If it is gone, `else_to_anyone` keeps one that is no latecomer."""
        keep = self._leader
        if keep is None and else_to_anyone:
            keep = next((reader for reader in self._all if reader not in self.latecomers), None)
        others: Iterable[Reader] = [reader for reader in self._all if reader is not keep]
        for reader in others:
            self.detach(reader)
