"""Digests of representations, RFC 9530: those that are stored, and those that a request gets."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.messages import Field, ResponseHead
from shield.rules.digests import PUBLIC, Sending, lines, revealed, wanted
from shield.rules.heads import block
from shield.rules.hidden import LINE as HIDDEN
from shield.rules.hidden import shown
from shield.rules.structured import parse_dictionary

BODY = b"the whole object"


def encoded(algorithm: str) -> bytes:
    return base64.b64encode(hashlib.new(algorithm, BODY).digest())


SHA256, SHA512, MD5 = (encoded(algorithm) for algorithm in ("sha256", "sha512", "md5"))
HEX_MD5 = hashlib.md5(BODY).hexdigest().encode()
OTHER_MD5 = base64.b64encode(bytes(16))


def kept(*fields: Field, sending: Sending = "asked", md5_etags: bool = False) -> dict[bytes, bytes]:
    return dict(lines(ResponseHead(200, fields, len(BODY)), sending, md5_etags=md5_etags))


@pytest.mark.parametrize(
    ("fields", "digests"),
    [
        ([(b"repr-digest", b"sha-256=:%b:" % SHA256)], b"sha-256=:%b:" % SHA256),
        ([(b"content-digest", b"sha-512=:%b:" % SHA512)], b"sha-512=:%b:" % SHA512),
        ([(b"x-amz-checksum-sha256", SHA256)], b"sha-256=:%b:" % SHA256),
        ([(b"x-goog-hash", b"crc32c=n03x6A=="), (b"x-goog-hash", b"md5=" + MD5)], b"md5=:%b:" % MD5),
        ([(b"x-goog-hash", b"crc32c=n03x6A==,md5=" + MD5)], b"md5=:%b:" % MD5),
        ([(b"content-md5", MD5)], b"md5=:%b:" % MD5),
        # the strongest first, of one algorithm the plainest word
        (
            [(b"content-md5", MD5), (b"x-amz-checksum-sha256", SHA256), (b"repr-digest", b"sha-512=:%b:" % SHA512)],
            b"sha-512=:%b:, sha-256=:%b:, md5=:%b:" % (SHA512, SHA256, MD5),
        ),
        ([(b"content-md5", OTHER_MD5), (b"repr-digest", b"md5=:%b:" % MD5)], b"md5=:%b:" % MD5),
        ([(b"repr-digest", b"unixsum=:AAA=:, md5=:%b:" % MD5)], b"md5=:%b:" % MD5),
        (
            [(b"repr-digest", b"md5=:%b:" % MD5), (b"repr-digest", b"sha-256=:%b:" % SHA256)],
            b"sha-256=:%b:, md5=:%b:" % (SHA256, MD5),
        ),
    ],
)
def test_what_storages_say_becomes_one_dictionary(fields: list[Field], digests: bytes) -> None:
    assert kept(*fields) == {HIDDEN: digests}


@pytest.mark.parametrize(
    "field",
    [
        (b"repr-digest", b"sha-256=" + SHA256),  # no byte sequence
        (b"repr-digest", b"sha-256=:%b:" % MD5),  # too short
        (b"repr-digest", b"sha-256=:%b:, " % SHA256),  # no dictionary
        (b"repr-digest", b"sha-256=(:%b:)" % SHA256),
        (b"x-amz-checksum-sha256", SHA256 + b"-3"),  # of the checksums of three parts
        (b"x-amz-checksum-sha256", b"not base64"),
        (b"x-goog-hash", b"crc32c=n03x6A=="),
        (b"x-goog-hash", b"xmd5=" + MD5),
        (b"content-md5", HEX_MD5),
        (b"content-md5", b""),
        (b"etag", b'"%b"' % HEX_MD5),  # where nobody documents that it is
    ],
)
def test_what_is_not_surely_a_digest_is_not_kept(field: Field) -> None:
    assert kept(field) == {}


def test_a_hash_of_what_google_stores_is_not_one_of_what_it_unpacks() -> None:
    fields = ((b"x-goog-hash", b"md5=" + MD5), (b"x-goog-stored-content-encoding", b"gzip"))

    assert kept(*fields) == {}
    assert kept(*fields, (b"content-encoding", b"gzip")) == {HIDDEN: b"md5=:%b:" % MD5}


def test_an_etag_is_the_md5_where_that_is_documented() -> None:
    assert kept((b"etag", b'"%b"' % HEX_MD5), md5_etags=True) == {HIDDEN: b"md5=:%b:" % MD5}
    assert kept((b"etag", b'"%b"' % HEX_MD5), (b"content-md5", OTHER_MD5), md5_etags=True) == {
        HIDDEN: b"md5=:%b:" % OTHER_MD5
    }


@pytest.mark.parametrize(
    "fields",
    [
        [(b"etag", b'"%b-2"' % HEX_MD5)],  # of parts
        [(b"etag", b'W/"%b"' % HEX_MD5)],
        [(b"etag", HEX_MD5)],
        [(b"etag", b'"%b"' % HEX_MD5), (b"x-amz-server-side-encryption", b"aws:kms")],
        [(b"etag", b'"%b"' % HEX_MD5), (b"x-amz-server-side-encryption", b"aws:kms:dsse")],
        [(b"etag", b'"%b"' % HEX_MD5), (b"x-amz-server-side-encryption-customer-algorithm", b"AES256")],
        [(b"etag", b'"%b"' % HEX_MD5), (b"x-amz-storage-class", b"EXPRESS_ONEZONE")],
    ],
)
def test_an_etag_of_parts_or_under_keys_of_others_is_no_md5(fields: list[Field]) -> None:
    assert kept(*fields, md5_etags=True) == {}


def test_what_all_get_to_see_is_what_is_secure() -> None:
    fields = ((b"content-md5", MD5), (b"x-amz-checksum-sha256", SHA256))

    assert kept(*fields, sending="always") == {PUBLIC: b"sha-256=:%b:" % SHA256, HIDDEN: b"md5=:%b:" % MD5}


HELD: list[Field] = [
    (b"etag", b'"x"'),
    (PUBLIC, b"sha-256=:%b:" % SHA256),
    (HIDDEN, b"sha-512=:%b:, md5=:%b:" % (SHA512, MD5)),
]


@pytest.mark.parametrize(
    ("want", "got"),
    [
        (b"sha-256=1", b"sha-256=:%b:" % SHA256),
        (b"sha-256=10, sha-512=3", b"sha-256=:%b:, sha-512=:%b:" % (SHA256, SHA512)),
        (b"sha-256=3, sha-512=10", b"sha-512=:%b:, sha-256=:%b:" % (SHA512, SHA256)),
        (b"sha-256=0, md5=1", b"md5=:%b:" % MD5),  # §4: 0 is not acceptable
        (b"unixsum=10, sha=9, sha-256=1;x", b"sha-256=:%b:" % SHA256),
        (b"sha-256=0", None),
        (b"unixsum=1", None),
        (b"sha-256=11", None),
        (b"sha-256=-1", None),
        (b"sha-256=1.5", None),
        (b"sha-256", None),
        (b"sha-256=1,", None),
        (b"", None),
    ],
)
def test_a_request_gets_what_it_wants_its_favourite_first(want: bytes, got: bytes | None) -> None:
    assert wanted(HELD, want) == (None if got is None else (PUBLIC, got))


def test_a_request_gets_nothing_where_nothing_is() -> None:
    assert wanted([(b"etag", b'"x"')], b"sha-256=1") is None


def test_what_another_worker_keeps_is_as_if_an_origin_had_told_it() -> None:
    all_of_them = b"sha-512=:%b:, sha-256=:%b:, md5=:%b:" % (SHA512, SHA256, MD5)

    assert kept(*revealed(HELD)) == {HIDDEN: all_of_them}


TEXTS = st.one_of(st.binary(max_size=60), st.sampled_from([SHA256, MD5, b"sha-256=:%b:" % SHA256, b"md5=" + MD5]))
NAMED = st.sampled_from(
    [b"repr-digest", b"content-digest", b"x-amz-checksum-sha256", b"x-goog-hash", b"content-md5", b"etag"]
)


@given(st.lists(st.tuples(NAMED, TEXTS), max_size=4), st.sampled_from(["asked", "always"]), TEXTS)
def test_whatever_is_said_what_is_kept_can_be_sent(fields: list[Field], sending: Sending, want: bytes) -> None:
    found = lines(ResponseHead(200, tuple(fields), 1), sending, md5_etags=True)

    head = block(200, [(b"x", b"y"), *found])
    assert shown(head) == block(200, [(b"x", b"y"), *[line for line in found if line[0] != HIDDEN]])
    got = wanted(found, want)
    assert got is None or parse_dictionary(got[1])
