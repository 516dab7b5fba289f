"""Records of a fetch and its requests to origins, for spans that are made of them after their end.

Without tracing there are none, and nothing is noted. One that isn't sampled only carries a trace on to origins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shield.messages import Field
from shield.rules.traceparent import context_fields

MOST_ATTEMPTS = 32
"""Requests to origins of one fetch that are noted."""


@dataclass(slots=True, eq=False)
class AttemptTrace:
    """A request to an origin, or to the worker that owns the key. Times are epoch seconds; `status` 0: no response.
    `fault` is a word, None: there was none. `place` is the URL without its path, or empty.
    """

    span_id: int
    origin: str
    method: str
    place: str
    path: str
    began: float
    ended: float | None = None
    status: int = 0
    fault: str | None = None

    def answered(self, status: int, now: float) -> None:
        self.status, self.ended = status, now

    def failed(self, fault: str, now: float) -> None:
        self.fault, self.ended = fault, now


@dataclass(slots=True, eq=False)
class FetchTrace:
    """A fetch. `request_span` is that of the request which began it, 0: none did; `parent` is the span from elsewhere
    which that one belongs to. `end` is called once.
    """

    trace_id: int
    span_id: int
    request_span: int
    parent: int
    is_sampled: bool
    state: bytes
    path: str
    began: float
    draw: Callable[[], int]
    tell: Callable[[FetchTrace], None]
    attempts: list[AttemptTrace]
    ended: float | None = None
    origin: str | None = None
    status: int = 0
    received: int = 0
    problem: str | None = None
    is_stored: bool = False
    is_request_told: bool = False  # the span of the request that began it has been made

    def begin(self, origin: str, method: bytes, place: str, path: bytes, now: float) -> AttemptTrace | None:
        """A request to an origin is about to be sent; None: it isn't noted."""
        if not self.is_sampled or len(self.attempts) >= MOST_ATTEMPTS:
            return None
        named = method.decode("ascii", "replace"), place, path.decode("ascii", "replace")
        attempt = AttemptTrace(self.draw(), origin, *named, now)
        self.attempts.append(attempt)
        return attempt

    def fields(self, attempt: AttemptTrace | None) -> tuple[Field, ...]:
        """The context for the server of an attempt."""
        span_id = self.span_id if attempt is None else attempt.span_id
        return context_fields(self.trace_id, span_id, self.state, is_sampled=self.is_sampled)

    def end(
        self, now: float, origin: str | None, status: int, *, received: int, problem: str | None, is_stored: bool
    ) -> None:
        """It has ended."""
        if self.ended is None:
            self.ended, self.origin, self.status = now, origin, status
            self.received, self.problem, self.is_stored = received, problem, is_stored
            if self.is_sampled:
                self.tell(self)
