"""The parts of `records` on drained origins and canaries: a table of drains, and notes on each origin's canaries."""

from __future__ import annotations

from collections.abc import Container

import xxhash

DRAIN_WORDS = 2
"""Words of a drain: the hash of the origin's name, and the time at which it ends (epoch seconds; infinite; 0.0: there
is none). It is of the name: a reload that changes the origin's place doesn't end it."""

# Words of a note: bytes, their checksum, the time of an operator's last order to forget that the origin is corrupt,
# and the bytes.
_SIZE, _SUM, _PARDONED, _DATA = range(4)

NOTE_WORDS = 512

CANARY_BYTES = 8 * (NOTE_WORDS - _DATA)
"""Most bytes of a note."""


class DrainTable:
    """All drains of a node, in `words`, which are the same as integers and as `times`."""

    __slots__ = ("_times", "_words")

    def __init__(self, words: memoryview, times: memoryview[float]) -> None:
        self._words = words
        self._times = times

    def at(self, name: int) -> memoryview[float] | None:
        """The time of an origin's drain; a free one, which is its own from now on, if it has none. None: all are
        taken.
        """
        names = self._words[::DRAIN_WORDS].tolist()
        wanted = name if name in names else 0
        if wanted not in names:
            return None
        start = DRAIN_WORDS * names.index(wanted)
        self._words[start] = name
        return self._times[start + 1 : start + 2]

    def keep(self, names: Container[int]) -> None:
        """End the drains of all other origins."""
        for start in range(0, len(self._words), DRAIN_WORDS):
            if self._words[start] not in names:
                self._words[start] = self._words[start + 1] = 0


class DrainWord:
    """The time until which one origin is drained: epoch seconds, infinite without an end; 0.0: it isn't drained."""

    __slots__ = ("word",)

    def __init__(self, word: memoryview[float]) -> None:
        self.word = word

    @property
    def until(self) -> float:
        return self.word[0]

    def set(self, until: float) -> None:
        """Keep fetches away from it until then."""
        self.word[0] = until

    def expire(self, now: float) -> None:
        """End a drain whose time is over. `now` is epoch seconds."""
        if 0.0 < self.word[0] <= now:
            self.word[0] = 0.0


class CanaryNotes:
    """The prober's knowledge of one origin's canaries, for the next conductor."""

    __slots__ = ("_times", "_words")

    def __init__(self, words: memoryview, times: memoryview[float]) -> None:
        self._words = words
        self._times = times

    def clear(self) -> None:
        """Another origin has the place from now on."""
        self._words[_SIZE] = self._words[_PARDONED] = 0

    def pardon(self, now: float) -> None:
        """Forget that it is corrupt. `now` is epoch seconds."""
        self._times[_PARDONED] = now

    @property
    def pardoned(self) -> float:
        """The time of the last order to do so."""
        return self._times[_PARDONED]

    def keep(self, data: bytes) -> None:
        """Keep these bytes, `CANARY_BYTES` at most. The conductor alone does so."""
        words = self._words
        words[_SIZE] = 0
        words[_DATA:].cast("B")[: len(data)] = data
        words[_SUM] = xxhash.xxh32_intdigest(data)
        words[_SIZE] = len(data)

    @property
    def kept(self) -> bytes:
        """They; empty if there are none, or while they are being written."""
        words = self._words
        size = words[_SIZE]
        if not 0 < size <= CANARY_BYTES:
            return b""
        data = bytes(words[_DATA:].cast("B")[:size])
        return data if xxhash.xxh32_intdigest(data) == words[_SUM] else b""
