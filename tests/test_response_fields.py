"""What clients see of the fields of origins' answers, over the wire: changes of routes, digests, storages' errors."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shield.config.settings import Settings
from tests.client import Answer
from tests.disks import MIB, SLICE, settled, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.s3 import KNOWN
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two

BODY = b"the whole object"
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
WANTS_ALL = [("want-repr-digest", "sha-256=9, md5=1")]
STORAGE = {
    "x-amz-checksum-sha256": SHA256,
    "x-amz-meta-owner": "me",
    "x-amz-version-id": "v",
    "server": "AmazonS3",
}


def storage(origin: FaultyOrigin) -> dict[str, Any]:
    return {
        "provider": "aws",
        "endpoint": origin.url,
        "region": "eu-central-1",
        "bucket": "images",
        "access_key_id": "AKEXAMPLE",
        "secret_key": "secret",
        "addressing": "path",
    }


def of_storage(origin: FaultyOrigin, **changes: Any) -> Settings:
    """A node in front of an object storage."""
    return settings_of({}, **{"origins": {"fra": storage(origin)}, **changes})


def keyed(path: str) -> str:
    """A path as the storage is asked for it."""
    return f"/images{path}"


def names(answer: Answer) -> set[str]:
    return {name for name, _ in answer.fields}


# what goes on


def test_a_storages_own_fields_stay_and_types_are_not_to_be_guessed(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves(keyed("/a"), BODY, lifetime=60, fields=STORAGE)

    with Shield(of_storage(origin), clock=clock) as shield:
        answers = [shield.get("/a"), shield.get("/a"), shield.get("/a", method="HEAD")]
        absent = shield.get("/absent")

    for answer in answers:
        assert answer.get("x-content-type-options") == "nosniff"
        assert not [name for name in names(answer) if name.startswith(("x-amz-", "shield-")) or name == "server"]
    assert absent.status == 404


def test_a_web_servers_fields_go_on(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", BODY, lifetime=60, fields={"x-amz-meta-owner": "me", "x-request-id": "1", "server": "web"})

    for answer in (shield.get("/a"), shield.get("/a")):
        assert (answer.get("x-amz-meta-owner"), answer.get("x-request-id")) == ("me", "1")
        assert (answer.get("server"), answer.get("x-content-type-options")) == (None, None)


CHANGES: Mapping[str, Any] = {
    "keep": ["x-amz-meta-*"],
    "remove": ["x-internal", "x-debug-*"],
    "set": {"timing-allow-origin": "*"},
    "add": {"link": "</b>"},
}


def test_a_route_removes_sets_and_adds_on_misses_hits_and_ranges(origin: FaultyOrigin, clock: FakeClock) -> None:
    theirs = {**STORAGE, "x-internal": "1", "x-debug-a": "1", "timing-allow-origin": "none", "link": "</a>"}
    origin.serves(keyed("/a"), BODY, lifetime=60, fields=theirs)
    routes = {"default": {"response_fields": CHANGES}}

    with Shield(of_storage(origin, routes=routes), clock=clock) as shield:
        answers = [shield.get("/a"), shield.get("/a"), shield.get("/a", [("range", "bytes=0-3")])]

    for answer in answers:
        assert answer.get("x-amz-meta-owner") == "me"
        assert not {"x-internal", "x-debug-a", "x-amz-version-id"} & names(answer)
        assert [value for name, value in answer.fields if name == "timing-allow-origin"] == ["*"]
        assert [value for name, value in answer.fields if name == "link"] == ["</a>", "</b>"]
    assert answers[2].status == 206


def test_what_a_route_says_holds_after_a_revalidation(origin: FaultyOrigin, clock: FakeClock) -> None:
    theirs = {"x-internal": "1", "timing-allow-origin": "none", "link": "</a>"}
    origin.serves(keyed("/a"), BODY, lifetime=60, grace=0, fields=theirs)
    routes = {"default": {"response_fields": CHANGES}}

    with Shield(of_storage(origin, routes=routes), clock=clock) as shield:
        shield.get("/a")
        clock.advance(100)
        origin.serves(keyed("/a"), BODY, lifetime=60, fields={**theirs, "x-amz-meta-owner": "another"})
        answer = shield.get("/a")

    assert "fwd-status=304" in (answer.get("cache-status") or "")
    assert "x-internal" not in names(answer)
    assert answer.get("x-amz-meta-owner") == "another"
    assert [value for name, value in answer.fields if name == "timing-allow-origin"] == ["*"]
    assert [value for name, value in answer.fields if name == "link"] == ["</a>", "</b>"]
    assert answer.get("x-content-type-options") == "nosniff"


def test_a_lifetime_that_a_route_sets_is_one(shield: Shield, origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", BODY, fields={"cache-control": "no-store", "set-cookie": "a=b"})
    changes = {"set": {"cache-control": "max-age=77"}, "remove": ["set-cookie"]}

    with Shield(settings_of({"fra": origin}, response_fields=changes), clock=clock) as changed:
        changed.get("/a")
        answer = changed.get("/a")

    assert answer.get("cache-status") == "test-1; hit; ttl=77"
    assert (answer.get("cache-control"), answer.get("set-cookie")) == ("max-age=77", None)


def test_changes_are_made_once_though_two_workers_see_the_answer(origin: FaultyOrigin, clock: FakeClock) -> None:
    changes = {**CHANGES, "set": {"strict-transport-security": "max-age=1"}}

    with two(origin, clock, origins={"fra": storage(origin)}, response_fields=changes) as workers:
        origin.serves(keyed(workers.path), BODY, lifetime=60, fields={**STORAGE, "link": "</a>"})
        answers = [workers.asker.get(workers.path), workers.asker.get(workers.path), workers.owner.get(workers.path)]

    assert len(origin.requests) == 1
    for answer in answers:
        assert [value for name, value in answer.fields if name == "link"] == ["</a>", "</b>"]
        assert answer.get("strict-transport-security") == "max-age=1"
        assert answer.get("x-content-type-options") == "nosniff"
        assert answer.get("x-amz-meta-owner") == "me"
        assert "x-amz-version-id" not in names(answer)


@pytest.mark.parametrize(("server", "value"), [("off", None), ("shield", "shield"), ("100% images", "100% images")])
def test_all_answers_name_the_server_that_is_configured_or_none(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, server: str, value: str | None
) -> None:
    origin.serves("/a", BODY, lifetime=60, fields={"server": "theirs"})
    settings = with_disk(origin, tmp_path / "nvme").model_copy(
        update={"server": settings_of({"fra": origin}, server=server).server}
    )

    with Shield(settings, clock=clock) as shield:
        answers = [shield.get("/a")]
        settled(shield)
        answers += [shield.get("/a"), shield.get("/a", [("range", "bytes=0-1")]), shield.get("/absent")]
        answers += [shield.get("/a", method="POST"), shield.get("/a", [("if-none-match", "*")])]
        origin.stops()
        answers.append(shield.get("/b"))

    assert [answer.status for answer in answers] == [200, 200, 206, 404, 405, 304, 503]
    assert [[v for name, v in answer.fields if name == "server"] for answer in answers] == [
        [] if value is None else [value]
    ] * len(answers)


# what became of a request


@pytest.mark.parametrize("said", ["with-key", False])
def test_what_became_of_a_request_is_told_as_it_is_wanted(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, said: object
) -> None:
    origin.serves("/a", BODY, lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme").model_copy(
        update={"cache_status": settings_of({"fra": origin}, cache_status=said).cache_status}
    )

    in_memory = settings.model_copy(update={"cache": settings_of({"fra": origin}).cache})

    with Shield(in_memory, clock=clock) as shield:
        answers = [shield.get("/a?x=1"), shield.get("/a")]
    with Shield(settings, clock=clock) as shield:
        answers.append(shield.get("/a"))
        settled(shield)
        answers += [shield.get("/a"), shield.get("/a", [("range", "bytes=0-1")]), shield.get("/a", method="POST")]
        origin.stops()
        answers.append(shield.get("/b"))

    told = [
        'test-1; fwd=uri-miss; fwd-status=200; stored; ttl=60; key=":/a"',
        'test-1; hit; ttl=60; key=":/a"',
        'test-1; fwd=uri-miss; fwd-status=200; stored; ttl=60; key=":/a"',
        *['test-1; hit; ttl=60; key=":/a"'] * 2,
        "test-1; detail=method-not-allowed",
        'test-1; fwd=uri-miss; key=":/b"; detail="fra=connect"',
    ]
    assert [answer.get("cache-status") for answer in answers] == (told if said else [None] * len(told))
    assert {answer.get("age") for answer in answers} == {"0"}
    assert [answer.body for answer in answers[:4]] == [BODY] * 4


def test_workers_that_tell_clients_nothing_tell_what_others_said(origin: FaultyOrigin, clock: FakeClock) -> None:
    with two(origin, clock, cache_status="off") as workers:
        origin.serves(workers.path, BODY, lifetime=60, fields={"cache-status": "inner; hit"})
        answers = [worker.get(workers.path) for worker in (workers.asker, workers.asker, workers.owner)]

    assert len(origin.requests) == 1
    for answer in answers:
        assert [value for name, value in answer.fields if name == "cache-status"] == ["inner; hit"]


# digests


def test_a_digest_is_told_to_those_who_want_it(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves(keyed("/a"), BODY, lifetime=60, fields={**STORAGE, "etag": f'"{hashlib.md5(BODY).hexdigest()}"'})
    both = f"sha-256=:{SHA256}:, md5=:{MD5}:"

    with Shield(of_storage(origin), clock=clock) as shield:
        miss, plain = shield.get("/a", WANTS_ALL), shield.get("/a")
        hit, part = shield.get("/a", WANTS_ALL), shield.get("/a", [*WANTS_ALL, ("range", "bytes=0-3,9-10")])
        head = shield.get("/a", WANTS_ALL, method="HEAD")
        one = shield.get("/a", [("want-repr-digest", "sha-256=1")])
        none = shield.get("/a", [("want-repr-digest", "unixsum=1")])

    assert [answer.get("repr-digest") for answer in (miss, hit, part, head)] == [both] * 4
    assert one.get("repr-digest") == f"sha-256=:{SHA256}:"
    assert (plain.get("repr-digest"), none.get("repr-digest")) == (None, None)
    assert [answer.hit for answer in (plain, hit, part, head, one, none)] == [True] * 6
    assert not {"shield-hidden"} & (names(plain) | names(hit) | names(part) | names(none))


def test_a_digest_may_be_told_to_all(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves(keyed("/a"), BODY, lifetime=60, fields={**STORAGE, "etag": f'"{hashlib.md5(BODY).hexdigest()}"'})

    with Shield(of_storage(origin, response_fields={"digests": "always"}), clock=clock) as shield:
        answers = [shield.get("/a"), shield.get("/a"), shield.get("/a", [("range", "bytes=0-1")])]
        md5 = shield.get("/a", [("want-repr-digest", "md5=1")])

    assert [answer.get("repr-digest") for answer in answers] == [f"sha-256=:{SHA256}:"] * 3
    assert md5.get("repr-digest") == f"md5=:{MD5}:"


def test_without_digests_an_origins_own_go_on_as_they_are(origin: FaultyOrigin, clock: FakeClock) -> None:
    own = {"repr-digest": f"sha-256=:{SHA256}:", "content-digest": f"sha-256=:{SHA256}:", "surrogate-key": "a"}
    origin.serves("/a", BODY, lifetime=60, fields=own)

    settings = settings_of({"fra": origin}, response_fields={"digests": "off"}, freshness={"strip_tags": True})
    with Shield(settings, clock=clock) as shield:
        answers = [shield.get("/a"), shield.get("/a", [("want-repr-digest", "md5=1")])]
        answers.append(shield.get("/a", [("range", "bytes=0-3")]))

    assert [answer.get("repr-digest") for answer in answers] == [own["repr-digest"]] * 3
    assert [answer.get("content-digest") for answer in answers] == [own["content-digest"]] * 2 + [None]


def test_digests_come_back_from_disk_and_stay_after_a_revalidation(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/a", BODY, lifetime=60, grace=0, fields={"x-amz-checksum-sha256": SHA256})
    settings = with_disk(origin, tmp_path / "nvme")

    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
        settled(shield)
        from_disk, plain = shield.get("/a", WANTS_ALL), shield.get("/a")
        clock.advance(100)
        origin.serves("/a", BODY, lifetime=60, grace=0)
        shield.get("/a")
        settled(shield)
    with Shield(settings, clock=clock) as shield:
        after, plain_after = shield.get("/a", WANTS_ALL), shield.get("/a")

    assert from_disk.hit and after.hit and plain.hit and plain_after.hit
    assert [answer.get("repr-digest") for answer in (from_disk, after)] == [f"sha-256=:{SHA256}:"] * 2
    assert not {"repr-digest", "shield-hidden"} & (names(plain) | names(plain_after))


def test_a_digest_of_a_part_is_not_taken_for_one_of_the_whole(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(4 * MIB)
    of_a_part = {"x-amz-checksum-sha256": SHA256, "content-digest": f"sha-256=:{SHA256}:", "content-md5": MD5}
    origin.serves("/big", body, lifetime=60, fields=of_a_part)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        part = shield.get("/big", [*WANTS_ALL, ("range", f"bytes={SLICE}-{2 * SLICE - 1}")])
        whole = shield.get("/big", WANTS_ALL)

    assert (part.status, whole.status, whole.body == body[:]) == (206, 200, True)
    assert not {"repr-digest", "content-digest", "content-md5"} & (names(part) | names(whole))


def test_digests_are_known_to_both_of_two_workers(origin: FaultyOrigin, clock: FakeClock) -> None:
    with two(origin, clock, origins={"fra": storage(origin)}) as workers:
        etag = f'"{hashlib.md5(BODY).hexdigest()}"'
        origin.serves(keyed(workers.path), BODY, lifetime=60, fields={**STORAGE, "etag": etag})
        answers = [worker.get(workers.path, WANTS_ALL) for worker in (workers.asker, workers.asker, workers.owner)]
        plain = workers.asker.get(workers.path)

    assert len(origin.requests) == 1
    assert [answer.get("repr-digest") for answer in answers] == [f"sha-256=:{SHA256}:, md5=:{MD5}:"] * 3
    assert not {"repr-digest", "shield-hidden", "shield-peer"} & names(plain)


# errors of storages


@pytest.mark.parametrize("code", sorted(KNOWN))
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_error_of_a_storage_reaches_a_client(
    origin: FaultyOrigin, clock: FakeClock, code: str, method: str
) -> None:
    origin.serves(keyed("/a"), BODY, lifetime=60)
    origin.fails(keyed("/a"), code)

    with Shield(of_storage(origin, failover={"deadline": "2s"}), clock=clock) as shield:
        answers = [shield.get("/a", fields, method=method) for fields in ([], [("range", "bytes=0-1")])]

    for answer in answers:
        assert answer.status in (404, 503, 504)
        assert b"<" not in answer.body and code.encode() not in answer.body
        assert answer.get("content-type") == "text/plain; charset=utf-8"
        assert not [name for name in names(answer) if name.startswith("x-amz-")]
        assert code not in (answer.get("cache-status") or "")


# what storages say of uploads and of ranges


def coded(body: bytes, *lines: str) -> bytes:
    fields = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 200 OK\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(("said", "told"), [("aws-chunked", None), ("", None), ("aws-chunked,gzip", "gzip")])
def test_the_coding_of_an_upload_reaches_no_client(
    origin: FaultyOrigin, clock: FakeClock, said: str, told: str | None
) -> None:
    origin.answers(keyed("/a"), coded(BODY, "Cache-Control: max-age=60", f"Content-Encoding: {said}"))

    with Shield(of_storage(origin), clock=clock) as shield:
        answers = [shield.get("/a"), shield.get("/a"), shield.get("/a", method="HEAD")]

    assert [answer.get("content-encoding") for answer in answers] == [told] * 3
    assert [answer.hit for answer in answers] == [False, True, True]


def test_ranges_are_told_wherever_they_are_served(origin: FaultyOrigin, clock: FakeClock) -> None:
    for path, line in (("/silent", "X-A: b"), ("/none", "Accept-Ranges: none")):
        origin.answers(path, coded(BODY, "Cache-Control: max-age=60", line))

    with Shield(settings_of({"fra": origin}), clock=clock) as shield:
        for path in ("/silent", "/none"):
            shield.get(path)
            hit, part = shield.get(path), shield.get(path, [("range", "bytes=4-8")])
            assert (hit.get("accept-ranges"), part.status, part.body) == ("bytes", 206, BODY[4:9])
    with Shield(settings_of({"fra": origin}, response_fields={"remove": ["accept-*"]}), clock=clock) as shield:
        shield.get("/silent")
        assert shield.get("/silent").get("accept-ranges") is None


def test_a_large_object_of_a_storage_that_says_nothing_of_ranges_is_stored_in_slices(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(3 * SLICE, seed=1)
    origin.serves(keyed("/big"), body, lifetime=600, fields={"accept-ranges": ""})

    settings = with_disk(origin, tmp_path / "nvme").model_copy(update={"origins": of_storage(origin).origins})
    with Shield(settings, clock=clock) as shield:
        shield.get("/big")
        settled(shield)
        again, part = shield.get("/big"), shield.get("/big", [("range", f"bytes={SLICE}-{SLICE + 9}")])

    assert (again.hit, again.get("accept-ranges")) == (True, "bytes")
    assert (part.status, part.hit) == (206, True)
    assert origin.fetches(keyed("/big")) == 1


# where answers lead to


def redirect(location: str, lines: str = "") -> bytes:
    head = f"HTTP/1.1 301 Moved Permanently\r\nlocation: {location}\r\ncontent-location: {location}\r\n{lines}"
    return f"{head}cache-control: max-age=60\r\ncontent-length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("rewrites", [True, False])
def test_a_redirect_to_the_origins_own_host_leads_back_through_here(
    origin: FaultyOrigin, clock: FakeClock, rewrites: bool
) -> None:
    url = f"{origin.url.upper().replace('HTTP', 'http')}/objects/v2/b?w=1"
    origin.answers("/objects/v2/a", redirect(url))
    routes = {"default": {"match": "/images", "strip": "/images", "add": "/objects/v2"}}
    own = {"response_fields": {"rewrite_location": rewrites}}

    with Shield(settings_of({"fra": origin}, routes=routes, **own), clock=clock) as shield:
        answers = [shield.get("/images/a") for _ in range(2)]

    for answer in answers:
        assert answer.status == 301
        for name in ("location", "content-location"):
            assert answer.get(name) == ("/images/b?w=1" if rewrites else url)
    assert answers[1].hit


def test_a_redirect_to_another_host_stays_and_what_comes_back_can_be_followed(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.answers("/a", redirect("https://elsewhere.example/b"))
    origin.answers("/c", redirect(f"{origin.url}//evil.example/"))
    origin.answers("/d", redirect(f"{origin.url}/e"))
    origin.serves("/e", BODY, lifetime=60)

    with Shield(settings_of({"fra": origin}), clock=clock) as shield:
        assert shield.get("/a").get("location") == "https://elsewhere.example/b"
        assert shield.get("/c").get("location") == "/evil.example/"
        assert shield.get(shield.get("/d").get("location") or "").body == BODY


def test_a_storages_location_stays_its_own_business(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves(keyed("/a"), BODY, lifetime=60, fields={"content-location": f"{origin.url}/images/b"})

    with Shield(of_storage(origin), clock=clock) as shield:
        assert shield.get("/a").get("content-location") == f"{origin.url}/images/b"
