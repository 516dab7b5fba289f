"""Times of an origin's responses in shared memory, by size class: a block of a worker's row in `records`, and the
measurements that the conductor derives from all workers' blocks.

Times to the first byte are in histograms; bodies of 256 KiB and more count with their bytes and the time in which
they arrived. Both are kept apart for clients' fetches and probes, and for two spans of five minutes: the one that
runs, and the one before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import add
from typing import Any, Final

from shield.rules.distance import LEAST_BODIES, Timing
from shield.rules.latency import BUCKETS, EDGES, median, quantile
from shield.rules.ranking import SIZE_CLASSES, SMALL, size_class, throttle_penalty

BODY_BYTES: Final = 256 * 1024
"""Shorter bodies say little about a goodput: they arrive with the first byte, or nearly."""

FRESH_SECONDS = 60.0
"""An origin without fetches for so long is measured by its probes, although older fetches are known: it may have
changed since, which may be why it gets none."""

_GENERATION_SECONDS = 300.0
_LEAST_PENALTY = 0.001  # seconds; a smaller one is over

# Words of a span of time: which one, histograms, and for each class the bodies, their bytes and their seconds.
_COUNTS: Final = 1
_BODIES: Final = _COUNTS + SIZE_CLASSES * BUCKETS
_SPAN_WORDS: Final = _BODIES + 3 * SIZE_CLASSES
_PROBES: Final = 2 * _SPAN_WORDS  # after two of fetches

FETCHED: Final = _COUNTS
PROBED: Final = _PROBES + _COUNTS
"""Kinds of responses: to a fetch for clients, to a probe."""

TIMING_WORDS = 4 * _SPAN_WORDS
"""Words of a worker's block."""

_TIMING_WORDS = len(Timing._fields)
_PENALTY = _TIMING_WORDS * SIZE_CLASSES
_PENALTY_AT = _PENALTY + 1
MEASURED_WORDS = _PENALTY_AT + 1
"""Words that are published of an origin."""

_NOTHING = memoryview(bytes(8 * _SPAN_WORDS)).cast("q")

Views = tuple[memoryview, "memoryview[float]"]
"""The same words as integers and as times."""


class OriginTimes:
    """The times of one origin: the block that this worker writes, those of all, and the published measurements."""

    __slots__ = ("_at", "_blocks", "_counts", "_ends", "_fetches", "_fresh_until", "_published", "_times")

    def __init__(self, rows: Sequence[Views], own: Views, at: int, published: memoryview[float]) -> None:
        """Its block begins at the word `at` of each worker's row; `own` is the row that this worker writes."""
        self._counts: Any = own[0][
            at:
        ]  # a memoryview, which a compiled class can't name as a type; so are the others
        self._times: Any = own[1][at:]
        self._blocks = [(counts[at:], times[at:]) for counts, times in rows]
        self._published: Any = published
        self._at, self._ends = 0, 0.0  # of the span that runs: its place, and its end
        self._fetches, self._fresh_until = 0, 0.0  # of the conductor: those it counted last

    def came(self, now: float, seconds: float, size: int = 0, kind: int = FETCHED) -> None:
        """The first byte of a response with a body of `size` bytes arrived after `seconds`; FETCHED or PROBED."""
        if now >= self._ends:
            self._begin(now)
        self._counts[
            self._at + kind + BUCKETS * (0 if size <= SMALL else size_class(size)) + bisect_left(EDGES, seconds)
        ] += 1

    def carried(self, now: float, size: int, seconds: float, kind: int = FETCHED) -> None:
        """A body of `size` bytes, `BODY_BYTES` at least, arrived within `seconds` after its first byte.

        It isn't counted if it is the first response of a span of time.
        """
        if now < self._ends:
            at = self._at + kind + _BODIES - _COUNTS + 3 * size_class(size)
            self._counts[at] += 1
            self._counts[at + 1] += size
            self._times[at + 2] += seconds

    def _begin(self, now: float) -> None:
        """Begin another span of time, with nothing in it."""
        generation = 1 + int(now / _GENERATION_SECONDS)
        self._at, self._ends = (generation & 1) * _SPAN_WORDS, generation * _GENERATION_SECONDS
        for at in (self._at, self._at + _PROBES):
            self._counts[at : at + _SPAN_WORDS] = _NOTHING
            self._counts[at] = generation

    def timing(self, of_class: int) -> Timing:
        """The published measurements of a size class."""
        at = of_class * _TIMING_WORDS
        first_byte, is_probed, *rest = self._published[at : at + _TIMING_WORDS].tolist()
        return Timing(first_byte, bool(is_probed), *rest)

    def timings(self) -> tuple[Timing, ...]:
        """Those of all size classes."""
        return tuple([self.timing(each) for each in range(SIZE_CLASSES)])

    @property
    def penalty(self) -> float:
        """The seconds that throttling adds to a fetch, by the last measurement."""
        penalty: float = self._published[_PENALTY]
        return penalty

    def measure(self, now: float, *, throttled: float = 0.0) -> tuple[float | None, int]:
        """Publish the measurements of the last minutes, by all workers, and return the 95th percentile of all times
        to the first byte and their number. What has too few samples stays as it was; the percentile is None then.

        `throttled` is the share of requests that were refused as too many, in the last seconds.
        """
        published = self._published
        if throttled or published[_PENALTY]:
            penalty = throttle_penalty(throttled, published[_PENALTY], now - published[_PENALTY_AT])
            published[_PENALTY], published[_PENALTY_AT] = penalty if penalty > _LEAST_PENALTY else 0.0, now
        fetches, probes = self._total(0, now), self._total(_PROBES, now)
        count = sum(fetches.all_counts())
        if count > self._fetches:
            self._fresh_until = now + FRESH_SECONDS
        self._fetches = count
        probed = median(probes.all_counts())  # of all sizes, since they are few, and small
        for each in range(SIZE_CLASSES):
            fetched = median(fetches.counts(each))
            if probed is not None and now >= self._fresh_until:
                fetched = None
            after = self.timing(each).after(
                fetched=fetched,
                probed=probed,
                goodput=fetches.goodput(each) or probes.goodput(each),
                now=now,
            )
            at = each * _TIMING_WORDS
            for offset, value in enumerate(after):
                published[at + offset] = value
        counts = list(map(add, fetches.all_counts(), probes.all_counts()))
        return quantile(counts, 0.95), sum(counts)

    def _total(self, kind: int, now: float) -> _Total:
        generation = 1 + int(now / _GENERATION_SECONDS)
        total = _Total()
        for counts, times in self._blocks:
            for at in (kind, kind + _SPAN_WORDS):
                if counts[at] >= max(1, generation - 1):
                    total.add(counts[at : at + _SPAN_WORDS].tolist(), times[at : at + _SPAN_WORDS].tolist())
        return total


class _Total:
    """The sum of several workers' words of the last two spans."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * _SPAN_WORDS
        self._seconds = [0.0] * SIZE_CLASSES

    def add(self, counts: Sequence[int], times: Sequence[float]) -> None:
        self._counts = list(map(add, self._counts, counts))
        for each in range(SIZE_CLASSES):
            self._seconds[each] += times[_BODIES + 3 * each + 2]

    def counts(self, of_class: int) -> list[int]:
        """The histogram of a size class."""
        at = _COUNTS + BUCKETS * of_class
        return self._counts[at : at + BUCKETS]

    def all_counts(self) -> list[int]:
        """That of all size classes."""
        return [sum(self._counts[at:_BODIES:BUCKETS]) for at in range(_COUNTS, _COUNTS + BUCKETS)]

    def goodput(self, of_class: int) -> float | None:
        """Bytes of a second, None with too few bodies."""
        at = _BODIES + 3 * of_class
        seconds = self._seconds[of_class]
        return self._counts[at + 1] / seconds if self._counts[at] >= LEAST_BODIES and seconds > 0.0 else None
