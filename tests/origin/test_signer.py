from __future__ import annotations

import datetime
from collections.abc import Sequence

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials

from shield.errors import OriginError
from shield.messages import Field
from shield.origin.signer import Credentials, Signer
from shield.rules.providers import PROVIDERS, locate

NOW = 1_700_000_000.0
LOCATION = locate(PROVIDERS["aws"], endpoint=None, region="eu-west-1", bucket="images")


def signer(*, token: str | None = None, asks_checksums: bool = False) -> Signer:
    credentials = Credentials("AKEXAMPLE", "secretexample", token)
    return Signer(PROVIDERS["aws"], LOCATION, credentials, asks_checksums=asks_checksums)


def fields_of(head: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    line, *rest = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    return line, dict(field.split(b": ", 1) for field in rest)


def oracle(
    path: str, at: float, *, token: str | None = None, secret: str = "secretexample", asks_checksums: bool = False
) -> str:
    """The Authorization value that botocore makes of the same fields."""
    stamp = datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    request = AWSRequest("GET", f"https://{LOCATION.authority.decode()}{path}")
    request.context["timestamp"] = stamp
    request.headers["Host"] = LOCATION.authority.decode()
    request.headers["X-Amz-Date"] = stamp
    request.headers["X-Amz-Content-SHA256"] = "UNSIGNED-PAYLOAD"
    if asks_checksums:
        request.headers["X-Amz-Checksum-Mode"] = "ENABLED"
    if token is not None:
        request.headers["X-Amz-Security-Token"] = token
    auth = S3SigV4Auth(TheirCredentials("AKEXAMPLE", secret, token), "s3", "eu-west-1")
    text = auth.string_to_sign(request, auth.canonical_request(request))
    names = auth.signed_headers(auth.headers_to_sign(request))
    signature = auth.signature(text, request)
    return f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={names}, Signature={signature}"


@pytest.mark.parametrize("token", [None, "session/token=="])
@pytest.mark.parametrize("asks_checksums", [False, True])
@pytest.mark.parametrize("at", [NOW, NOW + 0.9, NOW + 86_400, NOW - 86_400])
def test_the_signature_is_botocore_s(at: float, asks_checksums: bool, token: str | None) -> None:
    made = signer(token=token, asks_checksums=asks_checksums)
    made.head(b"GET", b"/other", NOW)  # whatever is cached from before must not show

    line, fields = fields_of(made.head(b"GET", b"/a%20b/c.jpg", at))

    assert line == b"GET /a%20b/c.jpg HTTP/1.1"
    wanted = oracle("/a%20b/c.jpg", at, token=token, asks_checksums=asks_checksums)
    assert fields[b"authorization"].decode() == wanted
    assert fields.get(b"x-amz-checksum-mode") == (b"ENABLED" if asks_checksums else None)
    assert fields[b"host"] == b"images.s3.eu-west-1.amazonaws.com"


def test_a_query_is_signed() -> None:
    _, fields = fields_of(signer().head(b"GET", b"/a", NOW, query=b"w=1&z=%20"))

    assert fields[b"authorization"].decode() == oracle("/a?w=1&z=%20", NOW)


def test_extra_fields_go_along_unsigned() -> None:
    _, fields = fields_of(signer().head(b"GET", b"/a", NOW, [(b"range", b"bytes=0-9")]))

    assert fields[b"range"] == b"bytes=0-9"
    assert fields[b"authorization"].decode() == oracle("/a", NOW)


def test_the_path_is_behind_the_bucket_in_path_style() -> None:
    location = locate(PROVIDERS["ceph"], endpoint="http://ceph.lan:7480", region=None, bucket="images")
    line, fields = fields_of(Signer(PROVIDERS["ceph"], location, Credentials("a", "b")).head(b"HEAD", b"/k", NOW))

    assert line == b"HEAD /images/k HTTP/1.1"
    assert fields[b"host"] == b"ceph.lan:7480"


def test_a_corrected_clock_dates_and_signs() -> None:
    made = signer()
    made.head(b"GET", b"/a", NOW)

    made.correct_clock(NOW + 3600, NOW)
    _, fields = fields_of(made.head(b"GET", b"/a", NOW))

    assert made.skew == 3600
    assert fields[b"authorization"].decode() == oracle("/a", NOW + 3600)


def test_rotated_credentials_sign_the_next_request() -> None:
    made = signer()
    made.head(b"GET", b"/a", NOW)

    made.use(Credentials("AKEXAMPLE", "anothersecret"))
    _, fields = fields_of(made.head(b"GET", b"/a", NOW))

    assert fields[b"authorization"].decode() == oracle("/a", NOW, secret="anothersecret")


def test_a_plain_origin_gets_no_signature_even_with_credentials_at_hand() -> None:
    location = locate(PROVIDERS["http"], endpoint="http://files.lan", region=None, bucket=None)
    _, fields = fields_of(Signer(PROVIDERS["http"], location, Credentials("a", "b")).head(b"GET", b"/k", NOW))

    assert set(fields) == {b"host", b"accept-encoding", b"user-agent"}


def test_a_signed_origin_needs_credentials() -> None:
    signer = Signer(PROVIDERS["aws"], LOCATION, None)
    with pytest.raises(OriginError, match="no credentials yet"):
        signer.head(b"GET", b"/a", 1_750_000_000.0)

    signer.use(Credentials("AK", "secret"))
    assert b"Credential=AK/" in signer.head(b"GET", b"/a", 1_750_000_000.0)


@pytest.mark.parametrize("bad", ["two\r\nlines", "a blank", "", "ünicode"])
def test_credentials_that_would_break_a_head_are_refused_without_showing_them(bad: str) -> None:
    with pytest.raises(ValueError, match="secret_key") as caught:
        Credentials("AK", bad)

    assert not bad or bad not in str(caught.value)


def test_no_secret_in_repr_or_in_the_canonical_request() -> None:
    credentials = Credentials("AK", "topsecret", "toptoken")
    text = Signer(PROVIDERS["aws"], LOCATION, credentials).canonical_request(b"GET", b"/a", NOW)

    assert "top" not in repr(credentials)
    assert text is not None
    assert b"top" not in text
    assert b"x-amz-security-token:<redacted>" in text
    assert text.startswith(b"GET\n/a\n\nhost:images.s3.eu-west-1.amazonaws.com\n")


@pytest.mark.parametrize("query", [b"", b"a=1"])
@pytest.mark.parametrize(
    "fields", [(), ((b"via", b"1.1 test"),), ((b"via", b"1.1 test"), (b"user-agent", b"theirs"))]
)
def test_fields_that_are_rendered_once_make_the_same_head(fields: Sequence[Field], query: bytes) -> None:
    signer = Signer(PROVIDERS["http"], LOCATION, None)
    named = (*fields, (b"x-request-id", b"n1-1"))

    rendered = signer.rendered(fields)

    assert signer.plain_head(b"GET", b"/a", rendered, query=query) == signer.head(
        b"GET", b"/a", NOW, fields, query=query
    )
    assert signer.plain_head(b"GET", b"/a", rendered + b"x-request-id: n1-1\r\n", query=query) == signer.head(
        b"GET", b"/a", NOW, named, query=query
    )
