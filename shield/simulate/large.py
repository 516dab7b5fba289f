"""Large objects of a simulated node: what requests read of them slice by slice, as in `shield.fill.sliced`, and what
passes through where there is no disk for slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from shield.fill.runs import RUN_SLICES
from shield.fill.shelf import READ
from shield.fill.touches import Touches
from shield.rules import exact
from shield.rules.ranges import Span
from shield.shared import Shared
from shield.simulate.disks import SimulatedTier
from shield.simulate.entries import SimulatedEntry, SimulatedKey, SimulatedSlice, slice_text
from shield.store.disk import PROMOTE_AT, slice_digest


class SimulatedReading(NamedTuple):
    """What a request wants of an object, from `start` to `stop`, and `end`, where its client left or had all of it.
    `field` is the value of Range; None: it wants the whole.
    """

    start: int
    stop: int
    end: int
    field: bytes | None


class _Touching:
    """A reader, as far as `Touches` looks at one."""

    __slots__ = ("touched",)

    def __init__(self) -> None:
        self.touched: dict[int, bool] = {}


Ask = Callable[[int], None]
"""Counts a request to an origin, and the bytes of its body."""


class LargeObjects:
    """Those of one node. `slice_bytes` is 0 without a disk; else there are `tiers`. `workers` have touches of their
    own: of the keys that they own.
    """

    def __init__(
        self, slice_bytes: int, tiers: Sequence[SimulatedTier], shared: Shared | None, *, workers: int
    ) -> None:
        self.slice_bytes = slice_bytes
        self._tiers = tiers
        self._shared = shared
        self._touches = [Touches() for _ in range(workers)]

    def read(self, key: SimulatedKey, head: SimulatedEntry, reading: SimulatedReading, now: float, ask: Ask) -> bool:
        """Read an entry whose head is stored; whether all of it was on a disk."""
        return self._read(key, head, reading, now, ask, _Touching())

    def fetch(
        self, key: SimulatedKey, head: SimulatedEntry, reading: SimulatedReading, now: float, ask: Ask
    ) -> SimulatedEntry | None:
        """Fetch of an object that isn't stored what a request wants. `head` is that of the entry to come: what is
        returned is to be stored whole, if it has a body that goes into RAM; slices are on a disk already.
        """
        length, size, touching = head.length, self.slice_bytes, _Touching()
        span = None
        if reading.field is not None:
            first = exact.first_of(reading.field)
            touched = first is not None and self._again(key, first // size, touching)
            span = exact.first_asked(reading.field, size, most=RUN_SLICES, touched=touched)
        if span is not None and span.start < length:
            span = Span(span.start, min(span.stop, length))
        if span is None or span == Span(0, length):
            if length <= size:
                ask(length)
                return head
            self._run(key, head.as_head(size), Span(0, length), reading, now, ask)
            return None
        start, stop = span.start, span.stop
        if length <= size:
            is_covered = start <= reading.start and reading.stop <= stop
            if is_covered or not exact.is_worth(length, reading.stop - reading.start):
                ask(stop - start)
                if stop < reading.stop:
                    ask(reading.stop - max(reading.start, stop))
                return None
            ask(0)  # it is closed as soon as its head tells the length
            ask(length)
            return head
        head = head.as_head(size)
        if start % size == 0 and (stop - start >= size or stop == length):
            self._run(key, head, span, reading, now, ask)
        elif stop - start > size:
            ask(0)
        else:
            ask(stop - start)
            if start <= reading.start < stop:
                reading = reading._replace(start=min(stop, reading.end))
        self._read(key, head, reading, now, ask, touching)
        return None

    def pass_on(self, key: SimulatedKey, length: int, reading: SimulatedReading, ask: Ask) -> None:
        """An object too large for RAM, where there is no disk: nothing of it is kept."""
        touches = self._touches[key.owner]
        span = None
        if reading.field is not None and touches.is_large(key.digest):
            span = exact.first_asked(reading.field, 0, most=RUN_SLICES, touched=False)
        touches.mark_large(key.digest)
        if reading.field is None:
            ask(reading.end)
            return
        start, stop = (0, length) if span is None else (span.start, min(span.stop, length))
        if start == 0 and stop == length:
            if reading.start == 0 and reading.stop == length:
                ask(reading.end)
                return
            start, stop = 0, 0  # it is given up as soon as its head tells the length, and the part asked for
        ask(max(stop - start, 0))
        if not start <= reading.start < stop:
            ask(reading.stop - reading.start)

    def _read(
        self,
        key: SimulatedKey,
        head: SimulatedEntry,
        reading: SimulatedReading,
        now: float,
        ask: Ask,
        touching: _Touching,
    ) -> bool:
        size, position, is_here = head.slice_bytes, reading.start, True
        while position < reading.end:
            number = position // size
            if self._has(key, head, number, position % size):
                position = (number + 1) * size
                continue
            is_here = False
            begin = number * size
            after = min(begin + size, head.length)
            until = min(reading.stop, after)
            if exact.is_worth(after - begin, until - position) or self._again(key, number, touching):
                stop, last = reading.stop, (reading.stop - 1) // size
                whole = min(size, head.length - last * size)
                if last > number and not exact.is_worth(whole, stop - last * size):
                    stop = last * size
                end, most = number + 1, min(-(-stop // size), number + RUN_SLICES)
                while end < most and not self._is_here(key, head, end):
                    end += 1
                position = min(end * size, head.length)
                self._run(key, head, Span(begin, position), reading, now, ask)
            else:
                span = exact.rounded(position, min(until, position + exact.PIECE))
                stop = min(span.stop, after)
                ask(stop - max(span.start, begin))
                position = stop
        return is_here

    def _run(
        self, key: SimulatedKey, head: SimulatedEntry, span: Span, reading: SimulatedReading, now: float, ask: Ask
    ) -> None:
        """A fetch of slices: those that come whole are written. After the client has left, the slice is finished that
        is half here.
        """
        size, stop = self.slice_bytes, span.stop
        if reading.end < reading.stop and reading.end < stop:
            number = max(reading.end, span.start) // size
            after = min((number + 1) * size, head.length)
            is_half = 2 * (reading.end - number * size) >= after - number * size
            stop = after if is_half else max(reading.end, span.start)
        ask(stop - span.start)
        first = self._tiers[0]
        for number in range(span.start // size, -(-stop // size)):
            if min((number + 1) * size, head.length) > stop:
                break
            found = next((tier.find(key.text) for tier in self._tiers if tier.find(key.text) is not None), None)
            if found is None or not found.is_large or found.length != head.length:
                for tier in self._tiers:
                    tier.drop(key.text)
                first.write(head, now)
            first.write(SimulatedSlice(key, number, head.length, size), now)

    def _again(self, key: SimulatedKey, number: int, touching: _Touching) -> bool:
        return self._touches[key.owner].again(key.digest, number, cast(Any, touching))

    def _is_here(self, key: SimulatedKey, head: SimulatedEntry, number: int) -> bool:
        return self._find(key, head, number) is not None

    def _find(self, key: SimulatedKey, head: SimulatedEntry, number: int) -> tuple[int, SimulatedSlice] | None:
        text = slice_text(key.text, number)
        for level, tier in enumerate(self._tiers):
            found = tier.find_slice(text)
            if found is not None:
                return (level, found) if found.is_of(head) else None
        return None

    def _has(self, key: SimulatedKey, head: SimulatedEntry, number: int, inside: int) -> bool:
        """Whether a slice is on a disk. Reading its beginning counts as a hit of it."""
        found = self._find(key, head, number)
        if found is None:
            return False
        if inside < READ and self._shared is not None:
            level, piece = found
            hits = self._shared.hit(slice_digest(key.digest, number))
            if level and hits >= PROMOTE_AT:
                self._tiers[0].take(head, head.freshness.born)
                self._tiers[0].write(piece, head.freshness.born)
        return True
