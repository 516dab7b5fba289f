"""Tags of responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, ResponseHead
from shield.rules.structured import Item, serialize_list
from shield.rules.tags import LONGEST, MAX_BYTES, MAX_TAGS, tags_of

KEY, TAG, GROUPS = b"surrogate-key", b"cache-tag", b"cache-groups"
ALL = (KEY, TAG, GROUPS)


def tags(*fields: Field, names: tuple[bytes, ...] = ALL) -> set[bytes]:
    return set(tags_of(ResponseHead(200, fields, None), names))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([], set()),
        ([(KEY, b"a b  c\td ")], {b"a", b"b", b"c", b"d"}),
        ([(KEY, b"a,b")], {b"a,b"}),
        ([(TAG, b"a, b ,c d,,")], {b"a", b"b", b"c d"}),
        ([(TAG, b"a"), (TAG, b"b, a")], {b"a", b"b"}),
        ([(GROUPS, b'"scripts", "a b";x=1')], {b"scripts", b"a b"}),  # RFC 9875 §2
        ([(GROUPS, b'"a"'), (GROUPS, b'"b"')], {b"a", b"b"}),
        ([(GROUPS, b'"a", b')], set()),  # not a list of strings
        ([(GROUPS, b'"a", ("b")')], set()),
        ([(GROUPS, b'"a", %"b"')], set()),
        ([(GROUPS, b"a, b,")], set()),
        ([(KEY, b"a"), (TAG, b"b"), (GROUPS, b'"c"')], {b"a", b"b", b"c"}),
        ([(KEY, b"")], set()),
        ([(b"x-tags", b"a")], set()),
    ],
)
def test_each_field_gives_its_tags(fields: list[Field], found: set[bytes]) -> None:
    assert tags(*fields) == found


def test_only_the_listed_fields_count_and_other_ones_may_be_listed() -> None:
    fields = ((KEY, b"a"), (b"x-tags", b"b,c d"))

    assert tags(*fields, names=(b"x-tags",)) == {b"b", b"c", b"d"}
    assert tags(*fields, names=()) == set()


def test_the_groups_that_everyone_must_support_are_supported() -> None:
    groups = [f"{number:032}" for number in range(32)]  # RFC 9875 §2

    found = tags((GROUPS, serialize_list([Item(group, {}) for group in groups])))

    assert found == {group.encode() for group in groups}


def test_tags_beyond_the_limits_are_ignored() -> None:
    assert tags((KEY, b"a " + b"x" * (LONGEST + 1) + b" b")) == {b"a", b"b"}
    assert len(tags((KEY, b" ".join(b"%d" % number for number in range(MAX_TAGS + 9))))) == MAX_TAGS
    long = [b"%04d" % number + b"x" * (LONGEST - 4) for number in range(MAX_BYTES // LONGEST + 9)]
    assert sum(map(len, tags((KEY, b" ".join(long))))) == MAX_BYTES


@given(st.lists(st.tuples(st.sampled_from([*ALL, b"x"]), st.binary(max_size=30)), max_size=4))
def test_any_bytes_give_tags_within_limits(fields: list[Field]) -> None:
    found = tags(*fields, names=(*ALL, b"x"))

    assert all(0 < len(tag) <= LONGEST for tag in found)


WORDS = st.lists(st.from_regex(rb"[!-+.-~]{1,6}", fullmatch=True), max_size=5)


@given(WORDS)
def test_tags_are_found_as_they_were_joined(words: list[bytes]) -> None:
    assert tags((KEY, b" ".join(words))) == tags((TAG, b",".join(words))) == set(words)
