"""The origin on the level of S3: objects, conditions, ranges, and errors as S3 words them."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from tests.doubles.client import connected, exchange, fetch
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.s3 import KNOWN, Refusal
from tests.doubles.steps import Head


@pytest.fixture
def origin() -> FaultyOrigin:
    return FaultyOrigin()


# What it has.


def test_an_object_comes_with_length_and_validators(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a b", b"content", fields={"Content-Type": "image/webp"}, lifetime=60, grace=30)

        answer = fetch(origin, "/a%20b")

    assert (answer.status, answer.body) == (200, b"content")
    assert answer.fields["content-length"] == "7"
    assert answer.fields["content-type"] == "image/webp"
    assert answer.fields["cache-control"] == "max-age=60, stale-while-revalidate=30"
    assert answer.fields["etag"].strip('"').isalnum()
    assert parsedate_to_datetime(answer.fields["last-modified"]) < parsedate_to_datetime(answer.fields["date"])


def test_head_is_the_same_without_the_body(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"content")

        with connected(origin) as connection:
            head = exchange(connection, "/a", method="HEAD")
            get = exchange(connection, "/a")

    assert (head.status, head.body, head.fields["content-length"]) == (200, b"", "7")
    assert head.fields["etag"] == get.fields["etag"]


def test_what_it_does_not_have_is_absent_as_on_s3(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x")
        origin.absent("/a")

        answer = fetch(origin, "/a")

    assert answer.status == 404
    assert answer.fields["content-type"] == "application/xml"
    assert b"<Code>NoSuchKey</Code>" in answer.body


def test_other_methods_are_refused(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x")

        assert fetch(origin, "/a", method="DELETE").status == 405


def test_an_object_may_be_larger_than_memory_should_hold(origin: FaultyOrigin) -> None:
    body = Pattern(3_000_001, seed=7)
    with origin:
        origin.serves("/big", body)

        whole = fetch(origin, "/big")
        part = fetch(origin, "/big", fields={"Range": "bytes=1000000-2000000"})

    assert body.check(whole.body) and len(whole.body) == len(body)
    assert part.status == 206
    assert body.check(part.body, 1_000_000) and len(part.body) == 1_000_001


@pytest.mark.parametrize(
    ("asked", "status", "told", "body"),
    [
        ("bytes=2-4", 206, "bytes 2-4/10", b"234"),
        ("bytes=7-", 206, "bytes 7-9/10", b"789"),
        ("bytes=7-99", 206, "bytes 7-9/10", b"789"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=-99", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=4-2", 200, None, b"0123456789"),
        ("bytes=0-1,4-5", 200, None, b"0123456789"),
        ("pages=1-2", 200, None, b"0123456789"),
    ],
)
def test_single_ranges_are_honoured(
    origin: FaultyOrigin, asked: str, status: int, told: str | None, body: bytes
) -> None:
    with origin:
        origin.serves("/a", b"0123456789")

        answer = fetch(origin, "/a", fields={"Range": asked})

    assert (answer.status, answer.fields["content-range"], answer.body) == (status, told, body)


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_beyond_the_end_is_not_satisfiable(origin: FaultyOrigin, asked: str) -> None:
    with origin:
        origin.serves("/a", b"0123456789")

        answer = fetch(origin, "/a", fields={"Range": asked})

    assert (answer.status, answer.fields["content-range"]) == (416, "bytes */10")
    assert b"<Code>InvalidRange</Code>" in answer.body


def test_a_range_under_another_identity_gets_the_whole(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"0123456789", fields={"ETag": '"one"'})

        same = fetch(origin, "/a", fields={"Range": "bytes=0-1", "If-Range": '"one"'})
        other = fetch(origin, "/a", fields={"Range": "bytes=0-1", "If-Range": '"two"'})

    assert (same.status, same.body) == (206, b"01")
    assert (other.status, other.body) == (200, b"0123456789")


def test_conditions_are_honoured(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x", fields={"ETag": '"one"'})
        modified = fetch(origin, "/a", method="HEAD").fields["last-modified"]

        def status(**fields: str) -> int:
            return fetch(origin, "/a", fields={k.replace("_", "-"): v for k, v in fields.items()}).status

        assert status(if_none_match='"one"') == 304
        assert status(if_none_match='W/"one", "two"') == 304
        assert status(if_none_match='"two"') == 200
        assert status(if_modified_since=modified) == 304
        assert status(if_none_match='"two"', if_modified_since=modified) == 200
        assert status(if_match='"one"') == 200
        assert status(if_match='"two"') == 412
        assert status(if_unmodified_since="Thu, 01 Jan 1970 00:00:00 GMT") == 412


def test_not_modified_has_no_body_and_the_connection_goes_on(origin: FaultyOrigin) -> None:
    with origin, connected(origin) as connection:
        origin.serves("/a", b"x", fields={"ETag": '"one"'})

        fresh = exchange(connection, "/a", fields={"If-None-Match": '"one"'})
        full = exchange(connection, "/a")

        assert (fresh.status, fresh.body, fresh.fields["etag"]) == (304, b"", '"one"')
        assert full.body == b"x"
        assert origin.connections_opened == 1


def test_an_object_changes_after_so_many_requests(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"old")
        origin.changes("/a", b"newer", after=2)

        answers = [fetch(origin, "/a") for _ in range(4)]

    assert [answer.body for answer in answers] == [b"old", b"old", b"newer", b"newer"]
    assert len({answer.fields["etag"] for answer in answers}) == 2


def test_a_bucket_in_the_path_is_not_part_of_the_key() -> None:
    with FaultyOrigin(bucket="images") as origin:
        origin.serves("/a", b"x")

        assert fetch(origin, "/images/a").body == b"x"
        assert fetch(origin, "/a").body == b"x"
        assert [seen.path for seen in origin.requests] == ["/a", "/a"]
        assert origin.requests[0].target == "/images/a"


def test_paths_without_an_object_may_have_an_answer_of_their_own(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x")
        origin.default(Head(204))

        assert [fetch(origin, path).status for path in ("/a", "/b")] == [200, 204]

        origin.default()
        assert fetch(origin, "/b").status == 404


# What goes wrong on the level of S3.


@pytest.mark.parametrize("code", sorted(KNOWN))
def test_errors_are_worded_as_by_s3(origin: FaultyOrigin, code: str) -> None:
    with origin:
        origin.fails("/a", code)

        answer = fetch(origin, "/a")

    assert answer.status == KNOWN[code][0]
    assert f"<Error><Code>{code}</Code><Message>".encode() in answer.body


def test_an_error_may_have_another_status_more_fields_and_more_elements(origin: FaultyOrigin) -> None:
    with origin:
        origin.fails("/a", "SlowDown", status=400, fields={"Retry-After": "5"}, times=1)
        origin.fails("/a", Refusal("PermanentRedirect", details={"Endpoint": "b.test", "Region": "x&y"}))

        throttled = fetch(origin, "/a")
        redirect = fetch(origin, "/a")

    assert (throttled.status, throttled.fields["retry-after"]) == (400, "5")
    assert redirect.status == 301
    assert b"<Endpoint>b.test</Endpoint><Region>x&amp;y</Region>" in redirect.body


def test_faults_are_queued_and_forgotten(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"x")
        origin.serves("/b", b"x")
        origin.fails("/a", "SlowDown", times=2)
        origin.fails("/a", "InternalError")
        origin.fails("*", "AccessDenied", times=1)

        assert [fetch(origin, "/a").status for _ in range(4)] == [503, 503, 500, 500]
        assert [fetch(origin, "/b").status for _ in range(2)] == [403, 200]

        origin.recovers("/a")
        assert fetch(origin, "/a").status == 200


def test_an_error_to_head_has_no_body(origin: FaultyOrigin) -> None:
    with origin, connected(origin) as connection:
        origin.serves("/a", b"x")
        origin.fails("/a", "SlowDown", times=1)

        assert exchange(connection, "/a", method="HEAD").status == 503
        assert exchange(connection, "/a").body == b"x"


def test_a_wrong_clock_shows_in_date() -> None:
    with FaultyOrigin(clock=lambda: 1_700_000_000.0) as origin:
        origin.serves("/a", b"x")
        origin.skews(86_400)

        answer = fetch(origin, "/a")

    assert parsedate_to_datetime(answer.fields["date"]).timestamp() == 1_700_086_400


def test_a_clone_that_ignores_a_field_answers_as_if_it_was_not_there(origin: FaultyOrigin) -> None:
    with origin:
        origin.serves("/a", b"0123456789")
        origin.ignores("If-Match", "Range")

        answer = fetch(origin, "/a", fields={"Range": "bytes=0-1", "If-Match": '"other"'})

        assert (answer.status, answer.body) == (200, b"0123456789")
        assert origin.requests[0].get("if-match") == '"other"'
