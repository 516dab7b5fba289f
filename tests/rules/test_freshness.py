"""Age and lifetime, RFC 9111 §4.2."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, ResponseHead
from shield.rules.dates import imf_fixdate
from shield.rules.freshness import Freshness, FreshnessRules, freshness_of

T = 1_700_000_000.0
RULES = FreshnessRules(default_lifetime=100.0, negative_lifetime=10.0, grace=30.0, error_grace=300.0, keep=1000.0)
DATE = (b"date", imf_fixdate(T))
ETAG = (b"etag", b'"x"')


def judged(
    *fields: Field, status: int = 200, rules: FreshnessRules = RULES, asked: float = T, answered: float = T
) -> Freshness:
    head = ResponseHead(status, fields, None)
    return freshness_of(head, request_time=asked, response_time=answered, rules=rules)


def test_age_counts_from_birth_and_ttl_goes_below_zero() -> None:
    freshness = Freshness(born=T, lifetime=60.0, grace=10.0, keep=100.0, error_grace=50.0)

    assert (freshness.age(T + 20), freshness.ttl(T + 20)) == (20.0, 40.0)
    assert freshness.ttl(T + 80) == -20.0
    assert freshness.in_grace(T + 69) and not freshness.in_grace(T + 70)
    assert freshness.in_error_grace(T + 109) and not freshness.in_error_grace(T + 110)
    assert freshness.kept_until() == T + 160


def test_age_is_never_negative_when_the_clock_is_set_back() -> None:
    freshness = Freshness(born=T, lifetime=60.0, grace=0.0, keep=0.0)

    assert freshness.age(T - 86400) == 0.0
    assert freshness.ttl(T - 86400) == 60.0


@pytest.mark.parametrize(
    ("fields", "lifetime"),
    [
        ([(b"cache-control", b"s-maxage=1, max-age=2"), (b"expires", imf_fixdate(T + 3))], 1),  # §4.2.1
        ([(b"cache-control", b"max-age=2"), (b"expires", imf_fixdate(T + 3))], 2),
        ([(b"expires", imf_fixdate(T + 3))], 3),
        ([(b"expires", imf_fixdate(T - 3))], 0),
        ([(b"expires", b"0")], 0),  # §5.3
        ([(b"expires", imf_fixdate(T + 3)), (b"expires", imf_fixdate(T + 9))], 0),
        ([(b"expires", imf_fixdate(T + 3)), (b"expires", imf_fixdate(T + 3))], 3),
        ([(b"cache-control", b"max-age=nonsense"), (b"expires", imf_fixdate(T + 3))], 0),
        ([(b"cache-control", b"max-age=9"), (b"cache-control", b"max-age=4")], 4),
        ([(b"cache-control", b"public")], 100),
        ([], 100),
    ],
)
def test_the_lifetime_is_what_is_stated_first_and_else_the_configured_one(
    fields: list[Field], lifetime: float
) -> None:
    assert judged(DATE, *fields).lifetime == lifetime


def test_expires_counts_from_the_origins_own_date() -> None:
    fields = ((b"date", imf_fixdate(T - 50)), (b"expires", imf_fixdate(T + 10)))

    freshness = judged(*fields)

    assert freshness.lifetime == 60.0
    assert freshness.ttl(T) == 10.0


def test_a_share_of_the_time_unchanged_is_a_lifetime_where_no_default_is_configured() -> None:
    rules = replace(RULES, default_lifetime=None, heuristic_fraction=0.1)

    assert judged(DATE, (b"last-modified", imf_fixdate(T - 500)), rules=rules).lifetime == pytest.approx(50.0)
    assert judged(DATE, (b"last-modified", imf_fixdate(T + 500)), rules=rules).lifetime == 0.0
    assert judged(DATE, (b"last-modified", b"long ago"), rules=rules).lifetime == 0.0
    assert judged(DATE, rules=replace(rules, heuristic_fraction=None)).lifetime == 0.0


def test_a_lifetime_is_cut_at_the_limit() -> None:
    assert judged((b"cache-control", b"max-age=99999999999"), rules=replace(RULES, max_lifetime=5.0)).lifetime == 5.0


@pytest.mark.parametrize(
    ("fields", "lifetime"),
    [([], 10), ([(b"cache-control", b"max-age=3600")], 10), ([(b"cache-control", b"max-age=3")], 3)],
)
@pytest.mark.parametrize("status", [404, 410])
def test_an_absent_object_is_remembered_shortly_and_without_grace(
    status: int, fields: list[Field], lifetime: float
) -> None:
    assert judged(*fields, status=status) == Freshness(T, lifetime, 0.0, 0.0)


@pytest.mark.parametrize(
    ("fields", "age"),
    [
        ([DATE], 2),  # the delay of the response itself
        ([DATE, (b"age", b"40")], 42),
        ([DATE, (b"age", b"40, 7")], 42),  # §5.1: the first of several
        ([DATE, (b"age", b"40"), (b"age", b"7")], 42),
        ([DATE, (b"age", b"-5")], 2),
        ([DATE, (b"age", b"1.5")], 2),
        ([DATE, (b"age", b"9" * 30)], 2**31 + 2),
        ([(b"date", imf_fixdate(T - 30))], 32),  # apparent age
        ([(b"date", imf_fixdate(T - 30)), (b"age", b"40")], 42),
        ([(b"date", imf_fixdate(T + 3600))], 2),
        ([(b"date", b"garbage")], 2),
        ([], 2),
    ],
)
def test_the_initial_age_is_the_greatest_that_can_be_told(fields: list[Field], age: float) -> None:
    freshness = judged(*fields, asked=T, answered=T + 2)

    assert freshness.age(T + 2) == age  # §4.2.3


def test_a_clock_set_back_during_the_fetch_neither_adds_nor_takes_age() -> None:
    assert judged(asked=T + 500, answered=T).age(T) == 0.0
    assert judged((b"age", b"40"), asked=T + 500, answered=T).age(T) == 40.0


@pytest.mark.parametrize(
    ("control", "grace", "error_grace"),
    [
        (b"max-age=60", 30, 300),
        (b"max-age=60, stale-while-revalidate=7", 7, 300),
        (b"max-age=60, stale-while-revalidate=0, stale-if-error=0", 0, 0),
        (b"max-age=60, stale-if-error=9", 30, 9),
        (b"max-age=0", 0, 300),  # wants a check each time
        (b"max-age=0, stale-while-revalidate=7", 7, 300),
        (b"s-maxage=60", 0, 0),  # §5.2.2.10
        (b"s-maxage=60, stale-while-revalidate=7, stale-if-error=9", 7, 9),
        (b"max-age=60, must-revalidate, stale-while-revalidate=7, stale-if-error=9", 0, 0),  # §5.2.2.2
        (b"max-age=60, proxy-revalidate", 0, 0),
        (b"no-cache, stale-if-error=9", 0, 0),
    ],
)
def test_grace_is_what_the_origin_allows(control: bytes, grace: float, error_grace: float) -> None:
    freshness = judged((b"cache-control", control))

    assert (freshness.grace, freshness.error_grace) == (grace, error_grace)


def test_only_what_can_be_revalidated_is_kept_beyond_its_grace() -> None:
    assert judged(ETAG).keep == 1000.0
    assert judged((b"last-modified", imf_fixdate(T))).keep == 1000.0
    assert judged((b"last-modified", b"never")).keep == 300.0
    assert judged().keep == 300.0


@given(st.dictionaries(st.sampled_from([b"date", b"age", b"expires", b"cache-control"]), st.binary(max_size=30)))
def test_any_fields_give_finite_times_and_no_negative_lifetime(fields: dict[bytes, bytes]) -> None:
    freshness = judged(*fields.items())

    assert 0.0 <= freshness.lifetime <= RULES.max_lifetime
    assert freshness.born <= T
    assert freshness.keep >= max(freshness.grace, freshness.error_grace) >= 0.0


def test_the_ttl_that_is_told_and_the_age_that_is_sent_add_up_to_the_lifetime() -> None:
    freshness = Freshness(born=100.0, lifetime=60.0, grace=0.0, keep=0.0)

    assert [freshness.shown_ttl(now) for now in (99.0, 100.0, 100.9, 101.0, 175.5)] == [60, 60, 60, 59, -15]
