from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules import s3_errors
from shield.rules.providers import PROVIDERS, Provider
from shield.rules.s3_errors import Answer, classify, error_code

CEPH, WASABI, PLAIN = PROVIDERS["ceph"], PROVIDERS["wasabi"], PROVIDERS["http"]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "NoSuchKey", Answer.ABSENT),
        (404, "NoSuchBucket", Answer.REFUSED),
        (404, None, Answer.REFUSED),  # a load balancer with nothing behind it
        (410, None, Answer.REFUSED),
        (403, "AccessDenied", Answer.AUTH),
        (403, "InvalidAccessKeyId", Answer.AUTH),
        (400, "ExpiredToken", Answer.AUTH),
        (403, "RequestTimeTooSkewed", Answer.AUTH),
        (403, "InvalidObjectState", Answer.COLD),
        (403, None, Answer.AUTH),
        (503, "SlowDown", Answer.THROTTLED),
        (429, None, Answer.THROTTLED),
        (500, "InternalError", Answer.SERVER),
        (502, None, Answer.SERVER),
        (404, "InternalError", Answer.SERVER),
        (301, "PermanentRedirect", Answer.REFUSED),
        (400, "SomethingNew", Answer.REFUSED),
    ],
)
def test_an_answer_of_an_s3_origin(status: int, code: str | None, expected: Answer) -> None:
    assert classify(status, code, provider=CEPH) is expected


@pytest.mark.parametrize("provider", [CEPH, PLAIN])
def test_what_the_law_withholds_is_refused_for_its_own_sake(provider: Provider) -> None:
    assert classify(451, None, provider=provider) is Answer.FORBIDDEN


@pytest.mark.parametrize("status", [401, 403])
def test_a_plain_origin_knows_no_credentials_of_ours_to_refuse(status: int) -> None:
    assert classify(status, None, provider=PLAIN) is Answer.FORBIDDEN
    assert classify(status, None, provider=CEPH) is Answer.AUTH


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", True),
        (400, "AccessDenied", True),
        (403, None, True),
        (403, "SomethingNew", True),
        (403, "InvalidAccessKeyId", False),
        (403, "SignatureDoesNotMatch", False),
        (400, "ExpiredToken", False),
        (400, "InvalidToken", False),
        (403, "RequestTimeTooSkewed", False),
        (403, "InvalidObjectState", False),
        (401, None, False),
        (404, "NoSuchKey", False),
    ],
)
def test_which_refusals_may_be_of_one_object(status: int, code: str | None, expected: bool) -> None:
    assert s3_errors.denies(status, code) is expected


@pytest.mark.parametrize(
    ("status", "code", "region", "words"),
    [
        (301, "PermanentRedirect", "eu-west-1", "is in region eu-west-1: set the origin's region"),
        (301, None, None, "is in another region"),
        (400, "AuthorizationHeaderMalformed", "eu-west-1", "is in region eu-west-1"),
        (307, "TemporaryRedirect", "eu-west-1", "endpoint to that of region eu-west-1"),
        (307, "TemporaryRedirect", None, "endpoint to that of the bucket's region"),
    ],
)
def test_a_bucket_elsewhere_is_said_with_what_to_do(
    status: int, code: str | None, region: str | None, words: str
) -> None:
    assert words in s3_errors.elsewhere(status, code, region)


def test_other_errors_have_no_such_advice() -> None:
    assert s3_errors.elsewhere(403, "AccessDenied", "eu-west-1") == ""


def test_a_region_is_read_from_the_field_or_else_from_the_document() -> None:
    document = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"

    assert s3_errors.region(b"us-east-2", document) == "us-east-2"
    assert s3_errors.region(None, document) == "eu-west-1"
    assert s3_errors.region(b"no region\n", b"<Region>../../etc</Region>") is None


def test_denied_means_absent_only_where_that_is_configured_and_said() -> None:
    assert classify(403, "AccessDenied", provider=CEPH, denied_is_absent=True) is Answer.ABSENT
    assert classify(403, None, provider=CEPH, denied_is_absent=True) is Answer.AUTH
    assert classify(403, "ExpiredToken", provider=CEPH, denied_is_absent=True) is Answer.AUTH


def test_wasabi_throttles_with_400() -> None:
    assert classify(400, None, provider=WASABI) is Answer.THROTTLED
    assert classify(400, "AuthorizationHeaderMalformed", provider=WASABI) is Answer.AUTH
    assert classify(400, None, provider=CEPH) is Answer.REFUSED


def test_a_plain_origin_says_by_status_that_it_has_nothing() -> None:
    assert classify(404, None, provider=PLAIN) is Answer.ABSENT
    assert classify(410, None, provider=PLAIN) is Answer.ABSENT
    assert classify(503, None, provider=PLAIN) is Answer.SERVER


@given(status=st.integers(300, 599), code=st.one_of(st.none(), st.text(max_size=20)))
def test_only_a_code_for_a_missing_object_makes_a_signed_origin_s_object_absent(
    status: int, code: str | None
) -> None:
    answer = classify(status, code, provider=CEPH)

    assert (answer is Answer.ABSENT) == (code in ("NoSuchKey", "NoSuchVersion"))


def test_every_answer_but_absent_is_a_fault() -> None:
    assert {answer for answer in Answer if answer is not Answer.ABSENT} == {
        answer for answer in Answer if answer in s3_errors._FAULTS
    }


@pytest.mark.parametrize(("status", "goes_on"), [(302, True), (403, True), (404, False), (429, False), (500, False)])
def test_which_statuses_of_a_plain_origin_a_client_gets(status: int, goes_on: bool) -> None:
    assert s3_errors.passes(status) is goes_on


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'<?xml version="1.0"?>\n<Error><Code>NoSuchKey</Code><Message>not here</Message></Error>',
            ("NoSuchKey", "not here"),
        ),
        (
            b'<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/">\n <Code> SlowDown </Code></Error>',
            ("SlowDown", ""),
        ),
        (b"<Error><Message>no code</Message></Error>", (None, "")),
        (b"<html><Code>NoSuchKey</Code></html>", (None, "")),
        (b"", (None, "")),
        (b"<Error><Code>X</Code><Message>a\r\nb\x00c</Message>", ("X", "a b c")),
    ],
)
def test_code_and_message_of_an_error_document(body: bytes, expected: tuple[str | None, str]) -> None:
    assert error_code(body) == expected


@given(st.binary(max_size=300))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    code, message = error_code(b"<Error><Code>" + body)

    assert message.isprintable()
    assert code is None or len(code) <= 100
