"""Orders and doubts for keys that changed lately."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import ResponseHead
from shield.rules.absence import WEAK_SECONDS
from shield.rules.changes import (
    UNSTATED_LAG_SECONDS,
    Changed,
    ChangeKind,
    authorities,
    is_doubtful,
    lag_of,
    limit,
    limited,
    version_of,
    with_primary_first,
)
from shield.rules.freshness import Freshness, FreshnessRules
from shield.rules.ranking import OriginFacts

FRA = OriginFacts("fra", is_primary=True)
IAD, SGP = OriginFacts("iad", copy_of="fra", max_lag=60.0), OriginFacts("sgp", copy_of="fra")
A, B, HOT = OriginFacts("a"), OriginFacts("b"), OriginFacts("hot", holds_all=False)


@pytest.mark.parametrize(
    ("facts", "lag"),
    [
        ((), 0.0),
        ((FRA,), 0.0),
        ((A, B), 0.0),
        ((FRA, IAD), 60.0),
        ((IAD,), 60.0),
        ((FRA, IAD, SGP), UNSTATED_LAG_SECONDS),
        ((FRA, OriginFacts("x", copy_of="fra", max_lag=0.0)), 0.0),
    ],
)
def test_the_slowest_copy_counts(facts: Sequence[OriginFacts], lag: float) -> None:
    assert lag_of(facts) == lag


def test_the_primary_comes_first_and_the_others_stay_in_order() -> None:
    assert with_primary_first(("sgp", "iad", "fra"), (FRA, IAD, SGP)) == ("fra", "sgp", "iad")
    assert with_primary_first(("sgp", "iad"), (IAD, SGP)) == ("sgp", "iad")
    assert with_primary_first(("b", "a"), (A, B)) == ("b", "a")
    assert with_primary_first(("sgp", "iad", "fra"), (FRA, IAD, SGP), ["sgp"]) == ("fra", "iad", "sgp")


def test_what_was_taken_down_comes_from_the_primary_or_else_from_all_that_have_all() -> None:
    assert authorities(("iad", "fra"), (FRA, IAD)) == ("fra",)
    assert authorities(("iad",), (IAD,)) == ("fra",)
    assert authorities(("hot", "b", "a"), (A, B, HOT)) == ["b", "a"]
    assert authorities(("hot",), (HOT,)) == ("hot",)


V, W = version_of(b'"v"', 10), version_of(b'"w"', 10)


@pytest.mark.parametrize(
    ("kind", "before", "origin", "version", "doubtful"),
    [
        (ChangeKind.PURGED, V, "fra", V, False),
        (ChangeKind.PURGED, V, "iad", V, True),
        (ChangeKind.PURGED, V, "iad", W, False),
        (ChangeKind.PURGED, 0, "iad", W, True),
        (ChangeKind.PURGED, V, "iad", 0, True),
        (ChangeKind.PURGED, V, None, V, True),
        (ChangeKind.CHANGED, V, "iad", V, True),
        (ChangeKind.CHANGED, V, "iad", W, False),
        (ChangeKind.NEW, 0, "iad", W, False),
        (ChangeKind.DELETED, V, "iad", V, True),
        (ChangeKind.DELETED, 0, "iad", W, True),
    ],
)
def test_a_copys_bytes_are_doubtful_unless_they_differ_from_those_before(
    kind: ChangeKind, before: int, origin: str | None, version: int, doubtful: bool
) -> None:
    changed = Changed(kind, 0.0, 60.0, before)

    assert is_doubtful(changed, (FRA, IAD), origin, version) is doubtful
    assert not is_doubtful(changed, (A, B), "a", version)  # no origin is a copy of another


def test_a_version_is_of_tag_and_length() -> None:
    assert version_of(b'W/"v"', 10) == V != W
    assert version_of(b'"v"', 11) != V
    assert version_of(None, 10) == version_of(b'"v"', None) == 0


def head(**fields: str) -> ResponseHead:
    return ResponseHead(200, tuple((n.replace("_", "-").encode(), v.encode()) for n, v in fields.items()), 3)


RULES = FreshnessRules(targeted=(b"shield-cache-control", b"cdn-cache-control"))


@pytest.mark.parametrize(
    ("given_head", "control"),
    [
        (head(), "max-age=2"),
        (head(cache_control="max-age=60"), "max-age=2"),
        (
            head(cache_control="public, s-maxage=60, must-revalidate", expires="0", age="5"),
            "max-age=2, public, must-revalidate",
        ),
        (head(cdn_cache_control="max-age=60", cache_control="max-age=9"), "max-age=2"),
        (head(surrogate_control="max-age=60"), "max-age=2"),
    ],
)
def test_a_doubtful_response_says_that_it_lasts_for_seconds(given_head: ResponseHead, control: str) -> None:
    found = limited(given_head, RULES)

    assert found.fields == ((b"cache-control", control.encode()),)
    assert (found.status, found.length) == (200, 3)


@pytest.mark.parametrize(
    "kept",
    [
        head(cache_control="no-store"),
        head(cache_control="private"),
        head(cache_control="max-age=5, no-cache"),
        head(cache_control='private="set-cookie", max-age=9'),
        head(cache_control="max-age=5", shield_cache_control="no-store"),
        head(cdn_cache_control="no-store", cache_control="max-age=5"),
    ],
)
def test_one_that_forbids_caching_still_does(kept: ResponseHead) -> None:
    assert limited(kept, RULES) is kept


@given(born=st.floats(0, 1e6), lifetime=st.floats(0, 1e6), grace=st.floats(0, 1e6), now=st.floats(0, 2e6))
def test_it_never_lasts_longer_than_before_nor_than_seconds(
    born: float, lifetime: float, grace: float, now: float
) -> None:
    freshness = Freshness(born, lifetime, grace, 1.0, grace)
    before = freshness.ttl(now)

    limit(freshness, now)

    assert freshness.ttl(now) <= min(before, WEAK_SECONDS) + 1e-6
    assert not freshness.in_error_grace(max(now, born) + WEAK_SECONDS + 1.0)
