"""Places at an origin: who gets one, who waits for one, who is turned away; on a loop whose clock the test moves."""

from __future__ import annotations

import asyncio
import math
from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shield.errors import Fault
from shield.leases import GateReport, Leases
from shield.messages import Request
from shield.origin.gate import TICK_SECONDS, Gate
from shield.origin.want import Want
from shield.records import private
from shield.rules.ranges import Span
from shield.rules.throttling import HOLD_SECONDS, PATIENCE_SECONDS, QUEUED, START, FetchLimit, Lease
from shield.rules.warming import MARK
from tests.origin.bench import ManualLoop
from tests.origin.passing import Fetch, Waiting


class Place:
    """The gate of the first of two workers, with a lease."""

    def __init__(self, room: int = 1) -> None:
        self.loop = ManualLoop()
        self.records = private(2)
        self.leases = Leases(self.records.of(0, b"fra", b"fra"))
        self.leases.grant((room, 0))
        self.gate = self.another()
        self.gate.look(self.loop.now)

    def another(self) -> Gate:
        gate = Gate("fra", cast(asyncio.AbstractEventLoop, self.loop))
        gate.attach(self.leases)
        return gate


def test_a_place_passes_to_the_next_that_waits() -> None:
    place = Place(room=2)
    first, second, third = (Fetch(place.gate) for _ in range(3))
    assert first.has_place and second.has_place and third.waits
    assert (place.gate.statistics().in_flight, place.gate.statistics().waiting) == (2, 1)

    second.leave()
    late = Fetch(place.gate)
    assert third.go_on().has_place and late.waits
    assert place.gate.used == 2


def test_those_with_the_most_clients_come_first_then_the_oldest_and_begun_bodies_before_all() -> None:
    place = Place()
    first = Fetch(place.gate)
    body = Want(b"GET", b"/large", span=Span(100, 200), etag=b'"1"')
    waiting = {
        "one": Fetch(place.gate),
        "another": Fetch(place.gate),
        "many": Fetch(place.gate, clients=9),
        "warmed": Fetch(place.gate, Want(b"GET", b"/w", request=Request(b"GET", b"/w", [], {MARK: b""}))),
        "background": Fetch(place.gate, clients=0),
        "body": Fetch(place.gate, body),
    }

    order = []
    for _ in range(6):
        first.leave()
        name = next(name for name, each in waiting.items() if each.go_on().has_place)
        order.append(name)
        first = waiting.pop(name)

    assert order == ["body", "many", "one", "another", "warmed", "background"]


def test_clients_that_join_a_fill_count_while_it_waits() -> None:
    place = Place()
    first, clients = Fetch(place.gate), Waiting([1])
    before = Fetch(place.gate)
    joined = Fetch(place.gate, Want(b"GET", b"/b", readers=clients))

    clients += [2, 3]
    place.loop.passes(TICK_SECONDS)
    first.leave()

    assert joined.go_on().has_place and before.go_on().waits


def test_one_that_waited_too_long_is_turned_away_with_the_time_at_which_its_turn_may_come() -> None:
    place = Place()
    Fetch(place.gate)
    first, second = Fetch(place.gate), Fetch(place.gate, deadline=place.loop.now + 2.0)

    place.loop.passes(2.0 + TICK_SECONDS)
    assert second.go_on().error is not None and first.go_on().waits
    place.loop.passes(PATIENCE_SECONDS - 2.0)  # and a tick
    error = first.go_on().error

    assert error is not None and error.fault is Fault.OVER_LIMIT and error.retry_after == 1.0
    assert "no place became free in time, with 1 of 1 taken" in error.detail
    assert place.gate.statistics().refused_total == 2 and place.gate.waiting == 0
    assert place.loop.armed == 0  # nothing waits any more, so that nothing looks


def test_a_refused_request_keeps_its_place_for_a_while() -> None:
    place = Place()
    first = Fetch(place.gate)
    place.gate.refused(first.want, None)
    second = Fetch(place.gate)
    assert (place.gate.in_flight, place.gate.used) == (0, 1)

    place.loop.passes(HOLD_SECONDS - 0.01)
    assert second.go_on().waits
    place.loop.passes(0.01)
    assert second.go_on().has_place and place.gate.in_flight == 1


def test_one_that_was_refused_waits_again_as_old_as_it_is() -> None:
    place = Place()
    first = Fetch(place.gate)
    place.gate.refused(first.want, None)
    place.loop.passes(0.5)
    younger = Fetch(place.gate)
    again = Fetch(place.gate, first.want)

    place.loop.passes(0.5)

    assert again.go_on().has_place and younger.go_on().waits
    place.loop.passes(PATIENCE_SECONDS - 0.5 + TICK_SECONDS)
    assert younger.go_on().error is not None


def test_an_origin_that_wants_to_be_left_alone_is() -> None:
    place = Place(room=5)
    first, brief = Fetch(place.gate), Fetch(place.gate)
    place.gate.refused(first.want, 60.0)
    place.gate.refused(brief.want, 1.0)  # doesn't shorten it
    second = Fetch(place.gate)

    assert second.error is not None and second.error.retry_after == 60.0
    assert "asked to be left alone for 60 s more" in second.error.detail
    assert place.gate.statistics().closed_seconds == 60.0
    place.loop.passes(60.0)
    assert Fetch(place.gate).has_place


def test_those_that_wait_are_told_at_once_if_it_is_of_no_use() -> None:
    place = Place()
    first = Fetch(place.gate)
    hopeless, brief = Fetch(place.gate), Fetch(place.gate)
    place.gate.refused(first.want, 10.0)

    place.loop.passes(TICK_SECONDS)

    assert hopeless.go_on().error is not None and brief.go_on().error is not None


def test_a_short_pause_is_waited_for() -> None:
    place = Place()
    first = Fetch(place.gate)
    place.gate.refused(first.want, 2.0)
    second = Fetch(place.gate)

    place.loop.passes(1.9)
    assert second.go_on().waits
    place.loop.passes(0.2)
    assert second.go_on().has_place


def test_a_full_queue_turns_the_least_wanted_away() -> None:
    place = Place()
    Fetch(place.gate)
    waiting = [Fetch(place.gate, clients=2) for _ in range(QUEUED)]

    assert Fetch(place.gate).error is not None
    assert Fetch(place.gate, clients=3).waits
    assert waiting[-1].go_on().error is not None and waiting[-2].go_on().waits


def test_one_that_is_cancelled_leaves_nothing() -> None:
    place = Place()
    first = Fetch(place.gate)
    second, third = Fetch(place.gate), Fetch(place.gate)

    second.cancel()
    first.leave()
    third.cancel()  # it was just given the place

    assert (place.gate.used, place.gate.waiting) == (0, 0)
    assert Fetch(place.gate).has_place


def test_a_place_given_to_one_that_is_cancelled_passes_on() -> None:
    place = Place()
    first = Fetch(place.gate)
    second, third = Fetch(place.gate), Fetch(place.gate)

    first.leave()
    second.cancel()

    assert third.go_on().has_place and place.gate.used == 1


def test_a_probe_never_waits() -> None:
    place = Place(room=0)

    assert Fetch(place.gate, Want(b"GET", b"/a", is_probe=True)).has_place


def test_without_leases_there_is_no_limit_and_pauses_are_kept_all_the_same() -> None:
    place = Place()
    gate = Gate("fra", cast(asyncio.AbstractEventLoop, place.loop))
    gate.attach(None)
    fetches = [Fetch(gate) for _ in range(1000)]
    gate.look(place.loop.now)
    assert all(fetch.has_place for fetch in fetches) and gate.statistics().limit is None

    gate.refused(fetches[0].want, 9.0)
    assert Fetch(gate).error is not None
    place.loop.passes(9.0)
    assert Fetch(gate).has_place


def test_a_worker_that_was_just_started_uses_an_even_share_until_it_gets_a_lease() -> None:
    place = Place()
    leases = place.leases = Leases(private(2).of(0, b"fra", b"fra"))
    gate = place.another()
    gate.look(place.loop.now)
    assert gate.room == START // 2

    leases.publish(FetchLimit(20.0, was_refused=True))
    cautious = place.another()
    cautious.look(place.loop.now)
    assert cautious.room == 1
    leases.grant((7, 13))
    cautious.look(place.loop.now)
    assert cautious.room == 7


def test_the_pause_that_another_worker_was_asked_for_holds_here() -> None:
    place = Place(room=5)
    place.leases.publish(FetchLimit(10.0, closed_until=place.loop.now + 60.0))
    place.gate.look(place.loop.now)

    assert Fetch(place.gate).error is not None
    place.loop.now += 60.0
    place.gate.look(place.loop.now)
    assert Fetch(place.gate).has_place


def test_its_report_has_all_that_it_holds_and_wants() -> None:
    place = Place(room=5)
    place.leases.publish(FetchLimit(10.0))
    fetches = [Fetch(place.gate) for _ in range(8)]
    place.gate.refused(fetches[0].want, None)
    fetches[1].leave()
    place.gate.look(place.loop.now)
    place.records.beat(0, place.loop.now, is_late=False)

    (lease, report), (gone, none) = place.leases.held(place.loop.now)
    assert lease == Lease(granted=5, used=5, wanted=7)
    assert report == GateReport(used=5, wanted=7, busiest=5, refused=1, paused_until=-math.inf)
    assert (gone, none) == (Lease(0, 0, 0), None)  # it hasn't come yet


class Passing(RuleBasedStateMachine):
    """Fetches that come, leave, are refused and give up, at random."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Place(room=2)
        self.inside: list[Fetch] = []
        self.waiting: list[Fetch] = []
        self.came: dict[int, float] = {}

    def _settle(self) -> None:
        for each in list(self.waiting):
            if not each.go_on().waits:
                self.waiting.remove(each)
                if each.has_place:
                    self.inside.append(each)

    @rule(clients=st.integers(0, 3), seconds=st.floats(0.0, 20.0))
    def come(self, clients: int, seconds: float) -> None:
        fetch = Fetch(self.place.gate, clients=clients, deadline=self.place.loop.now + seconds)
        self.came[id(fetch)] = self.place.loop.now
        if fetch.waits:
            self.waiting.append(fetch)
        elif fetch.has_place:
            self.inside.append(fetch)
        self._settle()

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1))).leave()
        self._settle()

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), retry_after=st.none() | st.floats(0.0, 8.0))
    def refuse(self, data: st.DataObject, retry_after: float | None) -> None:
        fetch = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        self.place.gate.refused(fetch.want, retry_after)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1))).cancel()
        self._settle()

    @rule(seconds=st.floats(0.0, 3.0))
    def wait(self, seconds: float) -> None:
        self.place.loop.passes(seconds)
        self._settle()

    @invariant()
    def holds_together(self) -> None:
        gate, now = self.place.gate, self.place.loop.now
        assert 0 <= gate.in_flight == len(self.inside) <= 2
        assert gate.used <= 2 and gate.waiting == len(self.waiting)
        assert not self.waiting or gate.used >= gate.room, "one waits in vain"
        for each in self.waiting:
            assert now - self.came[id(each)] <= PATIENCE_SECONDS + TICK_SECONDS


TestPassing = Passing.TestCase
