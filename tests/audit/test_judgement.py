"""What a row means: the same, missing, extra, different, or on its way."""

from __future__ import annotations

import math

import pytest

from shield.audit.judgement import AuditDoubt, AuditFinding, AuditSide, Likeness, RowJudge, Tally
from shield.audit.listing import ListedObject
from shield.audit.merge import KeyRow

NOW = 1_000_000.0
STARTED = NOW - 60.0
ONE, OTHER = "a" * 32, "b" * 32
DAY = 86400.0


def copy(size: int = 10, etag: str = ONE, age: float = DAY) -> ListedObject:
    return ListedObject(b"k", size, etag, NOW - age)


def judged(
    reference: ListedObject | None, other: ListedObject | None, *, max_lag: float = 0.0, is_part: bool = False
) -> AuditFinding | AuditDoubt:
    judge = RowJudge([AuditSide("fra"), AuditSide("iad", max_lag, is_part)], started=STARTED)
    (found,) = judge.judge(KeyRow(b"k", (reference, other)), NOW)
    return found


@pytest.mark.parametrize(
    ("reference", "other", "max_lag", "kind"),
    [
        (copy(), copy(), 0.0, Likeness.SAME),
        (copy(), None, 0.0, Likeness.MISSING),
        (copy(), None, DAY, Likeness.MISSING),  # exactly as old as it may be
        (copy(), None, DAY + 1, Likeness.LAGGING),
        (copy(age=30.0), None, 0.0, Likeness.LAGGING),  # written since the audit began
        (None, copy(), DAY + 1, Likeness.EXTRA),
        (None, copy(age=30.0), 0.0, Likeness.LAGGING),
        (copy(), copy(11), 0.0, Likeness.DIFFERENT),
        (copy(), copy(11), DAY + 1, Likeness.LAGGING),
        (copy(age=2 * DAY), copy(11, age=30.0), 0.0, Likeness.DIFFERENT),
        (ListedObject(b"k", 1, ONE, -math.inf), None, DAY, Likeness.MISSING),
    ],
)
def test_a_row_is_judged_by_the_reference(
    reference: ListedObject | None, other: ListedObject | None, max_lag: float, kind: Likeness
) -> None:
    found = judged(reference, other, max_lag=max_lag)

    assert isinstance(found, AuditFinding)
    assert (found.kind, found.origin, found.key) == (kind, "iad", b"k")


def test_one_size_with_other_etags_is_a_doubt_that_counts_only_where_both_may_be_md5() -> None:
    assert judged(copy(), copy(etag=OTHER)) == AuditDoubt(1, must=True)
    assert judged(copy(), copy(etag=f"{OTHER}-2")) == AuditDoubt(1, must=False)
    assert judged(copy(etag=f"{ONE}-3"), copy(etag=f"{OTHER}-2")) == AuditDoubt(1, must=False)


def test_what_a_part_of_an_origin_does_not_hold_is_no_difference() -> None:
    found = judged(copy(), None, is_part=True)

    assert isinstance(found, AuditFinding) and found.kind is Likeness.NOT_HELD


def test_the_lag_is_the_time_since_the_reference_was_written() -> None:
    missing = judged(copy(age=7.0), None)
    unknown = judged(ListedObject(b"k", 1, ONE, -math.inf), None)

    assert isinstance(missing, AuditFinding) and missing.lag == 7.0
    assert isinstance(unknown, AuditFinding) and unknown.lag is None


def test_each_other_side_is_judged_and_a_key_that_none_should_have_is_not() -> None:
    judge = RowJudge([AuditSide("fra"), AuditSide("iad"), AuditSide("sgp")], started=STARTED)

    found = list(judge.judge(KeyRow(b"k", (None, copy(), None)), NOW))

    assert [(each.origin, each.kind) for each in found if isinstance(each, AuditFinding)] == [("iad", Likeness.EXTRA)]
    assert len(found) == 1


def test_a_tally_counts_each_kind_and_the_oldest_lag() -> None:
    tally = Tally()
    for kind, lag in [
        (Likeness.MISSING, 5.0),
        (Likeness.LAGGING, 9.0),
        (Likeness.SAME, None),
        (Likeness.NOT_HELD, 50.0),
    ]:
        tally.count(AuditFinding(kind, "iad", b"k", 1, NOW, lag=lag))

    assert (tally.missing, tally.lagging, tally.same, tally.not_held) == (1, 1, 1, 1)
    assert (tally.differences, tally.oldest_lag) == (1, 9.0)


@pytest.mark.parametrize("kind", list(Likeness))
def test_every_kind_has_its_count(kind: Likeness) -> None:
    tally = Tally()

    tally.count(AuditFinding(kind, "iad", b"k", 1, NOW))

    assert sum(value for value in tally.as_dict().values()) == 1
