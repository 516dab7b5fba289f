"""Comparison of a sample of fills with other origins' copies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.identity import Proof
from shield.rules.spotchecks import (
    QUARANTINE_SECONDS,
    QUARANTINES,
    ByteBudget,
    Quarantine,
    Quarantined,
    SpotCopy,
    SpotResult,
    by_heads,
    differing,
    missing,
    partner,
    suspect,
)

NOW = 1_000_000.0
PRIMARY, REPLICA = SpotCopy("fra", is_primary=True), SpotCopy("iad", max_lag=900.0)


@pytest.mark.parametrize(
    ("filled", "origins", "newcomers", "chance", "chosen"),
    [
        ("fra", ["fra"], [], 0.5, None),
        ("fra", ["fra", "iad"], [], 0.5, "iad"),
        ("iad", ["fra", "iad", "sin"], [], 0.99, "fra"),  # the primary tells what is right
        ("fra", ["fra", "iad", "sin"], [], 0.0, "iad"),
        ("fra", ["fra", "iad", "sin"], [], 1.0, "sin"),
        ("fra", ["fra", "iad", "sin"], ["sin"], 0.0, "sin"),
        ("sin", ["fra", "iad", "sin"], ["sin"], 0.0, "fra"),
        ("fra", ["fra", "iad"], ["sin"], 0.0, "iad"),  # it can't be asked
    ],
)
def test_the_other_origin(
    filled: str, origins: list[str], newcomers: list[str], chance: float, chosen: str | None
) -> None:
    assert partner(filled, origins, primary="fra", newcomers=newcomers, chance=chance) == chosen


@pytest.mark.parametrize(
    ("proof", "result"),
    [
        (Proof.CHECKSUM, SpotResult.SAME),
        (Proof.ETAG, SpotResult.SAME),
        (Proof.DIGEST, SpotResult.SAME),
        (Proof.OVERLAP, None),
        (Proof.NONE, SpotResult.DIFFERENT),
    ],
)
def test_heads_tell_most(proof: Proof, result: SpotResult | None) -> None:
    assert by_heads(proof, PRIMARY, REPLICA, NOW) is result


@pytest.mark.parametrize(
    ("ours", "theirs", "result"),
    [
        (NOW - 899.0, None, SpotResult.LAGGING),
        (NOW - 901.0, None, SpotResult.DIFFERENT),
        (NOW - 901.0, NOW - 10.0, SpotResult.LAGGING),  # it was overwritten while this one was fetched
        (None, None, SpotResult.DIFFERENT),
    ],
)
def test_a_difference_is_none_while_replication_may_be_under_way(
    ours: float | None, theirs: float | None, result: SpotResult
) -> None:
    one, other = SpotCopy("fra", is_primary=True, modified=ours), SpotCopy("iad", max_lag=900.0, modified=theirs)

    assert differing(one, other, NOW) is result
    assert differing(other, one, NOW) is result


@pytest.mark.parametrize(
    ("modified", "holds_part", "result"),
    [
        (NOW - 899.0, False, SpotResult.LAGGING),
        (NOW - 901.0, False, SpotResult.ABSENT),
        (None, False, SpotResult.ABSENT),
        (NOW - 901.0, True, SpotResult.UNKNOWN),
    ],
)
def test_an_absent_copy(modified: float | None, holds_part: bool, result: SpotResult) -> None:
    one = SpotCopy("fra", is_primary=True, modified=modified)

    assert missing(one, REPLICA, NOW, holds_part=holds_part) is result


def test_the_primary_is_believed() -> None:
    assert suspect(PRIMARY, REPLICA) == "iad"
    assert suspect(REPLICA, PRIMARY) == "iad"
    assert suspect(REPLICA, SpotCopy("sin")) == "sin"  # the newer one to be asked, where nobody tells


def test_a_budget_lasts_for_the_day() -> None:
    budget, taken = ByteBudget(86_400_000, 0.0), 0
    for second in range(86_400):
        taken += budget.take(100_000, float(second))

    assert 86_400_000 <= taken * 100_000 <= 86_400_000 * 17 / 16 + 100_000


@given(st.lists(st.tuples(st.integers(0, 10_000_000), st.floats(0.0, 1000.0)), max_size=50))
def test_a_budget_is_never_overdrawn(wishes: list[tuple[int, float]]) -> None:
    budget, now, taken = ByteBudget(1e9, 0.0), 0.0, 0
    for size, passed in wishes:
        now += passed
        taken += size if budget.take(size, now) else 0
        assert taken <= 1e9 / 16.0 + now * 1e9 / 86_400.0 + 1e-3


def test_a_key_in_quarantine_is_asked_for_elsewhere_for_a_while() -> None:
    kept = Quarantine()
    assert kept.trusted(b"/a", ["fra", "iad"], NOW) == ["fra", "iad"]
    kept.add(b"/a", "iad", NOW)

    assert kept.trusted(b"/a", ["iad", "fra"], NOW + 1.0) == ["fra"]
    assert kept.trusted(b"/b", ["iad", "fra"], NOW + 1.0) == ["iad", "fra"]
    assert kept.trusted(b"/a", ["iad"], NOW + 1.0) == ["iad"]  # never none
    assert kept.trusted(b"/a", ["iad", "fra"], NOW + QUARANTINE_SECONDS) == ["iad", "fra"]


def test_quarantine_is_bounded() -> None:
    kept = Quarantine()
    for number in range(QUARANTINES + 5):
        kept.add(b"/%d" % number, "iad", NOW)

    assert len(kept) == QUARANTINES
    assert kept.trusted(b"/4", ["iad", "fra"], NOW) == ["iad", "fra"]
    assert kept.trusted(b"/5", ["iad", "fra"], NOW) == ["fra"]


def test_what_others_found_holds_beside_what_was_found_here() -> None:
    kept = Quarantine()
    kept.hear({(b"/a", "fra"): NOW + 60.0})
    kept.add(b"/a", "iad", NOW, b"key")

    assert kept.trusted(b"/a", ["fra", "iad", "ams"], NOW) == ["ams"]
    assert kept.trusted(b"/a", ["fra", "iad"], NOW + 60.0) == ["fra"]
    assert kept.trusted(b"/a", ["fra", "iad"], NOW) == ["fra", "iad"]  # somebody has to
    kept.hear({})
    assert kept.trusted(b"/a", ["fra", "iad"], NOW) == ["fra"]


def test_the_newest_that_hold_are_told_to_others() -> None:
    kept = Quarantine()
    for each in range(5):
        kept.add(b"/%d" % each, "fra", NOW + each, b"key-%d" % each)

    assert kept.own(NOW + 5.0, 2) == [
        Quarantined(b"/3", "fra", QUARANTINE_SECONDS - 2.0, b"key-3"),
        Quarantined(b"/4", "fra", QUARANTINE_SECONDS - 1.0, b"key-4"),
    ]
    assert [each.path for each in kept.own(NOW + QUARANTINE_SECONDS + 3.5, 9)] == [b"/4"]
