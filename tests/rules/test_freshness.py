"""Age and lifetime, RFC 9111 §4.2."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, ResponseHead
from shield.rules.cache_control import MAX_SECONDS
from shield.rules.dates import imf_fixdate
from shield.rules.freshness import Freshness, FreshnessRules, freshness_of, policy_of

T = 1_700_000_000.0
RULES = FreshnessRules(default_lifetime=100.0, negative_lifetime=10.0, grace=30.0, error_grace=300.0, keep=1000.0)
DATE = (b"date", imf_fixdate(T))
ETAG = (b"etag", b'"x"')


def judged(
    *fields: Field, status: int = 200, rules: FreshnessRules = RULES, asked: float = T, answered: float = T
) -> Freshness:
    head = ResponseHead(status, fields, None)
    policy = policy_of(head, answered, rules)
    return freshness_of(head, policy, request_time=asked, response_time=answered, rules=rules)


def cc(value: bytes) -> Field:
    return (b"cache-control", value)


def test_age_counts_from_birth_and_ttl_goes_below_zero() -> None:
    freshness = Freshness(born=T, lifetime=60.0, grace=10.0, keep=100.0, error_grace=50.0)

    assert (freshness.age(T + 20), freshness.ttl(T + 20)) == (20.0, 40.0)
    assert freshness.ttl(T + 80) == -20.0
    assert freshness.in_error_grace(T + 109) and not freshness.in_error_grace(T + 110)


def test_age_is_never_negative_when_the_clock_is_set_back() -> None:
    freshness = Freshness(born=T, lifetime=60.0, grace=0.0, keep=0.0)

    assert freshness.age(T - 86400) == 0.0
    assert freshness.ttl(T - 86400) == 60.0


@pytest.mark.parametrize(
    ("fields", "lifetime"),
    [
        # §4.2.1: which of them counts
        ([cc(b"s-maxage=1, max-age=2"), (b"expires", imf_fixdate(T + 3))], 1),
        ([cc(b"max-age=2"), (b"expires", imf_fixdate(T + 3))], 2),
        ([(b"expires", imf_fixdate(T + 3))], 3),
        ([cc(b"public")], 100),
        ([], 100),
        # §4.2.1: invalid and contradictory values are on the safe side
        ([cc(b"max-age=nonsense"), (b"expires", imf_fixdate(T + 3))], 0),
        ([cc(b"max-age=9.5")], 0),
        ([cc(b"max-age=-9")], 0),
        ([cc(b"max-age= 9")], 0),
        ([cc(b'max-age="9"')], 9),
        ([cc(b"max-age=09")], 9),
        ([cc(b"max-age=9, max-age=4")], 4),
        ([cc(b"max-age=4"), cc(b"max-age=9")], 4),
        ([cc(b"s-maxage=x, max-age=9")], 0),
        # §5.3: Expires
        ([(b"expires", imf_fixdate(T - 3))], 0),
        ([(b"expires", imf_fixdate(T))], 0),
        ([(b"expires", b"0")], 0),
        ([(b"expires", b"-1")], 0),
        ([(b"expires", b"")], 0),
        ([(b"expires", imf_fixdate(T + 3)), (b"expires", imf_fixdate(T + 9))], 0),
        ([(b"expires", imf_fixdate(T + 3)), (b"expires", imf_fixdate(T + 3))], 3),
        ([(b"expires", b"Tue, 14 Nov 2023 22:13:23 GMT")], 3),
        ([(b"expires", b"Tuesday, 14-Nov-23 22:13:23 GMT")], 3),
        ([(b"expires", b"Tue Nov 14 22:13:23 2023")], 3),
        ([(b"expires", b"TUE, 14 NOV 2023 22:13:23 gMT")], 3),
        ([(b"expires", b"Tue, 14 Nov 2023 22:13:23 UTC")], 0),
        ([(b"expires", b"Tue, 14 Nov 2023 22:13:23 AEST")], 0),
        ([(b"expires", b"Tue, 14 Nov 23 22:13:23 GMT")], 0),
        ([(b"expires", b"Tue 14 Nov 2023 22:13:23 GMT")], 0),
        ([(b"expires", b"Tue, 14  Nov  2023 22:13:23 GMT")], 0),
        ([(b"expires", b"Tue, 14-Nov-2023 22:13:23 GMT")], 0),
        ([(b"expires", b"Tue, 14 Nov 2023 22.13.23 GMT")], 0),
        ([(b"expires", b"Wed, 15 Nov 2023 2:13:23 GMT")], 0),
        # §5.2.2.4: whatever else it says, it has to be asked about
        ([cc(b"no-cache, max-age=9")], 0),
        ([cc(b'no-cache="x", max-age=9')], 0),
        # RFC 9213 §2.2: a targeted field counts alone
        ([cc(b"max-age=2"), (b"cdn-cache-control", b"max-age=5")], 5),
        ([cc(b"no-cache"), (b"expires", b"0"), (b"cdn-cache-control", b"max-age=5")], 5),
        ([(b"expires", imf_fixdate(T + 3)), (b"cdn-cache-control", b"public")], 100),
        ([cc(b"max-age=2"), (b"cdn-cache-control", b"max-age=5.5")], 0),
        ([cc(b"max-age=2"), (b"cdn-cache-control", b"Max-Age=5")], 2),
        ([cc(b"max-age=2"), (b"cdn-cache-control", b"")], 2),
        ([cc(b"max-age=2"), (b"surrogate-control", b"max-age=5")], 2),  # not listed
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


HEURISTIC = replace(RULES, default_lifetime=None, heuristic_fraction=0.1)


def test_a_share_of_the_time_unchanged_is_a_lifetime_where_no_default_is_configured() -> None:
    assert judged(DATE, (b"last-modified", imf_fixdate(T - 500)), rules=HEURISTIC).lifetime == pytest.approx(50.0)
    assert judged(DATE, (b"last-modified", imf_fixdate(T + 500)), rules=HEURISTIC).lifetime == 0.0
    assert judged(DATE, (b"last-modified", b"long ago"), rules=HEURISTIC).lifetime == 0.0
    assert judged(DATE, rules=replace(HEURISTIC, heuristic_fraction=None)).lifetime == 0.0


@pytest.mark.parametrize(
    ("status", "control", "lifetime"),
    [
        *[(status, b"", 50) for status in (200, 203, 204, 300, 301, 308)],  # RFC 9110 §15.1
        *[(status, b"", 0) for status in (201, 202, 205, 299, 302, 303, 307)],
        *[(status, b"public", 50) for status in (201, 299, 302, 307)],  # §4.2.2: marked as cacheable
        (302, b"max-age=7", 7),
    ],
)
def test_only_some_statuses_get_a_lifetime_without_stating_one(status: int, control: bytes, lifetime: float) -> None:
    unchanged = (b"last-modified", imf_fixdate(T - 500))

    assert judged(DATE, unchanged, cc(control), status=status, rules=HEURISTIC).lifetime == pytest.approx(lifetime)


def test_a_lifetime_is_cut_at_the_limit() -> None:
    assert judged((b"cache-control", b"max-age=99999999999"), rules=replace(RULES, max_lifetime=5.0)).lifetime == 5.0


FORCED = replace(RULES, forced_lifetime=77.0)
DEAF = replace(RULES, ignore_cache_control=True)


@pytest.mark.parametrize(
    ("control", "rules", "lifetime"),
    [
        (b"max-age=5", FORCED, 77),
        (b"no-cache", FORCED, 77),
        (b"", FORCED, 77),
        (b"max-age=5", replace(FORCED, max_lifetime=60.0), 60),
        (b"max-age=5", DEAF, 100),
        (b"no-cache, no-store, private", DEAF, 100),
        (b"no-cache", replace(DEAF, forced_lifetime=77.0), 77),
    ],
)
def test_a_lifetime_may_be_forced_on_what_origins_say(control: bytes, rules: FreshnessRules, lifetime: float) -> None:
    assert judged(cc(control), rules=rules).lifetime == lifetime


def test_what_origins_say_of_staleness_counts_under_a_forced_lifetime() -> None:
    assert judged(cc(b"must-revalidate"), rules=FORCED).grace == 0.0
    assert judged(cc(b"no-cache"), rules=FORCED).error_grace == 0.0
    assert judged(cc(b"stale-while-revalidate=7"), rules=FORCED).grace == 7.0


def test_where_directives_are_ignored_expires_and_targeted_fields_are_too() -> None:
    fields = ((b"expires", b"0"), (b"cdn-cache-control", b"no-store"), cc(b"must-revalidate"))

    freshness = judged(*fields, rules=DEAF)

    assert (freshness.lifetime, freshness.grace) == (100.0, 30.0)


@pytest.mark.parametrize(
    ("status", "fields", "lifetime"),
    [
        (404, [], 10),
        (410, [], 10),
        (404, [cc(b"max-age=3600")], 10),
        (404, [cc(b"max-age=3")], 3),
        (404, [cc(b"no-cache, max-age=3")], 0),
        (404, [(b"expires", b"0")], 0),
        (405, [], 10),
        (414, [], 10),
        (501, [], 10),
        (400, [cc(b"max-age=3600")], 10),
    ],
)
def test_an_error_is_believed_shortly_and_without_grace(status: int, fields: list[Field], lifetime: float) -> None:
    assert judged(*fields, ETAG, status=status) == Freshness(T, lifetime, 0.0, 0.0)


@pytest.mark.parametrize(
    ("status", "bound"),
    [
        (404, 60),
        (410, 10),
        (503, 2),
        (403, 1),
        (500, None),
        (502, None),
        (401, None),
        (429, None),
        (501, 10),
        (400, 10),
    ],
)
def test_each_error_may_have_its_own_bound_and_passing_ones_have_none_else(status: int, bound: float | None) -> None:
    rules = replace(RULES, negative={404: 60.0, 503: 2.0, 403: 1.0})

    assert rules.negative_bound(status) == bound
    if bound is not None:
        assert judged(cc(b"max-age=3600"), status=status, rules=rules).lifetime == bound
        assert judged(cc(b"max-age=1"), status=status, rules=rules).lifetime == 1
        assert judged(status=status, rules=rules).lifetime == bound


@pytest.mark.parametrize(
    ("fields", "age"),
    [
        ([DATE], 2),  # the delay of the response itself
        ([DATE, (b"age", b"40")], 42),
        # §5.1: the first of a list, and what is no number is ignored
        ([DATE, (b"age", b"40, 7")], 42),
        ([DATE, (b"age", b"7,40")], 9),
        ([DATE, (b"age", b"x, 40")], 2),
        ([DATE, (b"age", b"-5")], 2),
        ([DATE, (b"age", b"abc")], 2),
        ([DATE, (b"age", b"")], 2),
        ([DATE, (b"age", b"0" * 30 + b"40")], 42),
        ([DATE, (b"age", b"9" * 30)], 2**31 + 2),
        ([DATE, (b"age", b"40"), (b"age", b"7")], 42),
        ([DATE, (b"age", b"7"), (b"age", b"40")], 9),
        ([DATE, (b"age", b"x"), (b"age", b"40")], 2),
        ([DATE, (b"age", b"40, 7"), (b"age", b"50")], 42),
        ([DATE, (b"age", b"40.9")], 2),
        ([DATE, (b"age", b"7200.0")], 2),
        ([DATE, (b"age", b"40;x=1")], 2),
        ([DATE, (b"age", b"\xc2\xb2")], 2),
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


@given(st.lists(st.lists(st.sampled_from([b"40", b"7", b"x", b"7.0", b"", b"-1"]), min_size=1), min_size=1))
def test_an_age_is_its_first_value_however_the_values_are_divided_into_lines(lines: list[list[bytes]]) -> None:
    values = [value for line in lines for value in line]
    together, apart = (b"age", b", ".join(values)), [(b"age", b",".join(line)) for line in lines]

    expected = float(values[0]) if values[0].isdigit() else 0.0
    assert judged(DATE, together).age(T) == judged(DATE, *apart).age(T) == expected


@pytest.mark.parametrize(
    ("lines", "age"),
    [
        ([], 0),
        ([b"40"], 40),
        *[([line], MAX_SECONDS) for line in (b"abc", b"-5", b"", b"40, 40", b"40.0", b"40;x=1", b"+4")],
        ([b"0", b"0"], MAX_SECONDS),
    ],
)
def test_an_age_that_is_not_one_number_may_be_taken_for_the_greatest(lines: list[bytes], age: float) -> None:
    fields = [DATE, *[(b"age", line) for line in lines]]

    assert judged(*fields, rules=replace(RULES, invalid_age="stale")).age(T) == age


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
        (b'no-cache="x", stale-if-error=9', 0, 0),
    ],
)
def test_grace_is_what_the_origin_allows(control: bytes, grace: float, error_grace: float) -> None:
    freshness = judged((b"cache-control", control))

    assert (freshness.grace, freshness.error_grace) == (grace, error_grace)


def test_only_what_can_be_revalidated_is_kept_beyond_its_grace() -> None:
    assert judged(ETAG).keep == 1000.0
    assert judged((b"last-modified", imf_fixdate(T))).keep == 1000.0
    assert judged((b"last-modified", b"never")).keep == 300.0
    assert judged((b"etag", b"unquoted")).keep == 300.0  # no origin could be asked by that
    assert judged(ETAG, status=301, rules=RULES).keep == 300.0  # nor about anything but a 200
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


def test_a_no_cache_that_names_fields_may_hold_for_these_alone() -> None:
    rules = replace(RULES, honour_field_names=True)

    assert judged(cc(b'no-cache="x", max-age=9'), rules=rules).lifetime == 9.0
    assert judged(cc(b'no-cache="x", max-age=9'), rules=rules).grace == 30.0
    assert judged(cc(b'no-cache="x", no-cache, max-age=9'), rules=rules).lifetime == 0.0
    assert judged(cc(b'no-cache="x, vary", max-age=9'), rules=rules).lifetime == 0.0  # no response without that


TIGHTENING = st.sampled_from(
    [b"no-cache", b'no-cache="a"', b"must-revalidate", b"proxy-revalidate", b"max-age=0", b"s-maxage=0", b"max-age=x"]
)
SAID = st.lists(
    st.sampled_from(
        [b"max-age=9", b"s-maxage=5", b"public", b"stale-while-revalidate=7", b"stale-if-error=8", b"x=y"]
    )
    | TIGHTENING,
    max_size=5,
)


@given(SAID, TIGHTENING, st.integers(0, 6))
def test_another_restrictive_directive_makes_nothing_fresher(said: list[bytes], more: bytes, at: int) -> None:
    before = judged(cc(b", ".join(said)), ETAG)
    after = judged(cc(b", ".join([*said[:at], more, *said[at:]])), ETAG)

    assert after.lifetime <= before.lifetime
    assert after.lifetime + after.grace <= before.lifetime + before.grace
    assert after.lifetime + after.error_grace <= before.lifetime + before.error_grace
