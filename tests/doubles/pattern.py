"""Bodies too large to hold: deterministic bytes, any slice of which is cheap to make and to check."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from functools import lru_cache

BLOCK = 4096
STAMP = 16
# Blocks start at different places of the noise, so that a slice served from a wrong offset differs
# throughout and not only where a stamp shows.
NOISE = 1 << 16
PLACES = 61_403  # prime, and a block that starts there still ends inside the noise
STRIDE = 7919

PIECE = 256 * 1024


class Pattern:
    """`length` bytes that depend on `seed` and on their position. `pattern[a:b]` is bytes; nothing is kept."""

    def __init__(self, length: int, seed: int = 0) -> None:
        self.seed = seed
        self._length = length
        self._noise = _noise(seed)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, span: slice) -> bytes:
        start, stop, step = span.indices(self._length)
        if step != 1:
            raise ValueError("a pattern has slices of step 1 only")
        if stop <= start:
            return b""
        first = start // BLOCK
        made = b"".join([self._block(index) for index in range(first, (stop - 1) // BLOCK + 1)])
        return made[start - first * BLOCK : stop - first * BLOCK]

    def __repr__(self) -> str:
        return f"Pattern({self._length}, seed={self.seed})"

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from start to stop in pieces of at most PIECE."""
        end = self._length if stop is None else stop
        for offset in range(start, end, PIECE):
            yield self[offset : min(offset + PIECE, end)]

    def check(self, data: bytes, start: int = 0) -> bool:
        """Are these the bytes that belong at `start`?"""
        return self[start : start + len(data)] == data

    def sha256(self) -> str:
        """Hex digest of the whole, computed as a stream."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    def _block(self, index: int) -> bytes:
        place = index * STRIDE % PLACES
        stamp = index.to_bytes(8, "big") + (self.seed & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
        return stamp + self._noise[place : place + BLOCK - STAMP]


@lru_cache(maxsize=64)
def _noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(NOISE)


Body = bytes | Pattern
