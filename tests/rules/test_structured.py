"""Structured fields, by sections of RFC 9651."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules.structured import (
    Bare,
    Date,
    DisplayString,
    InnerList,
    Item,
    Member,
    Token,
    parse_dictionary,
    parse_item,
    parse_list,
    serialize_dictionary,
    serialize_item,
    serialize_list,
)


def typed(value: object) -> Any:
    """The value with its type and those of all inside: a token isn't a string, true isn't 1."""
    if isinstance(value, Item | InnerList | tuple):
        return type(value), [typed(part) for part in value]
    if isinstance(value, dict):
        return [(key, typed(inside)) for key, inside in value.items()]
    return type(value), value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # §3.3.1
        (b"0", 0),
        (b"-0", 0),
        (b"-42", -42),
        (b"007", 7),
        (b"999999999999999", 999999999999999),
        (b"-999999999999999", -999999999999999),
        (b"  1  ", 1),
        # §3.3.2
        (b"4.5", 4.5),
        (b"-0.25", -0.25),
        (b"123456789012.123", 123456789012.123),
        # §3.3.3
        (b'"hello world"', "hello world"),
        (b'"a\\"b\\\\c"', 'a"b\\c'),
        (b'""', ""),
        # §3.3.4
        (b"foo123/456", Token("foo123/456")),
        (b"*a:b", Token("*a:b")),
        (b"A!#$%&'*+-.^_`|~", Token("A!#$%&'*+-.^_`|~")),
        # §3.3.5; padding may be missing (§4.2.7)
        (b":cHJldGVuZCB0aGlzIGlzIGJpbmFyeSBjb250ZW50Lg==:", b"pretend this is binary content."),
        (b":aGk:", b"hi"),
        (b":aGl=:", b"hi"),  # bits of padding that aren't zero
        (b"::", b""),
        # §3.3.6
        (b"?1", True),
        (b"?0", False),
        # §3.3.7
        (b"@1659578233", Date(1659578233)),
        (b"@-1", Date(-1)),
        # §3.3.8
        (b'%"f%c3%bc\x21"', DisplayString("fü!")),
        (b'%""', DisplayString("")),
    ],
)
def test_items_are_read(text: bytes, value: Bare) -> None:
    assert typed(parse_item(text)) == typed(Item(value, {}))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"1 2",
        b"1,",
        b"\t1",
        b"1000000000000000",  # 16 digits
        b"--1",
        b"-",
        b"+1",
        b"1.",
        b".5",
        b"1.2345",
        b"1234567890123.1",
        b"1.2.3",
        b'"open',
        b'"a\\b"',
        b'"a\\',
        b'"tab\there"',
        b'"\xc3\xbc"',
        b"caf\xe9",
        b"{a}",
        b":a:",  # one character is no byte
        b":=:",
        b":aGk==:",
        b":a-_b:",  # the other alphabet
        b":aGk=",
        b"?2",
        b"?",
        b"?T",
        b"@1.5",
        b"@",
        b"@a",
        b'%"%C3%BC"',  # escapes are lower case
        b'%"%c3"',  # no UTF-8
        b'%"a%"',
        b'%"\xc3\xbc"',
        b"%a",
        b"(1)",  # a list isn't an item
    ],
)
def test_what_is_no_item_is_none(text: bytes) -> None:
    assert parse_item(text) is None


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (b"a;b;c=?0", {"b": True, "c": False}),
        (b"a;  b=1;b=2", {"b": 2}),  # §4.2.3.2: the last counts
        (b'a;*x.y_z-1="s";n=:aGk=:', {"*x.y_z-1": "s", "n": b"hi"}),
    ],
)
def test_items_have_parameters(text: bytes, parameters: dict[str, Bare]) -> None:
    assert typed(parse_item(text)) == typed(Item(Token("a"), parameters))


@pytest.mark.parametrize("text", [b"a ;b", b"a;B", b"a;", b"a;b=", b"a;b= 1", b"a;b=(1)", b"a;1"])
def test_broken_parameters_break_the_item(text: bytes) -> None:
    assert parse_item(text) is None


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (b"", ()),
        (b"a, b", (Item(Token("a"), {}), Item(Token("b"), {}))),
        (b"a \t,\t b", (Item(Token("a"), {}), Item(Token("b"), {}))),
        (b"()", (InnerList((), {}),)),
        (b"( 1  2 );q=1", (InnerList((Item(1, {}), Item(2, {})), {"q": 1}),)),
        (b'("a";x "b"), c', (InnerList((Item("a", {"x": True}), Item("b", {})), {}), Item(Token("c"), {}))),
    ],
)
def test_lists_are_read(text: bytes, members: tuple[Member, ...]) -> None:
    assert typed(parse_list(text)) == typed(members)


@pytest.mark.parametrize(
    "text", [b"a,", b",a", b"a,,b", b"a b", b"(1 2", b"(1,2)", b"(1\t2)", b"((1))", b"1)", b'"a""b"']
)
def test_what_is_no_list_is_none(text: bytes) -> None:
    assert parse_list(text) is None


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (b"", {}),
        (b"a", {"a": Item(True, {})}),
        (b"a;x=1, b=2", {"a": Item(True, {"x": 1}), "b": Item(2, {})}),
        (b"a=?0, b=(1 2);y", {"a": Item(False, {}), "b": InnerList((Item(1, {}), Item(2, {})), {"y": True})}),
        (b"a=1, b=2, a=3", {"a": Item(3, {}), "b": Item(2, {})}),  # §4.2.2: in its first place, with its last value
    ],
)
def test_dictionaries_are_read(text: bytes, members: dict[str, Member]) -> None:
    found = parse_dictionary(text)

    assert typed(found) == typed(members)


@pytest.mark.parametrize(
    "text", [b"A=1", b"a =1", b"a= 1", b"a=", b"a,", b"=1", b"a=1 b=2", b"a=1,,b", b"1=2", b"a==1"]
)
def test_what_is_no_dictionary_is_none(text: bytes) -> None:
    assert parse_dictionary(text) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, b"1.0"),
        (1.5, b"1.5"),
        (0.0625, b"0.062"),  # §4.1.5: halves go to the even digit
        (0.1875, b"0.188"),
        (-0.0004, b"-0.0"),
        (-100.0, b"-100.0"),
        (DisplayString('50% "ü"'), b'%"50%25 %22%c3%bc%22"'),
        (b"\xff\xfe", b"://4=:"),
        (Date(7), b"@7"),
        (False, b"?0"),
    ],
)
def test_values_have_one_spelling(value: Bare, text: bytes) -> None:
    assert serialize_item(Item(value, {})) == text


def test_true_is_not_spelled_out_in_dictionaries_and_parameters() -> None:
    members: dict[str, Member] = {
        "a": Item(True, {"x": True, "y": 1}),
        "b": InnerList((Item(True, {}),), {"z": True}),
    }

    assert serialize_dictionary(members) == b"a;x;y=1, b=(?1);z"


@pytest.mark.parametrize(
    "value",
    [
        10**15,
        Date(-(10**15)),
        1e12,
        999999999999.9996,  # rounds to 13 digits
        float("nan"),
        float("-inf"),
        "ü",
        "a\n",
        Token("a b"),
        Token(""),
        DisplayString("\ud800"),
    ],
)
def test_what_no_field_can_hold_is_refused(value: Bare) -> None:
    with pytest.raises(ValueError, match=r"."):
        serialize_item(Item(value, {}))


@pytest.mark.parametrize("key", ["", "A", "a b", "ü", "1"])
def test_keys_no_field_can_hold_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        serialize_dictionary({key: Item(1, {})})


PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8)
VALUES: st.SearchStrategy[Bare] = st.one_of(
    st.booleans(),
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.integers(-(10**15) + 1, 10**15 - 1).map(Date),
    st.integers(-(10**15) + 1, 10**15 - 1).map(lambda thousandths: thousandths / 1000),
    PRINTABLE,
    st.from_regex(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]{0,5}", fullmatch=True).map(Token),
    st.binary(max_size=8),
    st.text(max_size=8).map(DisplayString),
)
KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,5}", fullmatch=True)
ITEMS = st.builds(Item, VALUES, st.dictionaries(KEYS, VALUES, max_size=3))
INNER_LISTS = st.builds(InnerList, st.lists(ITEMS, max_size=3).map(tuple), st.dictionaries(KEYS, VALUES, max_size=3))
MEMBERS = ITEMS | INNER_LISTS


@given(ITEMS)
def test_an_item_survives_being_written_and_read(item: Item) -> None:
    assert typed(parse_item(serialize_item(item))) == typed(item)


@given(st.lists(MEMBERS, max_size=4).map(tuple))
def test_a_list_survives_being_written_and_read(members: tuple[Member, ...]) -> None:
    assert typed(parse_list(serialize_list(members))) == typed(members)


@given(st.dictionaries(KEYS, MEMBERS, max_size=4))
def test_a_dictionary_survives_being_written_and_read(members: dict[str, Member]) -> None:
    assert typed(parse_dictionary(serialize_dictionary(members))) == typed(members)


PIECES = st.sampled_from(
    [
        b"a",
        b"b=",
        b"=",
        b",",
        b";",
        b" ",
        b"\t",
        b"(",
        b")",
        b'"',
        b"\\",
        b":",
        b"?1",
        b"@",
        b'%"',
        b"%c3%bc",
        b"-",
        b"1",
        b".",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=2), max_size=12).map(b"".join))
def test_any_bytes_are_read_or_none_and_what_is_read_has_a_spelling_that_means_the_same(text: bytes) -> None:
    item, members, named = parse_item(text), parse_list(text), parse_dictionary(text)

    if item is not None:
        assert typed(parse_item(serialize_item(item))) == typed(item)
    if members is not None:
        assert typed(parse_list(serialize_list(members))) == typed(members)
    if named is not None:
        assert typed(parse_dictionary(serialize_dictionary(named))) == typed(named)
