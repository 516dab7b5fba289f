"""What is written to disk: only what was fetched or asked for more than once, if the operator wants SSDs to last.

Most keys of an image platform are asked for once. A first fetch stays in RAM; when it is evicted there after it was
asked for again, or is fetched a second time, it is written.
"""

from __future__ import annotations

_BITS = 1 << 23  # of each generation: 1 MiB
_FULL = _BITS // 8  # keys until the generations turn; about one in twenty unseen ones is then taken for seen


class Admission:
    """Remembers keys by two bits each, in two generations: what was seen lately is known, what is long ago fades."""

    def __init__(self) -> None:
        self._young = bytearray(_BITS // 8)
        self._old = bytearray(_BITS // 8)
        self._count = 0

    def admit(self, digest: bytes) -> bool:
        """Whether a key was seen before; it is from now on."""
        first = int.from_bytes(digest[4:8], "little") % _BITS
        second = int.from_bytes(digest[8:12], "little") % _BITS
        if _holds(self._young, first, second):
            return True
        known = _holds(self._old, first, second)
        self._young[first >> 3] |= 1 << (first & 7)
        self._young[second >> 3] |= 1 << (second & 7)
        self._count += 1
        if self._count >= _FULL:
            self._old, self._young, self._count = self._young, bytearray(_BITS // 8), 0
        return known


def _holds(bits: bytearray, first: int, second: int) -> bool:
    return bool(bits[first >> 3] >> (first & 7) & 1 and bits[second >> 3] >> (second & 7) & 1)
