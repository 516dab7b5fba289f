"""Preconditions, RFC 9110 §13."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, ResponseHead
from shield.rules import conditional
from shield.rules.conditional import (
    HeadEffect,
    evaluate,
    freshens,
    head_effect,
    if_range_matches,
    is_known,
    is_tag,
    matches,
    validators,
)
from shield.rules.dates import imf_fixdate

T = 1_700_000_000
NOW, BEFORE, AFTER = imf_fixdate(T), imf_fixdate(T - 1), imf_fixdate(T + 1)


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({}, None),
        # step 1, §13.1.1: strong comparison
        ({b"if-match": b'"a"'}, None),
        ({b"if-match": b'"b", "a"'}, None),
        ({b"if-match": b"*"}, None),
        ({b"if-match": b'"b"'}, 412),
        ({b"if-match": b'W/"a"'}, 412),
        ({b"if-match": b"a"}, 412),
        ({b"if-match": b""}, 412),
        # step 2, §13.1.4: only without If-Match
        ({b"if-unmodified-since": NOW}, None),
        ({b"if-unmodified-since": BEFORE}, 412),
        ({b"if-unmodified-since": b"garbage"}, None),
        ({b"if-match": b'"a"', b"if-unmodified-since": BEFORE}, None),
        # step 3, §13.1.2: weak comparison
        ({b"if-none-match": b'"a"'}, 304),
        ({b"if-none-match": b'W/"a"'}, 304),
        ({b"if-none-match": b'"b,c", "x" ,, "a"'}, 304),
        ({b"if-none-match": b" * "}, 304),
        ({b"if-none-match": b'"b"'}, None),
        ({b"if-none-match": b'"b, "a"'}, None),  # unbalanced
        ({b"if-none-match": b'"A"'}, None),
        ({b"if-none-match": b'w/"a"'}, None),
        ({b"if-none-match": b'*, "b"'}, None),
        ({b"if-none-match": b"a"}, None),
        # step 4, §13.1.3: only without If-None-Match
        ({b"if-modified-since": NOW}, 304),
        ({b"if-modified-since": AFTER}, 304),
        ({b"if-modified-since": BEFORE}, None),
        ({b"if-modified-since": b"garbage"}, None),
        ({b"if-modified-since": NOW + b", " + NOW}, None),
        ({b"if-none-match": b'"b"', b"if-modified-since": NOW}, None),
        # first things first, §13.2.2
        ({b"if-match": b'"b"', b"if-none-match": b'"a"'}, 412),
        ({b"if-unmodified-since": BEFORE, b"if-none-match": b'"a"'}, 412),
        ({b"if-match": b'"a"', b"if-none-match": b'"a"'}, 304),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_preconditions_are_evaluated_in_order(fields: dict[bytes, bytes], answer: int | None, method: bytes) -> None:
    assert evaluate(fields, b'"a"', T, method) == answer


def test_methods_that_change_things_get_412_and_ignore_if_modified_since() -> None:
    assert evaluate({b"if-none-match": b'"a"'}, b'"a"', T, b"PUT") == 412
    assert evaluate({b"if-modified-since": NOW}, b'"a"', T, b"PUT") is None


def test_without_validators_tags_match_nothing_and_dates_are_ignored() -> None:
    assert evaluate({b"if-match": b'"a"'}, None, None, b"GET") == 412
    assert evaluate({b"if-none-match": b'"a"'}, None, None, b"GET") is None
    assert evaluate({b"if-none-match": b"*"}, None, None, b"GET") == 304
    assert evaluate({b"if-modified-since": NOW}, None, None, b"GET") is None
    assert evaluate({b"if-unmodified-since": BEFORE}, None, None, b"GET") is None


@pytest.mark.parametrize(("since", "answer"), [(BEFORE, None), (NOW, 304), (AFTER, 304), (b"garbage", None)])
def test_what_has_no_last_modified_has_not_changed_since_its_date(since: bytes, answer: int | None) -> None:
    fields = {b"if-modified-since": since}

    assert evaluate(fields, None, None, b"GET", date=T) == answer  # RFC 9111 §4.3.2
    assert evaluate(fields, None, T - 9, b"GET", date=T + 9) == evaluate(fields, None, T - 9, b"GET")


@pytest.mark.parametrize(
    ("one", "other", "strong", "weak"),  # the table of §8.8.3.2
    [
        (b'W/"1"', b'W/"1"', False, True),
        (b'W/"1"', b'W/"2"', False, False),
        (b'W/"1"', b'"1"', False, True),
        (b'"1"', b'"1"', True, True),
    ],
)
def test_comparison_is_weak_or_strong(one: bytes, other: bytes, strong: bool, weak: bool) -> None:
    assert matches(one, other, weakly=False) is matches(other, one, weakly=False) is strong
    assert matches(one, other, weakly=True) is matches(other, one, weakly=True) is weak


@pytest.mark.parametrize("etag", [b"abc", b'"a', b"", b'"a b"', b'"a"b"'])
def test_what_is_no_entity_tag_never_matches(etag: bytes) -> None:
    assert not is_tag(etag)
    assert not matches(etag, etag, weakly=True)
    assert not if_range_matches(etag, etag, None)


@pytest.mark.parametrize(
    ("listed", "etag", "known"),
    [
        (b"abc", b"abc", True),
        (b'"abc"', b"abc", True),
        (b'W/"abc"', b"abc", True),
        (b'"x", "abc"', b"abc", True),
        (b"x,abc ,\ty", b"abc", True),
        (b"*", b"abc", True),
        (b"W/abc", b"abc", True),
        (b"abc", b"W/abc", True),
        (b"abcd", b"abc", False),
        (b'"abcd"', b"abc", False),
        (b'""', b"abc", False),
        (b"ABC", b"abc", False),
        (b'"x,abc,y"', b"abc", False),  # one tag
        (b'"x, abc, y"', b"abc", False),
        (b'"abc', b"abc", True),  # broken off, and still the same text
        (b'"a', b'"a', False),
        (b"a,b", b"a,b", False),  # two, or one?
        (b"", b"", False),
        (b"abc", b'"abc"', False),  # a proper tag is compared as one
        (b"abc", None, False),
    ],
)
def test_an_unquoted_etag_is_known_by_its_text(listed: bytes, etag: bytes | None, known: bool) -> None:
    assert is_known(listed, etag) is known
    assert evaluate({b"if-none-match": listed}, etag, None, b"GET") == (304 if known else None)
    if etag == b"abc":
        assert evaluate({b"if-match": listed}, etag, None, b"GET") == (None if listed == b"*" else 412)


@pytest.mark.parametrize(
    ("condition", "etag", "holds"),
    [
        (b'"a"', b'"a"', True),
        (b'"a"', b'"b"', False),
        (b'W/"a"', b'W/"a"', False),
        (b'"a"', b'W/"a"', False),
        (b'"a"', None, False),
    ],
)
def test_if_range_compares_tags_strongly(condition: bytes, etag: bytes | None, holds: bool) -> None:
    assert if_range_matches(condition, etag, T) is holds  # §13.1.5


def test_if_range_takes_a_date_that_is_exact_and_a_strong_validator() -> None:
    assert if_range_matches(NOW, b'"a"', T, date=T + 1)
    assert not if_range_matches(AFTER, b'"a"', T, date=T + 60)
    assert not if_range_matches(BEFORE, b'"a"', T, date=T + 60)
    assert not if_range_matches(NOW, b'"a"', T, date=T)  # §8.8.2.2: it may have changed twice in that second
    assert not if_range_matches(NOW, b'"a"', T)
    assert not if_range_matches(NOW, b'"a"', None, date=T + 1)
    assert not if_range_matches(b"garbage", b'"a"', T, date=T + 1)


def test_an_origin_is_asked_by_all_validators_there_are() -> None:
    assert validators(b'W/"a"', T) == ((b"if-none-match", b'W/"a"'), (b"if-modified-since", NOW))
    assert validators(None, T) == ((b"if-modified-since", NOW),)
    assert validators(b"unquoted", None) == ()


ETAG, WEAK, OTHER = (b"etag", b'"a"'), (b"etag", b'W/"a"'), (b"etag", b'"b"')
SAME, NEWER = (b"last-modified", NOW), (b"last-modified", AFTER)


@pytest.mark.parametrize(
    ("etag", "last_modified", "fields", "is_for_it"),  # RFC 9111 §4.3.4
    [
        (b'"a"', T, [ETAG], True),
        (b'"a"', T, [OTHER], False),
        (b'"a"', T, [OTHER, SAME], False),
        (b'"a"', T, [ETAG, NEWER], True),  # copies of one object have dates of their own
        (b'"a"', None, [WEAK], True),
        (b'W/"a"', None, [WEAK], True),
        (b'W/"a"', None, [OTHER], False),
        (b'"a"', T, [SAME], True),  # it should have said its tag
        (b'"a"', T, [NEWER], False),
        (b'"a"', None, [SAME], True),
        (None, T, [SAME], True),
        (None, T, [NEWER], False),
        (None, T, [ETAG, SAME], False),  # §4.3.4: a strong tag names what has it
        (None, T, [WEAK, SAME], True),
        (None, T, [(b"last-modified", b"garbage")], True),
        (b'"a"', T, [], True),
        (b"unquoted", None, [(b"etag", b"unquoted")], True),
        (b"unquoted", None, [ETAG], False),
    ],
)
def test_a_304_is_for_what_has_its_validators(
    etag: bytes | None, last_modified: float | None, fields: list[Field], is_for_it: bool
) -> None:
    assert freshens(etag, last_modified, ResponseHead(304, tuple(fields), 0)) is is_for_it


FRESHENS, OUTDATES, NOTHING = HeadEffect.FRESHENS, HeadEffect.OUTDATES, HeadEffect.NOTHING


@pytest.mark.parametrize(
    ("etag", "last_modified", "fields", "length", "effect"),  # RFC 9111 §4.3.5
    [
        (b'"a"', T, [ETAG, SAME], 5, FRESHENS),
        (b'"a"', T, [ETAG], None, FRESHENS),
        (b'"a"', T, [OTHER, SAME], 5, OUTDATES),
        (b'"a"', T, [ETAG, NEWER], 5, OUTDATES),
        (b'"a"', T, [ETAG, SAME], 6, OUTDATES),
        (b'"a"', T, [WEAK, SAME], 5, OUTDATES),
        (None, T, [SAME], 5, FRESHENS),
        (None, T, [SAME, ETAG], 5, NOTHING),
        (None, T, [NEWER], 5, OUTDATES),
        (None, None, [], 5, FRESHENS),  # no validator anywhere: the length is all there is
        (None, None, [], 6, OUTDATES),
        # it doesn't say which version it is of
        (b'"a"', T, [], 5, NOTHING),
        (b'"a"', T, [SAME], 5, NOTHING),
        (None, T, [], 5, NOTHING),
        (b'"a"', T, [], 6, OUTDATES),
    ],
)
def test_an_answer_to_head_tells_whether_what_is_stored_holds(
    etag: bytes | None, last_modified: float | None, fields: list[Field], length: int | None, effect: HeadEffect
) -> None:
    assert head_effect(etag, last_modified, 5, ResponseHead(200, tuple(fields), length)) is effect


TAGS = st.from_regex(rb'(W/)?"[!#-~]*"', fullmatch=True)


@given(st.lists(TAGS, min_size=1, max_size=5), st.sampled_from([b",", b", ", b" ,\t", b",,"]), TAGS)
def test_a_list_matches_exactly_what_is_in_it(tags: list[bytes], comma: bytes, etag: bytes) -> None:
    listed = comma.join(tags)
    opaque = [tag.removeprefix(b"W/") for tag in tags]

    assert all(matches(listed, tag, weakly=True) for tag in tags)
    assert matches(listed, etag, weakly=True) == (etag.removeprefix(b"W/") in opaque)
    assert matches(listed, etag, weakly=False) == (etag in tags and not etag.startswith(b"W/"))


FIELDS = st.sampled_from([b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"])


@given(st.dictionaries(FIELDS, st.one_of(st.binary(max_size=20), TAGS)), st.none() | TAGS | st.binary(max_size=5))
def test_any_bytes_are_answered(fields: dict[bytes, bytes], etag: bytes | None) -> None:
    assert evaluate(fields, etag, T, b"GET") in (None, 304, 412)


VALIDATORS = st.dictionaries(
    st.sampled_from([b"etag", b"last-modified"]), TAGS | st.just(NOW) | st.binary(max_size=9)
)


@given(st.none() | TAGS, st.none() | st.just(float(T)), VALIDATORS)
def test_what_a_head_freshens_a_304_with_its_fields_does_too(
    etag: bytes | None, last_modified: float | None, fields: dict[bytes, bytes]
) -> None:
    update = ResponseHead(304, tuple(fields.items()), None)

    if head_effect(etag, last_modified, 5, update) is FRESHENS:
        assert freshens(etag, last_modified, update)


LISTED = st.lists(st.sampled_from([b'"a"', b'W/"a"', b'"b"', b'W/"b"', b'"a,b"', b'""', b"", b"a"]), max_size=8)


@given(LISTED, st.sampled_from([b'"a"', b'W/"a"', b'"a,b"', b'""']), st.booleans())
def test_a_list_is_searched_for_the_tag_before_it_is_read(tags: list[bytes], etag: bytes, weakly: bool) -> None:
    listed = b", ".join(tags)
    is_list = any(tags) and b"a" not in tags
    named = [tag.removeprefix(b"W/") if weakly else tag for tag in tags]
    wanted = etag.removeprefix(b"W/") if weakly else etag

    expected = is_list and wanted in named and (weakly or not etag.startswith(b"W/"))
    assert conditional.matches(listed, etag, weakly=weakly) is expected


def counted(reader: Callable[[bytes], Any], read: list[int]) -> Callable[[bytes], Any]:
    """The same, noting how many commas it is given."""

    def note(text: bytes) -> Any:
        read.append(text.count(b","))
        return reader(text)

    return note


@given(st.integers(0, 11_000), st.booleans())
def test_no_list_makes_more_work_than_an_honest_one(count: int, named: bool) -> None:
    listed = b",".join([b'"%d"' % n for n in range(count)] + ([b'"x"'] if named else []))
    read: list[int] = []

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_is_list", "_find_tags"):
            patch.setattr(conditional, name, counted(getattr(conditional, name), read))
        found = conditional.matches(listed, b'"x"', weakly=True)

    assert found is (named and count <= conditional.MAX_TAGS)
    assert sum(read) <= 2 * conditional.MAX_TAGS
    assert not read or named
