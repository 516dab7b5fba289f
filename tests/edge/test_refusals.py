"""Malformed and unacceptable requests. The connection ends if the start of the next request is in doubt."""

from __future__ import annotations

import pytest

from shield.edge.states import Reading
from tests.client import request
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Close, Wait
from tests.node import FakeClock, Shield, settings_of

HOST = b"Host: cdn.example\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: cdn.example\r\n\r\n"


@pytest.fixture(autouse=True)
def objects(origin: FaultyOrigin) -> None:
    origin.serves("/a", b"a", lifetime=60)
    origin.serves("/smuggled", b"smuggled", lifetime=60)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a HTTP/1.1\n" + HOST + b"\n",
        b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET ftp://cdn.example/a HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET http://cdn.example/a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET /a HTTP/1.0\r\n" + HOST + HOST + b"\r\n",
        b"GET /a HTTP/1.1\r\nHost : cdn.example\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"X: y\r\n folded\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"X: y\rZ: z\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"X: y\0z\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b": y\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"X\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nGET ",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nContent-Length: 6\r\n\r\nGET ",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Content-Length: +4\r\n\r\nGET ",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n",
        b"HEAD /a HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    ],
)
def test_a_malformed_request_is_refused_and_nothing_after_it_is_answered(
    shield: Shield, origin: FaultyOrigin, raw: bytes
) -> None:
    shield.get("/a")

    with shield.client() as client:
        client.send(raw + SMUGGLED)
        answer = client.read("HEAD" if raw.startswith(b"HEAD") else "GET")
        assert client.at_end()

    assert answer.status == 400
    assert answer.get("connection") == "close"
    assert origin.fetches("/smuggled") == 0


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/3.0"])
def test_other_versions_are_not_spoken(shield: Shield, version: bytes) -> None:
    with shield.client() as client:
        client.send(b"GET /a " + version + b"\r\n" + HOST + b"\r\n")
        answer = client.read()
        assert client.at_end()

    assert answer.status == 505


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PURGE"])
def test_other_methods_are_refused_and_the_connection_goes_on(shield: Shield, method: str) -> None:
    with shield.client() as client:
        answer = client.ask("/a", method=method)
        after = client.ask("/a")

    assert answer.status == 405
    assert answer.get("allow") == "GET, HEAD"
    assert after.status == 200


def test_a_route_answers_the_methods_that_it_names_and_options_by_itself(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    cors = {"access-control-allow-origin": "*", "access-control-allow-methods": "GET", "x-own": "1"}
    routes = {"default": {"methods": ["GET"]}, "app": {"match": "/app", "methods": ["GET", "HEAD", "OPTIONS"]}}
    settings = settings_of({"fra": origin}, routes=routes, response_fields={"set": cors})
    preflight = [("origin", "https://app.example"), ("access-control-request-method", "GET")]

    with Shield(settings, clock=clock) as shield, shield.client() as client:
        shield.get("/a")
        answers = [client.ask(path, method=method) for path in ("/a", "/app/a") for method in ("HEAD", "POST")]
        options = client.ask("/app/a", preflight, method="OPTIONS")
        none = [client.ask(path, method="OPTIONS") for path in ("/a", "/", "*")]
        with_body = client.ask("/app/a", [("content-length", "1")], method="OPTIONS")

    assert [(answer.status, answer.get("allow")) for answer in answers] == [
        (405, "GET"),
        (405, "GET"),
        (404, None),
        (405, "GET, HEAD, OPTIONS"),
    ]
    assert (options.status, options.get("allow"), options.body) == (204, "GET, HEAD, OPTIONS", b"")
    assert {name: value for name, value in options.fields if name in cors} == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET",
    }
    assert (options.get("content-length"), options.get("cache-status")) == (None, "test-1; detail=options")
    assert [(answer.status, answer.get("allow")) for answer in none] == [
        (405, "GET"),
        (405, "GET, HEAD"),
        (405, "GET, HEAD"),
    ]
    assert (with_body.status, with_body.get("connection")) == (400, "close")
    assert len(origin.requests) == 2  # what GET and HEAD asked for


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED),
        b"POST /a HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
        b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"CONNECT cdn.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"FROBNICATE /a HTTP/1.1\r\n" + HOST + b"\r\n",
    ],
)
def test_a_method_that_brings_more_than_a_head_ends_the_connection(
    shield: Shield, origin: FaultyOrigin, raw: bytes
) -> None:
    with shield.client() as client:
        client.send(raw + SMUGGLED)
        answer = client.read()
        assert client.at_end()

    assert answer.status == 405
    assert answer.get("allow") == "GET, HEAD"
    assert origin.fetches("/smuggled") == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n",
        b"GET /a HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: @\r\n\r\n",
    ],
)
def test_what_follows_the_last_request_is_not_looked_at_while_that_waits(
    shield: Shield, origin: FaultyOrigin, raw: bytes
) -> None:
    gate = origin.gate()
    origin.script("/slow", Wait(gate), Close(), times=None)

    with shield.client() as client:
        client.send(request("/slow") + raw + SMUGGLED * 10)
        gate.reached()
        shield.wait_for(
            lambda: all(c._reading is Reading.LATER and not c._heads.kept for c in shield._state.connections)
        )
        gate.open()
        first, second = client.read(), client.read()
        assert client.at_end()

    assert first.status == 503
    assert second.get("connection") == "close"
    assert origin.fetches("/smuggled") == 0


def test_a_long_target_is_refused(shield: Shield) -> None:
    with shield.client() as client:
        answer = client.ask("/" + "x" * 9000)
        assert client.at_end()

    assert answer.status == 414


@pytest.mark.parametrize(
    "fields", [[(f"x-{n}", "y") for n in range(101)], [("x-large", "y" * 33_000)], [("x-huge", "y" * 1_000_000)]]
)
def test_a_large_head_is_refused(shield: Shield, fields: list[tuple[str, str]]) -> None:
    with shield.client() as client:
        client.send(request("/a", fields))
        answer = client.read()
        assert client.at_end()

    assert answer.status == 431


def test_a_head_without_end_is_refused_before_it_is_complete(shield: Shield) -> None:
    with shield.client() as client:
        client.send(request("/a")[:-2] + b"x-1: ")
        for _ in range(40):
            client.send(b"y" * 1024)
        answer = client.read()

    assert answer.status == 431


def test_a_long_burst_is_no_large_head(shield: Shield) -> None:
    shield.get("/a")
    whole = request("/a", [("x-fill", "y" * 200)])

    with shield.client() as client:
        # Cut inside a head, so that a piece holds the ends of many requests and the beginning of one.
        burst = whole * 600
        client.send(burst[:-50])
        for _ in range(599):
            assert client.read().hit
        client.send(burst[-50:])
        assert client.read().hit


def test_an_empty_line_before_a_request_is_ignored(shield: Shield) -> None:
    with shield.client() as client:
        client.send(b"\r\n" + request("/a"))
        assert client.read().status == 200
        client.send(b"\r\n")
        assert client.ask("/a").status == 200
