"""The part of `records` on origins whose share of keys grows: their ramps, by the origin's name."""

from __future__ import annotations

from collections.abc import Container

from shield.rules.ramp import Ramp, RampEnd, RampStatus

# Words of a ramp: the hash of the origin's name, the share of keys that it may NOT serve (so that zeroed memory means
# none), and the ramp itself.
_NAME, _BELOW, _STATUS, _END, _STEP, _BEGAN, _SINCE, _COUNTS = range(8)
_FIELDS = ("fetches", "failed", "others_fetches", "others_failed", "compared", "differing", "slow_windows")

RAMP_WORDS = _COUNTS + len(_FIELDS)

_STATUSES = (None, *RampStatus)
_ENDS = (None, *RampEnd)


class RampSlot:
    """The ramp of one origin in shared memory. One process at a time writes it, under the lock of the records."""

    __slots__ = ("_times", "_words", "below")

    def __init__(self, words: memoryview, times: memoryview[float]) -> None:
        self._words = words
        self._times = times
        self.below = times[_BELOW : _BELOW + 1]
        """Its one item is the share of keys that the origin may not serve."""

    def load(self, origin: str) -> Ramp | None:
        """The ramp; None if there has been none."""
        words, times = self._words, self._times
        status = _STATUSES[words[_STATUS]]
        if status is None:
            return None
        counts = dict(zip(_FIELDS, words[_COUNTS:RAMP_WORDS].tolist(), strict=True))
        end = _ENDS[words[_END]]
        return Ramp(origin, times[_BEGAN], times[_SINCE], words[_STEP], status, end, **counts)

    def store(self, ramp: Ramp) -> None:
        """Put it in force for all workers."""
        words, times = self._words, self._times
        words[_STATUS], words[_END], words[_STEP] = _STATUSES.index(ramp.status), _ENDS.index(ramp.end), ramp.step
        times[_BEGAN], times[_SINCE] = ramp.began, ramp.since
        for at, name in enumerate(_FIELDS):
            words[_COUNTS + at] = getattr(ramp, name)
        times[_BELOW] = 1.0 - ramp.share

    def clear(self) -> None:
        """There is no ramp: the origin may serve all keys."""
        self._words[_STATUS:RAMP_WORDS] = memoryview(bytes(8 * (RAMP_WORDS - _STATUS))).cast("q")
        self._times[_BELOW] = 0.0


class RampTable:
    """All ramps of a node, in `words`, which are the same as integers and as `times`."""

    __slots__ = ("_times", "_words")

    def __init__(self, words: memoryview, times: memoryview[float]) -> None:
        self._words = words
        self._times = times

    def at(self, name: int) -> RampSlot:
        """The slot of an origin, or a free one, which is its own then; if all are taken, one of this process."""
        names = self._words[::RAMP_WORDS].tolist()
        wanted = name if name in names else 0
        if wanted not in names:
            alone = memoryview(bytearray(8 * RAMP_WORDS))
            return RampSlot(alone.cast("q"), alone.cast("d"))
        start = RAMP_WORDS * names.index(wanted)
        self._words[start + _NAME] = name
        stop = start + RAMP_WORDS
        return RampSlot(self._words[start:stop], self._times[start:stop])

    def keep(self, names: Container[int]) -> None:
        """Forget the ramps of all other origins."""
        for start in range(0, len(self._words), RAMP_WORDS):
            if self._words[start] not in names:
                self._words[start : start + RAMP_WORDS] = memoryview(bytes(8 * RAMP_WORDS)).cast("q")
