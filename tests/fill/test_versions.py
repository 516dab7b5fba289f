"""Validation at several origins that have the same bytes under different ETags: clients see one ETag all the time."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from shield.fill.versions import Versions
from shield.rules.freshness import Freshness
from shield.rules.heads import of_fields
from shield.store.entry import Entry
from tests.client import Answer
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Reset
from tests.node import FakeClock, Shield

SMALL, LARGE = Pattern(10_000), Pattern(900_000)
LATER = "Mon, 02 Jun 2025 09:00:00 GMT"
LASTING = {"cache-control": "max-age=60, must-revalidate"}
ONE, TWO = {"etag": '"one"'} | LASTING, {"etag": '"two-2"', "last-modified": LATER} | LASTING


def digest_of(body: Pattern) -> dict[str, str]:
    return {"repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(body.sha256())).decode()}:"}


def md5_of(body: Pattern) -> dict[str, str]:
    return {"content-md5": base64.b64encode(hashlib.md5(body[:]).digest()).decode()}


def seen(origin: FaultyOrigin) -> list[tuple[str, str | None]]:
    return [(each.method, each.get("if-none-match")) for each in origin.requests]


def expired(shield: Shield, clock: FakeClock, origin: FaultyOrigin) -> Answer:
    """It is fetched from the origin and expires, and the origin fails."""
    first = shield.get("/a")
    clock.advance(61)
    origin.fails("/a", "InternalError")
    return first


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "is_stated", [True, False], ids=["both state a digest", "it is computed of the stored bytes"]
)
def test_a_copy_with_the_same_bytes_validates_an_entry(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, body: Pattern, is_stated: bool
) -> None:
    origin.serves("/a", body, fields=ONE | (digest_of(body) if is_stated else {}))
    replica.serves("/a", body, fields=TWO | (digest_of(body) if is_stated else md5_of(body)))

    first = expired(pair, clock, origin)
    answers = [pair.get("/a")]
    clock.advance(61)
    answers += [pair.get("/a"), pair.get("/a")]

    assert all(answer.body == body[:] and answer.get("etag") == '"one"' for answer in (first, *answers))
    assert answers[0].get("last-modified") == first.get("last-modified")
    assert answers[2].hit
    assert seen(replica) == [("GET", '"one"'), ("GET", '"two-2"')]  # it is asked with its own one by then
    assert replica.requests[1].sent < 2000


def test_the_origin_of_an_entry_is_asked_with_its_own_etag_all_the_time(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    for each, tag in ((origin, ONE), (replica, TWO)):
        each.serves("/a", SMALL, fields=tag | digest_of(SMALL))
    expired(pair, clock, origin)
    pair.get("/a")
    origin.recovers()
    clock.advance(61)

    answer = pair.get("/a")

    assert (answer.body == SMALL[:], answer.get("etag")) == (True, '"one"')
    assert seen(origin)[0] == ("GET", None)
    assert {tag for _, tag in seen(origin)[1:]} == {'"one"'}


@pytest.mark.parametrize(
    ("fields", "body"),
    [(digest_of(LARGE), LARGE), ({}, SMALL), ({"etag": 'W/"two"'} | digest_of(SMALL), SMALL)],
    ids=["other bytes", "nothing stated", "a weak ETag"],
)
def test_what_is_not_proven_to_be_the_same_replaces_the_entry(
    pair: Shield,
    origin: FaultyOrigin,
    replica: FaultyOrigin,
    clock: FakeClock,
    fields: dict[str, str],
    body: Pattern,
) -> None:
    origin.serves("/a", SMALL, fields=ONE | digest_of(SMALL))
    replica.serves("/a", body, fields=TWO | fields)

    expired(pair, clock, origin)
    answer, again = pair.get("/a"), pair.get("/a")

    tag = (TWO | fields)["etag"]
    assert (answer.body == body[:], answer.get("etag")) == (True, tag)
    assert (again.hit, again.body == body[:], again.get("etag")) == (True, True, tag)


def test_a_copy_that_changes_later_replaces_the_entry(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", SMALL, fields=ONE | digest_of(SMALL))
    replica.serves("/a", SMALL, fields=TWO | digest_of(SMALL))
    expired(pair, clock, origin)
    pair.get("/a")
    clock.advance(61)
    replica.serves("/a", LARGE, fields=LASTING | {"etag": '"three"'} | digest_of(LARGE))

    answer = pair.get("/a")

    assert (answer.body == LARGE[:], answer.get("etag")) == (True, '"three"')
    assert seen(replica)[-1] == ("GET", '"two-2"')


def test_what_a_broken_body_has_proven_is_known_to_its_validation(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", LARGE, fields=ONE | digest_of(LARGE))
    replica.serves("/a", LARGE, fields=TWO | digest_of(LARGE))
    origin.spoils("/a", at_body(500_000, Reset()), times=1)
    origin.fails("/a", "InternalError")

    first = pair.get("/a")
    clock.advance(61)
    again = pair.get("/a")

    assert [(answer.body == LARGE[:], answer.get("etag")) for answer in (first, again)] == [(True, '"one"')] * 2
    assert seen(replica) == [("HEAD", None), ("GET", None), ("GET", '"two-2"')]


def test_what_a_validation_has_proven_is_known_when_a_body_breaks_off(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", LARGE, fields=ONE)
    replica.serves("/a", LARGE, fields=TWO | md5_of(LARGE))
    expired(pair, clock, origin)
    pair.get("/a")
    before = len(replica.requests)
    origin.recovers()
    origin.spoils("/a", at_body(500_000, Reset()), times=1)
    origin.fails("/a", "InternalError")

    assert pair.run(pair.node.purge.targets([b"/a"])) == 1
    first, second = pair.get("/a"), pair.get("/a")

    assert [(each.body == LARGE[:], each.get("etag")) for each in (first, second)] == [(True, '"one"')] * 2
    assert second.hit  # though neither states a digest of the whole body that the other has
    [rest] = replica.requests[before:]
    assert (rest.method, rest.get("if-match"), rest.get("range")) == ("GET", '"two-2"', "bytes=500000-899999")


def test_versions_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch, pair: Shield) -> None:
    monkeypatch.setattr("shield.fill.versions._REMEMBERED", 3)

    def fill() -> Any:
        versions = Versions()
        for number in range(9):
            resource = pair.node.proxy.resolve(b"/%d" % number)
            freshness = Freshness(born=0.0, lifetime=60.0, grace=0.0, keep=0.0)
            entry = Entry(resource.key, of_fields(200, ((b"etag", b'"one"'),)), freshness, ())
            versions.of(resource, entry)
        return list(versions._known)

    assert pair.call(fill) == [pair.node.proxy.resolve(b"/%d" % number).key.text for number in (6, 7, 8)]
