"""Each front keeps one exchange per request, and records it once, at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shield.outcome import End, Exchange
from tests.client import request
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Reset, Stall, Wait
from tests.edge.hypercorn_front import H2Client, hypercorn
from tests.node import FakeClock, Shield

LARGE = Pattern(3_000_000)


class Notes:
    """Observes every request."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def said(self, *names: str) -> Sequence[tuple[Any, ...]]:
        return [tuple(getattr(each, name) for name in names) for each in self.exchanges]


@pytest.fixture
def notes(shield: Shield, origin: FaultyOrigin) -> Notes:
    origin.serves("/a", b"hello", lifetime=60)
    origin.serves("/large", LARGE, lifetime=60)
    notes = Notes()
    shield.call(lambda: shield.node.front.accounting.add(notes.exchanges.append, hits=1.0))
    return notes


def test_an_exchange_has_all_that_is_known_of_a_request(shield: Shield, notes: Notes, clock: FakeClock) -> None:
    with shield.client() as client:
        for method, target in (("GET", "/a"), ("GET", "/a"), ("HEAD", "/a"), ("GET", "/large"), ("GET", "/large")):
            client.ask(target, method=method)
        client.ask("/a", [("Range", "bytes=1-2")])
        client.ask("/a", method="PUT")
    shield.wait_for(lambda: len(notes.exchanges) == 7)  # the client may be faster

    assert notes.said("method", "target", "route", "status", "sent") == [
        (b"GET", b"/a", "default", 200, 5),
        (b"GET", b"/a", "default", 200, 5),
        (b"HEAD", b"/a", "default", 200, 0),
        (b"GET", b"/large", "default", 200, len(LARGE)),
        (b"GET", b"/large", "default", 200, len(LARGE)),
        (b"GET", b"/a", "default", 206, 2),
        (b"PUT", b"/a", None, 405, 19),
    ]
    assert [each.outcome.word for each in notes.exchanges if each.outcome] == [
        *("miss", "hit", "hit", "miss", "hit", "hit", "refused"),
    ]
    assert set(notes.said("client", "end", "began")) == {("127.0.0.1", End.WHOLE, clock.now)}
    assert [each.origin for each in notes.exchanges] == ["fra", None, None, "fra", None, None, None]


def test_times_run_from_the_head_of_the_request_to_that_of_the_answer_and_to_its_end(
    shield: Shield, notes: Notes, origin: FaultyOrigin, clock: FakeClock
) -> None:
    first, later = origin.gate(), origin.gate()
    origin.spoils("/large", at_body(1_000_000, Wait(later)), preceded_by(Wait(first)))

    with shield.client() as client:
        client.send(request("/large"))
        first.reached()
        clock.advance(2)
        first.open()
        client.read_head()
        later.reached()
        clock.advance(3)
        later.open()
        client.read_some(len(LARGE))
        shield.wait_for(lambda: notes.exchanges)

    (exchange,) = notes.exchanges
    assert (exchange.first_byte_seconds, exchange.total_seconds) == (2, 5)


def test_an_answer_that_breaks_off_says_so(shield: Shield, notes: Notes, origin: FaultyOrigin) -> None:
    origin.spoils("/large", at_body(1_000_000, Reset()), at_body(0, Reset()), at_body(0, Reset()))

    with shield.client() as client:
        client.send(request("/large"))
        client.read_head()
        shield.wait_for(lambda: notes.exchanges)

    ((end, status, sent),) = notes.said("end", "status", "sent")
    assert (end, status) == (End.BROKEN, 200)
    assert sent <= 1_000_000


def test_a_client_that_leaves_without_an_answer_was_given_none(
    shield: Shield, notes: Notes, origin: FaultyOrigin, clock: FakeClock
) -> None:
    gate = origin.gate()
    origin.script("/slow", Wait(gate), Stall())

    with shield.client() as client:
        client.send(request("/slow"))
        gate.reached()
        clock.advance(4)
        client.reset()
        shield.wait_for(lambda: notes.exchanges)

    (exchange,) = notes.exchanges
    assert (exchange.end, exchange.status, exchange.outcome) == (End.ABANDONED, 499, None)
    assert (exchange.first_byte_seconds, exchange.total_seconds) == (None, 4)


def test_the_asgi_front_keeps_the_same(shield: Shield, notes: Notes, origin: FaultyOrigin) -> None:
    origin.serves("/broken", LARGE, lifetime=60)
    origin.spoils("/broken", at_body(100_000, Reset()))

    with hypercorn(shield) as port, H2Client(port) as client:
        for target in ("/a", "/a", "/large", "/large", "/%zz", "/broken"):
            client.get(target)
        shield.wait_for(lambda: len(notes.exchanges) == 6)

    assert notes.said("target", "route", "status", "end")[:5] == [
        (b"/a", "default", 200, End.WHOLE),
        (b"/a", "default", 200, End.WHOLE),
        (b"/large", "default", 200, End.WHOLE),
        (b"/large", "default", 200, End.WHOLE),
        (b"/%zz", None, 400, End.WHOLE),
    ]
    assert notes.said("sent")[:4] == [(5,), (5,), (len(LARGE),), (len(LARGE),)]
    assert notes.exchanges[5].end is End.BROKEN
    assert set(notes.said("client", "method")) == {("127.0.0.1", b"GET")}


def test_a_client_that_leaves_the_asgi_front_has_abandoned_its_request(
    shield: Shield, notes: Notes, origin: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.script("/slow", Wait(gate), Stall())

    with hypercorn(shield) as port, H2Client(port) as client:
        stream = client.ask("/slow")
        gate.reached()
        client.cancel(stream)
        shield.wait_for(lambda: notes.exchanges)

    assert notes.said("end", "status", "outcome") == [(End.ABANDONED, 499, None)]
