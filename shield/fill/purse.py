"""Who pays for what a fill brings: the address of one of its readers, the first one while that one reads. And what
holds an answer up that would cost more than that can afford."""

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
        self._taken = 0  # by the reader who has taken most, as far as it had to be known
        self._is_open = False
        self.is_shared = False  # several have read at a time

    def joined(self, reader: Reader, *, among: bool) -> None:
        """A reader has come, perhaps to others."""
        self.is_shared = self.is_shared or among
        if self._account is None:
            self._account = reader.account

    def left_to(self, readers: Iterable[Reader]) -> None:
        """One has left: these are there."""
        for reader in readers:
            self._account = reader.account
            return

    def cost(self, size: int) -> None:
        """An origin has sent so much."""
        if self._account is not None:
            self._account.cost(size)

    @property
    def is_empty(self) -> bool:
        """Whether no more may come than readers take."""
        return self._account is not None and self._account.is_over(self._clock())

    def affords(self, size: int) -> bool:
        """Whether so much more may come that no reader takes."""
        return self._account is None or self._account.affords(size, self._clock())

    def affords_end(self, buffer: FillBuffer, length: int | None, *, small_bytes: int, has_all: bool) -> bool:
        """Whether what is left of a body may come though nobody reads: it is kept, and was of use or is cheap."""
        if not buffer.retained or length is None or not self.affords(length - buffer.received):
            return False
        left = length - buffer.received
        return has_all or left <= small_bytes or left <= buffer.received

    def is_outrun(self, received: int, readers: Iterable[Reader]) -> bool:
        """Whether more has come than may for what readers have taken."""
        if exact.is_worth(received, self._taken) or (self._is_open and not self.is_empty):
            return False
        self._taken = max([self._taken, *[taken(reader) for reader in readers]])
        return not exact.is_worth(received, self._taken)

    def open(self) -> None:
        """Let all come as long as something is left, though readers don't take it."""
        self._is_open = True
