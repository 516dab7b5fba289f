"""Cache-Control, by sections of RFC 9111."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.cache_control import ABSENT, MAX_SECONDS, CacheControl, parse


def test_nothing_said_is_absent() -> None:
    assert parse([]) == parse([b""]) == parse([b" , ,"]) == ABSENT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"max-age=60", CacheControl(max_age=60)),
        (b"s-maxage=5, max-age=60", CacheControl(max_age=60, s_maxage=5)),
        (b"no-store", CacheControl(no_store=True)),
        (b"no-transform", CacheControl(no_transform=True)),
        (b"public, immutable", CacheControl(public=True, immutable=True)),
        (b"must-revalidate,proxy-revalidate", CacheControl(must_revalidate=True, proxy_revalidate=True)),
        (b"must-understand, no-store", CacheControl(must_understand=True, no_store=True)),
        (b"private", CacheControl(private=True)),
        (b"no-cache", CacheControl(no_cache=True)),
        (b"stale-while-revalidate=7, stale-if-error=8", CacheControl(stale_while_revalidate=7, stale_if_error=8)),
        (b"max-stale", CacheControl(max_stale=MAX_SECONDS)),
        (b"max-stale=9, min-fresh=3, only-if-cached", CacheControl(max_stale=9, min_fresh=3, only_if_cached=True)),
        (b"\tMAX-Age=60 ,, No-Store\t", CacheControl(max_age=60, no_store=True)),  # §5.2: names in any case
        (b'max-age="60"', CacheControl(max_age=60)),  # §5.2: either form of argument
        (b'max-age="6\\0"', CacheControl(max_age=60)),
        (b"community=UCI, x=1", ABSENT),  # §5.2.3
        (b'community="a, no-store", max-age=1', CacheControl(max_age=1)),
    ],
)
def test_directives_are_read(value: bytes, expected: CacheControl) -> None:
    assert parse([value]) == expected


@pytest.mark.parametrize(
    ("values", "expected"),  # §5.2.2.4, §5.2.2.7
    [
        ([b'no-cache="Set-Cookie, X-A"'], CacheControl(no_cache_fields=(b"set-cookie", b"x-a"))),
        ([b"private=X-B", b'private=" x-c "'], CacheControl(private_fields=(b"x-b", b"x-c"))),
        ([b'no-cache="a,, b,"'], CacheControl(no_cache_fields=(b"a", b"b"))),
        ([b'no-cache="a", no-cache'], CacheControl(no_cache=True, no_cache_fields=(b"a",))),
        # what names no field, or something else besides, holds for all
        ([b'no-cache=""'], CacheControl(no_cache=True)),
        ([b'no-cache=" , "'], CacheControl(no_cache=True)),
        ([b'private="a, b c"'], CacheControl(private=True)),
        ([b'private="a'], CacheControl(private=True)),
        ([b"private="], CacheControl(private=True)),
        ([b"private; a"], CacheControl(private=True)),
    ],
)
def test_qualified_forms_name_fields_or_are_unqualified(values: list[bytes], expected: CacheControl) -> None:
    assert parse(values) == expected


@pytest.mark.parametrize(
    "value", [b"-1", b"1.5", b"", b"abc", b"0x10", b'"', b" 60", b"60; x", b"60 60", b"+60", b'""', b"\xb2"]
)
def test_an_invalid_age_is_none_at_all(value: bytes) -> None:
    assert parse([b"max-age=" + value]).max_age == 0  # §4.2.1


@pytest.mark.parametrize("value", [b"max-age", b"max-age 60", b"max-age =60", b"max-age;60"])
def test_an_age_without_a_readable_argument_is_none_at_all(value: bytes) -> None:
    assert parse([value]).max_age == 0


@pytest.mark.parametrize("digits", [b"2147483648", b"2147483649", b"9" * 30, b"0" * 1500 + b"9" * 12])
def test_ages_beyond_the_limit_are_the_limit(digits: bytes) -> None:
    assert parse([b"max-age=" + digits]).max_age == MAX_SECONDS  # §1.2.2


def test_leading_zeros_change_nothing() -> None:
    assert parse([b"max-age=003600"]).max_age == 3600


def test_of_several_values_the_most_restrictive_holds() -> None:
    assert parse([b"max-age=60, max-age=5", b"max-age=90"]).max_age == 5  # §4.2.1
    assert parse([b"max-age=60, max-age=x"]).max_age == 0
    assert parse([b"min-fresh=1, min-fresh=9"]).min_fresh == 9


@pytest.mark.parametrize(
    "value",
    [b"no-store;max-age=9", b"no-store max-age=9", b"no-store=1", b'no-store="', b'x="a, no-store', b"no-store="],
)
def test_malformed_elements_still_tighten(value: bytes) -> None:
    assert parse([value]).no_store


@pytest.mark.parametrize("value", [b"public;x", b"public max-age=60", b"immutable x", b"must-understand="])
def test_malformed_elements_never_loosen(value: bytes) -> None:
    control = parse([value])

    assert not (control.public or control.immutable or control.must_understand or control.max_age)


def test_a_value_of_absurd_length_is_taken_for_no_store() -> None:
    assert parse([b"x" * 5000 + b", max-age=60"]).no_store


def test_identical_values_are_parsed_once() -> None:
    assert parse([b"max-age=61, public"]) is parse([b"max-age=61, public"])


ELEMENTS = st.sampled_from(
    [b"max-age", b"no-cache", b"private", b"no-store", b"public", b"=", b'"', b"\\", b",", b" ", b"60", b";", b"a"]
)


@given(st.lists(st.one_of(ELEMENTS, st.binary(max_size=4)), max_size=20).map(b"".join))
def test_any_bytes_parse_and_seconds_stay_in_bounds(value: bytes) -> None:
    control = parse([value])

    for seconds in (control.max_age, control.s_maxage, control.stale_while_revalidate, control.stale_if_error):
        assert seconds is None or 0 <= seconds <= MAX_SECONDS


@given(st.lists(ELEMENTS, max_size=12).map(b"".join).filter(lambda value: value.count(b'"') % 2 == 0))
def test_another_line_with_no_store_is_never_lost(value: bytes) -> None:
    assert parse([b"no-store", value]).no_store
