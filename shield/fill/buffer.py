"""The bytes of a fill in flight, and the bound on what all fills hold together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

from shield.store.entry import BLOCK, Body


class FillMemory:
    """The bound on the bytes that all fills in flight hold together."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._waiting: list[Callable[[], None]] = []

    def fits(self, size: int) -> bool:
        """Whether `size` bytes are free."""
        return self.used + size <= self.capacity

    def reserve(self, size: int) -> bool:
        """Take `size` bytes if they are free; all or nothing."""
        if self.used + size > self.capacity:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        self.used -= size
        if size and self._waiting:
            waiting, self._waiting = self._waiting, []
            for again in waiting:
                again()

    def wait(self, again: Callable[[], None]) -> None:
        """Call once when bytes have come free. They may be taken again by then."""
        self._waiting.append(again)


class FillBuffer:
    """A body as it arrives, from offset 0 of the fill: full blocks, then pieces as they were received.

    While `retained`, every byte is kept and reserved in the common memory, and any offset can be read. Else it is
    a window: `trim` drops bytes that all readers have passed.
    """

    __slots__ = (
        "_blocks",
        "_memory",
        "_offsets",
        "_pieces",
        "_reserved",
        "_trimmed",
        "received",
        "retained",
    )

    def __init__(self, memory: FillMemory) -> None:
        self.received = 0
        self.retained = False
        self._memory = memory
        self._reserved = 0
        self._blocks: list[bytes] = []
        self._pieces: list[bytes] = []
        self._offsets: list[int] = []  # of each piece
        self._trimmed = 0  # bytes dropped at the front

    def retain(self, size: int) -> bool:
        """Keep every byte, `size` of them expected; False, and nothing changes, when there is no memory for it."""
        if not self._memory.reserve(size):
            return False
        self._reserved = size
        self.retained = True
        return True

    def grow(self, size: int) -> bool:
        """Have at least `size` bytes reserved; False when there is no memory for them."""
        if size > self._reserved:
            more = max(size - self._reserved, BLOCK)
            if not self._memory.reserve(more):
                return False
            self._reserved += more
        return True

    def append(self, data: bytes) -> None:
        self._offsets.append(self.received)
        self._pieces.append(data)
        self.received += len(data)
        if self.retained:
            while self.received - len(self._blocks) * BLOCK >= BLOCK:
                self._seal()

    def _seal(self) -> None:
        """Join the pieces of one full block; the rest stays a piece."""
        joined = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        rest = joined[BLOCK:]
        self._blocks.append(joined[:BLOCK] if rest else joined)
        self._pieces[:] = [rest] if rest else []
        self._offsets[:] = [len(self._blocks) * BLOCK] if rest else []

    def read(self, offset: int) -> bytes | memoryview | None:
        """Bytes at an offset, as many as lie in one piece; None when they aren't held (yet, or any more)."""
        if offset >= self.received:
            return None
        blocks = self._blocks
        if offset == 0 and not blocks and not self._trimmed:
            return self._pieces[0]
        index, inside = offset // BLOCK, offset % BLOCK
        if index < len(blocks):
            found = blocks[index]
        else:
            index = bisect_right(self._offsets, offset) - 1
            if index < 0:
                return None
            found, inside = self._pieces[index], offset - self._offsets[index]
        return memoryview(found)[inside:] if inside else found

    def span(self, start: int, stop: int) -> bytes | None:
        """The bytes from one offset to another; None unless all of them are held."""
        pieces: list[bytes | memoryview] = []
        while start < stop:
            piece = self.read(start)
            if piece is None:
                return None
            pieces.append(piece[: stop - start])
            start += len(pieces[-1])
        return b"".join(pieces)

    def body(self) -> Body:
        """All bytes, once they are complete and retained."""
        if self._pieces:
            self._blocks.append(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
            self._pieces, self._offsets = [], []
        return tuple(self._blocks)

    def become_window(self) -> None:
        """Stop retaining: the bytes stay readable until they are trimmed."""
        self.retained = False
        self._pieces = [*self._blocks, *self._pieces]
        self._blocks, self._offsets = [], []
        at = 0
        for piece in self._pieces:
            self._offsets.append(at)
            at += len(piece)
        self.release()

    def trim(self, offset: int) -> None:
        """Drop the pieces that end before `offset`."""
        drop = len(self._offsets) if offset >= self.received else bisect_right(self._offsets, offset) - 1
        if drop > 0:
            del self._pieces[:drop]
            del self._offsets[:drop]
            self._trimmed = self._offsets[0] if self._offsets else self.received

    @property
    def held(self) -> int:
        """Bytes in a window."""
        return self.received - self._trimmed

    def release(self) -> None:
        """Give the reserved memory back; readers keep their bytes alive."""
        self._memory.release(self._reserved)
        self._reserved = 0
