"""The readers of a fill, how they are told of its progress, and the one of them that pays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Final, Protocol

from shield.fill.buffer import FillBuffer
from shield.messages import Request, ResponseHead
from shield.rules import exact
from shield.rules.amplification import Account
from shield.rules.interim import Interims
from shield.rules.routes import Resource
from shield.rules.warming import MARK


class Phase(Enum):
    """The state of a fill, and what its readers do in it."""

    OPENING = "opening"  # no origin has committed to an answer: wait
    STREAMING = "streaming"  # the head is known and bytes arrive: read from your own place
    COMPLETE = "complete"  # all bytes are here and their number holds: read to the end
    FAILED = "failed"  # nothing more will come: an error before the head, an unclean end after it


OVER: Final = (Phase.COMPLETE, Phase.FAILED)


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

    def push(self) -> bool:
        """As `advance`, but True in place of a clean end, which `conclude` then makes."""

    def conclude(self) -> None:
        """All bytes were sent: leave, and record it."""

    def inform(self, block: bytes) -> None:
        """An interim response of the origin, before the head."""

    def detach(self) -> None:
        """The fill has released this reader, which it can't serve (any more): fetch the missing bytes by yourself."""

    def go_on_alone(self) -> None:
        """The fill's response may not answer this reader's request, and it has released the reader: begin anew."""


def has_all(reader: Reader) -> bool:
    """Whether it has got all that it wanted of a body of known length."""
    return reader.stop is not None and reader.position >= reader.stop


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

    __slots__ = ("_all", "_interims", "_request", "_resource", "latecomers")

    def __init__(self, request: Request, resource: Resource) -> None:
        self._request = request
        self._resource = resource  # of the request
        self._all: dict[Reader, None] = {}
        self._interims: Interims | None = None
        self.latecomers: set[Reader] = set()
        """Readers that have come since the request was sent, perhaps again: to be cleared when it is."""

    def __iter__(self) -> Iterator[Reader]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, reader: object) -> bool:
        return reader in self._all

    @property
    def clients(self) -> int:
        """Readers that are clients; of a fill that a client began, all count."""
        if MARK not in self._request.notable:
            return len(self._all)
        return sum(MARK not in reader.request.notable for reader in self._all)

    def add(self, reader: Reader) -> None:
        self._all[reader] = None
        self.latecomers.add(reader)

    def remove(self, reader: Reader) -> None:
        del self._all[reader]
        self.latecomers.discard(reader)

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
        keep = next((reader for reader in self._all if reader.request is self._request), None)
        if keep is None and else_to_anyone:
            keep = next((reader for reader in self._all if reader not in self.latecomers), None)
        others: Iterable[Reader] = [reader for reader in self._all if reader is not keep]
        for reader in others:
            self.detach(reader)


class Purse:
    """The payer of a fill: the address of one of its readers, the first one as long as it reads.

    It keeps no reference to readers. A response that would cost more than that address can afford is paused.
    """

    __slots__ = ("_account", "_clock", "_is_open", "_taken", "is_shared")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._account: Account | None = None
        self._clock = clock
        self._taken = 0  # by the reader that has taken most, when last compared
        self._is_open = False
        self.is_shared = False  # several have read at a time

    def joined(self, reader: Reader, *, among: bool) -> None:
        """A reader has come, perhaps to others."""
        self.is_shared = self.is_shared or among
        if self._account is None:
            self._account = reader.account

    def left_to(self, readers: Iterable[Reader]) -> None:
        """A reader has left, and these remain."""
        for reader in readers:
            self._account = reader.account
            return

    def cost(self, size: int) -> None:
        """An origin has sent `size` bytes."""
        if self._account is not None:
            self._account.cost(size)

    @property
    def is_empty(self) -> bool:
        """Whether no byte may arrive in vain."""
        return self._account is not None and self._account.is_over(self._clock())

    def affords(self, size: int) -> bool:
        """Whether `size` bytes may arrive in vain."""
        return self._account is None or self._account.affords(size, self._clock())

    def affords_end(self, buffer: FillBuffer, length: int | None, *, small_bytes: int, has_all: bool) -> bool:
        """Whether the rest of a body may arrive without readers: it is kept, and was of use or is cheap."""
        if not buffer.retained or length is None or not self.affords(length - buffer.received):
            return False
        left = length - buffer.received
        return has_all or left <= small_bytes or left <= buffer.received

    def is_outrun(self, received: int, readers: Iterable[Reader]) -> bool:
        """Whether more bytes have arrived than are allowed for those that readers have taken."""
        if exact.is_worth(received, self._taken) or (self._is_open and not self.is_empty):
            return False
        self._taken = max([self._taken, *[taken(reader) for reader in readers]])
        return not exact.is_worth(received, self._taken)

    def open(self) -> None:
        """Allow all bytes as long as budget is left, though readers don't take them."""
        self._is_open = True
