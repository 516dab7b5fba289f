"""What counters and observers learn of an exchange that has ended."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import cycle

import pytest

from shield.observe.access import AccessLog
from shield.observe.accounting import Accounting
from shield.observe.counters import NEVER, STANDS_FOR, Counters
from shield.observe.output import LogOutput
from shield.outcome import PLAIN_HIT, End, Exchange, Forward, Outcome, plain_hit

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
        (exchange(plain_hit("nvme")), {}, 1, 5),
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

    Accounting(counters).finished(ended)

    assert (counters.requests, counters.hits, counters.sent_bytes) == (counted, hits, sent)


def test_an_exchange_is_one_line_of_the_access_log_too() -> None:
    stream, counters = io.StringIO(), Counters()
    log = AccessLog(LogOutput(stream))
    accounting = Accounting(counters)
    accounting.add(log.write)

    accounting.finished(exchange(MISS))

    assert counters.requests == {"miss": 1}
    assert len(log._lines) == 1


def test_an_observer_gets_all_but_plain_hits() -> None:
    accounting, seen = Accounting(Counters()), list[Exchange]()
    accounting.add(seen.append)
    ended = [exchange(None, End.ABANDONED), exchange(Outcome(hit=True)), exchange(MISS)]

    for each in (exchange(PLAIN_HIT), *ended, exchange(plain_hit("nvme"))):
        accounting.finished(each)

    assert seen == ended
    assert accounting.counters.due == NEVER


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 1 / 16])
def test_an_observer_gets_the_share_of_plain_hits_that_it_wants(share: float) -> None:
    accounting, seen = Accounting(Counters()), list[Exchange]()
    accounting.add(seen.append, hits=share)

    for _ in range(6400):
        accounting.finished(exchange(PLAIN_HIT))

    assert accounting.counters.hits == 6400
    assert len(seen) == pytest.approx(6400 * share, rel=0.25)


def test_observers_are_sampled_each_for_itself() -> None:
    draws = cycle([0.0, 0.99])
    accounting, all_of_them, some = (
        Accounting(Counters(), chance=lambda: next(draws)),
        list[Exchange](),
        list[Exchange](),
    )
    accounting.add(all_of_them.append, hits=1.0)
    accounting.add(some.append, hits=0.1)

    for _ in range(1000):
        accounting.finished(exchange(PLAIN_HIT))

    assert len(all_of_them) == 1000
    assert 50 < len(some) < 200


def test_an_observer_that_is_removed_gets_nothing_more_and_leaves_nothing_to_sample() -> None:
    accounting, seen = Accounting(Counters()), list[Exchange]()
    accounting.add(seen.append, hits=1.0)
    accounting.add(seen.append, hits=0.5)
    accounting.remove(seen.append)

    accounting.finished(exchange(MISS))
    accounting.finished(exchange(PLAIN_HIT))

    assert (seen, accounting.counters.due) == ([], NEVER)


def test_each_request_counts_once_by_its_class() -> None:
    counters = Counters()
    accounting = Accounting(counters)
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


def test_of_the_misses_those_that_other_nodes_answered_are_counted_apart() -> None:
    counters, hit = Counters(), Outcome(hit=True, detail="peer")
    for detail in ("peer-hit", "peer", "peer-hit", None):
        counters.add(exchange(replace(MISS, detail=detail)))
    counters.add(exchange(hit))

    assert counters.of_nodes == {"peer-hit": (2, 10), "peer": (1, 5)}
    assert counters.sent_by_word() == {"hit": 5, "miss": 20}


def test_times_are_those_of_all_but_plain_hits_of_which_few_stand_for_all() -> None:
    counters = Counters()
    accounting = Accounting(counters, chance=lambda: 0.5)
    accounting.add(counters.measure, hits=1.0 / STANDS_FOR)

    for ended in (exchange(MISS), exchange(None, End.ABANDONED)):
        accounting.finished(ended)
    for _ in range(3 * STANDS_FOR):
        accounting.finished(exchange(PLAIN_HIT))

    assert {word: (t.first_byte.count, t.first_byte.total, t.total.total) for word, t in counters.times.items()} == {
        "miss": (1, 0.0, 0.5),
        "hit": (3 * STANDS_FOR, 0.0, 3 * STANDS_FOR / 2),
    }
