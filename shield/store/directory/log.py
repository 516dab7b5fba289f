"""The log: records are appended to segments and indexed; room is made first, old segments are given up.

The order makes it safe: bytes are appended, then indexed; an entry is forgotten, then its segment unlinked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from shield.errors import StoreError
from shield.messages import Part
from shield.rules.freshness import Freshness
from shield.rules.key import CacheKey
from shield.store.directory.change import EVERYTHING
from shield.store.directory.claim import FULL
from shield.store.directory.index import Found, IndexChange, IndexFullError, Row, State
from shield.store.directory.premises import Premises
from shield.store.directory.reading import latest, under_head_of
from shield.store.directory.reclaim import Drain, Judge, NoRoomError, ReclaimCandidate, read_record
from shield.store.directory.record import (
    ALIGN,
    DamagedError,
    Record,
    RecordKind,
    checksums,
    encode,
    header_length,
    joined_length,
    padding,
)
from shield.store.directory.room import Room
from shield.store.directory.segments import START, SegmentWriter

_TRIES = 2  # to make room, or to find a segment of one's own

RUN = 64
"""Records that are written and indexed together, at most."""


@dataclass(frozen=True, slots=True)
class Coming:
    """A body that is too long to be held: its length, the checksums that it must have, and its pieces, in order.

    Who gives the pieces has checked each of them, and raises rather than give one that is wrong, or too few.
    """

    length: int
    table: bytes
    pieces: Iterator[Part]


@dataclass(frozen=True, slots=True)
class Draft:
    """What to commit: a record, and its body in parts, or `coming`, which can be tried once.

    `replaces`: commit only in place of exactly this record. `since`: don't commit if the key was removed after this
    generation of the directory; None: if it is removed during the commit.
    """

    record: Record
    body: Sequence[Part] = ()
    replaces: Found | None = None
    since: int | None = None
    coming: Coming | None = None

    @property
    def length(self) -> int:
        """Of the body."""
        return joined_length(self.body) if self.coming is None else self.coming.length


Screen = Callable[[Record], Record | None]
"""A record from before some marks of purges as it may be stored under them; None if it mustn't be."""


def admit_none(record: Record) -> Record | None:
    """The screen of who knows no marks: of those that are older than a sweep, none is added."""
    return None


class Log:
    """The writing side of one process in a directory. One thread; raises OSError and StoreError."""

    def __init__(self, premises: Premises, *, judge: Judge, screen: Screen) -> None:
        self._screen = screen
        self._claim = premises.claim
        self._index = premises.index
        self._segments = premises.segments
        self._files = premises.files
        self._worker = premises.worker
        drain = Drain(self._files, self._index, self._segments, judge=judge, keep=self._keep)
        self.room = Room(premises, drain=drain)
        self.segment_bytes = self.room.segment_bytes

        self._writer: SegmentWriter | None = None
        self.written = 0

    # writing

    def commit(self, drafts: Sequence[Draft]) -> list[Found | None]:
        """Append, then index, in runs; None for a draft that a later one or a removal has overtaken."""
        results: list[Found | None] = []
        for at in range(0, len(drafts), RUN):
            results += self._commit_wanted(drafts[at : at + RUN])
        return results

    def take_in(self, draft: Draft) -> Found | None:
        """Append a draft whose body is coming, piece by piece, then index it. Whatever its pieces raise, it is as if
        it had never been tried.
        """
        coming, counters = draft.coming, self._index.counters()
        generation = counters.generation
        assert coming is not None
        screened = self._screened([draft], counters.fence)
        if not screened:
            return None
        draft = screened[0]
        size = _padded(draft.record, coming.length)
        writer = self._writer_for(size)
        record = replace(draft.record, sequence=self._index.counters().sequence + 1)
        before = writer.end
        header = _encoded(record, coming.length, coming.table, writer.segment.seed(before))
        found = indexed_as(record, writer.segment.number, before, len(header), coming.length)
        try:
            writer.append([header], len(header))
            for piece in coming.pieces:
                writer.append([piece], len(piece))
            end = padding(len(header) + coming.length)
            writer.append([bytes(end)], end)
            if writer.end - before != size:
                raise DamagedError("its body isn't as long as it should be")
            taken = self._indexed([draft], [found], writer, generation)[0]
        except _TakenError:
            self._writer = None  # what it wrote went with its segment, and its pieces come once
            raise StoreError("another process took the segment: try again") from None
        except BaseException:
            writer.end = before
            with suppress(OSError):
                writer.cut()
            raise
        self.written += size
        return found if taken else None

    def freshen(
        self, key: CacheKey, found: Found, head: bytes, freshness: Freshness, *, since: int | None
    ) -> Found | None:
        new = under_later(found, head, freshness, found.since if since is None else since)
        self.room.make(0)
        with self._index.write() as change:
            done = change.replace(key.digest, None, found, new)
        return new if done else None

    def retag(self, record: Record) -> Found | None:
        """Write an entry again under this record's head and tags; None if it is no longer there.

        An entry that can't be written is forgotten: a purge by the new tags must not miss it.
        """
        digest = record.key.digest
        for _ in range(_TRIES):
            found = self._index.lookup(digest)
            if found is None or found.identity != record.identity:
                return None
            try:
                done = self._write_again(record, found)
            except (DamagedError, FileNotFoundError):
                done = None  # reclaimed since, or lost in any case
            except BaseException:
                self._forget_record(digest, found)
                raise
            if done is not None:
                return done
            self._forget_record(digest, found)
        return None

    def _write_again(self, record: Record, found: Found) -> Found | None:
        header, body = read_record(self._files, self._segments.open(found.segment), found)
        again = replace(under_head_of(record, header.record), tags=record.tags, since=record.since)
        return self._commit_wanted([Draft(again, [body], replaces=found)])[0]

    def _forget_record(self, digest: bytes, found: Found) -> None:
        with self._index.write() as change:
            change.delete(digest, None, found)

    def _commit_wanted(self, drafts: Sequence[Draft]) -> list[Found | None]:
        """One run, without drafts whose keys were removed after their bodies set out, by their keys or by marks."""
        counters = self._index.counters()
        now = counters.generation
        if min([draft.record.since for draft in drafts]) < counters.fence:
            return self._commit_screened(drafts, counters.fence)
        sinces = [now if draft.since is None else draft.since for draft in drafts]
        if min(sinces) == now:
            return self._commit_run(drafts, now)
        removed = self._index.removed(min(sinces), now)
        wanted = [
            draft
            for draft, since in zip(drafts, sinces, strict=True)
            if since == now or (removed is not None and removed.get(draft.record.key.digest, 0) <= since)
        ]
        founds = iter(self._commit_run(wanted, now) if wanted else ())
        ids = {id(draft) for draft in wanted}
        return [next(founds) if id(draft) in ids else None for draft in drafts]

    def _commit_screened(self, drafts: Sequence[Draft], fence: int) -> list[Found | None]:
        """The same with what isn't known to fall under no mark up to the fence."""
        results: list[Found | None] = []
        for draft in drafts:
            screened = self._screened([draft], fence)
            results += self._commit_wanted(screened) if screened else [None]
        return results

    def _screened(self, drafts: Sequence[Draft], fence: int) -> list[Draft]:
        found: list[Draft] = []
        for draft in drafts:
            record = draft.record if draft.record.since >= fence else self._screen(draft.record)
            if record is not None and record.since >= fence:  # else this process hasn't seen all marks yet
                found.append(draft if record is draft.record else replace(draft, record=record))
        return found

    def _commit_run(self, drafts: Sequence[Draft], generation: int) -> list[Found | None]:
        for _ in range(_TRIES):
            try:
                return self._try_run(drafts, generation)
            except _TakenError:
                self._writer = None
            except (IndexFullError, OSError) as error:
                full = isinstance(error, IndexFullError) or error.errno in FULL
                if not full or self.room.reclaiming or not self.room.reclaim_on_full_disk():
                    raise
        return self._try_run(drafts, generation)

    def _try_run(self, drafts: Sequence[Draft], generation: int) -> list[Found | None]:
        """Append and index. Keys removed after `generation` stay out."""
        bodies = [joined_length(draft.body) for draft in drafts]
        sizes = [_padded(draft.record, body) for draft, body in zip(drafts, bodies, strict=True)]
        if sum(sizes) > self.segment_bytes // 2 and len(drafts) > 1:
            half = len(drafts) // 2
            return self._try_run(drafts[:half], generation) + self._try_run(drafts[half:], generation)

        writer = self._writer_for(sum(sizes))
        sequence = self._index.counters().sequence + 1
        parts: list[Part] = []
        founds: list[Found] = []
        offset = before = writer.end
        for index, draft in enumerate(drafts):
            record = replace(draft.record, sequence=sequence + index)
            header = _encoded(record, bodies[index], checksums(draft.body), writer.segment.seed(offset))
            parts += [header, *draft.body, bytes(padding(len(header) + bodies[index]))]
            founds.append(indexed_as(record, writer.segment.number, offset, len(header), bodies[index]))
            offset += sizes[index]
        writer.append(parts, offset - before)
        self._files.step("appended")
        try:
            taken = self._indexed(drafts, founds, writer, generation)
        except BaseException:
            writer.end = before
            raise
        self.written += offset - before
        return [found if done else None for found, done in zip(founds, taken, strict=True)]

    def _indexed(
        self, drafts: Sequence[Draft], founds: Sequence[Found], writer: SegmentWriter, generation: int
    ) -> list[bool]:
        """Make appended records visible; returns, for each, whether it hasn't been overtaken."""
        with self._index.write() as change:
            self._check_ours(change.row(writer.segment.number))
            change.advance(sequence=founds[-1].sequence)
            removed, fence = change.removed(generation), change.counters.fence
            return [
                removed is not None
                and draft.record.key.digest not in removed
                and found.since >= fence
                and _put(change, draft, found)
                for draft, found in zip(drafts, founds, strict=True)
            ]

    # what goes out

    def forget(self, keys: Sequence[CacheKey]) -> tuple[int, int]:
        """Drop entries and all their slices from the index, for all processes; returns the number of records and the
        sequence up to which they are dropped.
        """
        removed = sequence = 0
        for at in range(0, len(keys), RUN):
            with self._index.write() as change:
                # Greater than any sequence that a process has already assigned to a record but not yet indexed.
                sequence = change.counters.sequence + RUN + 1
                change.advance(sequence=sequence)
                for key in keys[at : at + RUN]:
                    change.note_removal(key.digest)
                    tombstone = (
                        indexed_as(_tombstone(key, sequence), 0, 0, 0, 0) if change.counters.unscanned else None
                    )
                    removed += change.remove(key.digest, tombstone, sequence=sequence)
        return removed, sequence

    def bury(self, keys: Sequence[CacheKey], sequence: int) -> None:
        """Make the removal durable: these entries must not come back after an index is lost."""
        self.bury_up_to([(key, sequence) for key in keys], RUN)

    def bury_up_to(self, gone: Sequence[tuple[CacheKey, int]], most: int) -> None:
        """The same of keys, each with the sequence below which its records are gone; so many at a time."""
        for at in range(0, len(gone), most):
            self._bury([_tombstone(key, sequence) for key, sequence in gone[at : at + most]])

    def _bury(self, records: Sequence[Record]) -> None:
        size = sum([_padded(record, 0) for record in records])
        if len(records) > 1 and size > self.segment_bytes // 2:
            half = len(records) // 2
            self._bury(records[:half])
            self._bury(records[half:])
            return
        writer = self._writer_for(size)
        offset = writer.end
        parts: list[Part] = []
        for record in records:
            header = _encoded(record, 0, b"", writer.segment.seed(offset))
            parts += [header, bytes(padding(len(header)))]
            offset += _padded(record, 0)
        writer.append(parts, size)
        writer.sync()
        try:
            self._check_ours(self._index.row(writer.segment.number))
        except _TakenError:
            self._writer = None
            self._bury(records)

    def forget_everything(self) -> int:
        """Drop all entries from the index, for all processes; returns the sequence up to which they are dropped."""
        with self._index.write() as change:
            sequence = change.counters.sequence + RUN + 1
            change.advance(sequence=sequence, floor=sequence)
            change.note_removal(EVERYTHING)
            change.remove_everything()
        return sequence

    def bury_everything(self, sequence: int) -> None:
        """Make the removal of everything durable, and give back the space."""
        self._claim.set_floor(sequence, worker=self._worker)
        self.seal()
        self.room.empty()

    # segments

    def _writer_for(self, size: int) -> SegmentWriter:
        """The writer of a segment with room for `size` bytes."""
        if size > self.segment_bytes - START:
            raise StoreError(f"a record of {size} bytes is larger than a segment of {self.segment_bytes}")
        while True:
            writer = self._writer
            if writer is not None and writer.end + size <= self.segment_bytes:
                self.room.make(0)
                if writer is self._writer and writer.end + size <= self.segment_bytes:
                    return writer
                continue  # the kept records have filled it
            self.seal()
            self.room.await_spare()
            self.room.make(self.segment_bytes)  # mostly there already: the last call made it as a spare
            if self._roll():
                self.room.make_spare()
            elif self.room.reclaiming:
                raise NoRoomError(f"{self._claim.segments_path}: no room for the records to be kept")

    def _roll(self) -> bool:
        """Go on in a new segment; False when another process has taken the room for it."""
        self._claim.check_here()
        with self._index.write() as change:
            if not self.room.fits(self.segment_bytes, change.counters):
                return False
            number = change.counters.next_segment
            change.counters.next_segment = number + 1
            change.set_row(number, Row(State.ACTIVE, self._worker, self.segment_bytes))
        try:
            self._writer = self._segments.create(number, worker=self._worker, epoch=self._claim.epoch)
        except BaseException:
            with self._index.write() as change:
                change.set_row(number, None)
            raise
        return True

    def seal(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.cut()
            with suppress(_TakenError), self._index.write() as change:
                self._check_ours(change.row(writer.segment.number))
                change.set_row(writer.segment.number, Row(State.SEALED, self._worker, writer.end))

    def _check_ours(self, row: Row | None) -> None:
        """Another process of the same worker number sealed it, taking this one for dead; it may be gone by now."""
        if row is None or row.state != State.ACTIVE or row.worker != self._worker:
            raise _TakenError

    def _keep(self, candidate: ReclaimCandidate) -> bool:
        """Write a record that is to be kept at the head of the log; False when it can't be."""
        record = candidate.record
        body = candidate.body()
        if body is None:
            return False
        for _ in range(_TRIES):
            found = self._index.lookup(record.key.digest, slice_of(record))
            if found is None or not found.same_record(candidate.found):
                return False
            # A later head may be longer than the one it replaces.
            length = found.length + len(found.head) + 2 * ALIGN
            writer = self._writer
            if (writer is None or writer.end + length > self.segment_bytes) and not self.room.has_segment():
                return False
            since = max(found.since, candidate.found.since)
            draft = Draft(latest(record, found._replace(since=since)), [body], replaces=found)
            try:
                if self._commit_wanted([draft])[0] is not None:
                    return True
            except (IndexFullError, NoRoomError):
                return False
            except OSError as error:
                if error.errno not in FULL:
                    raise
                return False
        return False


class _TakenError(Exception):
    """The segment no longer belongs to this process."""


def _padded(record: Record, body: int) -> int:
    """Bytes that a record takes in a segment."""
    length = header_length(record, body) + body
    return length + padding(length)


def _put(change: IndexChange, draft: Draft, found: Found) -> bool:
    digest, slice_number = draft.record.key.digest, slice_of(draft.record)
    if draft.replaces is not None:
        return change.move(digest, slice_number, draft.replaces, found)
    return change.put(digest, slice_number, found)


def _encoded(record: Record, length: int, table: bytes, seed: int) -> bytes:
    try:
        return encode(record, length, table, seed=seed)
    except ValueError as error:
        raise StoreError(f"{record.key.text!r} can't be stored: {error}") from None


def slice_of(record: Record) -> int | None:
    return record.slice if record.kind is RecordKind.SLICE else None


def _tombstone(key: CacheKey, sequence: int) -> Record:
    return Record(RecordKind.REMOVED, key, Freshness(0.0, 0.0, 0.0, 0.0), sequence=sequence)


def indexed_as(record: Record, segment: int, offset: int, header: int, body: int) -> Found:
    freshness = record.freshness
    return Found(
        record.kind, record.status, segment, offset // ALIGN, header, body, record.sequence, record.identity,
        record.total, record.since, freshness.born, freshness.lifetime, freshness.grace, freshness.keep,
        freshness.error_grace,
    )  # fmt: skip


def under_later(found: Found, head: bytes, freshness: Freshness, since: int) -> Found:
    """The same record under a later head."""
    times = (freshness.born, freshness.lifetime, freshness.grace, freshness.keep, freshness.error_grace)
    return Found._make((*found[:9], since, *times, head))
