from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shield.rules import s3_errors
from shield.rules.providers import PROVIDERS
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
