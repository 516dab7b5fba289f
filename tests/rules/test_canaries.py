"""What is said of an origin, by what came of a listing and of an object."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.errors import Fault
from shield.rules.canaries import About, CanaryEvidence, Grade, Heard, Missed, Told, judge, object_in
from shield.rules.s3_errors import _CODES

ABOUT = About("fra", "http://s3.example/images/", bucket="images", region="eu-central-1")
PLAIN = About("web", "https://web.example/", signed=False)
LISTED, DENIED, PART = Told(200, lists=True), Told(403, "AccessDenied"), Told(206)


def of(listing: Heard, got: Heard | None = None, *, about: About = ABOUT, named: bool = False) -> CanaryEvidence:
    return CanaryEvidence(listing, None if got is None else "/a.webp", named=named, got=got)


def test_an_origin_that_lists_and_gives_a_part_is_well_and_nothing_is_said() -> None:
    found = judge(ABOUT, of(LISTED, PART))

    assert (found.grade, found.problems) == (Grade.OK, [])
    assert [found.reached, found.credentials, found.bucket, found.lists, found.holds, found.ranges] == [True] * 6


@pytest.mark.parametrize(
    ("listing", "got", "words"),
    [
        (Told(403, "SignatureDoesNotMatch"), None, ["403 SignatureDoesNotMatch", "secret_key"]),
        (Told(403, "InvalidAccessKeyId"), None, ["403 InvalidAccessKeyId", "access_key_id"]),
        (Told(400, "ExpiredToken"), None, ["session_token has expired"]),
        (Told(400, "InvalidToken", "The token is malformed"), None, ["session_token", "The token is malformed"]),
        (Told(403, "RequestTimeTooSkewed"), None, ["clock", "NTP"]),
        (Told(403, "UserSuspended"), None, ["locked"]),
        (Told(404, "NoSuchBucket"), None, ["no bucket images", "set bucket"]),
        (Told(301, "PermanentRedirect", region="us-west-2"), None, ["us-west-2", "region", "endpoint"]),
        (Told(400, "AuthorizationHeaderMalformed", region="us-west-2"), None, ["us-west-2", "now eu-central-1"]),
        (Told(301), None, ["another region"]),
        (Told(307, "TemporaryRedirect"), None, ["endpoint"]),
        (Told(503, "SlowDown"), None, ["overloaded"]),
        (Told(500, "InternalError", "Try again"), None, ["500 InternalError: Try again", "doesn't work itself"]),
        (Told(404), None, ["404", "isn't how S3 answers", "https://"]),
        (Told(200), None, ["isn't how S3 answers"]),
        (Told(400, "Peculiar", "so it is"), None, ["400 Peculiar: so it is"]),
        (LISTED, DENIED, ["may not read /a.webp", "s3:GetObject"]),
        (DENIED, DENIED, ["s3:GetObject", "s3:ListBucket"]),
        (LISTED, Missed(Fault.RESET, "the connection was reset"), ["the connection was reset"]),
        (Missed(Fault.RESOLVE, "s3.example: Name or service not known"), None, ["Name or service not known", "DNS"]),
        (Missed(Fault.CONNECT, "192.0.2.1:80: Connection refused"), None, ["Connection refused", "firewall"]),
        (Missed(Fault.CONNECT_TIMEOUT, "connecting: not done within 2 s"), None, ["2 s", "timeouts.connect"]),
        (Missed(Fault.CONNECT_TIMEOUT, "TLS handshake with h: not done"), None, ["http:// in endpoint", "connect"]),
        (Missed(Fault.FIRST_BYTE_TIMEOUT, "no answer within 5 s"), None, ["5 s", "timeouts.first_byte"]),
        (Missed(Fault.MALFORMED, "not HTTP"), None, ["https:// in endpoint"]),
        (Missed(Fault.TLS, "certificate of h: certificate has expired"), None, ["renewed", "clock"]),
        (
            Missed(Fault.TLS, "certificate of h: Hostname mismatch, certificate is not valid for 'h'"),
            None,
            ["a name"],
        ),
        (Missed(Fault.TLS, "certificate of h: unable to get local issuer certificate"), None, ["ca_file"]),
        (Missed(Fault.TLS, "certificate of h: self-signed certificate"), None, ["ca_file"]),
        (Missed(Fault.TLS, "handshake with h: wrong version number"), None, ["http:// in endpoint"]),
        (Missed(Fault.POOL_TIMEOUT, "all in use"), None, ["pool-timeout: all in use"]),
    ],
)
def test_a_failure_is_said_in_words_with_what_to_change(listing: Heard, got: Heard | None, words: list[str]) -> None:
    found = judge(ABOUT, of(listing, got))

    assert found.grade is Grade.FAILED
    (said,) = [problem for problem in found.problems if "absent objects" not in problem]
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(
    ("listing", "got", "words"),
    [
        (LISTED, Told(200), ["ignores Range"]),
        (LISTED, Told(403, "InvalidObjectState"), ["archived"]),
        (LISTED, None, ["empty", "--canary"]),
        (DENIED, PART, ["s3:ListBucket", "access_denied_is_absent"]),
        (DENIED, None, ["--canary"]),
    ],
)
def test_what_works_but_not_as_it_should_is_a_warning(listing: Heard, got: Heard | None, words: list[str]) -> None:
    found = judge(ABOUT, of(listing, got))

    assert found.grade is Grade.WARNING
    assert [word for word in words if word not in " ".join(found.problems)] == []


def test_an_object_that_was_named_must_be_there_and_one_that_was_listed_may_go() -> None:
    gone = Told(404, "NoSuchKey")

    named, listed = (judge(ABOUT, of(LISTED, gone, named=named)) for named in (True, False))

    assert (named.grade, named.holds, named.credentials) == (Grade.FAILED, False, True)
    assert "doesn't hold /a.webp" in named.problems[0]
    assert listed.grade is Grade.OK


def test_an_object_that_is_read_shows_that_listing_is_all_that_is_refused() -> None:
    found = judge(ABOUT, of(Told(400, "NotImplemented"), PART))

    assert (found.grade, found.credentials, found.holds) == (Grade.OK, True, True)


def test_no_listing_is_no_trouble_where_a_denial_is_an_absence() -> None:
    about = About("fra", "https://s3.example/", bucket="images", denied_is_absent=True)

    assert judge(about, of(DENIED, PART)).grade is Grade.OK


@pytest.mark.parametrize(("offset", "word"), [(3600.0, "3600 s ahead of"), (-90.0, "90 s behind")])
def test_a_clock_that_is_wrong_is_a_warning(offset: float, word: str) -> None:
    evidence = CanaryEvidence(LISTED, "/a.webp", got=PART, offset=offset)

    found = judge(ABOUT, evidence)

    assert found.grade is Grade.WARNING
    assert word in found.problems[0]
    assert judge(ABOUT, CanaryEvidence(LISTED, "/a.webp", got=PART, offset=offset / 100)).grade is Grade.OK


@pytest.mark.parametrize(
    ("root", "got", "grade", "word"),
    [
        (Told(404), PART, Grade.OK, ""),
        (Told(404), None, Grade.WARNING, "--canary"),
        (Told(500), PART, Grade.OK, ""),
        (Told(502), None, Grade.FAILED, "502"),
        (Told(200), Told(404), Grade.FAILED, "doesn't hold"),
        (Told(200), Told(403), Grade.FAILED, "wants credentials"),
        (Told(200), Told(302), Grade.WARNING, "redirections"),
        (Told(200), Told(503), Grade.FAILED, "overloaded"),
    ],
)
def test_a_plain_web_server_is_judged_by_the_object(root: Told, got: Told | None, grade: Grade, word: str) -> None:
    found = judge(PLAIN, of(root, got, named=True))

    assert found.grade is grade
    assert word in " ".join(found.problems)
    assert found.credentials is None


codes = st.one_of(st.none(), st.sampled_from(sorted(_CODES)), st.text(max_size=5))
told = st.builds(Told, st.integers(200, 599), codes, st.text(max_size=9), st.none(), lists=st.booleans())
missed = st.builds(Missed, st.sampled_from(Fault), st.text(max_size=20))


@given(st.one_of(told, missed), st.one_of(st.none(), told, missed), st.booleans(), st.booleans())
def test_a_verdict_that_is_not_ok_has_a_reason_and_one_that_is_has_none(
    listing: Heard, got: Heard | None, signed: bool, named: bool
) -> None:
    about = ABOUT if signed else PLAIN

    found = judge(about, of(listing, got, named=named))

    assert (found.grade is Grade.OK) == (not found.problems)
    assert all(found.problems)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (b"<Contents><Key>a/b.webp</Key><Size>5</Size></Contents>", b"/a/b.webp"),
        (b"<Contents><Key>a/</Key><Size>0</Size></Contents><Contents><Key>b</Key><Size>1</Size></Contents>", b"/b"),
        (b"<Contents><Key>a/</Key><Size>0</Size></Contents>", b"/a/"),
        (b"<Contents><Key>a&amp;b c</Key><Size>1</Size></Contents>", b"/a%26b%20c"),
        (b"<EncodingType>url</EncodingType><Contents><Key>a%26b+c</Key><Size>1</Size></Contents>", b"/a%26b%20c"),
        (b"<Contents><Size>1</Size></Contents>", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_an_object_is_found_in_a_listing(document: bytes, path: bytes | None) -> None:
    assert object_in(document) == path
