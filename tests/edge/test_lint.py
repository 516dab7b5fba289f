"""Every kind of response that Shield sends passes httplint without errors or warnings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from httplint import HttpResponseLinter
from httplint.note import levels

from shield.edge.states import Reading
from tests.client import Answer, Fields, request
from tests.doubles.faults import chunked
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Stall
from tests.node import FakeClock, Shield, settings_of

HTML = {"content-type": "text/html; charset=utf-8", "cache-control": "max-age=60, stale-while-revalidate=30"}
OURS = {"content-type": "application/octet-stream", "cache-control": "no-store"}

STATES_ITS_STATUS = {"STATUS_BAD_REQUEST", "STATUS_URI_TOO_LONG", "STATUS_VERSION_NOT_SUPPORTED"}
"""Notes on errors that are meant: the request was at fault."""

Ask = Callable[[Shield, FaultyOrigin, FakeClock, str], Answer]


@pytest.fixture
def shield(clock: FakeClock, origin: FaultyOrigin) -> Shield:
    """A node that doesn't wait long for its origin."""
    return Shield(settings_of({"fra": origin}, failover={"deadline": "200ms"}), clock=clock)


def asks(target: str = "/a", fields: Fields = (), *, times: int = 1) -> Ask:
    """The last of so many answers."""

    def ask(shield: Shield, origin: FaultyOrigin, clock: FakeClock, method: str) -> Answer:
        return [shield.get(target, fields, method=method) for _ in range(times)][-1]

    return ask


def asks_with_its_etag(field: str) -> Ask:
    def ask(shield: Shield, origin: FaultyOrigin, clock: FakeClock, method: str) -> Answer:
        return shield.get("/a", [(field, shield.get("/a").get("etag") or "")], method=method)

    return ask


def sends(raw: bytes) -> Ask:
    def ask(shield: Shield, origin: FaultyOrigin, clock: FakeClock, method: str) -> Answer:
        with shield.client() as client:
            client.send(raw.replace(b"GET ", method.encode() + b" ", 1))
            return client.read(method)

    return ask


def stale(shield: Shield, origin: FaultyOrigin, clock: FakeClock, method: str) -> Answer:
    shield.get("/a")
    clock.advance(70)
    return shield.get("/a", method=method)


def stale_since_no_origin_answers(shield: Shield, origin: FaultyOrigin, clock: FakeClock, method: str) -> Answer:
    shield.get("/a")
    clock.advance(200)
    origin.stops()
    return shield.get("/a", method=method)


def unavailable(shield: Shield, origin: FaultyOrigin, clock: FakeClock, method: str) -> Answer:
    origin.stops()
    return shield.get("/a", method=method)


def too_late(shield: Shield, origin: FaultyOrigin, clock: FakeClock, method: str) -> Answer:
    origin.script("/a", Stall())
    return shield.get("/a", method=method)


def slow(shield: Shield, origin: FaultyOrigin, clock: FakeClock, method: str) -> Answer:
    with shield.client() as client:
        client.send(request("/a", method=method)[:-2])
        shield.wait_for(lambda: any(connection._reading is Reading.HEAD for connection in shield._state.connections))
        shield.sweep(times=12)
        return client.read(method)


def in_chunks(shield: Shield, origin: FaultyOrigin, clock: FakeClock, method: str) -> Answer:
    origin.spoils("/large", chunked(4000))
    return shield.get("/large", method=method)


SHAPES: dict[str, tuple[int, Ask]] = {
    "miss": (200, asks()),
    "hit": (200, asks(times=2)),
    "stale": (200, stale),
    "stale since no origin answers": (200, stale_since_no_origin_answers),
    "not stored": (200, asks("/large")),
    "in chunks": (200, in_chunks),
    "part": (206, asks(fields=[("Range", "bytes=1-3")])),
    "part of what isn't stored": (206, asks("/large", [("Range", "bytes=-5")])),
    "parts": (206, asks(fields=[("Range", "bytes=1-3, 7-9")])),
    "not modified": (304, asks_with_its_etag("If-None-Match")),
    "precondition": (412, asks(fields=[("If-Match", '"x"')])),
    "precondition that holds": (200, asks_with_its_etag("If-Match")),
    "range": (416, asks(fields=[("Range", "bytes=1000-")])),
    "absent": (404, asks("/absent")),
    "absent, stored": (404, asks("/absent", times=2)),
    "no key": (404, asks("/")),
    "bad path": (400, asks("/a%zz")),
    "bad host": (400, sends(request("/a", host="@"))),
    "bad request": (400, sends(request("/a b"))),
    "body": (400, sends(request("/a", [("Content-Length", "1")]) + b"x")),
    "slow": (408, slow),
    "long target": (414, asks("/" + "x" * 9000)),
    "expectation": (417, asks(fields=[("Expect", "x")])),
    "large head": (431, asks(fields=[("x", "y" * 40_000)])),
    "unavailable": (503, unavailable),
    "too late": (504, too_late),
    "other version": (505, sends(request("/a", version="2.0"))),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_is_as_httplint_wants_it(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock, shape: str, method: str
) -> None:
    origin.serves("/a", b"<html>hello</html>" * 10, fields=HTML)
    origin.serves("/large", Pattern(3_000_000), fields=OURS)
    status, ask = SHAPES[shape]

    with shield:
        answer = ask(shield, origin, clock, method)

    in_full = method == "HEAD" and status in (206, 416)  # ranges are GET's alone (RFC 9110 §14.2)
    assert answer.status == (200 if in_full else status)
    assert _complaints(answer, method) == set()


@pytest.mark.parametrize("method", ["POST", "DELETE", "FROBNICATE", "OPTIONS"])
def test_a_refused_method_is_answered_as_httplint_wants_it(shield: Shield, method: str) -> None:
    with shield:
        answer = shield.get("/a", method=method)

    assert answer.status == 405
    assert _complaints(answer, method) == set()


def test_options_is_answered_as_httplint_wants_it(origin: FaultyOrigin, clock: FakeClock) -> None:
    routes = {"default": {"methods": ["GET", "OPTIONS"]}}
    cors = {"set": {"access-control-allow-origin": "*"}}

    with Shield(settings_of({"fra": origin}, routes=routes, response_fields=cors), clock=clock) as shield:
        answer = shield.get("/a", method="OPTIONS")

    assert answer.status == 204
    assert _complaints(answer, "OPTIONS") == set()


def _complaints(answer: Answer, method: str) -> set[str]:
    linter = HttpResponseLinter(no_content=method == "HEAD")
    linter.process_response_topline(b"HTTP/1.1", b"%d" % answer.status, b"")
    linter.process_headers([(name.encode(), value.encode()) for name, value in answer.fields])
    if method != "HEAD":
        linter.feed_content(answer.body)
    linter.finish_content(answer.clean)
    found = {type(note).__name__ for note in linter.notes if note.level in (levels.BAD, levels.WARN)}
    return found - STATES_ITS_STATUS
