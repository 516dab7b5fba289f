"""What fields are made of: structured fields, dates, ranges, lists of nodes, blocks of lines."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

from shield.messages import Field
from shield.rules import dates, heads, hidden, loops, ranges, structured
from shield.rules.ranges import MAX_RANGES, NEAR, Span
from shield.rules.structured import InnerList, Item
from tests.fuzz.target import Target, fields_in

T = TypeVar("T")

_is_name = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch

LAST_SECOND = 253402300799  # of 9999, the last year that a date can name
LENGTHS = (0, 1, 100, 5000, 2**40, 2**63)
NODE = b"fra-1"


def check_item(data: bytes) -> None:
    item = structured.parse_item(data)

    _is_written_in_one_way(item, structured.serialize_item, structured.parse_item)
    assert _typed(structured.parse_item(b"  " + data + b" ")) == _typed(item)


def check_list(data: bytes) -> None:
    members = structured.parse_list(data)

    _is_written_in_one_way(members, structured.serialize_list, structured.parse_list)
    if members:
        assert _typed(structured.parse_list(data + b"," + data)) == _typed(members * 2)
        assert structured.parse_list(data + b",") is None


def check_dictionary(data: bytes) -> None:
    members = structured.parse_dictionary(data)

    _is_written_in_one_way(members, structured.serialize_dictionary, structured.parse_dictionary)
    if members:
        assert all(name == name.lower() for name in members)
        assert _typed(structured.parse_dictionary(data + b"," + data)) == _typed(members)
        more = structured.parse_dictionary(data + b", a=(1 2);b")
        assert more is not None
        assert _typed(more["a"]) == _typed(InnerList((Item(1, {}), Item(2, {})), {"b": True}))


def _is_written_in_one_way(value: T | None, write: Callable[[T], bytes], read: Callable[[bytes], T | None]) -> None:
    """What was read is written so that it reads the same, and that is written as it stands."""
    if value is None:
        return
    text = write(value)
    again = read(text)
    assert again is not None
    assert _typed(again) == _typed(value)
    assert write(again) == text


def _typed(value: object) -> Any:
    """With all types: a token isn't a string, true isn't 1."""
    if isinstance(value, tuple):
        return type(value), [_typed(inside) for inside in value]
    if isinstance(value, dict):
        return [(key, _typed(inside)) for key, inside in value.items()]
    return type(value), value


def check_date(data: bytes) -> None:
    seconds = dates.parse(data)

    if seconds is None:
        return
    assert dates.parse(data.swapcase()) == seconds
    within = min(max(seconds, 0), LAST_SECOND)
    spelled = dates.imf_fixdate(seconds)
    assert dates.parse(spelled) == within
    if within == seconds and b":60" not in data:
        day, month, year, time = spelled.split(b" ")[1:5]
        assert all(part in data.lower() for part in (day.lstrip(b"0"), month.lower(), year[2:], time))


def check_range(data: bytes) -> None:
    asked = ranges.parse_range(data)

    if asked is not None:
        assert 0 < len(asked) <= MAX_RANGES
    for length in LENGTHS:
        chosen = ranges.select(data, length)
        if asked is None:
            assert chosen is None
        if isinstance(chosen, tuple):
            assert asked is not None
            _are_apart_and_inside(chosen, length)
            assert len(chosen) <= len(asked)
    span = ranges.first_bytes(data)
    if span is not None:
        assert 0 <= span.start < span.stop
        assert ranges.select(data, span.stop) == ranges.select(data, span.stop + 1) == (span,)


def _are_apart_and_inside(spans: tuple[Span, ...], length: int) -> None:
    assert spans
    for span in spans:
        assert 0 <= span.start < span.stop <= length
        if length < 10**18:  # in more digits than that nobody states a length
            told = ranges.parse_content_range(ranges.content_range(span, length))
            assert told == (span.start, span.stop - 1, length)
    ordered = sorted(spans, key=lambda span: span.start)
    assert all(after.start - before.stop >= NEAR for before, after in pairwise(ordered))


def check_content_range(data: bytes) -> None:
    told = ranges.parse_content_range(data)

    if told is None:
        return
    first, last, length = told
    assert 0 <= first <= last
    if length is not None:
        assert last < length
        assert ranges.parse_content_range(ranges.content_range(Span(first, last + 1), length)) == told


def check_block(data: bytes) -> None:
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in data.split(b"\n"))]
    status = 100 + zlib.crc32(data) % 900
    try:
        block = heads.block(status, fields)
    except ValueError:
        return

    assert heads.split_block(block) == (status, fields)
    assert all(_is_name(name) for name, _ in fields)
    assert block.count(b"\r") == block.count(b"\n") == len(fields) + 1


def check_hidden(data: bytes) -> None:
    fields = fields_in(data)
    plain = tuple([line for line in fields if line[0] != hidden.LINE])

    _come_back(plain, frozenset({b"cache-control", b"surrogate-key"}))
    assert hidden.reveal(fields)[: len(plain)] == plain
    block = heads.block(200, fields)
    assert hidden.shown(block) + hidden.line_of(block) == block
    if fields and fields[-1][0] != hidden.LINE:
        assert hidden.shown(block) == block


def _come_back(fields: tuple[Field, ...], names: frozenset[bytes]) -> None:
    put_away = hidden.hide(fields, names)
    others = tuple([line for line in fields if line[0] not in names])

    assert put_away[: len(others)] == others
    assert all(name not in names for name, _ in put_away)
    assert hidden.reveal(put_away) == (*others, *[line for line in fields if line[0] in names])
    assert hidden.shown(heads.block(200, put_away)) == heads.block(200, others)


def check_loops(data: bytes) -> None:
    named = re.search(rb"(?i)(?:^|,)[ \t]*fra-1[ \t]*(?:[;,]|\Z)", data) is not None

    assert loops.has_passed(data, NODE) is named
    assert loops.has_passed(data + b", " + NODE, NODE)
    assert loops.has_passed(NODE + b"; v=1," + data, NODE)
    assert loops.has_passed(data, NODE.upper()) is named


STRUCTURED = (
    b'1, 2.5;a, "x";b=?0',
    b'("a";x "b" tok);q=1, *c',
    b"a, b=?0, c=(1 2);y, a=3",
    b"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    b'%"f%c3%bc 50%25 %22"',
    b'"\\"\\\\"',
    b"@1659578233",
    b"-999999999999.999",
    b"999999999999999",
    b":aGl=:;a=:aGk:",
    b'a="\\"\\\\"',
    b"-0.0",
    b"1,",
    b"(1",
)
STRUCTURED_WORDS = tuple(
    b'a b= = , ; ( ) " \\ : ?1 ?0 @ %" %c3%bc %25 %00 - 1 . 000000000000000 .000 * \t aGk='.split(b" ")
)

TARGETS = {
    "item": Target(check_item, STRUCTURED, (b" ", *STRUCTURED_WORDS)),
    "list": Target(check_list, STRUCTURED, (b" ", *STRUCTURED_WORDS)),
    "dictionary": Target(check_dictionary, STRUCTURED, (b" ", *STRUCTURED_WORDS)),
    "date": Target(
        check_date,
        (
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
            b"Fri, 31 Dec 9999 23:59:60 GMT",
            b"Sat, 01 Jan 0001 00:00:00 GMT",
            b"Mon, 29 Feb 2023 00:00:00 GMT",
            b"Tue, 29 Feb 2000 24:00:00 GMT",
            b"Thu, 01 Jan 1970 00:00:00 +0000",
        ),
        (b"Sunday", b"Sun", b", ", b"-", b" ", b"Feb", b"29", b"30", b"0000", b"9999", b":", b":60", b" GMT", b"  "),
    ),
    "range": Target(
        check_range,
        (
            b"bytes=0-499",
            b"bytes=500-",
            b"bytes=-500",
            b"bytes=-0",
            b"Bytes= 0-0 ,\t4-5,,",
            b"bytes=0-9,500-509,-10",
            b"bytes=0-9,5-14,10-19",
            b"bytes=10-19,0-9,99-99,0-0",
            b"bytes=9223372036854775807-9223372036854775808",
            b"bytes=" + b",".join([b"%d-%d" % (200 * at, 200 * at + 9) for at in range(16)]),
            b"bytes=5-4",
            b"items=0-1",
        ),
        (b"bytes=", b"0-0", b"-", b",", b" ", b"99", b"-1", b"00000000000000000000", b"9223372036854775807", b"100-"),
    ),
    "content_range": Target(
        check_content_range,
        (b"bytes 42-1233/1234", b"bytes 42-1233/*", b"BYTES 0-0/1", b"bytes */1234", b"bytes 0-9/9", b"bytes 5-4/10"),
        (b"bytes ", b"-", b"/", b"*", b"0", b"9" * 18, b" "),
    ),
    "block": Target(
        check_block,
        (
            b"a: b\nx-empty: ",
            b'content-type: text/html\netag: "x"\nvia: 1.1 fra',
            b"a:b",
            b"A: b",
            b"a: b: c",
            b": x",
        ),
        (b": ", b"\n", b"\r", b"\0", b"set-cookie: a=b", b"\r\n"),
    ),
    "hidden": Target(
        check_hidden,
        (
            b"a: b\ncache-control: no-store\nb: c\nsurrogate-key: x y\ncache-control:",
            b"a: b\nshield-hidden: fields=:Y2FjaGUtY29udHJvbDogbm8tc3RvcmU=:, sha-256=:aGk=:",
            b"shield-hidden: fields=:aGk=:\nshield-hidden: md5=:aGk=:",
            b"shield-hidden: fields=:Cg==:, fields=?1",
            b"shield-hidden: ;",
            b"shield-hiddenx: :",
        ),
        (
            b"shield-hidden: ",
            b"cache-control: ",
            b"fields=:",
            b"aGk=",
            b":",
            b", ",
            b"\n",
            b"md5=::",
            b"surrogate-key:",
        ),
    ),
    "loops": Target(
        check_loops,
        (b"fra-1", b"other, FRA-1;v=1", b"fra-10, fra-1x;fra-1", b"a;b=c,fra-1\t;x", b'"fra-1"', b",,fra-1"),
        (b"fra-1", b",", b";", b" ", b"\t", b"FRA-1", b"\n"),
    ),
}
