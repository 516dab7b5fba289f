"""What an origin's answer makes of an entry: which fields are told, stored and updated, over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client import Answer
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.raw import answer, not_modified
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two


def serving(clock: FakeClock, origin: FaultyOrigin, **freshness: Any) -> Shield:
    return Shield(settings_of({"fra": origin}, freshness=freshness), clock=clock)


def values(told: Answer, name: str) -> list[str]:
    return [value for key, value in told.fields if key == name]


# fields that are left out


def test_cookies_are_neither_told_nor_stored_where_they_are_stripped(clock: FakeClock, origin: FaultyOrigin) -> None:
    origin.answers("/a", answer("Cache-Control: max-age=60", "Set-Cookie: a=b", "X-A: 1"))

    with serving(clock, origin, set_cookie="strip") as shield:
        miss, hit = shield.get("/a"), shield.get("/a")

    assert hit.hit
    for told in (miss, hit):
        assert (told.get("set-cookie"), told.get("x-a")) == (None, "1")


def test_cookies_are_told_to_everyone_where_they_are_stored(clock: FakeClock, origin: FaultyOrigin) -> None:
    origin.answers("/a", answer("Cache-Control: max-age=60", "Set-Cookie: a=b", "Set-Cookie: c=d"))

    with serving(clock, origin, set_cookie="store") as shield:
        shield.get("/a")
        hit = shield.get("/a")

    assert hit.hit
    assert values(hit, "set-cookie") == ["a=b", "c=d"]


def test_cookies_keep_a_response_from_being_stored_unless_told_otherwise(
    shield: Shield, origin: FaultyOrigin
) -> None:
    origin.answers("/a", answer("Cache-Control: max-age=60", "Set-Cookie: a=b"))

    first, second = shield.get("/a"), shield.get("/a")

    assert first.get("set-cookie") == second.get("set-cookie") == "a=b"
    assert origin.fetches("/a") == 2


def test_fields_that_no_cache_names_are_told_once_and_not_stored(clock: FakeClock, origin: FaultyOrigin) -> None:
    origin.answers("/a", answer('Cache-Control: no-cache="x-a", max-age=60', "X-A: 1", "X-B: 2"))

    with serving(clock, origin, honour_field_names=True) as shield:
        miss, hit = shield.get("/a"), shield.get("/a")

    assert (miss.get("x-a"), miss.get("x-b")) == ("1", "2")
    assert hit.hit
    assert (hit.get("x-a"), hit.get("x-b")) == (None, "2")


def test_without_that_setting_such_a_response_is_validated_each_time(shield: Shield, origin: FaultyOrigin) -> None:
    lines = ('Cache-Control: no-cache="x-a", max-age=60', 'ETag: "1"', "X-A: 1")
    origin.answers("/a", answer(*lines), times=1)
    origin.answers("/a", not_modified(*lines))
    shield.get("/a")

    second = shield.get("/a")

    assert second.get("x-a") == "1"
    assert dict(origin.requests[-1].fields)["if-none-match"] == '"1"'


def test_fields_that_private_names_reach_nobody(clock: FakeClock, origin: FaultyOrigin) -> None:
    origin.answers("/a", answer('Cache-Control: private="x-a", max-age=60', "X-A: mine"))

    with serving(clock, origin, honour_field_names=True) as shield:
        miss, hit = shield.get("/a"), shield.get("/a")

    assert hit.hit
    assert (miss.get("x-a"), hit.get("x-a")) == (None, None)


# what governs


def test_a_targeted_field_governs_and_is_passed_if_others_read_it_too(shield: Shield, origin: FaultyOrigin) -> None:
    origin.answers("/a", answer("Cache-Control: no-cache", "CDN-Cache-Control: max-age=60"))

    shield.get("/a")
    hit = shield.get("/a")

    assert hit.get("cache-status") == "test-1; hit; ttl=60"
    assert (hit.get("cache-control"), hit.get("cdn-cache-control")) == ("no-cache", "max-age=60")


def test_a_targeted_field_of_our_own_goes_no_further_and_its_lifetime_outlives_a_304(
    clock: FakeClock, origin: FaultyOrigin
) -> None:
    lines = ("Cache-Control: max-age=999", 'ETag: "1"')
    origin.answers("/a", answer(*lines, "Shield-Cache-Control: max-age=10, stale-while-revalidate=0"), times=1)
    origin.answers("/a", not_modified(*lines), times=1)
    origin.answers("/a", not_modified(*lines, "Shield-Cache-Control: max-age=77"))

    with serving(clock, origin, targeted=["Shield-Cache-Control", "CDN-Cache-Control"]) as shield:
        first = shield.get("/a")
        clock.advance(11)
        shield.get("/a")
        hit = shield.get("/a")
        clock.advance(11)
        shield.get("/a")
        last = shield.get("/a")

    assert first.get("shield-cache-control") is None
    assert hit.get("cache-status") == "test-1; hit; ttl=10"
    assert last.get("cache-status") == "test-1; hit; ttl=77"


@pytest.mark.parametrize("digests", ["asked", "off"])
def test_both_of_two_workers_judge_by_what_clients_do_not_see(
    clock: FakeClock, origin: FaultyOrigin, digests: str
) -> None:
    own = ("Shield-Cache-Control: max-age=10, stale-while-revalidate=0", "Surrogate-Key: one two", 'ETag: "1"')
    freshness = {"targeted": ["Shield-Cache-Control"], "strip_tags": True}

    with two(origin, clock, freshness=freshness, response_fields={"digests": digests}) as workers:
        path, (asker, owner) = workers.path, (workers.asker, workers.owner)
        origin.answers(path, answer("Cache-Control: no-store", *own), times=1)
        origin.answers(path, not_modified('ETag: "1"'), times=1)
        origin.answers(path, not_modified('ETag: "1"', "Shield-Cache-Control: max-age=77"))
        told = [asker.get(path), asker.get(path), owner.get(path)]
        part = asker.get(path, [("range", "bytes=1-2")])
        entry = asker.node.proxy._store.lookup(asker.node.proxy.resolve(path.encode()).key.text)
        clock.advance(11)
        told += [asker.get(path), asker.get(path), owner.get(path)]
        clock.advance(11)
        told += [owner.get(path), asker.get(path), asker.get(path)]

    assert [one.hit for one in told] == [False, True, True, False, True, True, False, True, True]
    assert [one.get("cache-status") for one in (told[1], told[4])] == ["test-1; hit; ttl=10"] * 2
    assert "ttl=77" in (told[8].get("cache-status") or "") and part.hit
    assert len(origin.requests) == 3
    assert entry is not None and entry.tags == b"one\ntwo"
    for one in (*told, part):
        assert not {"shield-cache-control", "surrogate-key", "shield-hidden"} & {name for name, _ in one.fields}


def test_tags_that_a_304_brings_are_the_entrys_from_then_on(clock: FakeClock, origin: FaultyOrigin) -> None:
    origin.answers("/a", answer("Cache-Control: max-age=10", 'ETag: "1"', "Cache-Tag: a, b"), times=1)
    origin.answers("/a", not_modified('ETag: "1"', "Cache-Tag: c"))

    with serving(clock, origin, grace=0) as shield:
        shield.get("/a")
        clock.advance(11)
        last = shield.get("/a")
        entry = shield.node.proxy._store.lookup(shield.node.proxy.resolve(b"/a").key.text)

    assert last.get("cache-tag") == "c"
    assert entry is not None and entry.tags == b"c"


def test_the_age_of_what_is_not_stored_is_told(shield: Shield, origin: FaultyOrigin) -> None:
    origin.answers("/a", answer("Cache-Control: no-store", "Age: 40"))

    assert shield.get("/a").get("age") == "40"


@pytest.mark.parametrize(
    ("lines", "age"), [(("Age: 7200.0",), "0"), (("Age: 40", "Age: 7"), "40"), (("Age: 7, 40", "Age: 50"), "7")]
)
def test_what_is_no_age_makes_nothing_old(
    shield: Shield, origin: FaultyOrigin, lines: tuple[str, ...], age: str
) -> None:
    origin.answers("/a", answer("Cache-Control: max-age=60", *lines))

    assert shield.get("/a").get("age") == age
    assert shield.get("/a").hit


def test_an_absent_object_is_believed_absent_for_its_own_bound(clock: FakeClock, origin: FaultyOrigin) -> None:
    origin.absent("/a")

    with serving(clock, origin, negative_lifetime=10, negative={404: 60}) as shield:
        shield.get("/a")
        clock.advance(59)
        hit = shield.get("/a")
        clock.advance(2)
        shield.get("/a")

    assert (hit.status, hit.hit) == (404, True)
    assert origin.fetches("/a") == 2


# a 304


def test_a_304_updates_the_fields_it_brings_and_keeps_all_others(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    stored = ("Cache-Control: max-age=10", 'ETag: "1"', "Content-Type: text/plain", "X-A: 1", "X-B: 1")
    news = ("Cache-Control: max-age=20", 'ETag: "1"', "Content-Type: application/xml", "X-B: 2", "X-C: 2")
    origin.answers("/a", answer(*stored), times=1)
    origin.answers("/a", not_modified(*news))
    shield.get("/a")

    clock.advance(100)
    validated, hit = shield.get("/a"), shield.get("/a")

    assert (validated.status, validated.body) == (200, b"12345")
    assert hit.get("cache-status") == "test-1; hit; ttl=20"
    assert [hit.get(name) for name in ("content-type", "x-a", "x-b", "x-c")] == ["text/plain", "1", "2", "2"]
    assert values(hit, "content-length") == ["5"]


@pytest.mark.parametrize("line", ['ETag: "other"', "Last-Modified: Sun, 06 Nov 1994 08:49:38 GMT"])
def test_a_304_for_something_else_drops_what_is_stored(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock, line: str
) -> None:
    name = line.partition(":")[0]
    validators = {"ETag": 'ETag: "1"', "Last-Modified": "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"}
    origin.answers("/a", answer("Cache-Control: max-age=10", validators[name]), times=1)
    origin.answers("/a", not_modified(line), times=1)
    origin.answers("/a", answer("Cache-Control: max-age=10", line, body="new"))
    shield.get("/a")

    clock.advance(100)
    fetched, hit = shield.get("/a"), shield.get("/a")

    assert (fetched.status, fetched.body, hit.body) == (200, b"new", b"new")
    last = dict(origin.requests[-1].fields)
    assert "if-none-match" not in last and "if-modified-since" not in last


def test_a_304_that_forbids_storing_takes_the_entry_away(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.answers("/a", answer("Cache-Control: max-age=10", 'ETag: "1"'), times=1)
    origin.answers("/a", not_modified('ETag: "1"', "Cache-Control: no-store"), times=1)
    origin.answers("/a", answer("Cache-Control: max-age=10", 'ETag: "2"', body="new"))
    shield.get("/a")

    clock.advance(100)
    validated, after = shield.get("/a"), shield.get("/a")

    assert (validated.body, after.body) == (b"12345", b"new")


# errors on validation, RFC 5861 §4


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(
    ("control", "age", "served"),
    [
        ("max-age=10, stale-if-error=100", 60, 200),
        ("max-age=10, stale-if-error=100", 111, 503),
        ("max-age=10", 86400, 200),  # as configured
        ("s-maxage=10", 60, 504),  # RFC 9111 §5.2.2.10
        ("s-maxage=10, stale-if-error=100", 60, 200),
        ("max-age=10, must-revalidate, stale-if-error=100", 60, 504),  # §5.2.2.2
        ("max-age=10, proxy-revalidate, stale-if-error=100", 60, 504),  # §5.2.2.8
        ("no-cache, stale-if-error=100", 60, 504),
    ],
)
def test_an_error_on_validation_is_answered_with_what_may_be_served_stale(
    clock: FakeClock, origin: FaultyOrigin, status: int, control: str, age: float, served: int
) -> None:
    origin.answers("/a", answer(f"Cache-Control: {control}", 'ETag: "1"'), times=1)
    origin.answers("/a", answer("Cache-Control: max-age=60", status=f"{status} Unwell"))

    with serving(clock, origin, grace=0) as shield:
        shield.get("/a")
        clock.advance(age)
        told = shield.get("/a")

    assert told.status == served
    assert told.get("warning") is None


# HEAD, RFC 9111 §4.3.5


def test_a_head_that_says_the_same_freshens_what_is_stored(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.answers("/a", answer("Cache-Control: max-age=10", 'ETag: "1"', "X-A: 1", "X-B: 1"), times=1)
    origin.answers("/a", answer("Cache-Control: max-age=50", 'ETag: "1"', "X-B: 2", body="", stated=5))
    shield.get("/a")

    clock.advance(100)
    head = shield.get("/a", method="HEAD")
    hit = shield.get("/a")

    assert (head.status, head.get("x-a"), head.get("x-b")) == (200, "1", "2")
    assert (hit.body, hit.get("x-b")) == (b"12345", "2")
    assert hit.get("cache-status") == "test-1; hit; ttl=50"
    assert [seen.method for seen in origin.requests] == ["GET", "HEAD"]


@pytest.mark.parametrize(("etag", "length"), [('"2"', 5), ('"1"', 6)])
def test_a_head_that_says_something_else_drops_what_is_stored(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock, etag: str, length: int
) -> None:
    origin.answers("/a", answer("Cache-Control: max-age=10, stale-if-error=999", 'ETag: "1"'), times=1)
    origin.answers("/a", answer("Cache-Control: max-age=50", f"ETag: {etag}", body="", stated=length), times=1)
    shield.get("/a")

    clock.advance(100)
    head = shield.get("/a", method="HEAD")
    origin.stops()
    after = shield.get("/a")

    assert (head.status, head.get("content-length")) == (200, str(length))
    assert after.status == 503
