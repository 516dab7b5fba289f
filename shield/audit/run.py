"""One audit: reads listings, compares rows, resolves doubts by further requests, and reports in the order of keys.

It proceeds in steps of some rows. Once a step has been reported, everything up to its last key is complete, and
another audit can continue from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import NamedTuple

import xxhash

from shield.audit.bucket import ListedBucket, ObjectContents
from shield.audit.judgement import AuditDoubt, AuditFinding, AuditSide, Likeness, RowJudge
from shield.audit.listing import ListedObject, ListingError, ListingPage
from shield.audit.merge import KeyRow, ListingMerge
from shield.errors import OriginError

STEP = 1000
"""Rows that are compared and reported together."""


OPAQUE_AFTER = 100
"""Heads of an origin in a row whose ETag is no MD5, after which no more are requested: all of its objects are
encrypted with a key of KMS, say, and each would cost a request that tells nothing new."""


@dataclass(frozen=True, slots=True)
class ReadingDepth:
    """The objects to read: none, or the bytes of one key in `one_in`, with `at_once` keys concurrently."""

    reads: bool = False
    one_in: int = 1
    at_once: int = 8

    def covers(self, key: bytes) -> bool:
        """Whether this key's bytes are compared: always those of the same keys, so that audits are comparable."""
        return self.reads and (self.one_in == 1 or xxhash.xxh3_64_intdigest(key) % self.one_in == 0)


class ObjectSum(NamedTuple):
    """A number of objects, and their bytes."""

    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class AuditStep:
    """Some rows in order, and their results."""

    rows: Sequence[KeyRow]
    findings: Sequence[AuditFinding]

    @property
    def last(self) -> bytes:
        return self.rows[-1].key


class Audit:
    """Compares buckets below a prefix with the first of them. Raises OriginError and ListingError from `steps`."""

    def __init__(
        self,
        buckets: Sequence[ListedBucket],
        sides: Sequence[AuditSide],
        *,
        prefix: bytes,
        depth: ReadingDepth,
        clock: Callable[[], float],
    ) -> None:
        self._buckets = tuple(buckets)
        self._prefix = prefix
        self._depth = depth
        self._clock = clock
        self._judge = RowJudge(sides, started=clock())
        self._not_md5 = [0] * len(self._buckets)  # of each origin: heads in a row whose ETag is no MD5
        self._turn = asyncio.Semaphore(depth.at_once)

    @property
    def opaque(self) -> list[str]:
        """Origins whose ETags aren't compared any more: none of their last ones was an MD5."""
        return [bucket.name for at, bucket in enumerate(self._buckets) if self._is_opaque(at)]

    def _is_opaque(self, at: int) -> bool:
        return self._not_md5[at] >= OPAQUE_AFTER

    def _needs_head(self, doubt: AuditDoubt) -> bool:
        return doubt.must and not self._is_opaque(0) and not self._is_opaque(doubt.at)

    async def steps(self, after: bytes | None = None) -> AsyncGenerator[AuditStep, None]:
        """All rows after a key."""
        async with aclosing(self._rows(after)) as parts:
            async for rows in parts:
                yield AuditStep(rows, await self._judged(rows))

    async def estimate(self, after: bytes | None = None) -> list[ObjectSum]:
        """The objects that would be read from each origin, according to the listings."""
        objects, size = [0] * len(self._buckets), [0] * len(self._buckets)
        async with aclosing(self._rows(after)) as parts:
            async for rows in parts:
                for row in rows:
                    for at in self._places_to_read(row):
                        objects[at] += 1
                        size[at] += _there(row, at).size
        return [ObjectSum(*each) for each in zip(objects, size, strict=True)]

    async def _rows(self, after: bytes | None) -> AsyncGenerator[Sequence[KeyRow], None]:
        merge = ListingMerge(len(self._buckets))
        listings = [_Listing(bucket, self._prefix, after) for bucket in self._buckets]  # all of them begin now
        rows: list[KeyRow] = []
        try:
            while not merge.is_over:
                for at in merge.wanted():
                    page = await listings[at].next()
                    merge.feed(at, page.objects, is_last=page.is_last)
                for row in merge.rows():
                    rows.append(row)
                    if len(rows) == STEP:
                        yield rows
                        rows = []
            if rows:
                yield rows
        finally:
            for listing in listings:
                await listing.close()

    async def _judged(self, rows: Sequence[KeyRow]) -> list[AuditFinding]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._found(row)) for row in rows if self._is_asked(row)]
        settled = {row.key: found for row, found in [task.result() for task in tasks]}
        findings: list[AuditFinding] = []
        for row in rows:
            findings += settled[row.key] if row.key in settled else self._by_listing(row)
        return findings

    def _is_asked(self, row: KeyRow) -> bool:
        """Whether the listings don't suffice for a row."""
        if self._places_to_read(row):
            return True
        return any(
            isinstance(value, AuditDoubt) and self._needs_head(value)
            for value in self._judge.judge(row, self._clock())
        )

    def _places_to_read(self, row: KeyRow) -> list[int]:
        """The origins whose bytes are compared; none if there is nothing to compare."""
        reference = row.copies[0]
        if reference is None or not reference.size or not self._depth.covers(row.key):
            return []
        alike = [at for at, copy in enumerate(row.copies) if copy is not None and copy.size == reference.size]
        return alike if len(alike) > 1 else []

    def _by_listing(self, row: KeyRow) -> list[AuditFinding]:
        return [
            self._judge.same(value.at, _there(row, value.at), Likeness.SIZED)
            if isinstance(value, AuditDoubt)
            else value
            for value in self._judge.judge(row, self._clock())
        ]

    async def _found(self, row: KeyRow) -> tuple[KeyRow, list[AuditFinding]]:
        async with self._turn:
            if self._places_to_read(row):
                return row, await self._by_bytes(row)
            findings: list[AuditFinding] = []
            for value in self._judge.judge(row, self._clock()):
                if isinstance(value, AuditFinding):
                    findings.append(value)
                elif self._needs_head(value):
                    findings.append(await self._by_head(row, value.at))
                else:
                    findings.append(self._judge.same(value.at, _there(row, value.at), Likeness.SIZED))
            return row, findings

    async def _by_head(self, row: KeyRow, at: int) -> AuditFinding:
        """Compare different ETags that look like MD5s: they count unless the heads reveal encryption."""
        reference, copy = _there(row, 0), _there(row, at)
        for each in (at, 0):
            try:
                is_md5 = await self._buckets[each].is_md5(row.key)
            except OriginError as error:
                return self._judge.unread(at, copy, str(error))
            if is_md5 is None:
                return await self._surprise(row, at, "it is listed, and absent when asked for")
            self._not_md5[each] = 0 if is_md5 else self._not_md5[each] + 1
            if not is_md5:
                return self._judge.same(at, copy, Likeness.SIZED)
        why = f"ETag {copy.etag}, at {self._buckets[0].name} {reference.etag}"
        return self._judge.differs(at, copy, reference, self._clock(), why)

    async def _by_bytes(self, row: KeyRow) -> list[AuditFinding]:
        places = self._places_to_read(row)
        read = dict(zip(places, await asyncio.gather(*[self._contents(row.key, at) for at in places]), strict=True))
        findings: list[AuditFinding] = []
        for at in range(1, len(row.copies)):
            if at in read:
                findings.append(await self._compared(row, at, read[0], read[at]))
        rest = [value for value in self._by_listing(row) if value.origin not in {each.origin for each in findings}]
        return [*findings, *rest]

    async def _contents(self, key: bytes, at: int) -> ObjectContents | OriginError | None:
        try:
            return await self._buckets[at].contents(key)
        except OriginError as error:
            return error

    async def _compared(
        self,
        row: KeyRow,
        at: int,
        reference: ObjectContents | OriginError | None,
        copy: ObjectContents | OriginError | None,
    ) -> AuditFinding:
        listed = _there(row, at)
        for where, value in ((0, reference), (at, copy)):
            if isinstance(value, OriginError):
                return self._judge.unread(at, listed, str(value))
            if value is None:
                return await self._surprise(row, at, "it is listed, and absent when asked for", where)
            if value.size != listed.size:
                said = f"it is listed with {listed.size} bytes, and {value.size} came"
                return await self._surprise(row, at, said, where)
        assert isinstance(reference, ObjectContents) and isinstance(copy, ObjectContents)
        if copy.digest == reference.digest:
            return self._judge.same(at, listed, Likeness.SAME)
        why = f"SHA-256 {copy.digest.hex()}, at {self._buckets[0].name} {reference.digest.hex()}"
        return self._judge.differs(at, listed, _there(row, 0), self._clock(), why)

    async def _surprise(self, row: KeyRow, at: int, why: str, where: int | None = None) -> AuditFinding:
        """The result for an object that isn't as listed: a difference if its listing is unchanged, else lagging."""
        copy = _there(row, at)
        for each in (0, at) if where is None else (where,):
            try:
                now = await self._buckets[each].listed(row.key)
            except (OriginError, ListingError) as error:
                return self._judge.unread(at, copy, str(error))
            if now != row.copies[each]:
                return self._judge.changed(at, copy, f"changed at {self._buckets[each].name} meanwhile")
        name = self._buckets[at if where is None else where].name
        return AuditFinding(
            Likeness.DIFFERENT, self._buckets[at].name, row.key, copy.size, copy.modified, f"{name}: {why}"
        )


class _Listing:
    """A bucket's pages; the next one is fetched in advance."""

    def __init__(self, bucket: ListedBucket, prefix: bytes, after: bytes | None) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._after = after
        self._token: bytes | None = None
        self._task: asyncio.Task[ListingPage] | None = self._begin()

    async def next(self) -> ListingPage:
        """The next page. Raises OriginError, ListingError."""
        assert self._task is not None, "the listing has come to its end"
        page = await self._task
        self._task = None
        if page.token is not None and page.token == self._token and not page.objects:
            raise ListingError(f"origin {self._bucket.name}: its listing doesn't go on, though it says that it does")
        self._token = page.token
        if page.objects:
            self._after = page.objects[-1].key
        if not page.is_last:
            self._task = self._begin()
        return page

    def _begin(self) -> asyncio.Task[ListingPage]:
        # A token comes from the page before; without one, as at the beginning, it goes on by the last key.
        wanted = self._bucket.page(self._prefix, after=self._after, token=self._token)
        return asyncio.get_running_loop().create_task(wanted)

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError, OriginError, ListingError):
                await task


def _there(row: KeyRow, at: int) -> ListedObject:
    copy = row.copies[at]
    assert copy is not None, "judged only where it is listed"
    return copy
