"""Targeted fields, RFC 9213, and Surrogate-Control."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, ResponseHead
from shield.rules.cache_control import ABSENT, MAX_SECONDS, CacheControl
from shield.rules.targeted import governing, parse, parse_surrogate

OWN, CDN, SURROGATE = b"shield-cache-control", b"cdn-cache-control", b"surrogate-control"
PLAIN = (b"cache-control", b"max-age=1")


@pytest.mark.parametrize(
    ("fields", "max_age", "is_targeted"),
    [
        # §2.2: the first of the list that is valid and not empty, whatever order they came in
        ([PLAIN], 1, False),
        ([PLAIN, (CDN, b"max-age=2")], 2, True),
        ([(CDN, b"max-age=2"), (OWN, b"max-age=3")], 3, True),
        ([PLAIN, (OWN, b""), (CDN, b"max-age=2")], 2, True),
        ([PLAIN, (OWN, b"max-age = 3"), (CDN, b"max-age=2")], 2, True),
        ([PLAIN, (OWN, b"max-age=3,")], 1, False),
        ([PLAIN, (CDN, b"  ")], 1, False),
        ([PLAIN, (b"other-cache-control", b"max-age=9")], 1, False),
        # none of its directives is known, yet it counts (§3.1, last example)
        ([PLAIN, (CDN, b"none")], None, True),
        # lines of one field are one dictionary
        ([(CDN, b"no-cache"), (CDN, b"max-age=4")], 4, True),
        ([PLAIN, (CDN, b"max-age=4"), (CDN, b"max-age = 5")], 1, False),
    ],
)
def test_the_first_valid_field_of_the_list_governs(
    fields: list[Field], max_age: int | None, is_targeted: bool
) -> None:
    control, found = governing(ResponseHead(200, tuple(fields), None), (OWN, CDN))

    assert (control.max_age, found) == (max_age, is_targeted)


def test_what_governs_governs_alone() -> None:
    head = ResponseHead(200, ((b"cache-control", b"no-store, private"), (CDN, b"max-age=60")), None)

    assert governing(head, (CDN,)) == (CacheControl(max_age=60), True)
    assert governing(head, ()) == (CacheControl(no_store=True, private=True), False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"max-age=60, must-revalidate", CacheControl(max_age=60, must_revalidate=True)),
        (b"s-maxage=5, no-transform", CacheControl(s_maxage=5, no_transform=True)),
        (b"no-store, no-cache, private", CacheControl(no_store=True, no_cache=True, private=True)),
        (b'no-cache="set-cookie, X-A"', CacheControl(no_cache_fields=(b"set-cookie", b"x-a"))),
        (b'private="a"', CacheControl(private_fields=(b"a",))),
        (b"stale-while-revalidate=7, stale-if-error=8", CacheControl(stale_while_revalidate=7, stale_if_error=8)),
        (b"public, immutable, must-understand", CacheControl(public=True, immutable=True, must_understand=True)),
        (b"max-age=60;x=1, unknown=(1 2)", CacheControl(max_age=60)),  # §2.1: parameters are ignored
        (b"max-age=1, max-age=60", CacheControl(max_age=60)),  # RFC 9651 §4.2.2
        (b"max-age=999999999999999", CacheControl(max_age=MAX_SECONDS)),
        (b"max-age=-1", CacheControl(max_age=0)),
        # §2.1: values of another type tighten
        (b"max-age", CacheControl(max_age=0)),
        (b'max-age="60"', CacheControl(max_age=0)),
        (b"max-age=60.5", CacheControl(max_age=0)),
        (b"max-age=(60)", CacheControl(max_age=0)),
        (b"no-store=1, no-cache=(a), private=a", CacheControl(no_store=True, no_cache=True, private=True)),
        (b'no-cache="a b"', CacheControl(no_cache=True)),
        (b"public=1, immutable=?0, must-understand=x", ABSENT),
        (b"no-store=?0, private=?0", ABSENT),
    ],
)
def test_directives_are_read_by_their_types(value: bytes, expected: CacheControl) -> None:
    assert parse(value) == expected


@pytest.mark.parametrize(
    "value",
    [b"", b" ", b"Max-Age=60", b"max-age=60 no-store", b"max-age=60;", b"no-cache='x'", b"max-age=1000000000000000"],
)
def test_a_field_that_is_invalid_or_empty_says_nothing(value: bytes) -> None:
    assert parse(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"max-age=3600", CacheControl(max_age=3600)),
        (b"MaX-aGe=3600", CacheControl(max_age=3600)),
        (b"max-age=60+30", CacheControl(max_age=60, stale_while_revalidate=30, stale_if_error=30)),
        (b"max-age=" + b"9" * 5000, CacheControl(max_age=MAX_SECONDS)),
        (b"max-age=0060", CacheControl(max_age=60)),
        (b"max-age=60, max-age=5", CacheControl(max_age=5)),
        (b'content="ESI/1.0", max-age=60', CacheControl(max_age=60)),
        (b'content="max-age=9, no-store", max-age=60', CacheControl(max_age=60)),
        (b"foobar, max-age=60", CacheControl(max_age=60)),
        (b"no-store, max-age=60", CacheControl(no_store=True, max_age=60)),
        (b"no-store-remote", CacheControl(no_store=True)),
        (b"max-age=60;for-another", None),
        (b"max-age=60;Fra-1", CacheControl(max_age=60)),
        (b"max-age=60; fra-1 ;, no-store;for-another", CacheControl(max_age=60)),
        (b"max-age=60;fra-1;for-another", None),
        (b"max-age=5, max-age=60;fra-1", CacheControl(max_age=60)),  # what is said to us wins
        (b"max-age=60;fra-1, max-age=5", CacheControl(max_age=60)),
        (b"no-store, max-age=60;fra-1", CacheControl(no_store=True, max_age=60)),
        (b"no-store;for-another, max-age=60; ", CacheControl(max_age=60)),
        (b"max-age =100", CacheControl(max_age=0)),
        (b"max-age= 100", CacheControl(max_age=0)),
        (b"max-age=-1", CacheControl(max_age=0)),
        (b"max-age", CacheControl(max_age=0)),
        (b'content="ESI/1.0"', None),
        (b"", None),
    ],
)
def test_surrogate_control_is_read(value: bytes, expected: CacheControl | None) -> None:
    assert parse_surrogate(value, b"fra-1") == expected


def test_who_has_no_name_is_no_target() -> None:
    assert parse_surrogate(b"max-age=60;fra-1") is None


def test_surrogate_control_counts_where_it_is_listed() -> None:
    head = ResponseHead(200, (PLAIN, (SURROGATE, b"max-age=60")), None)

    assert governing(head, (SURROGATE, CDN))[0].max_age == 60
    assert governing(head, (CDN,))[0].max_age == 1


NAMES = st.sampled_from([b"max-age", b"no-store", b"private", b"no-cache", b"public", b"content"])
BITS = NAMES | st.sampled_from([b"=", b",", b", ", b";", b'"', b"60", b"+", b"?0", b"(", b")", b"\\", b"1.5"])


@given(st.lists(BITS | st.binary(max_size=3), max_size=12).map(b"".join))
def test_any_bytes_are_directives_or_nothing(value: bytes) -> None:
    for control in (parse(value), parse_surrogate(value)):
        if control is not None:
            assert control.max_age is None or 0 <= control.max_age <= MAX_SECONDS


@given(
    st.lists(BITS, max_size=8).map(b"".join), st.sampled_from([b"no-store", b"private", b"no-cache", b"max-age=0"])
)
def test_another_restrictive_directive_is_never_lost(value: bytes, more: bytes) -> None:
    before, after = parse(value), parse(value + b", " + more)

    if before is not None:
        assert after is not None
        assert after.no_store or after.private or after.no_cache or after.max_age == 0
