"""What counters and access log make of an exchange that has ended."""

from __future__ import annotations

import io

import pytest

from shield.observe.access import AccessLog
from shield.observe.accounting import Accounting
from shield.observe.counters import MEASURED, Counters
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


def test_each_request_counts_once_by_its_class() -> None:
    counters = Counters()
    accounting = Accounting(counters, None)
    for status, method, outcome in (
        (200, b"GET", PLAIN_HIT),
        (404, b"GET", PLAIN_HIT),
        (200, b"HEAD", PLAIN_HIT),
        (503, b"GET", Outcome(forward=Forward.STALE, detail="fra=connect")),
        (405, b"MKCOL", REFUSED),
    ):
        ended = exchange(outcome)
        ended.method, ended.status, ended.route = method, status, None if outcome is REFUSED else "images"
        accounting.finished(ended)
    for ended in (exchange(MISS, End.BROKEN), exchange(MISS, End.ABANDONED), exchange(None, End.ABANDONED)):
        ended.route = "images"
        accounting.finished(ended)
    counters.add_plain("thumbs", 7)

    found = {(c.route, c.method, c.status, c.cache): count for c, count in counters.by_class()}
    assert found == {
        ("images", "GET", "2xx", "hit"): 1,
        ("images", "GET", "4xx", "hit"): 1,
        ("images", "HEAD", "2xx", "hit"): 1,
        ("images", "GET", "5xx", "miss"): 1,
        ("", "OTHER", "4xx", "refused"): 1,
        ("images", "GET", "2xx", "miss"): 2,
        ("images", "GET", "none", "abandoned"): 1,
        ("thumbs", "GET", "2xx", "hit"): 1,
    }
    assert counters.forwarded == {Forward.STALE: 1, Forward.URI_MISS: 2}
    assert counters.cut_short == {("images", "broken"): 1, ("images", "abandoned"): 1}
    assert counters.sent_by_word() == {"hit": 22, "miss": 15, "refused": 5, "abandoned": 0}
    assert counters.sent_bytes == 42


def test_times_are_those_of_all_but_plain_hits_of_which_few_stand_for_all() -> None:
    counters = Counters()
    counters.add(exchange(MISS))
    counters.add(exchange(None, End.ABANDONED))

    measured = [counters.add_plain("images", 1) for _ in range(2 * MEASURED)]
    counters.measured(0.25)

    assert [at for at, one in enumerate(measured, 1) if one] == [MEASURED, 2 * MEASURED]
    assert {word: (t.first_byte.count, t.first_byte.total, t.total.total) for word, t in counters.times.items()} == {
        "miss": (1, 0.0, 0.5),
        "hit": (MEASURED, MEASURED / 4, MEASURED / 4),
    }
    assert counters.hits == 2 * MEASURED
