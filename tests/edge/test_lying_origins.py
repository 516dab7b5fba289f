"""Responses of an origin that don't fit the request: never stored, never mixed into another version."""

from __future__ import annotations

import pytest

from tests.doubles.faults import Fault, says, without_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.node import FakeClock, Shield

OLD, NEW = Pattern(3_000_000, seed=1), Pattern(3_000_000, seed=2)
NOT_MODIFIED = (says(304, etag='"another"', content_length=None), without_body())


def test_a_304_for_another_version_drops_the_entry_and_fetches_it_whole_once(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", OLD, lifetime=60)
    shield.get("/a")
    clock.advance(100)
    origin.serves("/a", NEW, lifetime=60)
    origin.spoils("/a", *NOT_MODIFIED, times=1)

    answer, after = shield.get("/a"), shield.get("/a")

    assert answer.status == 200
    assert answer.body == NEW[:]
    assert after.hit and after.body == NEW[:]
    assert [seen.get("if-none-match") is not None for seen in origin.requests] == [False, True, False]


def test_a_304_that_nobody_asked_for_is_no_answer_and_never_an_empty_object(
    shield: Shield, origin: FaultyOrigin
) -> None:
    origin.serves("/a", NEW, lifetime=60)
    origin.spoils("/a", *NOT_MODIFIED)

    failed = shield.get("/a")
    origin.recovers()
    after = shield.get("/a")

    assert failed.status == 503
    assert not after.hit
    assert after.body == NEW[:]


def test_another_origin_is_asked_when_one_says_304_unasked(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for each in (origin, replica):
        each.serves("/a", NEW, lifetime=60)
    origin.spoils("/a", *NOT_MODIFIED)

    assert pair.get("/a").body == NEW[:]
    assert pair.get("/a").hit


@pytest.mark.parametrize(
    "lie",
    [
        says(206, content_range="bytes 0-2999999/3000000"),
        says(206, content_range="bytes 100-3000099/9000000"),
        says(206),
        says(416, content_range="bytes */3000000"),
    ],
)
def test_what_is_no_whole_object_is_no_answer_to_who_asked_for_one(
    shield: Shield, origin: FaultyOrigin, lie: Fault
) -> None:
    origin.serves("/a", NEW, lifetime=60)
    origin.spoils("/a", lie)

    failed = shield.get("/a")
    origin.recovers()
    after = shield.get("/a")

    assert failed.status == 503
    assert not after.hit
    assert after.body == NEW[:]


@pytest.mark.parametrize(
    "lie",
    [
        says(content_range="bytes 1000-1998/3000000"),
        says(content_range="bytes 0-999/3000000"),
        says(content_range="bytes 1000-1999/*", etag='"another"'),
        says(content_range="items 1000-1999/3000000"),
        says(content_range=None),
        says(etag='"another"'),
        says(200),
        says(200, content_range=None),
        says(304, content_length=None),
    ],
)
def test_what_is_no_part_as_it_was_asked_for_is_not_passed_on_as_one(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock, lie: Fault
) -> None:
    origin.serves("/a", OLD, fields={"cache-control": "no-store"})
    ordinary = shield.get("/a", [("Range", "bytes=1000-1999")])
    clock.advance(11)  # else a part is asked for at once
    origin.spoils("/a", lambda answer: answer, times=1)  # from whose head is seen that a part is wanted
    origin.spoils("/a", lie, times=1)

    answer = shield.get("/a", [("Range", "bytes=1000-1999")])

    for told in (ordinary, answer):  # the second is read from the whole, which is asked for once more
        assert told.status == 206 and OLD.check(told.body, 1000) and len(told.body) == 1000
    assert [seen.get("range") for seen in origin.requests[-3:]] == [None, "bytes=1000-1999", None]


def test_a_part_of_what_changed_meanwhile_is_not_put_behind_the_old_head(
    shield: Shield, origin: FaultyOrigin
) -> None:
    origin.serves("/a", OLD, fields={"cache-control": "no-store"})
    origin.changes("/a", NEW, after=1, fields={"cache-control": "no-store"})

    answer = shield.get("/a", [("Range", "bytes=1000-1999")])
    after = shield.get("/a", [("Range", "bytes=1000-1999")])

    assert origin.requests[1].get("if-match") is not None
    assert answer.status == 503 or answer.body == NEW[1000:2000]
    assert (after.status, after.body) == (206, NEW[1000:2000])
