"""What counters and access log make of an exchange that has ended."""

from __future__ import annotations

import io

import pytest

from shield.observe.access import AccessLog
from shield.observe.accounting import Accounting
from shield.observe.counters import Counters
from shield.outcome import PLAIN_HIT, End, Exchange, Forward, Outcome

MISS = Outcome(forward=Forward.URI_MISS, forward_status=200, stored=True, ttl=60, origin="fra")
REFUSED = Outcome(detail="bad-target", refused=True)


def exchange(outcome: Outcome | None, end: End = End.WHOLE) -> Exchange:
    made = Exchange(b"GET", b"/a.jpg", "192.0.2.1", 1000.0)
    if outcome is not None:
        made.answer(200, outcome, 1000.0)
        made.sent = 5
    made.finish(end, 1000.5)
    return made


@pytest.mark.parametrize(
    ("ended", "counted", "hits", "sent"),
    [
        (exchange(PLAIN_HIT), {}, 1, 5),
        (exchange(Outcome(hit=True)), {"hit": 1}, 0, 5),
        (exchange(MISS), {"miss": 1}, 0, 5),
        (exchange(MISS, End.BROKEN), {"miss": 1, "broken": 1}, 0, 5),
        (exchange(MISS, End.ABANDONED), {"miss": 1, "abandoned": 1}, 0, 5),
        (exchange(None, End.ABANDONED), {"abandoned": 1}, 0, 0),
        (exchange(REFUSED), {"refused": 1}, 0, 5),
        (exchange(Outcome(detail="only-if-cached")), {"error": 1}, 0, 5),
        (exchange(Outcome(detail="options")), {"options": 1}, 0, 5),
    ],
)
def test_an_exchange_is_counted_once_by_what_became_of_it(
    ended: Exchange, counted: dict[str, int], hits: int, sent: int
) -> None:
    counters = Counters()

    Accounting(counters, None).finished(ended)

    assert (counters.requests, counters.hits, counters.sent_bytes) == (counted, hits, sent)


def test_an_exchange_is_one_line_of_the_access_log_too() -> None:
    stream, counters = io.StringIO(), Counters()
    log = AccessLog(stream, misses_only=False)

    Accounting(counters, log).finished(exchange(MISS))

    assert counters.requests == {"miss": 1}
    assert len(log._lines) == 1


def test_plain_hits_are_only_counted_unless_the_log_has_lines_for_them() -> None:
    stream, counters = io.StringIO(), Counters()

    assert Accounting(counters, None).plain is counters
    assert Accounting(counters, AccessLog(stream, misses_only=True)).plain is counters
    assert Accounting(counters, AccessLog(stream, misses_only=False)).plain is None
