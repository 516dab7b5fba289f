"""Slices of which little was wanted: at the first touch that is fetched exactly, at the second the whole slice."""

from __future__ import annotations

from cachetools import FIFOCache, LRUCache

from shield.fill.readers import Reader

MOST = 20_000
"""Touches, and large objects, that are remembered: some 4 MB. One that is forgotten costs an exact fetch more."""


class Touches:
    """Of slices by their number, and of objects too large to be kept. Bounded."""

    def __init__(self) -> None:
        self._touched: FIFOCache[tuple[bytes, int], None] = FIFOCache(MOST)
        self._large: LRUCache[bytes, None] = LRUCache(MOST)

    def __len__(self) -> int:
        return len(self._touched) + len(self._large)

    def again(self, digest: bytes, number: int, reader: Reader) -> bool:
        """Note that a reader touches a slice; whether another one did before."""
        known = reader.touched.get(number)
        if known is not None:
            return known
        name = (digest, number)
        again = reader.touched[number] = name in self._touched
        self._touched[name] = None
        return again

    def mark_large(self, digest: bytes) -> None:
        """An object turned out to be too large to be kept."""
        self._large[digest] = None

    def is_large(self, digest: bytes) -> bool:
        return digest in self._large
