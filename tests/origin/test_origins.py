"""Attempts and failover, over the wire: what moves on to the next origin, and what a client is told at the end."""

from __future__ import annotations

import pytest

from tests.doubles.faults import Fault, at_head, preceded_by, says
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Bytes, Close, Head, Reset, Wait
from tests.node import START, FakeClock, Shield, settings_of

KEY, SECRET = "AKEXAMPLE", "secretexample"


def s3(*origins: FaultyOrigin, secret: str = SECRET, **changes: object) -> dict[str, object]:
    """Signed origins of one bucket, by place: a, b, ..."""
    return {
        "abcdef"[place]: {
            "provider": "ceph",
            "endpoint": origin.url,
            "region": "eu-central-1",
            "bucket": "images",
            "access_key_id": KEY,
            "secret_key": secret,
            "role": "replica" if place else "primary",
            **changes,
        }
        for place, origin in enumerate(origins)
    }


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (503, "SlowDown"),
        (429, "TooManyRequests"),
        (403, "AccessDenied"),
        (403, "InvalidAccessKeyId"),
        (400, "ExpiredToken"),
        (403, "InvalidObjectState"),
        (404, "NoSuchKey"),
        (404, "NoSuchBucket"),
        (301, "PermanentRedirect"),
    ],
)
def test_an_error_of_one_origin_is_invisible_when_another_has_it(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, status: int, code: str
) -> None:
    settings = settings_of({}, origins=s3(origin, replica))
    origin.fails("/images/a", status=status, code=code)
    replica.serves("/images/a", b"x", lifetime=60)

    with Shield(settings) as shield:
        answer, again = shield.get("/a"), shield.get("/a")

    assert (answer.status, answer.body) == (200, b"x")
    assert again.hit
    assert (origin.fetches("/images/a"), replica.fetches("/images/a")) == (1, 1)


@pytest.mark.parametrize(
    "fault",
    [
        [Reset()],
        [Close()],
        [Bytes(b"SMTP ready\r\n\r\n")],
        [Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello")],
        [Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello")],
        [Head(200, [("x-pad", "p" * 100_000), ("content-length", "0")])],
        [Head(206, [("content-length", "1"), ("content-range", "bytes 0-0/9")]), Bytes(b"x")],
        [Head(304, [])],
    ],
    ids=["reset", "closed", "garbage", "two lengths", "length and chunks", "huge head", "unasked 206", "unasked 304"],
)
def test_a_broken_answer_is_never_a_body(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, fault: list[object]
) -> None:
    origin.script("/a", *fault, times=None)  # type: ignore[arg-type]
    replica.serves("/a", b"right", lifetime=60)

    answer = pair.get("/a")

    assert (answer.status, answer.body, answer.clean) == (200, b"right", True)
    assert sum(pair.state()["origins"]["fra"]["faults"].values()) == 1


def test_a_refused_connection_moves_on(pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    origin.refuses()
    replica.serves("/a", b"x", lifetime=60)

    assert pair.get("/a").body == b"x"
    assert pair.state()["origins"]["fra"]["faults"] == {"connect": 1}


def test_a_stalled_origin_moves_on_within_the_deadline(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    gate = origin.gate()
    origin.serves("/a", b"x")
    origin.spoils("/a", at_head(20, Wait(gate)))
    replica.serves("/a", b"x", lifetime=60)
    settings = settings_of({"fra": origin, "iad": replica}, failover={"deadline": "0.4s"})

    with Shield(settings, clock=clock) as shield:
        answer = shield.get("/a")
        overtaken = shield.state()["origins"]["fra"]["overtaken"]
        gate.open()

    assert (answer.status, answer.body) == (200, b"x")
    assert overtaken == 1


def test_when_all_stall_it_is_504(origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock) -> None:
    gate = origin.gate()
    for each in (origin, replica):
        each.serves("/a", b"x")
        each.spoils("/a", preceded_by(Wait(gate)))
    settings = settings_of({"fra": origin, "iad": replica}, failover={"deadline": "0.3s"})

    with Shield(settings, clock=clock) as shield:
        answer = shield.get("/a")
        gate.open()

    assert answer.status == 504
    assert answer.get("cache-control") == "no-store"
    assert answer.get("retry-after") == "5"


def test_absent_everywhere_is_a_404_for_a_short_while(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    with Shield(settings_of({}, origins=s3(origin, replica)), clock=clock) as shield:
        first, second = shield.get("/a"), shield.get("/a")
        clock.advance(11)
        origin.serves("/images/a", b"here now", lifetime=60)
        third = shield.get("/a")

    assert (first.status, first.get("cache-control")) == (404, "max-age=10")
    assert (second.status, second.hit) == (404, True)
    assert third.body == b"here now"


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (403, "AccessDenied"), (404, "NoSuchBucket"), (403, "ExpiredToken")]
)
def test_absent_here_and_unknown_there_is_no_404(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, status: int, code: str
) -> None:
    origin.fails("/images/a", status=status, code=code)

    with Shield(settings_of({}, origins=s3(origin, replica)), clock=clock) as shield:
        answer = shield.get("/a")
        origin.recovers()
        origin.serves("/images/a", b"x", lifetime=60)
        again = shield.get("/a")

    assert (answer.status, answer.get("cache-control"), answer.get("retry-after")) == (503, "no-store", "5")
    assert b"Error" not in answer.body
    assert (again.status, again.body) == (200, b"x")


def test_a_replica_that_lags_is_made_up_for_by_the_primary(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/images/new", b"x", lifetime=60)

    with Shield(settings_of({}, origins=s3(replica, origin)), clock=clock) as shield:
        answer = shield.get("/new")

    assert (answer.status, answer.body) == (200, b"x")


def test_requests_are_signed_with_each_origin_s_own_credentials(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    origin.trusts(KEY, SECRET, region="eu-central-1")
    replica.trusts(KEY, "another", region="eu-central-1")
    origin.serves("/images/ä b+c", b"x", lifetime=60)
    replica.serves("/images/only here", b"y", lifetime=60)
    origins = s3(origin) | {"b": s3(replica, secret="another")["a"] | {"role": "replica"}}  # type: ignore[operator]

    with Shield(settings_of({}, origins=origins), clock=clock) as shield:
        assert shield.get("/%C3%A4%20b+c").body == b"x"
        assert shield.get("/only%20here").body == b"y"


def test_wrong_credentials_are_an_outage_and_not_an_absence(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.trusts(KEY, SECRET, region="eu-central-1")

    with Shield(settings_of({}, origins=s3(origin, secret="wrong")), clock=clock) as shield:
        answer = shield.get("/a")
        faults = shield.state()["origins"]["a"]["faults"]

    assert answer.status == 503
    assert faults == {"auth": 1}


def test_a_clock_that_is_off_is_corrected_by_the_origin_s_date(origin: FaultyOrigin) -> None:
    clock = FakeClock(START - 7200)
    origin.trusts(KEY, SECRET, region="eu-central-1")
    origin.serves("/images/a", b"x", lifetime=60)
    origin.serves("/images/b", b"y", lifetime=60)

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        answers = [shield.get("/a"), shield.get("/b")]

    assert [answer.body for answer in answers] == [b"x", b"y"]
    assert [seen.path for seen in origin.requests] == ["/images/a", "/images/a", "/images/b"]


def test_denied_may_mean_absent_where_the_key_may_not_list(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.fails("/images/a", status=403, code="AccessDenied")

    with Shield(settings_of({}, origins=s3(origin, access_denied_is_absent=True)), clock=clock) as shield:
        assert shield.get("/a").status == 404


def test_why_head_was_refused_is_asked_with_get(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.fails("/images/down", status=404, code="NoSuchBucket")

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        absent = shield.get("/absent", method="HEAD")
        down = shield.get("/down", method="HEAD")

    assert (absent.status, down.status) == (404, 503)


def test_a_plain_origin_s_redirect_goes_to_the_client(shield: Shield, origin: FaultyOrigin) -> None:
    origin.script("/a", Head(302, [("location", "https://elsewhere/"), ("content-length", "0")]), times=None)

    answer = shield.get("/a")

    assert (answer.status, answer.get("location")) == (302, "https://elsewhere/")
    assert not shield.get("/a").hit


def test_a_reused_connection_that_the_origin_closed_is_retried_silently(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"a", lifetime=60)
    origin.serves("/b", b"b", lifetime=60)
    origin.script("/b", Close())
    shield.get("/a")

    assert shield.get("/b").body == b"b"
    assert shield.state()["origins"]["fra"]["faults"] == {}


def test_an_origin_that_stops_and_returns_is_used_again(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"a", lifetime=60)
    origin.stops()
    down = shield.get("/a")

    origin.returns()
    up = shield.get("/a")

    assert (down.status, up.status, up.body) == (503, 200, b"a")


def test_a_304_for_another_version_is_not_believed(shield: Shield, origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"old", lifetime=60, grace=0)
    shield.get("/a")
    origin.serves("/a", b"new", lifetime=60, grace=0)
    origin.script("/a", Head(304, [("etag", '"wrong"')]))

    clock.advance(100)
    answer = shield.get("/a")

    assert (answer.status, answer.body) == (200, b"new")


def test_a_range_of_another_version_never_continues_a_body(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"0123456789" * 300_000, lifetime=60)
    origin.spoils("/a", says(etag='"one"'), times=1)
    settings = settings_of({"fra": origin}, cache={"memory": {"capacity": "8MiB", "max_entry": "1MiB"}})

    with Shield(settings, clock=clock) as shield:
        answer = shield.get("/a", [("range", "bytes=5-9")])

    assert (answer.status, answer.body, answer.get("etag") == '"one"') == (206, b"56789", False)
    assert [seen.get("if-match") for seen in origin.requests] == [None, '"one"', None]


def test_head_refused_and_get_answered_is_an_outage(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/images/a", b"x", lifetime=60)
    origin.script("/images/a", Head(404, [("content-length", "0")]))
    settings = settings_of({}, origins=s3(origin), failover={"retry_budget": 0})

    with Shield(settings, clock=clock) as shield:
        answer = shield.get("/a", method="HEAD")
        again = shield.get("/a", method="HEAD")

    assert (answer.status, again.status) == (503, 200)
    assert [seen.method for seen in origin.requests] == ["HEAD", "GET", "HEAD"]


@pytest.mark.parametrize(
    "spoiled",
    [says(content_range="bytes 5-10/3000000"), says(content_range="nonsense"), says(200, content_range=None)],
    ids=["another range", "no range", "200"],
)
def test_an_answer_to_another_range_is_never_taken_for_the_one_asked(
    origin: FaultyOrigin, clock: FakeClock, spoiled: Fault
) -> None:
    origin.serves("/a", b"0123456789" * 300_000, lifetime=60)
    origin.spoils("/a", times=1)
    origin.spoils("/a", spoiled, times=1)
    settings = settings_of({"fra": origin}, cache={"memory": {"capacity": "8MiB", "max_entry": "1MiB"}})

    with Shield(settings, clock=clock) as shield:
        answer = shield.get("/a", [("range", "bytes=5-9")])

    assert (answer.status, answer.body) == (206, b"56789")  # read from the whole
    assert [seen.get("range") for seen in origin.requests] == [None, "bytes=5-9", None]


def test_an_error_whose_body_breaks_off_is_read_by_its_status(pair: Shield, origin: FaultyOrigin) -> None:
    cut_off = Head(500, [("content-length", "1000")]), Bytes(b"<Error><Code>NoSuchKey</Code>"), Close()
    origin.script("/a", *cut_off, times=None)

    assert pair.get("/a").status == 503
    assert pair.state()["origins"]["fra"]["faults"] == {"server": 2}


def test_a_refusal_by_an_origin_whose_clock_is_right_is_not_tried_again(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.fails("/images/a", "RequestTimeTooSkewed")

    with Shield(settings_of({}, origins=s3(origin)), clock=clock) as shield:
        assert shield.get("/a").status == 503

    assert origin.fetches("/images/a") == 1
