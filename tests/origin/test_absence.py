"""What origins say together of an object that none of them has, and over the wire whom it is said to."""

from __future__ import annotations

import math

import pytest

from shield.origin.want import Absent
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.ledger import Received
from tests.doubles.plan import Answer as Steps
from tests.doubles.raw import answer
from tests.doubles.steps import Bytes
from tests.node import FakeClock, Shield, settings_of
from tests.origin.test_origins import s3
from tests.peers.pair import two


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (Absent(), Absent(410, 5.0), Absent(410, 5.0)),
        (Absent(404, 3.0), Absent(404, 5.0), Absent(404, 3.0)),
        (Absent(vary=(b"a",)), Absent(vary=(b"b",)), Absent(vary=(b"a", b"b"))),
        (Absent(vary=(b"b",)), Absent(vary=(b"a", b"b")), Absent(vary=(b"a", b"b"))),
        (Absent(vary=None), Absent(vary=(b"a",)), Absent(vary=None)),
        (Absent(vary=(b"a",)), Absent(vary=None), Absent(vary=None)),
        (Absent(), Absent(), Absent(404, math.inf, ())),
    ],
)
def test_of_several_origins_the_strictest_word_holds(first: Absent, second: Absent, both: Absent) -> None:
    assert second.after(first) == both


def by_foo(received: Received) -> Steps:
    """There for those who say nothing, and not for others."""
    foo = received.get("foo")
    if foo is None:
        return [Bytes(answer("Cache-Control: max-age=60", "Vary: Foo", body="there"))]
    return [Bytes(answer("Cache-Control: max-age=60", "Vary: Foo", status="404 Not Found"))]


FORWARDING = {"default": {"forward_request_headers": ["foo", "bar"]}}


def test_it_is_stored_for_those_alone_for_whom_it_holds(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.makes("/a", by_foo)

    with Shield(settings_of({"fra": origin}, routes=FORWARDING), clock=clock) as shield:
        told = [shield.get("/a", fields) for fields in ([("foo", "1")], [], [("foo", "1")], [], [("foo", "2")])]

    assert [(one.status, one.hit) for one in told] == [
        (404, False),
        (200, False),
        (404, True),
        (200, True),
        (404, False),
    ]
    assert [one.get("vary") for one in told] == [
        "foo",
        "Foo",
        "foo",
        "Foo",
        "foo",
    ]  # a cache behind us must know, too


@pytest.mark.parametrize("second", ["", "Vary: Bar"])
def test_all_that_any_origin_varies_by_counts(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, second: str
) -> None:
    origin.makes("/a", by_foo)
    replica.answers("/a", answer(*([second] if second else []), status="404 Not Found"))

    with Shield(settings_of({"fra": origin, "iad": replica}, routes=FORWARDING), clock=clock) as shield:
        first = shield.get("/a", [("foo", "1")])
        other = shield.get("/a", [("foo", "1"), ("bar", "1")])

    assert first.get("vary") == ("bar, foo" if second else "foo")
    assert (first.status, other.status, other.hit) == (
        404,
        404,
        not second,
    )  # RFC 9111 §4.1: what isn't named may differ


def test_workers_tell_each_other_by_what_it_varies(origin: FaultyOrigin, clock: FakeClock) -> None:
    with two(origin, clock, routes=FORWARDING) as workers:
        origin.makes(workers.path, by_foo)
        told = [
            one.get(workers.path, fields)
            for fields in ([("foo", "1")], [], [("foo", "1")])
            for one in (workers.asker, workers.owner)
        ]

    assert [one.status for one in told] == [404, 404, 200, 200, 404, 404]
    assert origin.fetches(workers.path) == 2


def test_a_storage_says_it_of_keys_and_for_everyone(origin: FaultyOrigin, clock: FakeClock) -> None:
    document = "<Error><Code>NoSuchKey</Code></Error>"
    origin.answers("/images/a", answer("Vary: Origin", status="404 Not Found", body=document))
    routes = {"default": {"forward_request_headers": ["origin"]}}

    with Shield(settings_of({}, origins=s3(origin), routes=routes), clock=clock) as shield:
        told = [shield.get("/a", fields) for fields in ([], [("origin", "https://a.example")])]

    assert [(one.status, one.hit, one.get("vary")) for one in told] == [(404, False, None), (404, True, None)]
