"""The memory of a drill that all workers of a node share: its order and progress, and each worker's counts.

It outlives workers, so that a drill goes on, and ends, whichever of them are replaced. The text changes seldom and is
exchanged under a lock; a worker writes its row alone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import xxhash

from shield.rules.drill import DrillFigures, DrillRun
from shield.rules.latency import BUCKETS, bucket_of, quantile

OTHERS = 32
"""Other origins whose responses are counted; those of further ones aren't."""

_LEAST_SAMPLES = 100  # a 99th percentile of fewer is the greatest of them

# Where things are. A change here raises `shared.LAYOUT`.
_TEXT = 8192  # bytes, its head included
_HEAD = struct.Struct("<QII")  # a number that rises with each change; length and checksum of the text
# Words of a row.
_NUMBER, _FAULTS, _SPARED, _REQUESTS, _FAILED, _LATE = range(6)
_ELSEWHERE = 6  # each: requests, bytes
_HISTOGRAM = _ELSEWHERE + 2 * OTHERS
_ROW_WORDS = _HISTOGRAM + BUCKETS
_WORD = 8


def size_for(workers: int) -> int:
    """The bytes of zeroed memory that `DrillMemory` for this number of workers needs."""
    return _TEXT + workers * _ROW_WORDS * _WORD


class DrillMemory:
    """`memory` is shared by all workers; `alone` excludes other processes."""

    def __init__(
        self,
        memory: memoryview,
        *,
        workers: int = 1,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._text = memory[:_TEXT]
        self._version = memory[:_WORD].cast("Q")
        self._rows = memory[_TEXT:].cast("q")
        self._workers = workers
        self._alone = alone

    @property
    def version(self) -> int:
        """Another number after each change."""
        return self._version[0]

    def read(self) -> DrillRun | None:
        """The last drill; None: there was none so far."""
        with self._alone():
            return self._read()

    def change(self, change: Callable[[DrillRun | None], DrillRun | None]) -> DrillRun | None:
        """Replace it by the result of `change`, which no other process can come between; None: leave it."""
        with self._alone():
            after = change(self._read())
            if after is not None:
                self._write(json.dumps(after.plain(), separators=(",", ":")).encode())
            return after

    def _read(self) -> DrillRun | None:
        _, length, checksum = _HEAD.unpack_from(self._text)
        data = bytes(self._text[_HEAD.size : _HEAD.size + min(length, _TEXT)])
        if not length or xxhash.xxh32_intdigest(data) != checksum:
            return None  # torn by a killed process
        try:
            return DrillRun.read(json.loads(data))
        except (ValueError, KeyError, TypeError):
            return None

    def _write(self, data: bytes) -> None:
        if _HEAD.size + len(data) > _TEXT:
            raise ValueError("too long a text of a drill")
        self._text[_HEAD.size : _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._text, 0, self.version + 1, len(data), xxhash.xxh32_intdigest(data))

    def row(self, worker: int, number: int) -> DrillRow:
        """This worker's counts of the drill with this number; those of an earlier one are forgotten."""
        return DrillRow(self._words(worker), number)

    def _words(self, worker: int) -> memoryview:
        return self._rows[worker * _ROW_WORDS : (worker + 1) * _ROW_WORDS]

    def figures(self, run: DrillRun) -> DrillFigures:
        """The sums of all workers."""
        rows = [self._words(worker).tolist() for worker in range(self._workers)]
        rows = [row for row in rows if row[_NUMBER] == run.number] or [[0] * _ROW_WORDS]
        totals = [sum(column) for column in zip(*rows, strict=True)]
        times = totals[_HISTOGRAM:]
        return DrillFigures(
            faults=totals[_FAULTS],
            spared=totals[_SPARED],
            requests=totals[_REQUESTS],
            failed=totals[_FAILED],
            late=totals[_LATE],
            p99=quantile(times, 0.99) if sum(times) >= _LEAST_SAMPLES else None,
            elsewhere={
                name: (totals[_ELSEWHERE + 2 * at], totals[_ELSEWHERE + 2 * at + 1])
                for at, name in enumerate(run.names[:OTHERS])
                if totals[_ELSEWHERE + 2 * at]
            },
        )


class DrillRow:
    """One worker's counts of one drill."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview, number: int) -> None:
        self._words = words
        if words[_NUMBER] != number:
            words[:] = memoryview(bytes(_ROW_WORDS * _WORD)).cast("q")
            words[_NUMBER] = number

    def fault(self) -> None:
        self._words[_FAULTS] += 1

    def spare(self) -> None:
        """A request was left alone instead."""
        self._words[_FAULTS] -= 1
        self._words[_SPARED] += 1

    def elsewhere(self, at: int, size: int, *, requests: int = 0) -> None:
        """Requests to the other origin with this number, or bytes of a response."""
        if at < OTHERS:
            self._words[_ELSEWHERE + 2 * at] += requests
            self._words[_ELSEWHERE + 2 * at + 1] += size

    def requests(self, count: int) -> None:
        """Requests of clients that have ended."""
        self._words[_REQUESTS] += count

    def request(self, seconds: float | None, *, is_failed: bool, is_late: bool) -> None:
        """One that was no plain hit; `seconds` to its first byte, None: it never came."""
        words = self._words
        words[_REQUESTS] += 1
        words[_FAILED] += is_failed
        words[_LATE] += is_late
        if seconds is not None:
            words[_HISTOGRAM + bucket_of(seconds)] += 1
