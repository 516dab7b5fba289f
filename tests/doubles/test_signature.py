"""The origin's check of signatures, against botocore as the client that signs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles.client import fetch
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.ledger import Received
from tests.doubles.s3 import KNOWN
from tests.doubles.signature import SKEW, Verifier

KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "eu-central-1"
NOW = 1_700_000_000.0


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(KEY, SECRET, REGION)


def _signed(
    target: str = "/images/a.jpg",
    *,
    credentials: Credentials | None = None,
    region: str = REGION,
    service: str = "s3",
    fields: dict[str, str] | None = None,
) -> Received:
    """A request that botocore signed at the real time, as the origin receives it."""
    request = AWSRequest("GET", f"http://origin.test{target}", headers=fields or {})
    own = credentials or Credentials(KEY, SECRET)
    S3SigV4Auth(own, service, region).add_auth(request)
    lines = [("host", "origin.test"), *[(name.lower(), value) for name, value in request.headers.items()]]
    return Received(0, 1, "GET", target, target.partition("?")[0], lines)


def _when(request: Received) -> float:
    stamp = request.get("x-amz-date")
    assert stamp is not None
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _with(request: Received, **fields: str | None) -> Received:
    """The request with these fields changed on the way, None for one that is lost; `_` stands for `-`."""
    names = {name.replace("_", "-"): value for name, value in fields.items()}
    lines = [line for line in request.fields if line[0] not in names]
    return replace(request, fields=[*lines, *[(n, v) for n, v in names.items() if v is not None]])


def _code(verifier: Verifier, request: Received, *, late: float = 0.0) -> str | None:
    refusal = verifier(request, _when(request) + late)
    return refusal.code if refusal is not None else None


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/images/a.jpg",
        "/a%20b/%C3%BC%2B%26.jpg",
        "/a//b/../c~_-.%281%29",
        "/a?versionId=3&acl&prefix=x%2Fy&empty=",
        "/a?b=2&b=1&a-b=1&a=2",
    ],
)
def test_what_botocore_signs_is_accepted(verifier: Verifier, target: str) -> None:
    assert _code(verifier, _signed(target)) is None


@given(path=st.text(st.characters(codec="utf-8"), max_size=20))
def test_any_key_that_botocore_signs_is_accepted(path: str) -> None:
    assert _code(Verifier(KEY, SECRET, REGION), _signed("/" + quote(path, safe="/-_.~"))) is None


def test_extra_signed_fields_with_odd_spaces_are_accepted(verifier: Verifier) -> None:
    request = _signed(fields={"Range": "bytes=0-99", "X-Amz-Meta-Note": "  two   words "})

    assert _code(verifier, request) is None
    assert _code(verifier, _with(request, range="bytes=0-98")) == "SignatureDoesNotMatch"


def test_an_unsigned_payload_is_accepted_and_a_signed_one_is_compared(verifier: Verifier) -> None:
    request = _signed()
    assert request.get("x-amz-content-sha256") == hashlib.sha256(b"").hexdigest()

    assert _code(verifier, replace(request, body=b"smuggled")) == "XAmzContentSHA256Mismatch"


def test_a_session_token_is_required_where_the_key_is_temporary() -> None:
    verifier = Verifier(KEY, SECRET, REGION, session_token="token")

    assert _code(verifier, _signed(credentials=Credentials(KEY, SECRET, "token"))) is None
    assert _code(verifier, _signed(credentials=Credentials(KEY, SECRET, "other"))) == "InvalidToken"
    assert _code(verifier, _signed()) == "InvalidAccessKeyId"


def test_a_wrong_secret_is_refused(verifier: Verifier) -> None:
    assert _code(verifier, _signed(credentials=Credentials(KEY, "wrong"))) == "SignatureDoesNotMatch"


def test_an_unknown_key_is_refused(verifier: Verifier) -> None:
    assert _code(verifier, _signed(credentials=Credentials("AKOTHER", SECRET))) == "InvalidAccessKeyId"


@pytest.mark.parametrize(
    "change",
    [
        {"target": "/images/b.jpg"},
        {"target": "/images/a.jpg/"},
        {"target": "/images//a.jpg"},
        {"target": "/images/a.jpg?acl"},
        {"method": "HEAD"},
    ],
    ids=str,
)
def test_a_request_that_was_changed_on_the_way_is_refused(verifier: Verifier, change: dict[str, str]) -> None:
    request = _signed()
    changed = replace(
        request, method=change.get("method", request.method), target=change.get("target", request.target)
    )

    assert _code(verifier, changed) == "SignatureDoesNotMatch"


def test_a_query_that_was_changed_on_the_way_is_refused(verifier: Verifier) -> None:
    request = _signed("/a?b=1&a=2")

    assert _code(verifier, replace(request, target="/a?a=2&b=1")) is None  # the order isn't part of it
    assert _code(verifier, replace(request, target="/a?a=2&b=2")) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"authorization": None}, "AccessDenied"),
        ({"authorization": "Basic Zm9vOmJhcg=="}, "AuthorizationHeaderMalformed"),
        ({"authorization": f"AWS4-HMAC-SHA256 Credential={KEY}"}, "AuthorizationHeaderMalformed"),
        ({"host": "elsewhere.test"}, "SignatureDoesNotMatch"),
        ({"x_amz_content_sha256": "UNSIGNED-PAYLOAD"}, "SignatureDoesNotMatch"),
        ({"x_amz_content_sha256": None}, "InvalidRequest"),
        ({"x_amz_acl": "public-read"}, "AccessDenied"),
    ],
    ids=str,
)
def test_fields_that_were_changed_added_or_lost_are_refused(
    verifier: Verifier, fields: dict[str, str | None], code: str
) -> None:
    assert _code(verifier, _with(_signed(), **fields)) == code


def test_a_scope_for_another_region_is_refused_and_the_right_one_told(verifier: Verifier) -> None:
    request = _signed(region="us-east-1")

    refusal = verifier(request, _when(request))

    assert refusal is not None
    assert (refusal.code, refusal.details) == ("AuthorizationHeaderMalformed", {"Region": REGION})


def test_a_scope_for_another_service_or_day_is_refused(verifier: Verifier) -> None:
    request = _signed()
    authorization = request.get("authorization")
    assert authorization is not None
    day = request.get("x-amz-date")
    assert day is not None

    elsewhere = _with(request, authorization=authorization.replace("/s3/", "/iam/"))
    yesterday = _with(request, authorization=authorization.replace(day[:8], "20200101"))

    assert _code(verifier, elsewhere) == "AuthorizationHeaderMalformed"
    assert _code(verifier, yesterday) == "AuthorizationHeaderMalformed"


@pytest.mark.parametrize(
    ("late", "code"),
    [
        (SKEW, None),
        (-SKEW, None),
        (SKEW + 1, "RequestTimeTooSkewed"),
        (-SKEW - 1, "RequestTimeTooSkewed"),
    ],
)
def test_a_clock_may_be_a_quarter_of_an_hour_off(verifier: Verifier, late: float, code: str | None) -> None:
    assert _code(verifier, _signed(), late=late) == code


def test_a_date_that_is_none_is_refused(verifier: Verifier) -> None:
    request = _signed()

    for date in (None, "yesterday"):
        refusal = verifier(_with(request, x_amz_date=date), NOW)
        assert refusal is not None
        assert refusal.code == "AccessDenied"


def test_every_refusal_has_a_status_of_its_own() -> None:
    for code in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "RequestTimeTooSkewed"):
        assert KNOWN[code][0] == 403
    assert KNOWN["AuthorizationHeaderMalformed"][0] == 400


def test_an_origin_answers_signed_requests_only() -> None:
    with FaultyOrigin(bucket="images") as origin:
        origin.serves("/a b.jpg", b"picture")
        origin.trusts(KEY, SECRET, region=REGION)
        request = AWSRequest("GET", f"{origin.url}/images/a%20b.jpg")
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", REGION).add_auth(request)
        fields = dict(request.headers.items())

        assert fetch(origin, "/images/a%20b.jpg", fields=fields).body == b"picture"
        tampered = fetch(origin, "/images/other.jpg", fields=fields)
        unsigned = fetch(origin, "/images/a%20b.jpg")

    assert (tampered.status, b"<Code>SignatureDoesNotMatch</Code>" in tampered.body) == (403, True)
    assert (unsigned.status, b"<Code>AccessDenied</Code>" in unsigned.body) == (403, True)


def test_an_origin_names_the_region_it_wants() -> None:
    with FaultyOrigin() as origin:
        origin.serves("/a", b"x")
        origin.trusts(KEY, SECRET, region=REGION)
        request = AWSRequest("GET", f"{origin.url}/a")
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)

        answer = fetch(origin, "/a", fields=dict(request.headers.items()))

    assert answer.status == 400
    assert f"<Region>{REGION}</Region>".encode() in answer.body


def test_an_origin_with_a_wrong_clock_finds_good_requests_skewed_and_says_its_time() -> None:
    with FaultyOrigin() as origin:
        origin.serves("/a", b"x")
        origin.trusts(KEY, SECRET, region=REGION)
        origin.skews(-2 * SKEW)
        request = AWSRequest("GET", f"{origin.url}/a")
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", REGION).add_auth(request)

        answer = fetch(origin, "/a", fields=dict(request.headers.items()))

    assert answer.status == 403
    assert b"<Code>RequestTimeTooSkewed</Code>" in answer.body


def test_a_field_the_origin_ignores_may_be_signed() -> None:
    with FaultyOrigin() as origin:
        origin.serves("/a", b"0123456789")
        origin.trusts(KEY, SECRET, region=REGION)
        origin.ignores("Range")
        request = AWSRequest("GET", f"{origin.url}/a", headers={"Range": "bytes=0-1"})
        SigV4Auth(Credentials(KEY, SECRET), "s3", REGION).add_auth(request)
        signed_with_hash = AWSRequest("GET", f"{origin.url}/a", headers={"Range": "bytes=0-1"})
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", REGION).add_auth(signed_with_hash)

        without = fetch(origin, "/a", fields=dict(request.headers.items()))
        with_hash = fetch(origin, "/a", fields=dict(signed_with_hash.headers.items()))

        assert (without.status, b"InvalidRequest" in without.body) == (400, True)
        assert (with_hash.status, with_hash.body) == (200, b"0123456789")
        assert origin.requests[-1].get("range") == "bytes=0-1"
