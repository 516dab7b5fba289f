"""Admission to full disks: only entries that were fetched or requested more than once.

Most keys of an image platform are requested once: if written, each would push out an entry that is requested again,
and wear the SSD. A first fetch stays in RAM; if it is requested again before it is evicted there, or fetched a second
time, it is written.
"""

from __future__ import annotations

import mmap

_BITS_EACH = 8  # for each key and generation; about one in twenty unseen keys is then taken for seen
_LEAST, _MOST = 1 << 20, 1 << 29  # bits of a generation


class Admission:
    """Remembers keys by two bits each, in two generations: recent keys are known, older ones fade.

    A generation has room for as many keys as the disks have `entries`: the keys that they could still hold. Its
    memory is allocated page by page, as keys arrive.
    """

    def __init__(self, entries: int) -> None:
        self._bits = min(max(1 << (entries * _BITS_EACH).bit_length(), _LEAST), _MOST)
        self._full = min(max(entries, 1), self._bits // _BITS_EACH)
        self._young = mmap.mmap(-1, self._bits // 8)
        self._old = mmap.mmap(-1, self._bits // 8)
        self._count = 0

    def admit(self, digest: bytes) -> bool:
        """Whether a key was seen before; it is from now on."""
        first = int.from_bytes(digest[4:8], "little") % self._bits
        second = int.from_bytes(digest[8:12], "little") % self._bits
        if _holds(self._young, first, second):
            return True
        known = _holds(self._old, first, second)
        self._young[first >> 3] |= 1 << (first & 7)
        self._young[second >> 3] |= 1 << (second & 7)
        self._count += 1
        if self._count >= self._full:
            self._old, self._young, self._count = self._young, mmap.mmap(-1, self._bits // 8), 0
        return known


def _holds(bits: mmap.mmap, first: int, second: int) -> bool:
    return bool(bits[first >> 3] >> (first & 7) & 1 and bits[second >> 3] >> (second & 7) & 1)
