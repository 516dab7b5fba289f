"""Fields that go on, and heads as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field
from shield.rules.headers import OURS, block, end_to_end, split_block, via


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
        b" alt-svc strict-transport-security"
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
    fields = [(b"connection", b"cache-control, set-cookie, vary"), (b"cache-control", b"no-store"), (b"vary", b"*")]

    assert end_to_end(fields) == ((b"cache-control", b"no-store"), (b"vary", b"*"))


def test_more_or_less_may_be_dropped() -> None:
    fields = [(b"set-cookie", b"a=b"), (b"x-amz-meta-owner", b"me")]

    assert end_to_end(fields, drop=OURS | {b"set-cookie"}) == ()
    assert end_to_end(fields, prefixes=()) == tuple(fields)


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


def test_a_block_is_a_head_without_its_blank_line() -> None:
    assert block(200, [(b"etag", b'"x"'), (b"a", b"")]) == b'HTTP/1.1 200 OK\r\netag: "x"\r\na: \r\n'
    assert block(299, []) == b"HTTP/1.1 299 \r\n"  # RFC 9112 §4: the space stays


NAMES = st.from_regex(rb"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@given(st.integers(200, 599), st.lists(st.tuples(NAMES, st.binary(max_size=20))))
def test_a_block_is_split_into_what_it_was_made_of_or_not_made(status: int, fields: list[Field]) -> None:
    if any(set(value) & set(b"\r\n\0") for _, value in fields):
        with pytest.raises(ValueError, match="can't be sent"):
            block(status, fields)
        return

    assert split_block(block(status, fields)) == (status, fields)


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12))))
def test_what_goes_on_can_always_be_sent(fields: list[Field]) -> None:
    kept = end_to_end(fields)

    assert split_block(block(200, kept)) == (200, list(kept))


def test_via_names_the_version_and_us() -> None:
    assert via(b"1.1", "fra-1") == b"1.1 fra-1"
    assert via(b"1.1", "fra 1\r\n, x") == b"1.1 fra-1-x"
