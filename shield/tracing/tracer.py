"""The traces of one worker: which requests and fetches have spans, and the queue of those that have.

Whether a fetch is sampled is decided before it begins, and nothing is noted of others. Spans are made by the thread
that sends them, of records that are complete by then: a span costs more than a hit.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from shield.messages import Fields, Request
from shield.outcome import End, Exchange
from shield.peers.words import named
from shield.rules.key import CacheKey
from shield.rules.traceparent import TRACEPARENT, TRACESTATE, TraceContext, is_sampled, parse_context
from shield.rules.warming import MARK
from shield.trace import FetchTrace
from shield.tracing.spans import RequestTrace

MOST_WAITING = 2048
"""Records that wait to be sent; beyond, they are counted and dropped."""


@dataclass(frozen=True, slots=True)
class TracingTerms:
    """The terms of traces by the settings: the shares that are sampled, and the most that begin in a second in this
    worker. `heeds`: requests' own contexts are adopted. `headers` are sent with spans.
    """

    endpoint: str
    misses: float = 1.0
    errors: float = 1.0
    hits: float = 0.0
    per_second: float = 50.0
    heeds: bool = True
    service: str = "shield"
    timeout: float = 10.0
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class TracingStatistics:
    """Spans that were sent; those that couldn't be; and records that were dropped, since too many waited."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0


class SpanSink(Protocol):
    """Takes records out of the queue, and sends them."""

    sent: int
    failed: int

    def wake(self) -> None:
        """Many wait."""


class Tracer:
    """Event loop only, but for the queue. It does nothing until there are terms."""

    def __init__(self, *, clock: Callable[[], float], bits: Callable[[int], int] = random.getrandbits) -> None:
        self._clock = clock
        self._bits = bits
        self.terms: TracingTerms | None = None
        self.queue: deque[RequestTrace | FetchTrace] = deque()
        """Taken from by the sink's thread."""
        self.sink: SpanSink | None = None
        self._dropped = 0
        self._allowance = 0.0
        self._allowed_at = 0.0

    def begin(
        self, request: Request, key: CacheKey, path: bytes, *, is_background: bool = False
    ) -> FetchTrace | None:
        """A fetch begins, for this request; None if nothing is to be noted or passed on.

        Of one in the background the request is over: its trace is its own. Another worker's has decided already.
        """
        terms = self.terms
        if terms is None:
            return None
        is_of_worker = (b"host", named(key)) in request.fields
        parent = _context(request.fields) if (terms.heeds or is_of_worker) and not is_background else None
        if is_of_worker and parent is None and not is_background:
            return None
        trace_id = self._new(128) if parent is None else parent.trace_id
        sampled = self._is_sampled(parent, trace_id, terms.misses)
        if not sampled and parent is None:
            return None
        return FetchTrace(
            trace_id,
            self._new(64),
            0 if is_background or is_of_worker or MARK in request.notable else self._new(64),
            0 if parent is None else parent.span_id,
            sampled,
            b"" if parent is None else parent.state,
            path.decode("ascii", "replace"),
            self._clock(),
            lambda: self._new(64),
            self._put,
            [],
        )

    def observe(self, exchange: Exchange) -> None:
        """An exchange with a client has ended. Of plain hits only a sample comes here."""
        terms, outcome = self.terms, exchange.outcome
        if terms is None:
            return
        fetch = None if outcome is None else outcome.trace
        if fetch is not None and not fetch.is_sampled:
            fetch = None
        if (
            fetch is not None
            and outcome is not None
            and not outcome.collapsed
            and fetch.request_span
            and not fetch.is_request_told
        ):
            fetch.is_request_told = True
            self._put(RequestTrace(exchange, fetch.trace_id, fetch.request_span, fetch.parent))
            return
        parent = _context(exchange.fields) if terms.heeds else None
        trace_id = self._new(128) if parent is None else parent.trace_id
        share = 1.0 if outcome is not None and outcome.plain else self._share(exchange, terms)
        if self._is_sampled(parent, trace_id, share):
            link = None if fetch is None else (fetch.trace_id, fetch.span_id)
            self._put(RequestTrace(exchange, trace_id, self._new(64), 0 if parent is None else parent.span_id, link))

    def statistics(self) -> TracingStatistics:
        sink = self.sink
        return TracingStatistics(0 if sink is None else sink.sent, 0 if sink is None else sink.failed, self._dropped)

    def _share(self, exchange: Exchange, terms: TracingTerms) -> float:
        outcome = exchange.outcome
        if exchange.status >= 500 or exchange.end is End.BROKEN:
            return 0.0 if outcome is not None and outcome.refused else terms.errors
        if outcome is None or outcome.refused:
            return 0.0
        if outcome.forward is not None:
            return terms.misses
        return terms.hits if outcome.hit else 0.0

    def _is_sampled(self, parent: TraceContext | None, trace_id: int, share: float) -> bool:
        """A caller's word counts; whatever it says, no more begin in a second than are allowed."""
        if parent is not None and not (parent.is_sampled and share):
            return False
        return (parent is not None or is_sampled(trace_id, share)) and self._is_allowed()

    def _is_allowed(self) -> bool:
        assert self.terms is not None
        now, most = self._clock(), max(1.0, self.terms.per_second)
        self._allowance = min(most, self._allowance + max(0.0, now - self._allowed_at) * self.terms.per_second)
        self._allowed_at = now
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def _new(self, size: int) -> int:
        return self._bits(size) or 1

    def _put(self, record: RequestTrace | FetchTrace) -> None:
        if len(self.queue) >= MOST_WAITING:
            self._dropped += 1
            return
        self.queue.append(record)
        if len(self.queue) == MOST_WAITING // 4 and self.sink is not None:
            self.sink.wake()


def _context(fields: Fields) -> TraceContext | None:
    parent = [value for name, value in fields if name == TRACEPARENT]
    if len(parent) != 1:
        return None
    state = b",".join([value for name, value in fields if name == TRACESTATE])
    return parse_context(parent[0].strip(b" \t"), state.strip(b" \t"))
