"""What a request gets, over the wire: hits, stale answers, validation, ranges, refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.disks import settled, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.node import FakeClock, Shield, settings_of


def test_a_miss_is_stored_and_the_next_request_is_a_hit(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a.jpg", b"bytes", lifetime=60, fields={"content-type": "image/jpeg"})

    miss, hit = shield.get("/a.jpg"), shield.get("/a.jpg")

    assert (miss.status, miss.body, hit.status, hit.body) == (200, b"bytes", 200, b"bytes")
    assert miss.get("cache-status") == "test-1; fwd=uri-miss; fwd-status=200; stored; ttl=60"
    assert hit.get("cache-status") == "test-1; hit; ttl=60"
    assert hit.get("content-type") == "image/jpeg"
    assert hit.get("via") == "1.1 test-1"
    assert origin.fetches("/a.jpg") == 1


def test_age_and_ttl_follow_the_clock(shield: Shield, origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"x", lifetime=60)
    first = shield.get("/a")

    clock.advance(20)
    later = shield.get("/a")

    assert (first.get("age"), later.get("age")) == ("0", "20")
    assert later.get("cache-status") == "test-1; hit; ttl=40"
    assert first.get("date") == later.get("date")


def test_an_object_without_a_lifetime_holds_for_the_default(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"x")
    shield.get("/a")

    clock.advance(3599)

    assert shield.get("/a").hit
    assert origin.fetches("/a") == 1


def test_head_is_answered_from_a_stored_get(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"12345", lifetime=60)
    whole = shield.get("/a")

    head = shield.get("/a", method="HEAD")

    assert head.hit
    assert (head.status, head.body) == (200, b"")
    assert head.get("content-length") == whole.get("content-length") == "5"
    assert len(origin.requests) == 1


def test_head_of_what_is_not_stored_asks_for_no_body(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"12345", lifetime=60)

    head = shield.get("/a", method="HEAD")
    missing = shield.get("/b", method="HEAD")

    assert (head.status, head.body, head.get("content-length")) == (200, b"", "5")
    assert missing.status == 404
    assert [seen.method for seen in origin.requests if seen.path == "/a"] == ["HEAD"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused_with_those_allowed(shield: Shield, origin: FaultyOrigin, method: str) -> None:
    answer = shield.get("/a", method=method)

    assert answer.status == 405
    assert answer.get("allow") == "GET, HEAD"
    assert origin.requests == []


def test_a_body_is_refused_but_a_length_of_zero_is_none(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"x", lifetime=60)

    assert shield.get("/a", [("content-length", "0")]).status == 200
    assert shield.get("/a", [("content-length", "0")]).hit
    with shield.client() as client:
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
        assert client.read().status == 400
        assert client.at_end()


def test_a_stale_entry_inside_grace_is_served_and_validated_once(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"x", lifetime=60, grace=30)
    shield.get("/a")

    clock.advance(75)
    answers = shield.get_together("/a", times=50)

    assert {answer.hit for answer in answers} == {True}
    origin.wait_for(lambda: origin.fetches("/a") == 2 and not origin.requests_active)
    assert origin.requests[-1].get("if-none-match") is not None
    shield.wait_for(lambda: not shield.node.state()["fills"]["in_flight"])  # type: ignore[index]
    assert shield.get("/a").get("cache-status") == "test-1; hit; ttl=60"


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_is_doubted_is_validated_before_it_is_served_until_the_doubt_is_over(
    clock: FakeClock, origin: FaultyOrigin, tmp_path: Path, *, on_disk: bool
) -> None:
    settings = with_disk(origin, tmp_path / "nvme") if on_disk else settings_of({"fra": origin})
    origin.serves("/a", b"x", lifetime=600, grace=300)
    origin.serves("/b", b"y", lifetime=600)
    with Shield(settings, clock=clock) as shield:
        for path in ("/a", "/a", "/b"):
            shield.get(path)
        store = shield.node.store

        clock.advance(10)
        shield.call(lambda: store.doubt(clock()))
        clock.advance(10)
        first = shield.get("/a")
        if on_disk:
            settled(shield)
        second = shield.get("/a")
        assert first.get("cache-status") == "test-1; fwd=stale; fwd-status=304; stored; ttl=600"
        assert second.hit and origin.fetches("/a") == 2

        shield.call(lambda: store.doubt(0.0))
        assert shield.get("/b").get("cache-status") == "test-1; hit; ttl=580"
        assert origin.fetches("/b") == 1


def test_what_is_doubted_is_served_while_no_origin_can_confirm_it(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"x", lifetime=600)
    shield.get("/a")

    clock.advance(10)
    shield.call(lambda: shield.node.store.doubt(clock()))
    origin.stops()

    assert (shield.get("/a").status, shield.get("/a").body) == (200, b"x")


def test_past_its_grace_it_is_validated_before_it_is_served(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"x", lifetime=60, grace=0)
    shield.get("/a")

    clock.advance(100)
    answer = shield.get("/a")

    assert (answer.status, answer.body) == (200, b"x")
    assert answer.get("cache-status") == "test-1; fwd=stale; fwd-status=304; stored; ttl=60"
    assert answer.get("age") == "0"


def test_what_changed_meanwhile_replaces_the_entry(shield: Shield, origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"old", lifetime=60, grace=0)
    shield.get("/a")
    origin.serves("/a", b"newer", lifetime=60, grace=0)

    clock.advance(100)
    changed, after = shield.get("/a"), shield.get("/a")

    assert changed.body == after.body == b"newer"
    assert changed.get("cache-status") == "test-1; fwd=stale; fwd-status=200; stored; ttl=60"
    assert after.hit


def test_a_stale_entry_is_served_when_no_origin_can_answer(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"x", lifetime=60, grace=0)
    shield.get("/a")
    origin.stops()

    clock.advance(100)
    answer = shield.get("/a")

    assert (answer.status, answer.body) == (200, b"x")
    assert answer.get("cache-status") == 'test-1; fwd=stale; ttl=-40; detail="fra=connect"'


def test_a_client_that_has_it_gets_304(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"x" * 1000, lifetime=60)
    etag = shield.get("/a").get("etag") or ""

    same = shield.get("/a", [("if-none-match", etag)])
    other = shield.get("/a", [("if-none-match", '"other"')])

    assert (same.status, same.body, same.get("etag")) == (304, b"", etag)
    assert same.get("content-length") is None
    assert (other.status, len(other.body)) == (200, 1000)
    assert origin.fetches("/a") == 1


@pytest.mark.parametrize("known", ["5d41402abc", '"5d41402abc"', 'W/"5d41402abc"', '"other", "5d41402abc"'])
def test_a_client_that_has_it_gets_304_by_an_etag_without_quotes_too(
    shield: Shield, origin: FaultyOrigin, known: str
) -> None:
    origin.serves("/a", b"x", lifetime=60, fields={"etag": "5d41402abc"})

    first = shield.get("/a")
    same = shield.get("/a", [("if-none-match", known)])
    other = shield.get("/a", [("if-none-match", "5d41402ab")])

    assert (first.status, first.get("etag")) == (200, "5d41402abc")
    assert (same.status, same.get("etag")) == (304, "5d41402abc")
    assert (other.status, other.body) == (200, b"x")


def test_a_condition_on_a_miss_is_ours_to_answer(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"x", lifetime=60)
    etag = f'"{hashlib.md5(b"x").hexdigest()}"'

    answer = shield.get("/a", [("if-none-match", etag)])

    assert answer.status == 304
    assert origin.requests[-1].get("if-none-match") is None
    assert shield.get("/a").body == b"x"


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=2500000-", 206, 2_500_000, 3_000_000),
        ("bytes=-100", 206, 2_999_900, 3_000_000),
        ("bytes=1048570-1048585", 206, 1_048_570, 1_048_586),
        ("bytes=0-9999999", 206, 0, 3_000_000),
        ("lines=0-9", 200, 0, 3_000_000),
        ("bytes=9-0", 200, 0, 3_000_000),
        ("bytes=0-1,5-6", 206, 0, 7),
    ],
)
@pytest.mark.parametrize("stored", [True, False], ids=["hit", "miss"])
def test_a_single_range(
    shield: Shield, origin: FaultyOrigin, asked: str, status: int, start: int, stop: int, stored: bool
) -> None:
    body = Pattern(3_000_000)
    origin.serves("/a", body, lifetime=60)
    if stored:
        shield.get("/a")

    answer = shield.get("/a", [("range", asked)])

    assert answer.status == status
    assert answer.clean
    assert answer.body == body[start:stop]
    if status == 206:
        assert answer.get("content-range") == f"bytes {start}-{stop - 1}/3000000"
    assert origin.fetches("/a") == 1


def test_an_unsatisfiable_range_is_416(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"12345", lifetime=60)

    for _ in ("miss", "hit"):
        answer = shield.get("/a", [("range", "bytes=5-")])

        assert (answer.status, answer.body, answer.get("content-range")) == (416, b"", "bytes */5")


def test_a_range_of_another_version_is_answered_whole(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"12345", lifetime=60)
    etag = shield.get("/a").get("etag") or ""

    assert shield.get("/a", [("range", "bytes=0-1"), ("if-range", etag)]).status == 206
    assert shield.get("/a", [("range", "bytes=0-1"), ("if-range", '"old"')]).status == 200


def test_an_empty_object(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/empty", b"", lifetime=60)

    miss, hit = shield.get("/empty"), shield.get("/empty")

    assert (miss.status, miss.body, miss.clean) == (200, b"", True)
    assert hit.hit
    assert hit.get("content-length") == "0"


def test_spellings_of_one_path_are_one_entry(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a b/c.jpg", b"x", lifetime=60)

    answers = [
        shield.get(target)
        for target in ("/a%20b/c.jpg", "//a%20b/c.jpg", "/x/../a%20b/./c%2Ejpg", "/%61%20b/c.jpg?width=100")
    ]

    assert [answer.hit for answer in answers] == [False, True, True, True]
    assert [seen.target for seen in origin.requests] == ["/a%20b/c.jpg"]


def test_what_s3_honours_on_signed_requests_never_gets_there(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"x", lifetime=60)

    for query in ("acl", "uploads", "versionId=1", "response-content-type=text/html", "X-Amz-Signature=1"):
        shield.get(f"/a?{query}")

    assert {seen.target for seen in origin.requests} == {"/a"}


def test_the_bucket_itself_cannot_be_asked_for(shield: Shield, origin: FaultyOrigin) -> None:
    for target in ("/", "/?list-type=2", "//", "/x/.."):
        assert shield.get(target).status == 404

    assert origin.requests == []


def test_a_range_of_what_is_too_large_to_store_is_fetched_alone(origin: FaultyOrigin, clock: FakeClock) -> None:
    body = Pattern(3_000_000)
    origin.serves("/big", body, lifetime=60)
    settings = settings_of({"fra": origin}, cache={"memory": {"capacity": "64MiB", "max_entry": "1MiB"}})

    with Shield(settings, clock=clock) as shield:
        whole = shield.get("/big")
        part = shield.get("/big", [("range", "bytes=2000000-2000009")])

    assert whole.body == body[:]
    assert (part.status, part.body) == (206, body[2_000_000:2_000_010])
    assert [seen.get("range") for seen in origin.requests] == [None, "bytes=2000000-2000009"]


def test_no_store_is_not_stored(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"x", fields={"cache-control": "no-store"})

    answers = [shield.get("/a"), shield.get("/a")]

    assert [answer.hit for answer in answers] == [False, False]
    assert answers[0].get("cache-status") == "test-1; fwd=uri-miss; fwd-status=200; detail=no-store"
    assert origin.fetches("/a") == 2


def test_a_route_strips_and_adds(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/v2/x.jpg", b"x", lifetime=60)
    routes = {"images": {"match": "/images", "strip": "/images", "add": "/v2"}}

    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield:
        assert shield.get("/images/x.jpg").body == b"x"
        assert shield.get("/other/x.jpg").status == 404

    assert [seen.target for seen in origin.requests] == ["/v2/x.jpg"]


def test_allowed_query_parameters_are_part_of_the_key_in_any_order(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"x", lifetime=60)
    routes = {"all": {"match": "/", "query": {"allow": ["w", "h"]}}}

    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield:
        answers = [shield.get(target) for target in ("/a?w=1&h=2", "/a?h=2&x=9&w=1", "/a?w=2&h=2")]

    assert [answer.hit for answer in answers] == [False, True, False]
    assert [seen.target for seen in origin.requests] == ["/a?h=2&w=1", "/a?h=2&w=2"]


def test_one_line_in_the_access_log_for_each(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"12345", lifetime=60)
    shield.get("/a")
    shield.get("/a")
    shield.get("/a", method="POST")

    lines = shield.log()

    assert [(line["status"], line["bytes"], line["cache"]) for line in lines] == [
        (200, 5, "miss"),
        (200, 5, "hit"),
        (405, 19, "refused"),
    ]
    assert lines[0]["origin"] == "fra"


# loops (RFC 8586)


def test_a_request_that_comes_back_is_ended_and_others_go_on(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"a", lifetime=60)

    ended = shield.get("/a", [("cdn-loop", "cdn, test-1; v=1")])
    passed_on = shield.get("/a", [("cdn-loop", "cdn"), ("cdn-loop", "other-1")])
    hit = shield.get("/a", [("cdn-loop", "cdn")])

    assert (ended.status, passed_on.status, hit.hit) == (508, 200, True)
    assert [seen.get("cdn-loop") for seen in origin.requests] == ["cdn, other-1, test-1"]
    assert [seen.get("via") for seen in origin.requests] == ["1.1 test-1"]  # RFC 9110 §7.6.3


def test_an_origin_that_sees_a_requests_fields_sees_its_whole_way(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"a", lifetime=60)
    settings = settings_of(
        {"fra": origin},
        routes={"default": {"forward_request_headers": "all"}},
        freshness={"honour_request_directives": "no-store"},
    )

    with Shield(settings, clock=clock) as shield:
        shield.get("/a", [("via", "2.0 edge"), ("via", "1.1 cdn"), ("x-a", "1"), ("cdn-loop", "cdn")])
        shield.get("/a", [("surrogate-capability", 'cdn="ESI/1.0"'), ("cache-control", "no-store")])

    seen, other = origin.requests
    assert (seen.get("via"), seen.get("cdn-loop")) == ("2.0 edge, 1.1 cdn, 1.1 test-1", "cdn, test-1")
    assert seen.get("x-a") == "1"
    assert [name for name, _ in seen.fields if name in ("via", "cdn-loop")] == ["via", "cdn-loop"]
    assert other.get("surrogate-capability") == 'cdn="ESI/1.0"'  # another's word is none of our business


# surrogates (Edge Architecture Specification 1.0)


def test_an_origin_is_told_that_surrogate_control_is_understood_and_may_name_us(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    fields = {"cache-control": "no-store", "surrogate-control": "max-age=60;test-1, no-store;other-1"}
    origin.serves("/a", b"a", fields=fields)
    freshness = {"targeted": ["Surrogate-Control"]}
    routes = {"default": {"forward_request_headers": ["surrogate-capability"]}}
    settings = settings_of({"fra": origin}, freshness=freshness, routes=routes)

    with Shield(settings, clock=clock) as shield:
        shield.get("/a", [("surrogate-capability", 'cdn="ESI/1.0"')])
        hit = shield.get("/a", [("surrogate-capability", 'cdn="ESI/1.0"')])

    assert hit.get("cache-status") == "test-1; hit; ttl=60"
    assert hit.get("surrogate-control") == fields["surrogate-control"]  # the CDN may read it
    told = [value for name, value in origin.requests[0].fields if name == "surrogate-capability"]
    assert told == ['cdn="ESI/1.0", test-1="Surrogate/1.0"']


def test_an_error_that_would_be_passed_on_is_answered_with_what_is_stale(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"good", fields={"cache-control": "max-age=60, stale-if-error=600"})
    plain = {"provider": "http", "endpoint": origin.url, "pass_errors": True}

    with Shield(settings_of({}, origins={"fra": plain}), clock=clock) as shield:
        shield.get("/a")
        clock.advance(300)
        origin.fails("/a", "InternalError")
        stale = shield.get("/a")
        clock.advance(600)
        passed_on = shield.get("/a")

    assert (stale.status, stale.body) == (200, b"good")
    assert passed_on.status == 500
