"""Spans of requests, fetches and requests to origins, made of their records after the fact. Pure.

Names and attributes are those of OpenTelemetry's conventions for HTTP servers and clients, and `shield.*` for what
they don't know. Queries are left out: they may hold signatures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from shield.outcome import End, Exchange
from shield.trace import AttemptTrace, FetchTrace

SpanValue = str | int | float | bool

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PURGE"})
_MOST_TEXT = 1024


class SpanKind(Enum):
    """As OpenTelemetry has them."""

    SERVER = "server"
    INTERNAL = "internal"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A span. `parent` 0: none. `link` is the trace and span of the fetch that a request shared; `error` a word for
    what went wrong. Times are epoch seconds.
    """

    name: str
    kind: SpanKind
    trace_id: int
    span_id: int
    parent: int
    began: float
    ended: float
    attributes: dict[str, SpanValue]
    error: str | None = None
    link: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """A request of a client that has ended, and its place in a trace."""

    exchange: Exchange
    trace_id: int
    span_id: int
    parent: int
    link: tuple[int, int] | None = None


def of_request(request: RequestTrace) -> SpanRecord:
    exchange = request.exchange
    outcome, method = exchange.outcome, exchange.method.decode("ascii", "replace")
    known = method if method in _METHODS else "_OTHER"
    path = exchange.target.decode("ascii", "replace").partition("?")[0]
    found: dict[str, SpanValue | None] = {
        "http.request.method": known,
        "http.request.method_original": None if known == method else method[:64],
        "http.response.status_code": exchange.status if exchange.answered is not None else None,
        "http.response.body.size": exchange.sent,
        "url.path": path[:_MOST_TEXT],
        "client.address": exchange.client,
        "network.protocol.version": "2" if exchange.protocol is not None else "1.1",
        "shield.route": exchange.route,
        "shield.request_id": None if exchange.request_id is None else exchange.request_id.decode("ascii", "replace"),
    }
    if exchange.first_byte_seconds is not None:
        found["shield.first_byte_seconds"] = round(exchange.first_byte_seconds, 6)
    if outcome is not None:
        found |= {f"shield.{name}": value for name, value in outcome.log_fields().items()}
    error = None
    if exchange.end is not End.WHOLE:
        error = exchange.end.value
    elif exchange.status >= 500:
        error = str(exchange.status)
    return SpanRecord(
        known if exchange.route is None else f"{known} {exchange.route}",
        SpanKind.SERVER,
        request.trace_id,
        request.span_id,
        request.parent,
        exchange.began,
        exchange.ended,
        _known({**found, "error.type": error}),
        error if error != End.ABANDONED.value else None,
        request.link,
    )


def of_fetch(fetch: FetchTrace) -> Iterator[SpanRecord]:
    """A fetch that has ended, then its requests to origins."""
    ended = fetch.ended if fetch.ended is not None else fetch.began
    attributes: dict[str, SpanValue | None] = {
        "shield.origin": fetch.origin,
        "shield.bytes": fetch.received,
        "shield.status": fetch.status or None,
        "shield.stored": fetch.is_stored,
        "shield.attempts": len(fetch.attempts),
        "url.path": fetch.path[:_MOST_TEXT],
        "error.type": fetch.problem,
    }
    yield SpanRecord(
        "fetch",
        SpanKind.INTERNAL,
        fetch.trace_id,
        fetch.span_id,
        fetch.request_span or fetch.parent,
        fetch.began,
        ended,
        _known(attributes),
        fetch.problem,
    )
    for number, attempt in enumerate(fetch.attempts):
        yield _of_attempt(fetch, attempt, number, ended)


def _of_attempt(fetch: FetchTrace, attempt: AttemptTrace, number: int, ended: float) -> SpanRecord:
    """The one whose response was used lasts until its body is there."""
    is_used = attempt.origin == fetch.origin and number == len(fetch.attempts) - 1 and 200 <= attempt.status < 300
    error = attempt.fault
    if error is None and attempt.ended is None:
        error = "cancelled"
    elif error is None and attempt.status >= 400:
        error = str(attempt.status)
    url = urlsplit(attempt.place) if attempt.place else None
    attributes: dict[str, SpanValue | None] = {
        "http.request.method": attempt.method,
        "http.request.resend_count": number or None,
        "http.response.status_code": attempt.status or None,
        "server.address": attempt.origin if url is None else url.hostname,
        "server.port": None if url is None else url.port or (443 if url.scheme == "https" else 80),
        "url.full": None if url is None else f"{attempt.place}{attempt.path}"[:_MOST_TEXT],
        "shield.origin": attempt.origin,
        "error.type": error,
    }
    if attempt.ended is not None and attempt.status:
        attributes["shield.first_byte_seconds"] = round(attempt.ended - attempt.began, 6)
    return SpanRecord(
        attempt.method,
        SpanKind.CLIENT,
        fetch.trace_id,
        attempt.span_id,
        fetch.span_id,
        attempt.began,
        ended if is_used or attempt.ended is None else attempt.ended,
        _known(attributes),
        error,
    )


def _known(attributes: dict[str, SpanValue | None]) -> dict[str, SpanValue]:
    return {name: value for name, value in attributes.items() if value is not None}
