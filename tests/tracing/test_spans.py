"""The shapes of spans, by the records that they are made of."""

from __future__ import annotations

import dataclasses
from typing import Any

from shield.outcome import PLAIN_HIT, End, Exchange, Forward, Outcome
from shield.trace import AttemptTrace, FetchTrace
from shield.tracing.spans import RequestTrace, SpanKind, SpanRecord, of_fetch, of_request


def exchange(
    status: int = 200, outcome: Outcome | None = PLAIN_HIT, *, method: bytes = b"GET", end: End = End.WHOLE
) -> Exchange:
    made = Exchange(method, b"/images/a.webp?signature=secret", "192.0.2.7", 100.0, route="images")
    if outcome is not None:
        made.answer(status, outcome, 100.25)
    made.sent = 10
    made.finish(end, 101.0)
    return made


def span(made: Exchange) -> SpanRecord:
    return of_request(RequestTrace(made, 1, 2, 3))


def fetch(*attempts: AttemptTrace, **more: Any) -> FetchTrace:
    made = FetchTrace(1, 5, 2, 0, True, b"", "/images/a.webp", 100.0, lambda: 9, lambda _: None, list(attempts))
    made.end(103.0, "fra", 200, received=10, problem=None, is_stored=True)
    return dataclasses.replace(made, **more)


def attempt(**more: Any) -> AttemptTrace:
    made = AttemptTrace(7, "fra", "GET", "https://s3.example:9000/bucket", "/images/a.webp", 100.0, 100.5, 200)
    return dataclasses.replace(made, **more)


def test_a_request_is_a_server_span_of_the_http_conventions() -> None:
    made = span(exchange(outcome=Outcome(False, Forward.URI_MISS, 200, origin="fra", key=b"k")))

    assert (made.name, made.kind) == ("GET images", SpanKind.SERVER)
    assert (made.trace_id, made.span_id, made.parent) == (1, 2, 3)
    assert (made.began, made.ended, made.error) == (100.0, 101.0, None)
    assert (
        made.attributes.items()
        >= {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.response.body.size": 10,
            "url.path": "/images/a.webp",
            "client.address": "192.0.2.7",
            "network.protocol.version": "1.1",
            "shield.cache": "miss",
            "shield.origin": "fra",
            "shield.first_byte_seconds": 0.25,
        }.items()
    )


def test_no_attribute_holds_a_query() -> None:
    made = span(exchange())

    assert not any("secret" in str(value) for value in made.attributes.values())


def test_unknown_methods_are_one() -> None:
    made = span(exchange(405, Outcome(detail="method-not-allowed", refused=True), method=b"BREW"))

    assert made.name == "_OTHER images"
    assert made.attributes["http.request.method_original"] == "BREW"


def test_5xx_and_bodies_that_broke_off_are_errors_and_a_client_that_left_is_none() -> None:
    assert span(exchange(503, Outcome())).error == "503"
    assert span(exchange(404, Outcome())).error is None
    assert span(exchange(end=End.BROKEN)).error == "broken"
    left = span(exchange(end=End.ABANDONED))
    assert (left.error, left.attributes["error.type"]) == (None, "abandoned")
    assert "http.response.status_code" not in span(exchange(outcome=None)).attributes


def test_a_fetch_is_below_its_request_and_has_its_attempts_below_it() -> None:
    first = attempt(span_id=6, origin="iad", ended=100.2, status=0, fault="connect")

    of, failed, used = of_fetch(fetch(first, attempt()))

    assert (of.name, of.kind, of.parent, of.ended) == ("fetch", SpanKind.INTERNAL, 2, 103.0)
    assert of.attributes.items() >= {"shield.origin": "fra", "shield.attempts": 2, "shield.stored": True}.items()
    assert (failed.kind, failed.parent, failed.ended, failed.error) == (SpanKind.CLIENT, 5, 100.2, "connect")
    assert (used.ended, used.error) == (103.0, None)
    assert (
        used.attributes.items()
        >= {
            "server.address": "s3.example",
            "server.port": 9000,
            "url.full": "https://s3.example:9000/bucket/images/a.webp",
            "http.response.status_code": 200,
            "http.request.resend_count": 1,
            "shield.first_byte_seconds": 0.5,
        }.items()
    )


def test_an_attempt_without_an_end_was_cancelled() -> None:
    _, made = of_fetch(fetch(attempt(ended=None, status=0)))

    assert (made.error, made.ended) == ("cancelled", 103.0)


def test_a_fetch_without_a_request_is_below_what_ordered_it() -> None:
    (of,) = of_fetch(fetch(request_span=0, parent=4))

    assert of.parent == 4
