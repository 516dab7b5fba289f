"""The comparison of rows: whether each copy equals the reference's, and if not, how it differs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum

from shield.audit.listing import ListedObject
from shield.audit.merge import KeyRow


class Likeness(Enum):
    """The result of comparing an origin's copy of a key with the reference's."""

    SAME = "same"  # equal bytes, by an ETag that is derived from them or because they were read
    SIZED = "same-size"  # equal sizes; nothing else can be compared
    MISSING = "missing"  # a difference: the reference has it, this origin doesn't
    EXTRA = "extra"  # a difference: this origin has it, the reference doesn't
    DIFFERENT = "different"  # a difference: both have it, with different bytes
    LAGGING = "lagging"  # no difference: it changed within the permitted lag of the origin, or during the audit
    NOT_HELD = "not-held"  # no difference: the origin has only some of the objects
    UNREAD = "unread"  # unknown: it couldn't be read


DIFFERENCES = frozenset({Likeness.MISSING, Likeness.EXTRA, Likeness.DIFFERENT})
TOLD = DIFFERENCES | {Likeness.LAGGING, Likeness.UNREAD}
"""Kinds that are reported one by one; the others are only counted."""


@dataclass(frozen=True, slots=True)
class AuditSide:
    """An origin in an audit. `max_lag`: permitted replication lag in seconds; `is_part`: it may lack objects."""

    name: str
    max_lag: float = 0.0
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """The result for a key at an origin. `lag`: seconds since the reference's copy was written, where relevant."""

    kind: Likeness
    origin: str
    key: bytes
    size: int
    modified: float
    why: str = ""
    lag: float | None = None


@dataclass(frozen=True, slots=True)
class AuditDoubt:
    """Two copies of equal size for which listings don't suffice; `must`: their ETags differ, and may be MD5s."""

    at: int  # index of the origin among the sides
    must: bool


@dataclass(slots=True)
class Tally:
    """The counts of results at one origin."""

    objects: int = 0
    bytes: int = 0
    same: int = 0
    same_size: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    lagging: int = 0
    not_held: int = 0
    unread: int = 0
    compared_objects: int = 0
    compared_bytes: int = 0
    oldest_lag: float = 0.0

    def count(self, finding: AuditFinding) -> None:
        name = finding.kind.value.replace("-", "_")
        setattr(self, name, getattr(self, name) + 1)
        if finding.kind in (Likeness.MISSING, Likeness.LAGGING, Likeness.DIFFERENT) and finding.lag is not None:
            self.oldest_lag = max(self.oldest_lag, finding.lag)

    @property
    def differences(self) -> int:
        return self.missing + self.extra + self.different

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


class RowJudge:
    """Compares rows with the copy of the first side, the reference. `started`: start of the audit, epoch seconds."""

    def __init__(self, sides: Sequence[AuditSide], *, started: float) -> None:
        self._sides = tuple(sides)
        self._started = started

    def judge(self, row: KeyRow, now: float) -> Iterator[AuditFinding | AuditDoubt]:
        """A value for each other side that has the key or should have it."""
        reference = row.copies[0]
        for at in range(1, len(self._sides)):
            copy = row.copies[at]
            if reference is None and copy is not None:
                yield self._extra(at, copy)
            elif reference is not None and copy is None:
                yield self._missing(at, reference, now)
            elif reference is not None and copy is not None:
                if copy.size != reference.size:
                    why = f"{copy.size} bytes, at {self._sides[0].name} {reference.size}"
                    yield self.differs(at, copy, reference, now, why)
                elif copy.proves(reference):
                    yield self.same(at, copy, Likeness.SAME)
                else:
                    yield AuditDoubt(at, must=copy.may_be_md5 and reference.may_be_md5)

    def same(self, at: int, copy: ListedObject, kind: Likeness) -> AuditFinding:
        """A copy that equals the reference's, by `kind`: SAME or SIZED."""
        return AuditFinding(kind, self._sides[at].name, copy.key, copy.size, copy.modified)

    def differs(self, at: int, copy: ListedObject, reference: ListedObject, now: float, why: str) -> AuditFinding:
        """A copy with different bytes; a lagging one if the reference's was written recently."""
        lag = _lag(reference, now)
        kind = Likeness.LAGGING if self._is_young(at, reference, now) else Likeness.DIFFERENT
        return AuditFinding(kind, self._sides[at].name, copy.key, copy.size, copy.modified, why, lag)

    def unread(self, at: int, copy: ListedObject, why: str) -> AuditFinding:
        """A copy that couldn't be read."""
        return AuditFinding(Likeness.UNREAD, self._sides[at].name, copy.key, copy.size, copy.modified, why)

    def changed(self, at: int, copy: ListedObject, why: str) -> AuditFinding:
        """A copy that has changed since it was listed."""
        return AuditFinding(Likeness.LAGGING, self._sides[at].name, copy.key, copy.size, copy.modified, why)

    def _missing(self, at: int, reference: ListedObject, now: float) -> AuditFinding:
        side, lag = self._sides[at], _lag(reference, now)
        kind = Likeness.LAGGING if self._is_young(at, reference, now) else Likeness.MISSING
        if side.is_part:
            kind = Likeness.NOT_HELD
        return AuditFinding(kind, side.name, reference.key, reference.size, reference.modified, lag=lag)

    def _extra(self, at: int, copy: ListedObject) -> AuditFinding:
        kind = Likeness.LAGGING if copy.modified >= self._started else Likeness.EXTRA
        why = f"not at {self._sides[0].name}"
        return AuditFinding(kind, self._sides[at].name, copy.key, copy.size, copy.modified, why)

    def _is_young(self, at: int, reference: ListedObject, now: float) -> bool:
        return now - reference.modified < self._sides[at].max_lag or reference.modified >= self._started


def _lag(reference: ListedObject, now: float) -> float | None:
    """Seconds since the reference's copy was written; None if the listing doesn't state that."""
    return None if math.isinf(reference.modified) else now - reference.modified
