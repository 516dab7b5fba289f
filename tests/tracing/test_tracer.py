"""Which requests are traced: decided by shares, by those who send them, and by a limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from shield.messages import Request
from shield.outcome import PLAIN_HIT, Exchange, Forward, Outcome
from shield.peers.words import named
from shield.rules.key import CacheKey
from shield.rules.traceparent import context_fields
from shield.trace import FetchTrace
from shield.tracing.spans import RequestTrace
from shield.tracing.tracer import MOST_WAITING, Tracer, TracingTerms
from tests.node import FakeClock

TERMS = TracingTerms("http://127.0.0.1:4318/v1/traces", per_second=1e6)
KEY = CacheKey(b":/a", bytes(16))
TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
MISS = Outcome(False, Forward.URI_MISS, 200)


def tracer(terms: TracingTerms | None = TERMS, clock: Callable[[], float] | None = None) -> Tracer:
    made = Tracer(clock=clock or FakeClock(), bits=Random(7).getrandbits)
    made.terms = terms
    return made


def request(*, sampled: bool | None = None, host: bytes = b"cdn.example") -> Request:
    fields = () if sampled is None else context_fields(TRACE, 0xB7, b"a=1", is_sampled=sampled)
    return Request.of(b"GET", b"/a", [(b"host", host), *fields])


def exchange(outcome: Outcome, *, status: int = 200, of: Request | None = None) -> Exchange:
    made = Exchange(b"GET", b"/a", "192.0.2.7", 1.0)
    made.fields = () if of is None else of.fields
    made.answer_whole(status, outcome, 1, 2.0)
    return made


def requests(made: Tracer) -> list[RequestTrace]:
    return [each for each in made.queue if isinstance(each, RequestTrace)]


def test_without_terms_there_are_none() -> None:
    made = tracer(None)

    made.observe(exchange(MISS))

    assert made.begin(request(sampled=True), KEY, b"/a") is None and not made.queue


def test_a_share_of_the_misses_is_traced() -> None:
    made = tracer(replace(TERMS, misses=0.25))

    count = sum(made.begin(request(), KEY, b"/a") is not None for _ in range(2000))

    assert 400 < count < 600


def test_a_request_that_is_traced_elsewhere_goes_on_with_that_trace() -> None:
    made = tracer(replace(TERMS, misses=1e-9))

    fetch = made.begin(request(sampled=True), KEY, b"/a")

    assert fetch is not None and fetch.is_sampled
    assert (fetch.trace_id, fetch.parent, fetch.state) == (TRACE, 0xB7, b"a=1")


def test_one_that_isnt_is_passed_on_as_such_and_makes_no_spans() -> None:
    made = tracer()

    fetch = made.begin(request(sampled=False), KEY, b"/a")
    assert fetch is not None and not fetch.is_sampled
    assert fetch.begin("fra", b"GET", "", b"/a", 1.0) is None
    fetch.end(2.0, "fra", 200, received=1, problem=None, is_stored=True)
    made.observe(exchange(replace(MISS, trace=fetch), of=request(sampled=False)))

    assert dict(fetch.fields(None))[b"traceparent"].endswith(b"-00")
    assert not made.queue


def test_contexts_may_be_ignored() -> None:
    made = tracer(replace(TERMS, heeds=False))

    fetch = made.begin(request(sampled=True), KEY, b"/a")

    assert fetch is not None and fetch.trace_id != TRACE and fetch.parent == 0


def test_whatever_is_asked_for_no_more_begin_in_a_second_than_are_allowed() -> None:
    clock = FakeClock()
    made = tracer(replace(TERMS, per_second=5.0), clock)

    def begun() -> int:
        fetches = [made.begin(request(sampled=True), KEY, b"/a") for _ in range(100)]
        return sum(fetch is not None and fetch.is_sampled for fetch in fetches)

    counts = [begun()]
    for seconds in (0.0, 1.0, 60.0, -60.0):
        clock.advance(seconds)
        counts.append(begun())

    assert counts == [5, 0, 5, 5, 0]


def test_the_request_that_began_a_fetch_is_above_it_and_others_are_linked_to_it() -> None:
    made = tracer()
    fetch = made.begin(request(sampled=True), KEY, b"/a")
    assert fetch is not None

    made.observe(exchange(replace(MISS, trace=fetch)))
    made.observe(exchange(replace(MISS, trace=fetch, collapsed=True)))

    first, second = requests(made)
    assert (first.trace_id, first.span_id, first.parent) == (TRACE, fetch.request_span, 0xB7)
    assert second.trace_id != TRACE and second.link == (TRACE, fetch.span_id)


def test_a_request_that_shares_a_fetch_may_end_first() -> None:
    made = tracer()
    fetch = made.begin(request(), KEY, b"/a")
    assert fetch is not None

    made.observe(exchange(replace(MISS, trace=fetch, collapsed=True)))
    made.observe(exchange(replace(MISS, trace=fetch)))

    assert [each.span_id == fetch.request_span for each in requests(made)] == [False, True]


def test_a_fetch_in_the_background_is_a_trace_of_its_own() -> None:
    made = tracer()

    fetch = made.begin(request(sampled=True), KEY, b"/a", is_background=True)

    assert fetch is not None and (fetch.request_span, fetch.parent) == (0, 0) and fetch.trace_id != TRACE


def test_another_workers_fetch_goes_on_with_its_trace_or_with_none() -> None:
    made = tracer(replace(TERMS, heeds=False))
    host = named(KEY)

    fetch = made.begin(request(sampled=True, host=host), KEY, b"/a")

    assert fetch is not None and (fetch.trace_id, fetch.request_span, fetch.parent) == (TRACE, 0, 0xB7)
    assert made.begin(request(host=host), KEY, b"/a") is None


@pytest.mark.parametrize(
    ("outcome", "status", "traced"),
    [
        (Outcome(hit=True), 200, False),  # a hit that isn't plain: no share of them is wanted
        (PLAIN_HIT, 200, True),  # Accounting has chosen it
        (Outcome(detail="bad-escape", refused=True), 400, False),
        (Outcome(detail="not-implemented", refused=True), 501, False),
        (Outcome(detail="options"), 204, False),
        (Outcome(forward=Forward.URI_MISS, detail="fra=connect"), 503, True),
    ],
)
def test_hits_errors_and_refusals_have_shares_of_their_own(outcome: Outcome, status: int, traced: bool) -> None:
    made = tracer(replace(TERMS, misses=0.0))

    made.observe(exchange(outcome, status=status))

    assert len(made.queue) == traced


def test_a_queue_that_nobody_empties_is_bounded() -> None:
    made = tracer()

    for _ in range(MOST_WAITING + 9):
        made.observe(exchange(MISS))

    assert len(made.queue) == MOST_WAITING and made.statistics().dropped == 9


def test_a_fetch_is_told_once() -> None:
    made = tracer()
    fetch = made.begin(request(), KEY, b"/a")
    assert fetch is not None

    for _ in range(2):
        fetch.end(2.0, "fra", 200, received=1, problem=None, is_stored=True)

    assert [each for each in made.queue if isinstance(each, FetchTrace)] == [fetch]
