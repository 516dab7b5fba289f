"""What an origin's refusals mean over the wire: of the object, of the credentials, of a method, and of elsewhere."""

from __future__ import annotations

import gzip
import logging
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.origin.decoding import decoded
from shield.rules.dates import imf_fixdate
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.s3 import Refusal as Refused
from tests.doubles.steps import Bytes, Head
from tests.node import START, FakeClock, Shield, settings_of
from tests.origin.test_origins import KEY, SECRET, s3

# what is stale


def stale_after(
    origin: FaultyOrigin, clock: FakeClock, code: str, status: int | None = None, *, quiet: float = 100.0
) -> tuple[int, bytes]:
    """The answer to a request for what is stale, so long after an origin last gave anything."""
    origin.serves("/images/a", b"old", lifetime=60, grace=0)
    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        shield.get("/a")
        origin.fails("/images/a", code, status=status)
        clock.advance(quiet)
        answer = shield.get("/a")
    return answer.status, answer.body if answer.status == 200 else b""


@pytest.mark.parametrize(("code", "status"), [("AccessDenied", 403), ("x", 403), ("AccessDenied", 451), ("x", 451)])
def test_an_object_that_is_refused_is_not_served_stale(
    origin: FaultyOrigin, clock: FakeClock, code: str, status: int
) -> None:
    assert stale_after(origin, clock, code, status) == (503, b"")


@pytest.mark.parametrize(
    "code",
    [
        "ExpiredToken",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "InternalError",
        "NoSuchBucket",
        "InvalidObjectState",
    ],
)
def test_refused_credentials_and_failures_leave_what_is_stale(
    origin: FaultyOrigin, clock: FakeClock, code: str
) -> None:
    assert stale_after(origin, clock, code) == (200, b"old")


def test_denied_when_nothing_was_given_for_long_is_a_refusal_of_the_credentials(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    assert stale_after(origin, clock, "AccessDenied", quiet=3600.0) == (200, b"old")


def test_when_all_is_denied_it_is_the_credentials_and_what_is_stale_is_served(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/images/a", b"old", lifetime=60, grace=0)

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        shield.get("/a")
        origin.fails("*", "AccessDenied")
        clock.advance(100)
        before = shield.get("/a").status
        for number in range(20):
            shield.get(f"/{number}")
        after = shield.get("/a")
        faults = shield.state()["origins"]["a"]["faults"]

    assert (before, after.status, after.body) == (503, 200, b"old")
    assert faults == {"forbidden": 19, "auth": 3}


def test_an_object_that_one_origin_refuses_is_had_from_another(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/images/other", b"x", lifetime=60)
    origin.fails("/images/a", "AccessDenied")
    replica.serves("/images/a", b"x", lifetime=60)

    with Shield(settings_of({}, origins=s3(origin, replica)), clock=clock) as shield:
        shield.get("/other")

        assert shield.get("/a").body == b"x"


@pytest.mark.parametrize("status", [401, 403, 451])
def test_what_a_plain_origin_refuses_goes_to_the_client_instead_of_what_is_stale(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock, status: int
) -> None:
    origin.serves("/a", b"old", lifetime=60, grace=0)
    shield.get("/a")
    origin.script("/a", Head(status, [("content-length", "2")]), Bytes(b"no"), times=None)

    clock.advance(100)
    answer = shield.get("/a")

    assert (answer.status, answer.body) == (status, b"no")


# credentials and clocks


def skew_of(shield: Shield) -> float:
    return shield.node.origins.get("a").signer.skew


def test_a_refusal_kept_by_a_cache_on_the_way_does_not_set_the_clock(origin: FaultyOrigin, clock: FakeClock) -> None:
    kept = {"date": imf_fixdate(START - 7200).decode(), "age": "7200"}
    origin.fails("/images/a", "RequestTimeTooSkewed", fields=kept)

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        shield.get("/a")

        assert skew_of(shield) == 0.0
    assert origin.fetches("/images/a") == 1


def test_an_age_that_is_no_number_makes_a_date_worthless(origin: FaultyOrigin, clock: FakeClock) -> None:
    kept = {"date": imf_fixdate(START - 7200).decode(), "age": "hours"}
    origin.fails("/images/a", "RequestTimeTooSkewed", fields=kept)

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        shield.get("/a")

        assert skew_of(shield) == 0.0


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "AccessDenied", "InvalidAccessKeyId", "RequestExpired"])
def test_a_clock_set_wrongly_comes_back_at_any_refusal_of_credentials(
    origin: FaultyOrigin, clock: FakeClock, code: str
) -> None:
    wrong = {"date": imf_fixdate(START - 7200).decode()}
    origin.serves("/images/a", b"x", lifetime=60)
    origin.trusts(KEY, SECRET, region="eu-central-1")
    origin.fails("/images/a", Refused("x", 403), fields=wrong, times=1)
    origin.fails("/images/a", code, status=403, times=1)

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        shield.get("/a")
        answer = shield.get("/a")

        assert skew_of(shield) == 0.0
    assert answer.body == b"x"


# documents


def document(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(document("NoSuchKey"))),
        ("x-gzip", gzip.compress(document("NoSuchKey"))),
        ("GZIP", gzip.compress(document("NoSuchKey"))),
        ("deflate", zlib.compress(document("NoSuchKey"))),
        ("deflate", raw_deflate(document("NoSuchKey"))),
        ("gzip, identity", gzip.compress(document("NoSuchKey"))),
        ("deflate, gzip", gzip.compress(zlib.compress(document("NoSuchKey")))),
    ],
    ids=["gzip", "x-gzip", "upper case", "deflate", "raw deflate", "identity", "twice"],
)
def test_an_absence_is_understood_though_it_is_compressed(
    origin: FaultyOrigin, clock: FakeClock, coding: str, body: bytes
) -> None:
    head = Head(404, [("content-encoding", coding), ("content-length", str(len(body)))])
    origin.script("/images/a", head, Bytes(body), times=None)

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        assert shield.get("/a").status == 404


def test_a_document_grows_to_its_limit_and_no_further() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)

    assert decoded(bomb, b"gzip", limit=1000) == b"0" * 1000
    assert 0 < len(decoded(gzip.compress(bomb), b"gzip, gzip", limit=1000)) <= 1000


@pytest.mark.parametrize("codings", [None, b"", b"identity", b"br", b"gzip, br", b"gzip, gzip, gzip, gzip"])
def test_what_is_not_understood_stays_as_it_is(codings: bytes | None) -> None:
    assert decoded(b"text", codings, limit=1000) == b"text"


def test_what_is_not_what_it_says_is_nothing() -> None:
    assert decoded(b"text", b"gzip", limit=1000) == b""
    assert decoded(b"text", b"deflate", limit=1000) == b""


@given(st.binary(max_size=300), st.sampled_from([b"gzip", b"deflate", b"gzip, deflate", b"x-gzip"]), st.booleans())
def test_no_document_breaks_the_reader(body: bytes, codings: bytes, packed: bool) -> None:
    read = decoded(gzip.compress(body) if packed else body, codings, limit=100)

    assert len(read) <= 100
    assert not (packed and codings == b"gzip") or read == body[:100]


# HEAD


@pytest.mark.parametrize("status", [403, 405, 501])
@pytest.mark.parametrize("provider", ["ceph", "http"])
def test_head_is_answered_by_get_where_an_origin_refuses_it(
    origin: FaultyOrigin, clock: FakeClock, status: int, provider: str
) -> None:
    path = "/images/a" if provider == "ceph" else "/a"
    origin.serves(path, b"hello", lifetime=60, fields={"content-type": "image/webp"})
    origin.script(path, Head(status, [("content-length", "0")]))
    origins = s3(origin) if provider == "ceph" else {"a": {"provider": "http", "endpoint": origin.url}}

    with Shield(settings_of({}, origins=origins), clock=clock) as shield:
        answer = shield.get("/a", method="HEAD")
        faults = shield.state()["origins"]["a"]["faults"]

    assert (answer.status, answer.get("content-length"), answer.get("content-range")) == (200, "5", None)
    assert (answer.get("content-type"), answer.get("etag") is not None) == ("image/webp", True)
    assert [(seen.method, seen.get("range")) for seen in origin.requests] == [("HEAD", None), ("GET", "bytes=0-0")]
    assert faults == {}


def test_head_of_an_empty_object_is_answered_by_get_too(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/images/a", b"", lifetime=60)
    origin.script("/images/a", Head(403, [("content-length", "0")]))

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        answer = shield.get("/a", method="HEAD")

    assert (answer.status, answer.get("content-length")) == (200, "0")
    assert [seen.get("range") for seen in origin.requests] == [None, "bytes=0-0", None]


def test_head_is_answered_by_get_where_ranges_are_ignored(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"hello" * 100_000, lifetime=60)
    origin.ignores("range")
    origin.script("/a", Head(405, [("content-length", "0")]))

    with Shield(settings_of({"fra": origin}), clock=clock) as shield:
        answer = shield.get("/a", method="HEAD")

    assert (answer.status, answer.get("content-length"), answer.body) == (200, "500000", b"")


@pytest.mark.parametrize(("status", "expected"), [(403, 403), (405, 405), (501, 503)])
def test_what_get_is_refused_too_head_is_refused(
    shield: Shield, origin: FaultyOrigin, status: int, expected: int
) -> None:
    origin.script("/a", Head(status, [("content-length", "0")]), times=None)

    assert shield.get("/a", method="HEAD").status == expected


# elsewhere


@pytest.mark.parametrize(
    ("refused", "fields", "region"),
    [
        (Refused("PermanentRedirect", 301), {"x-amz-bucket-region": "ap-south-1"}, "ap-south-1"),
        (Refused("AuthorizationHeaderMalformed", 400, {"Region": "eu-west-3"}), {}, "eu-west-3"),
        (Refused("TemporaryRedirect", 307), {"x-amz-bucket-region": "eu-west-3"}, "eu-west-3"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_bucket_elsewhere_is_named_in_the_log_with_what_to_do(
    origin: FaultyOrigin,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    refused: Refused,
    fields: dict[str, str],
    region: str,
    method: str,
) -> None:
    origin.fails("/images/a", refused, fields=fields)

    with caplog.at_level(logging.WARNING, "shield.origin"), Shield(settings_of({}, origins=s3(origin))) as shield:
        answer = shield.get("/a", method=method)

    assert answer.status == 503
    assert any(f"region {region}" in line and "set the origin's" in line for line in caplog.messages)
