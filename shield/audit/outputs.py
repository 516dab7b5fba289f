"""The comparison of origins' responses to given paths: for origins without listings, such as image processors."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from shield.audit.bucket import ListedBucket, ObjectContents
from shield.audit.judgement import AuditDoubt, AuditFinding, AuditSide, Likeness, RowJudge
from shield.audit.listing import ListedObject
from shield.audit.merge import KeyRow
from shield.audit.run import AuditStep
from shield.errors import OriginError

_STEP = 100  # paths that are judged and reported together


@dataclass(frozen=True, slots=True)
class Output:
    """Something to be compared: its name in reports, and the canonical path and query at origins."""

    label: bytes
    path: bytes
    query: bytes = b""


class OutputAudit:
    """Compares the bodies that origins send with those of the first. `at_once`: the number of paths."""

    def __init__(
        self,
        buckets: Sequence[ListedBucket],
        sides: Sequence[AuditSide],
        *,
        clock: Callable[[], float],
        at_once: int = 4,
    ) -> None:
        self._buckets = tuple(buckets)
        self._sides = tuple(sides)
        self._clock = clock
        self._judge = RowJudge(sides, started=clock())
        self._turn = asyncio.Semaphore(at_once)

    async def steps(self, outputs: Iterable[Output]) -> AsyncGenerator[AuditStep, None]:
        """All of them, in their order."""
        left = iter(outputs)
        while some := list(islice(left, _STEP)):
            judged = await asyncio.gather(*[self._judged(output) for output in some])
            yield AuditStep([row for row, _ in judged], [finding for _, found in judged for finding in found])

    async def _judged(self, output: Output) -> tuple[KeyRow, list[AuditFinding]]:
        async with self._turn:
            read = await asyncio.gather(*[self._contents(bucket, output) for bucket in self._buckets])
        row = KeyRow(output.label, tuple([_copy(output, contents) for contents in read]))
        others = range(1, len(read))
        if isinstance(read[0], OriginError):
            return row, [self._unread(at, output, str(read[0])) for at in others]
        if not any(read):  # nothing was compared: the author of the path should know
            return row, [self._unread(at, output, "absent at every origin") for at in others]
        found = [self._unread(at, output, str(error)) for at in others if isinstance(error := read[at], OriginError)]
        unread = {finding.origin for finding in found}
        for value in self._judge.judge(row, self._clock()):
            if isinstance(value, AuditDoubt):
                found.append(self._compared(row, value.at, read[0], read[value.at]))
            elif value.origin not in unread:
                found.append(value)
        return row, found

    async def _contents(self, bucket: ListedBucket, output: Output) -> ObjectContents | OriginError | None:
        try:
            return await bucket.body(output.path, output.query)
        except OriginError as error:
            return error

    def _compared(self, row: KeyRow, at: int, reference: object, contents: object) -> AuditFinding:
        """Two bodies of one length."""
        assert isinstance(reference, ObjectContents) and isinstance(contents, ObjectContents)
        copy, origin = row.copies[at], row.copies[0]
        assert copy is not None and origin is not None
        if contents.digest == reference.digest:
            return self._judge.same(at, copy, Likeness.SAME)
        why = f"SHA-256 {contents.digest.hex()}, at {self._sides[0].name} {reference.digest.hex()}"
        return self._judge.differs(at, copy, origin, self._clock(), why)

    def _unread(self, at: int, output: Output, why: str) -> AuditFinding:
        return self._judge.unread(at, ListedObject(output.label, 0, "", -math.inf), why)


def _copy(output: Output, contents: object) -> ListedObject | None:
    return ListedObject(output.label, contents.size, "", -math.inf) if isinstance(contents, ObjectContents) else None
