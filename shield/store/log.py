"""The log: records appended to segments and indexed, room made before, old segments given up.

Order is what makes it safe: bytes are appended, then indexed; an entry is forgotten, then its segment unlinked.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from shield.errors import StoreError
from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey
from shield.store.claim import Claim
from shield.store.files import Files, Part
from shield.store.index import Found, Index, IndexChange, IndexFullError, Row, State
from shield.store.reading import later_head
from shield.store.reclaim import Candidate, Drain, Judge, NoRoomError, oldest
from shield.store.record import (
    ALIGN,
    Kind,
    Record,
    checksums,
    encode,
    header_length,
    joined_length,
    padding,
    record_of,
)
from shield.store.segments import START, Segments, SegmentWriter

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_INDEX_BYTES = 400  # of the index's limit for each entry; they take less than half, and later heads the rest

RUN = 64
"""Records written and indexed together at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`capacity` is never exceeded, index included; `free_floor` stays free on the file system for others."""

    capacity: int
    segment_bytes: int = 256 << 20
    index_bytes: int = 0  # its limit, no cost; 0: an eighth of the capacity
    free_floor: int = 0
    max_open: int = 512  # segment files open at a time


@dataclass(frozen=True, slots=True)
class Draft:
    """What to commit: a record, and its body in parts. `replaces`: only in place of exactly this one."""

    record: Record
    body: Sequence[Part] = ()
    replaces: Found | None = None


class Log:
    """What one process writes in a directory. One thread; raises OSError and StoreError."""

    def __init__(
        self,
        claim: Claim,
        limits: Limits,
        index: Index,
        segments: Segments,
        *,
        files: Files,
        worker: int,
        judge: Judge,
    ) -> None:
        self._claim = claim
        self._index = index
        self._segments = segments
        self._files = files
        self._worker = worker
        self._capacity = limits.capacity
        self._free_floor = limits.free_floor
        # Small enough that one to write, one to spare and what several workers have open leave room for the rest.
        self.segment_bytes = min(limits.segment_bytes, max(limits.capacity // 8, 64 << 10)) // ALIGN * ALIGN
        # What one transaction may add to the index before the next check sees it.
        self._margin = min(8 << 20, limits.capacity // 8)
        self._max_entries = index.limit // _INDEX_BYTES
        self._drain = Drain(files, index, segments, judge=judge, keep=self._keep)

        self._writer: SegmentWriter | None = None
        self._sequence = 0
        self._reclaiming = False
        self.written = 0

    def commit(self, drafts: Sequence[Draft]) -> list[Found | None]:
        """Append, then index, in runs; None for a draft that a later one has overtaken."""
        results: list[Found | None] = []
        for at in range(0, len(drafts), RUN):
            run = drafts[at : at + RUN]
            try:
                results += self._commit_run(run)
            except (IndexFullError, OSError) as error:
                full = isinstance(error, IndexFullError) or error.errno in _FULL
                if not full or not self.reclaim():
                    raise
                results += self._commit_run(run)
        return results

    def freshen(self, key: CacheKey, found: Found, head: bytes, freshness: Freshness) -> Found | None:
        times = (freshness.born, freshness.lifetime, freshness.grace, freshness.keep, freshness.error_grace)
        new = Found._make((*found[:9], *times, head))
        self.make_room(0)
        with self._index.write() as change:
            done = change.replace(key.digest, None, found, new)
        return new if done else None

    def forget(self, keys: Sequence[CacheKey]) -> int:
        """Drop entries and all their slices from the index, for all processes; how many records that were."""
        removed = 0
        rebuilding = any(row.state == State.UNSCANNED for _, row in self._index.rows())
        for at in range(0, len(keys), RUN):
            sequence = self._next_sequences(RUN)
            with self._index.write() as change:
                advance(change, sequence + RUN - 1)
                change.counters = change.counters._replace(generation=change.counters.generation + 1)
                for key in keys[at : at + RUN]:
                    tombstone = located(_tombstone(key, sequence), 0, 0, 0, 0) if rebuilding else None
                    removed += change.remove(key.digest, tombstone, sequence=sequence)
        return removed

    def bury(self, keys: Sequence[CacheKey]) -> None:
        """Make it durable that these were forgotten: they must not come back after an index is lost."""
        for at in range(0, len(keys), RUN):
            records = [_tombstone(key, 0) for key in keys[at : at + RUN]]
            writer, offset = self._writer_for(sum(_padded(record, 0) for record in records)), 0
            sequence = self._next_sequences(1)
            parts: list[Part] = []
            for record in records:
                seed = writer.segment.seed(writer.end + offset)
                header = encode(replace(record, sequence=sequence), 0, b"", seed=seed)
                parts += [header, bytes(padding(len(header)))]
                offset += _padded(record, 0)
            writer.append(parts, offset)
            writer.sync()

    def _commit_run(self, drafts: Sequence[Draft]) -> list[Found | None]:
        bodies = [joined_length(draft.body) for draft in drafts]
        sizes = [_padded(draft.record, body) for draft, body in zip(drafts, bodies, strict=True)]
        if max(sizes) > self.segment_bytes - START:
            raise StoreError(f"a record of {max(sizes)} bytes is larger than a segment of {self.segment_bytes}")
        if sum(sizes) > self.segment_bytes // 2 and len(drafts) > 1:
            half = len(drafts) // 2
            return self._commit_run(drafts[:half]) + self._commit_run(drafts[half:])

        writer = self._writer_for(sum(sizes))
        sequence = self._next_sequences(len(drafts))
        parts: list[Part] = []
        founds: list[Found] = []
        offset = writer.end
        for index, draft in enumerate(drafts):
            record = replace(draft.record, sequence=sequence + index)
            header = self._encoded(record, bodies[index], draft.body, writer.segment.seed(offset))
            parts += [header, *draft.body, bytes(padding(len(header) + bodies[index]))]
            founds.append(located(record, writer.segment.number, offset, len(header), bodies[index]))
            offset += sizes[index]
        before = writer.end
        writer.append(parts, offset - before)
        self._files.step("appended")
        try:
            with self._index.write() as change:
                advance(change, sequence + len(drafts) - 1)
                taken = [_put(change, draft, found) for draft, found in zip(drafts, founds, strict=True)]
        except BaseException:
            writer.end = before
            raise
        self.written += offset - before
        return [found if done else None for found, done in zip(founds, taken, strict=True)]

    def _encoded(self, record: Record, length: int, body: Sequence[Part], seed: int) -> bytes:
        try:
            return encode(record, length, checksums(body), seed=seed)
        except ValueError as error:
            raise StoreError(f"{record.key.text!r} can't be stored: {error}") from None

    def _next_sequences(self, count: int) -> int:
        """The first of `count` numbers greater than that of anything which was visible before."""
        first = max(self._sequence, self._index.counters().sequence) + 1
        self._sequence = first + count - 1
        return first

    def _writer_for(self, size: int) -> SegmentWriter:
        """Where to append so much."""
        while self._writer is None or self._writer.end + size > self.segment_bytes:
            self.seal()
            self.make_room(self.segment_bytes)  # mostly there already, by the next line of the last time
            self._roll()
            self._make_spare()
        self.make_room(0)
        return self._writer

    def _make_spare(self) -> None:
        """Make room for the next segment now, while there is this one to write to what shall stay."""
        with suppress(NoRoomError):
            self.make_room(self.segment_bytes)

    def _roll(self) -> None:
        """Go on in a new segment."""
        with self._index.write() as change:
            number = change.counters.next_segment
            change.counters = change.counters._replace(next_segment=number + 1)
            change.set_row(number, Row(State.ACTIVE, self._worker, self.segment_bytes))
        try:
            self._writer = self._segments.create(number, worker=self._worker, epoch=self._claim.epoch)
        except BaseException:
            with self._index.write() as change:
                change.set_row(number, None)
            raise

    def seal(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._index.write() as change:
                change.set_row(writer.segment.number, Row(State.SEALED, self._worker, writer.end))

    def _can_open(self) -> bool:
        return self._fits(self.segment_bytes) and self._is_free(self.segment_bytes)

    def _fits(self, size: int) -> bool:
        counters = self._index.counters()
        used = counters.segment_bytes + self._index.size() + self._margin
        return used + size <= self._capacity and counters.entries + RUN <= self._max_entries

    def _is_free(self, size: int) -> bool:
        """Whether the file system has so much beside what must stay free."""
        if not self._free_floor:
            return True
        return self._files.free_bytes(self._claim.segments_path) - size >= self._free_floor

    def make_room(self, size: int) -> None:
        """Give up old segments until `size` more bytes fit; raises NoRoomError when that doesn't help."""
        if self._reclaiming:
            return
        while not self._fits(size):
            if not self.reclaim():
                raise NoRoomError(f"{self._claim.segments_path}: no room, and nothing left to give up")
        for _ in range(2):  # what others take of the file system needn't cost us everything at once
            if self._is_free(size):
                return
            self.reclaim()
        if not self._is_free(size):
            raise NoRoomError(f"{self._claim.segments_path}: less free than must be left to others")

    def reclaim(self) -> bool:
        with self._index.write() as change:
            victim = oldest(change.rows())
            if victim is None:
                return False
            number, row = victim
            change.set_row(number, row._replace(state=State.DRAINING, worker=self._worker))
        self._reclaiming = True
        try:
            floor = self._drain.run(number, keep_bytes=self.segment_bytes // 2)
        except BaseException:
            with self._index.write() as change:
                change.set_row(number, row)
            raise
        finally:
            self._reclaiming = False
        with self._index.write() as change:
            floor = max(change.counters.floor, floor)
            change.counters = change.counters._replace(floor=floor)
            change.set_row(number, None)
            try:
                self._claim.set_floor(floor)
            except OSError as error:
                if error.errno not in _FULL:  # then it is room that we need most
                    raise
            self._segments.unlink(number)
        return True

    def _keep(self, candidate: Candidate) -> bool:
        """Write a record that is to stay at the head of the log; False when it can't."""
        found, record = candidate.found, candidate.record
        # A later head may be longer than the one it replaces.
        length = found.length + len(found.head) + 2 * ALIGN
        writer = self._writer
        if (writer is None or writer.end + length > self.segment_bytes) and not self._can_open():
            return False
        body = candidate.body()
        if body is None:
            return False
        if found.head:
            of_head = record_of(record.key, later_head(found.head), found.freshness)
            names = ("freshness", "head", "status", "etag", "last_modified", "no_cache", "must_revalidate")
            record = replace(record, **{name: getattr(of_head, name) for name in names})
        return self._commit_run([Draft(record, [body], replaces=found)])[0] is not None


def _padded(record: Record, body: int) -> int:
    """Bytes that a record takes in a segment."""
    length = header_length(record, body) + body
    return length + padding(length)


def advance(change: IndexChange, sequence: int) -> None:
    if sequence > change.counters.sequence:
        change.counters = change.counters._replace(sequence=sequence)


def _put(change: IndexChange, draft: Draft, found: Found) -> bool:
    digest, slice_number = draft.record.key.digest, slice_of(draft.record)
    if draft.replaces is not None:
        return change.replace(digest, slice_number, draft.replaces, found)
    return change.put(digest, slice_number, found)


def slice_of(record: Record) -> int | None:
    return record.slice if record.kind is Kind.SLICE else None


def _tombstone(key: CacheKey, sequence: int) -> Record:
    return Record(Kind.REMOVED, key, Freshness(0.0, 0.0, 0.0, 0.0), sequence=sequence)


def located(record: Record, segment: int, offset: int, header: int, body: int) -> Found:
    freshness = record.freshness
    return Found(
        record.kind, record.status, segment, offset // ALIGN, header, body, record.sequence, record.identity,
        record.total, freshness.born, freshness.lifetime, freshness.grace, freshness.keep, freshness.error_grace,
    )  # fmt: skip
