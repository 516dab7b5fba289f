"""AWS's published vectors, and botocore as an oracle for what they don't cover."""

from __future__ import annotations

import datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from shield.rules import sigv4

EMPTY_SHA256 = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SECRET = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AT = b"20130524T000000Z"
HOST = (b"host", b"examplebucket.s3.amazonaws.com")


def signed(method: bytes, path: bytes, query: bytes, *, fields: list[tuple[bytes, bytes]], payload: bytes) -> bytes:
    request = sigv4.canonical_request(
        method,
        path,
        query,
        fields=[HOST, (b"x-amz-date", AT), (b"x-amz-content-sha256", payload), *fields],
        payload_hash=payload,
    )
    scope = sigv4.scope(AT[:8], b"us-east-1")
    key = sigv4.signing_key(SECRET, AT[:8], b"us-east-1")
    return sigv4.signature(key, sigv4.string_to_sign(AT, scope, request))


@pytest.mark.parametrize(
    ("method", "path", "query", "fields", "payload", "expected"),
    [
        (
            b"GET",
            b"/test.txt",
            b"",
            [(b"range", b"bytes=0-9")],
            EMPTY_SHA256,
            b"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            b"PUT",
            b"/test%24file.text",
            b"",
            [(b"date", b"Fri, 24 May 2013 00:00:00 GMT"), (b"x-amz-storage-class", b"REDUCED_REDUNDANCY")],
            b"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            b"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            b"GET",
            b"/",
            b"lifecycle=",
            [],
            EMPTY_SHA256,
            b"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            b"GET",
            b"/",
            b"max-keys=2&prefix=J",
            [],
            EMPTY_SHA256,
            b"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get object", "put object", "get bucket lifecycle", "list objects"],
)
def test_the_examples_of_the_s3_api_reference(
    method: bytes, path: bytes, query: bytes, fields: list[tuple[bytes, bytes]], payload: bytes, expected: bytes
) -> None:
    assert signed(method, path, query, fields=fields, payload=payload) == expected


def test_the_vanilla_vector_of_the_signature_test_suite() -> None:
    at = b"20150830T123600Z"
    request = sigv4.canonical_request(
        b"GET",
        b"/",
        b"",
        fields=[(b"host", b"example.amazonaws.com"), (b"x-amz-date", at)],
        payload_hash=EMPTY_SHA256,
    )
    scope = sigv4.scope(at[:8], b"us-east-1", b"service")
    key = sigv4.signing_key(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", at[:8], b"us-east-1", b"service")

    found = sigv4.signature(key, sigv4.string_to_sign(at, scope, request))

    assert found == b"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"


def test_the_published_signing_key() -> None:
    key = sigv4.signing_key(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", b"20120215", b"us-east-1", b"iam")

    assert key.hex() == "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"


@given(st.binary(max_size=64), st.binary(max_size=300))
def test_a_seal_makes_the_same_signatures(key: bytes, text: bytes) -> None:
    seal = sigv4.Seal(key)

    assert [seal.of(text), seal.of(b"other"), seal.of(text)] == [
        sigv4.signature(key, each) for each in (text, b"other", text)
    ]


def test_values_are_trimmed_and_lines_of_one_name_are_joined() -> None:
    request = sigv4.canonical_request(
        b"GET", b"/", b"", fields=[(b"b", b"  x   y "), (b"a", b"1"), (b"b", b"z")], payload_hash=b"-"
    )

    assert request == b"GET\n/\n\na:1\nb:x y,z\n\na;b\n-"


def test_a_timestamp_is_utc() -> None:
    assert sigv4.timestamp(1369353600.9) == b"20130524T000000Z"


KEYS = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(key=KEYS, at=st.datetimes(min_value=datetime.datetime(2000, 1, 1), max_value=datetime.datetime(2090, 1, 1)))
def test_botocore_agrees_on_any_key(key: str, at: datetime.datetime) -> None:
    path = "/" + "".join(c if c.isascii() and (c.isalnum() or c in "-._~/") else _escaped(c) for c in key)
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    request = AWSRequest("GET", f"https://s3.example{path}", headers={"host": "s3.example"})
    request.context["timestamp"] = stamp
    request.headers["X-Amz-Date"] = stamp
    request.headers["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
    oracle = S3SigV4Auth(Credentials("AK", "secret"), "s3", "eu-west-3")
    theirs = oracle.canonical_request(request).encode()

    ours = sigv4.canonical_request(
        b"GET",
        path.encode(),
        b"",
        fields=[
            (b"host", b"s3.example"),
            (b"x-amz-content-sha256", sigv4.UNSIGNED_PAYLOAD),
            (b"x-amz-date", stamp.encode()),
        ],
        payload_hash=sigv4.UNSIGNED_PAYLOAD,
    )

    assert ours == theirs
    text = sigv4.string_to_sign(stamp.encode(), sigv4.scope(stamp[:8].encode(), b"eu-west-3"), ours)
    key_of_day = sigv4.signing_key(b"secret", stamp[:8].encode(), b"eu-west-3")
    assert text.decode() == oracle.string_to_sign(request, theirs.decode())
    assert sigv4.signature(key_of_day, text).decode() == oracle.signature(text.decode(), request)


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())
