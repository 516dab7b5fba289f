from __future__ import annotations

import asyncio

import pytest

from shield.observe.accounting import Accounting
from shield.observe.counters import Counters
from shield.observe.top import SAMPLES, Top, TopLists, merged_rows
from shield.outcome import PLAIN_HIT, Exchange, Forward, Outcome
from shield.rules.prices import Price
from tests.node import FakeClock

MISS = Outcome(forward=Forward.URI_MISS, forward_status=200, stored=True, origin="fra", key=b"/a gzip", attempts=2)


def exchange(
    outcome: Outcome | None, *, sent: int = 1000, target: bytes = b"/a", client: str = "10.0.0.1"
) -> Exchange:
    made = Exchange(b"GET", target, client, 0.0, route="images")
    made.key = target.partition(b"?")[0] + b" gzip"
    if outcome is not None:
        made.answer_whole(200, outcome, sent, 0.0)
    return made


def lists(clock: FakeClock) -> TopLists:
    made = TopLists(Accounting(Counters()), clock=clock)
    made.use({"fra": Price(0.09, 0.4)})
    return made


def rows(tops: TopLists, of: str, by: str) -> list[dict[str, str | float]]:
    (top,) = [tops.top(of, by, 10)]
    return merged_rows([Top(1.0, top.hitters)], of, by, 10)


@pytest.fixture
def clock() -> FakeClock:
    made = FakeClock()
    made.now = 0.0
    return made


def test_a_miss_counts_with_its_bytes_and_its_price(clock: FakeClock) -> None:
    tops = lists(clock)

    tops.note(exchange(MISS, target=b"/a?x=1"))

    assert rows(tops, "keys", "missed_bytes") == [
        {
            "key": "/a",
            "requests": 1,
            "missed_bytes": 1000,
            "money": pytest.approx((0.09 * 1000 / 1e9 + 0.4 * 2 / 1000) * 3600, rel=1e-3),
            "hits": 0,
            "sent_bytes": 1000,
            "error": 0,
            "target": "/a?x=1",
        }
    ]
    assert [(row["origin"], row["requests"]) for row in rows(tops, "origins", "money")] == [("fra", 1)]
    assert [row["client"] for row in rows(tops, "clients", "requests")] == ["10.0.0.1"]
    assert [row["route"] for row in rows(tops, "routes", "requests")] == ["images"]


@pytest.mark.parametrize(("hits", "weight"), [(10, 1), (SAMPLES, 1), (SAMPLES * 16, 16), (10**9, 1024)])
def test_of_many_plain_hits_some_are_looked_at_and_stand_for_the_others(
    hits: int, weight: int, clock: FakeClock
) -> None:
    accounting = Accounting(Counters())
    tops = TopLists(accounting, clock=clock)
    tops.open()
    accounting.counters.hits += hits

    tops.tick()
    tops.note(exchange(PLAIN_HIT, target=b"/a?x=2", sent=10))

    (row,) = rows(tops, "keys", "requests")
    assert (row["key"], row["target"]) == ("/a", "/a?x=2")
    assert (row["requests"], row["hits"], row["sent_bytes"]) == (weight, weight, 10 * weight)
    assert rows(tops, "keys", "missed_bytes") == rows(tops, "origins", "requests") == []
    assert accounting._samplers[0].share == 1 / weight


def test_a_burst_is_sampled_sparsely_before_the_second_is_over_and_counted_in_full(clock: FakeClock) -> None:
    accounting, burst = Accounting(Counters()), 50_000
    tops, looked_at = TopLists(accounting, clock=clock), 0
    tops.open()

    for _ in range(burst):
        if accounting.counters.add_plain("images", 10):
            looked_at += 1
            accounting.sampled(exchange(PLAIN_HIT, target=b"/a", sent=10))

    (row,) = rows(tops, "keys", "requests")
    assert looked_at < 10 * SAMPLES
    assert 0.7 * burst < float(row["requests"]) < 1.3 * burst


def test_of_many_misses_some_are_looked_at_and_stand_for_the_others(clock: FakeClock) -> None:
    tops, many = lists(clock), 20_000
    miss = Outcome(forward=Forward.URI_MISS, forward_status=200, origin="fra", key=b"/a")

    for _ in range(many):
        tops.note(exchange(miss, sent=1000))

    (row,) = rows(tops, "origins", "missed_bytes")
    assert tops._every > 1
    assert 0.7 * many < float(row["requests"]) < 1.3 * many
    assert 0.7 * many * 1000 < float(row["missed_bytes"]) < 1.3 * many * 1000
    tops.tick()
    tops.tick()
    assert tops._every == 1


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(hit=True, key=b"/a"),
        Outcome(forward=Forward.URI_MISS, forward_status=200, collapsed=True, origin="fra", key=b"/a"),
        Outcome(refused=True, detail="bad-target"),
        None,
    ],
)
def test_bytes_that_no_origin_gave_for_just_this_request_are_not_missed(
    outcome: Outcome | None, clock: FakeClock
) -> None:
    tops = lists(clock)

    tops.note(exchange(outcome))

    assert rows(tops, "keys", "missed_bytes") == rows(tops, "origins", "requests") == []
    assert [row["requests"] for row in rows(tops, "clients", "requests")] == [1]


@pytest.mark.parametrize(
    ("outcome", "missed"),
    [
        (Outcome(forward=Forward.PARTIAL, origin="fra"), 1000),  # of a large entry, whose slices are fetched
        (Outcome(forward=Forward.REQUEST, forward_status=200, origin="fra"), 1000),
        (Outcome(forward=Forward.STALE, forward_status=304, ttl=60, origin="fra"), 0),
    ],
)
def test_a_fetch_counts_at_its_origin_with_the_bytes_that_it_was_for(
    outcome: Outcome, missed: int, clock: FakeClock
) -> None:
    tops = lists(clock)

    tops.note(exchange(outcome))

    (row,) = rows(tops, "origins", "requests")
    assert (row["origin"], row["requests"], row["missed_bytes"]) == ("fra", 1, missed)
    assert row["money"] == pytest.approx((0.09 * missed / 1e9 + 0.4 / 1000) * 3600, rel=1e-3)


def test_a_fetch_that_failed_missed_nothing(clock: FakeClock) -> None:
    tops, failed = lists(clock), exchange(None)
    failed.answer_whole(503, Outcome(forward=Forward.URI_MISS, detail="fra=connect"), 20, 0.0)

    tops.note(failed)

    assert rows(tops, "keys", "missed_bytes") == rows(tops, "origins", "requests") == []
    assert [row["requests"] for row in rows(tops, "keys", "requests")] == [1]


def test_workers_are_asked_and_added_up(clock: FakeClock) -> None:
    one, other = lists(clock), lists(clock)
    for tops, client in ((one, "10.0.0.1"), (other, "10.0.0.1"), (other, "10.0.0.2")):
        tops.note(exchange(MISS, client=client))

    async def ask(query: bytes) -> list[bytes]:
        return [other.answer(query)]

    both = asyncio.run(one.of_all("clients", "requests", ask))

    found = merged_rows([Top(1.0, top.hitters) for top in both], "clients", "requests", 10)
    assert [(row["client"], row["requests"]) for row in found] == [("10.0.0.1", 2), ("10.0.0.2", 1)]
    assert Top.decoded(other.answer(b"of-another-version")).hitters == []
