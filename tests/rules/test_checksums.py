"""The checksum of a body, from the head of its response."""

from __future__ import annotations

import base64
import hashlib

import pytest

from shield.messages import ResponseHead
from shield.rules.checksums import ALARM_SECONDS, EVERY, SMALL, Checksum, Vigilance, checksum_of_body

BODY = b"the bytes of an object"
SHA256, MD5 = hashlib.sha256(BODY).digest(), hashlib.md5(BODY).digest()
AMAZON = (b"x-amz-checksum-sha256", base64.b64encode(SHA256))
TAG = (b"etag", b'"%b"' % MD5.hex().encode())


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        (200, [AMAZON], Checksum("sha256", SHA256)),
        (200, [AMAZON, TAG], Checksum("sha256", SHA256)),
        (200, [(b"repr-digest", b"sha-256=:%b:" % AMAZON[1])], Checksum("sha256", SHA256)),
        (200, [(b"content-md5", base64.b64encode(MD5))], Checksum("md5", MD5)),
        (200, [TAG], Checksum("md5", MD5, is_etag=True)),
        (200, [(b"etag", TAG[1].replace(b'"', b"", 1) + b'-3"')], None),
        (200, [AMAZON, (b"x-amz-checksum-type", b"COMPOSITE")], None),
        (200, [(b"x-amz-checksum-crc32c", b"AAAAAA==")], None),
        (206, [TAG, (b"content-range", b"bytes 0-21/22")], Checksum("md5", MD5, is_etag=True)),
        (206, [TAG, (b"content-range", b"bytes 0-20/22")], None),
        (206, [TAG, (b"content-range", b"bytes 1-21/22")], None),
        (206, [TAG, (b"content-range", b"bytes 0-21/*")], None),
        (206, [AMAZON, (b"content-range", b"bytes 0-21/22")], None),  # it may be that of the part
        (206, [TAG], None),
        (404, [AMAZON], None),
    ],
)
def test_only_a_checksum_of_all_of_the_body_counts(
    status: int, fields: list[tuple[bytes, bytes]], expected: Checksum | None
) -> None:
    assert checksum_of_body(ResponseHead(status, tuple(fields), len(BODY)), md5_etags=True) == expected


def test_an_etag_is_no_checksum_where_the_provider_says_nothing_of_it() -> None:
    assert checksum_of_body(ResponseHead(200, (TAG,), len(BODY)), md5_etags=False) is None


OF_ETAG = Checksum("md5", MD5, is_etag=True)


def test_stated_checksums_and_small_bodies_are_always_compared_and_of_others_a_sample() -> None:
    watch = Vigilance()

    assert all(watch.covers(Checksum("md5", MD5), 1 << 30, 0.0) for _ in range(EVERY))
    assert all(watch.covers(OF_ETAG, SMALL, 0.0) for _ in range(EVERY))
    assert sum(watch.covers(OF_ETAG, SMALL + 1, 0.0) for _ in range(10 * EVERY)) == 10
    assert sum(watch.covers(OF_ETAG, None, 0.0) for _ in range(10 * EVERY)) == 10


def test_after_a_wrong_body_all_are_compared_for_a_while() -> None:
    watch = Vigilance()
    watch.alarm(100.0)

    assert all(watch.covers(OF_ETAG, 1 << 30, 99.0 + ALARM_SECONDS) for _ in range(EVERY))
    assert sum(watch.covers(OF_ETAG, 1 << 30, 100.0 + ALARM_SECONDS) for _ in range(EVERY)) == 1
