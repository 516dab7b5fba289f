"""What there is of a large entry's slices: in memory while they come or no disk takes them, else on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Literal

from shield.fill.buffer import FillBuffer, FillMemory
from shield.fill.readers import Reader
from shield.rules.purging import Provenance
from shield.store.disk import Still
from shield.store.slices import Slices, Unkept, Where

READ = 256 << 10
"""Bytes read from a disk at a time."""

HELD = 2
"""Complete slices kept in memory at most when no disk takes them; then they wait for their readers. Where there is no
disk at all, all that are read at a time are kept, up to half of the memory of all fills.
"""

_SHOWN_SLICES = 64


class Shelf:
    """The slices of one version.

    It keeps no reference to its users: what is over must go without the garbage collector.
    """

    def __init__(self, slices: Slices | Unkept, memory: FillMemory) -> None:
        self._slices = slices
        self.is_kept = isinstance(slices, Slices)  # else there is no disk
        self._size = slices.entry.slice_bytes
        self._memory = memory
        self._most_held = HELD if self.is_kept else max(HELD, memory.capacity // 2 // self._size)
        self._spare = 0 if self.is_kept else self._most_held // 2  # held though nobody reads them
        self._arriving: dict[int, FillBuffer] = {}  # slices in memory: on their way, or on theirs to the disk
        self._held: list[int] = []  # complete ones that no disk takes, the oldest first
        self._cold: set[tuple[int, int]] = set()  # slice and offset of what a thread reads
        self._warm: tuple[tuple[int, int], bytearray] | None = None  # what one has just read

    # for readers

    def read(
        self, number: int, inside: int, arrived: Callable[[], None]
    ) -> bytes | memoryview | Literal[Where.MISSING] | None:
        """Bytes at an offset of a slice, as many as are at hand in one piece; None when they are on their way.

        `arrived` is called, never within, when they had to be read from a disk: then they are at hand for a moment.
        """
        arriving = self._arriving.get(number)
        if arriving is not None:
            return arriving.read(inside)
        start = inside - inside % READ
        if self._warm is not None and self._warm[0] == (number, start):
            return memoryview(self._warm[1])[inside - start :]
        end = min(start + READ, self._slices.length(number))
        data = self._slices.read_nowait(number, start, end)
        if isinstance(data, bytearray):
            return memoryview(data)[inside - start :]
        if data is Where.MISSING:
            return Where.MISSING
        self._read_cold(number, start, end, arrived)
        return None

    async def held(self, start: int, stop: int) -> bytes | None:
        """The bytes from one offset of the body to another; None unless all of them are here."""
        pieces: list[bytes | memoryview] = []
        while start < stop:
            number, inside = divmod(start, self._size)
            arriving = self._arriving.get(number)
            piece = await self._read_back(number, inside) if arriving is None else arriving.read(inside)
            if piece is None:
                return None
            pieces.append(memoryview(piece)[: stop - start])
            start += len(pieces[-1])
        return b"".join(pieces)

    async def _read_back(self, number: int, inside: int) -> memoryview | None:
        """Bytes at an offset of a slice on disk."""
        if not self._slices.has(number):
            return None
        start, done = inside - inside % READ, asyncio.get_running_loop().create_future()

        def read(data: bytearray | None) -> None:
            if not done.done():
                done.set_result(data)

        self._slices.read(number, start, min(start + READ, self._slices.length(number)), read)
        data: bytearray | None = await done
        return None if data is None else memoryview(data)[inside - start :]

    def _read_cold(self, number: int, start: int, end: int, arrived: Callable[[], None]) -> None:
        where = (number, start)
        if where in self._cold:
            return
        self._cold.add(where)

        def done(data: bytearray | None) -> None:
            self._cold.discard(where)
            self._warm = None if data is None else (where, data)
            arrived()
            self._warm = None

        self._slices.read(number, start, end, done)

    def length(self, number: int) -> int:
        """Bytes of a slice."""
        return self._slices.length(number)

    def is_here(self, number: int) -> bool:
        """Whether a slice needn't be fetched."""
        return number in self._arriving or self._slices.has(number)

    def holds(self, start: int, stop: int) -> bool:
        """Whether all bytes of a span are on disk; of a very long one the first are looked at."""
        first, last = start // self._size, -(-stop // self._size)
        return all(self._slices.has(number) for number in range(first, min(last, first + _SHOWN_SLICES)))

    # for runs

    def begin(self, number: int) -> FillBuffer | None:
        """A buffer for a slice that arrives; None when there is no memory for it."""
        buffer = FillBuffer(self._memory)
        if not buffer.retain(self._slices.length(number)):
            return None
        self._arriving[number] = buffer
        return buffer

    def write(self, number: int, done: Callable[[], None], *, still: Still, filled: Provenance) -> bool:
        """Have a slice written that is here as a whole; False, and `done` is never called, when no disk takes it.

        Where it can't be written after all, it is held. `still` as in `Disk.write`; `filled`: where it came from.
        """

        def written(well: bool) -> None:
            if well:
                self.release(number)
            else:
                self.hold(number)
            done()

        return self._slices.commit(number, self._arriving[number].body(), written, still=still, filled=filled)

    def release(self, number: int) -> None:
        """Give a slice's memory back: it is on disk, or won't come to its end."""
        buffer = self._arriving.pop(number, None)
        if number in self._held:
            self._held.remove(number)
        if buffer is not None:
            buffer.release()

    # slices that no disk takes

    @property
    def is_full(self) -> bool:
        """Whether no more is taken until readers have passed what is held."""
        return len(self._held) >= self._most_held

    @property
    def is_short(self) -> bool:
        """Whether there is no memory for another slice."""
        return self.is_full or not self._memory.fits(self._size)

    @property
    def is_holding(self) -> bool:
        return bool(self._held)

    def let_go(self, readers: Collection[Reader]) -> None:
        """Give up held slices that all readers have passed or won't come to; where there is no disk, some stay for
        those who come next."""
        if not self._held:
            return
        places = {reader.position // self._size for reader in readers}
        for number in list(self._held):
            if len(self._held) <= self._spare:
                return
            if number not in places and number - 1 not in places:
                self.release(number)

    def lose_patience(self) -> None:
        """Give up the oldest of those that hold all others up."""
        if self.is_full or (not self.is_kept and self._held and self.is_short):
            self.release(self._held[0])

    def hold(self, number: int) -> None:
        """Keep a whole slice in memory for its readers."""
        if number in self._arriving and number not in self._held:
            self._held.append(number)

    # the end

    @property
    def is_busy(self) -> bool:
        """Whether bytes are on their way from or to a disk."""
        return bool(self._cold) or any(number not in self._held for number in self._arriving)

    def close(self) -> None:
        """Give all memory back."""
        for number in list(self._arriving):
            self.release(number)
