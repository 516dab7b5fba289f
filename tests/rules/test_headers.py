"""Fields that are forwarded, and heads as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field
from shield.rules.headers import OURS, Sieve, updated, via
from shield.rules.heads import block, split_block


def end_to_end(fields: Sequence[Field], **rules: Any) -> tuple[Field, ...]:
    return tuple(Sieve(**rules).passes(fields))


def test_what_describes_the_object_goes_on_in_order() -> None:
    fields = [
        (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (b"content-type", b"image/webp"),
        (b"content-length", b"10"),
        (b"etag", b'"x"'),
        (b"cache-control", b"max-age=60"),
        (b"surrogate-key", b"a b"),
        (b"via", b"1.1 inner"),
        (b"cache-status", b"inner; hit"),  # RFC 9211 §2: members before ours are kept
        (b"link", b"</a>"),
        (b"link", b"</b>"),
        (b"x-amzn", b"not quite theirs"),
    ]

    assert end_to_end(fields) == tuple(fields)


@pytest.mark.parametrize(
    "name",
    (
        b"connection keep-alive te trailer transfer-encoding upgrade proxy-authenticate proxy-connection"  # §7.6.1
        b" x-amz-request-id x-amzn-requestid"
        b" x-amz-meta-owner x-goog-generation x-guploader-uploadid x-rgw-object-type"
        b" x-minio-deployment-id x-wasabi-cm-reference-id x-bz-file-id x-trans-id x-openstack-request-id age server"
        b" alt-svc strict-transport-security warning"
    ).split(),
)
def test_what_is_the_hops_the_storages_or_ours_stays(name: bytes) -> None:
    assert end_to_end([(name, b"x"), (b"etag", b'"x"')]) == ((b"etag", b'"x"'),)


def test_fields_named_by_connection_stay() -> None:
    fields = [
        (b"connection", b"close, X-One"),
        (b"x-one", b"1"),
        (b"x-two", b"2"),
        (b"connection", b"x-two"),
        (b"a", b"b"),
    ]

    assert end_to_end(fields) == ((b"a", b"b"),)


def test_connection_can_not_take_a_responses_limits_away() -> None:
    named = ((b"cache-control", b"no-store"), (b"set-cookie", b"a=b"), (b"vary", b"*"))

    assert end_to_end([(b"connection", b"cache-control, set-cookie, vary"), *named]) == named


def test_more_or_less_may_be_dropped() -> None:
    fields = [(b"set-cookie", b"a=b"), (b"x-amz-meta-owner", b"me")]

    assert end_to_end(fields, drop=OURS | {b"set-cookie"}) == ()
    assert end_to_end(fields, prefixes=()) == tuple(fields)


@pytest.mark.parametrize("lines", [(b"x-one", b"keep-alive"), (b"keep-alive", b"x-one")])
def test_all_lines_of_connection_count(lines: tuple[bytes, bytes]) -> None:
    fields = [(b"connection", lines[0]), (b"x-one", b"1"), (b"connection", lines[1]), (b"a", b"b")]

    assert end_to_end(fields) == ((b"a", b"b"),)


MALFORMED = [
    (b"a\r\n", b""),
    (b"a b", b""),
    (b"", b""),
    (b"a:", b""),
    (b"a", b"x\r\ny: z"),
    (b"a", b"\n"),
    (b"a", b"\0"),
]


@pytest.mark.parametrize("field", MALFORMED)
def test_malformed_fields_go_nowhere(field: Field) -> None:
    assert end_to_end([field]) == ()
    with pytest.raises(ValueError, match="can't be sent"):
        block(200, [field])


NAMES = st.from_regex(rb"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12))))
def test_what_goes_on_can_always_be_sent(fields: list[Field]) -> None:
    kept = end_to_end(fields)

    assert split_block(block(200, kept)) == (200, list(kept))


def test_via_names_the_version_and_us() -> None:
    assert via(b"1.1", "fra-1") == b"1.1 fra-1"
    assert via(b"1.1", "fra 1\r\n, x") == b"1.1 fra-1-x"


DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
STORED = [
    (b"date", DATE),
    (b"content-type", b"text/plain"),
    (b"content-encoding", b"br"),
    (b"content-length", b"5"),
    (b"etag", b'"a"'),
    (b"x-test", b"1"),
    (b"link", b"</a>"),
    (b"link", b"</b>"),
    (b"cache-control", b"max-age=1"),
    (b"via", b"1.1 fra-1"),
]
LATER = b"Sun, 06 Nov 1994 09:49:37 GMT"


@pytest.mark.parametrize(
    ("line", "expected"),  # RFC 9111 §3.2
    [
        ((b"x-test", b"2"), [b"2"]),
        ((b"x-new", b"2"), [b"2"]),
        ((b"cache-control", b"max-age=9"), [b"max-age=9"]),
        ((b"expires", b"0"), [b"0"]),
        ((b"content-location", b"/b"), [b"/b"]),
        ((b"content-security-policy", b"x"), [b"x"]),
        ((b"link", b"</c>"), [b"</c>"]),  # all lines of it
        ((b"content-type", b"text/plain;charset=utf-8"), [b"text/plain;charset=utf-8"]),
        # what describes the stored bytes, or a 304's own body
        ((b"content-type", b"application/xml"), [b"text/plain"]),
        ((b"content-encoding", b"gzip"), [b"br"]),
        ((b"content-length", b"0"), [b"5"]),
        ((b"content-range", b"bytes 0-1/5"), []),
        ((b"content-md5", b"x"), []),
        ((b"content-digest", b"x"), []),
        ((b"etag", b'W/"a"'), [b'"a"']),
        # the hop's, the storage's and ours
        ((b"via", b"1.1 other"), [b"1.1 fra-1"]),
        ((b"connection", b"x"), []),
        ((b"keep-alive", b"5"), []),
        ((b"age", b"9"), []),
        ((b"warning", b'110 - "stale"'), []),
        ((b"x-amz-request-id", b"x"), []),
    ],
)
def test_a_later_head_replaces_the_fields_it_brings(line: Field, expected: list[bytes]) -> None:
    fields = updated(STORED, [line, (b"date", LATER)], date=b"unused")

    assert [value for name, value in fields if name == line[0]] == expected
    others = {name for name, _ in STORED} - {line[0], b"date"}
    assert [field for field in fields if field[0] in others] == [field for field in STORED if field[0] in others]


def test_a_later_head_brings_its_date_or_gets_one() -> None:
    assert (b"date", LATER) in updated(STORED, [(b"date", LATER)], date=b"unused")
    assert [value for name, value in updated(STORED, [], date=LATER) if name == b"date"] == [LATER]


def test_an_etag_that_was_missing_is_learnt() -> None:
    stored = [field for field in STORED if field[0] != b"etag"]

    assert (b"etag", b'"b"') in updated(stored, [(b"etag", b'"b"')], date=LATER)


def test_fields_that_connection_names_update_nothing() -> None:
    fields = updated(STORED, [(b"connection", b"x-test"), (b"x-test", b"2")], date=LATER)

    assert (b"x-test", b"1") in fields


@given(st.lists(st.tuples(NAMES, st.binary(max_size=12))), st.lists(st.tuples(NAMES, st.binary(max_size=12))))
def test_every_stored_field_stays_or_is_replaced(stored: list[Field], news: list[Field]) -> None:
    fields = updated(stored, news, date=LATER)

    assert {name for name, _ in stored} <= {name for name, _ in fields}
    assert sorted(updated(fields, news, date=LATER)) == sorted(fields)  # once is enough
