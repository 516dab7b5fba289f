"""Tallies of requests and fetches: of a few minutes, in bounded memory."""

from __future__ import annotations

import json

from shield.observe.accounting import Accounting
from shield.observe.counters import Counters
from shield.observe.suspects import CAPACITY, GENERATION_SECONDS, SuspectLists
from shield.origin.want import Want
from shield.outcome import PLAIN_HIT, Exchange, Forward, Outcome
from shield.rules.egress import FetchReason
from shield.rules.key import CacheKey
from shield.rules.prices import Price
from shield.rules.suspects import Tallies
from tests.node import FakeClock

MISS = Outcome(forward=Forward.URI_MISS, forward_status=200, origin="fra")
BYPASS = Outcome(forward=Forward.BYPASS, forward_status=200, origin="fra")
HIT = Outcome(hit=True)


def exchange(
    outcome: Outcome, *, key: bytes = b":/a", status: int = 200, method: bytes = b"GET", client: str = "10.0.0.1"
) -> Exchange:
    made = Exchange(method, b"/a", client, 0.0, route="images")
    made.key = key
    made.answer_whole(status, outcome, 1000, 0.0)
    return made


def fetch(key: bytes, purpose: FetchReason | None = None) -> Want:
    return Want(b"GET", b"/a", key=CacheKey(key, b""), purpose=purpose)


def lists(clock: FakeClock) -> SuspectLists:
    made = SuspectLists(Accounting(Counters()), clock=clock)
    made.use({"fra": Price(1.0, 0.0)})
    return made


def test_bytes_asked_and_bytes_sent_are_of_a_key_without_its_variant(clock: FakeClock) -> None:
    made = lists(clock)

    made.asked("fra", fetch(b":/a?w=1"), 10**9)
    made.asked("fra", fetch(b":/a?w=1", FetchReason.WARM), 10**9)
    made.asked("fra", fetch(b":/a?w=1"), 0)
    made.asked("fra", fetch(b":/a?w=1 br"), 10**9)
    made.note(exchange(MISS, key=b":/a?w=1 gzip", status=206))
    made.note(exchange(HIT, key=b":/a?w=1"))
    made.note(exchange(HIT))

    tally = made.tallies().keys[":/a?w=1"]
    assert (tally.asked, tally.fetches, tally.money) == (2 * 10**9, 2, 2.0)
    assert (tally.requests, tally.sent, tally.ranges) == (2, 2000, 1)


def test_misses_are_counted_by_what_they_have_in_common(clock: FakeClock) -> None:
    made = lists(clock)

    made.note(exchange(MISS, key=b":/a?x=1"))
    made.note(exchange(MISS, method=b"HEAD", status=404))
    made.note(exchange(BYPASS))
    made.note(exchange(HIT, method=b"HEAD"))

    assert made.tallies().flavours == {
        "missed": 3.0,
        "heads": 1.0,
        "ranges": 0.0,
        "queries": 1.0,
        "bypassed": 1.0,
        "absent": 1.0,
    }


def test_queries_and_clients_are_of_the_sample(clock: FakeClock) -> None:
    made = lists(clock)
    for number in range(10):
        made.sampled(exchange(MISS, key=b":/a?x=%d" % number), 4.0)
        made.sampled(exchange(MISS, key=b":/%d" % number, client="10.0.0.2"), 1.0)
    made.sampled(exchange(PLAIN_HIT), 100.0)

    found = made.tallies()
    assert found.paths[":/a"].missed == found.clients["10.0.0.1"].missed == 40.0
    assert found.clients["10.0.0.1"].others == 100.0
    assert found.paths[":/a"].differing > 0.9 and found.clients["10.0.0.2"].differing > 0.9
    assert found.clients["10.0.0.1"].differing < 0.2  # all of one path
    assert found.paths[":/a"].bytes == 40_000.0


def test_what_is_older_than_two_generations_is_forgotten(clock: FakeClock) -> None:
    made = lists(clock)
    made.asked("fra", fetch(b":/a"), 5)
    clock.advance(GENERATION_SECONDS)
    made.tick()
    assert made.tallies().keys[":/a"].asked == 5 and made.tallies().seconds == GENERATION_SECONDS

    clock.advance(GENERATION_SECONDS)
    made.tick()
    assert made.tallies().keys == {}


def test_the_lesser_half_makes_room(clock: FakeClock) -> None:
    made = lists(clock)
    for number in range(CAPACITY + 1):
        made.asked("fra", fetch(b":/%d" % number), number + 1)

    keys = made.tallies().keys
    assert len(keys) == CAPACITY // 2 + 1
    assert ":/0" not in keys and f":/{CAPACITY - 1}" in keys


def test_another_worker_gets_the_greatest(clock: FakeClock) -> None:
    made = lists(clock)
    for number in range(300):
        made.asked("fra", fetch(b":/%d" % number), number)

    found = Tallies.read(json.loads(made.answer(b"")))
    assert len(found.keys) == 200 and ":/299" in found.keys and ":/99" not in found.keys
