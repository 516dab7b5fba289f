"""The payer of a fill: the address of one of its readers, the first one as long as it reads. A response that would
cost more than that address can afford is paused."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shield.fill.buffer import FillBuffer
from shield.fill.readers import Reader, taken
from shield.rules import exact
from shield.rules.amplification import Account


class Purse:
    """The account of one fill. It keeps no reference to readers."""

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
