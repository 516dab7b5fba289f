"""What an attempt tells of its origin, however it ends."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from shield.egress.meter import Meter
from shield.errors import Fault
from shield.messages import ResponseHead
from shield.origin.faults import is_failure
from shield.origin.gate import Gate
from shield.origin.note import Note
from shield.origin.response import Response
from shield.origin.want import Want
from shield.records import Came, Seen, private
from shield.rules.choice import Choice
from shield.rules.health import Evidence
from shield.rules.latency import LEAST_SAMPLES
from shield.timings import BODY_BYTES
from tests.node import FakeClock
from tests.origin.bench import ManualLoop

NOW = 1000.0


class Attempt:
    """A note on a clock that tests move, and what all workers know after it."""

    def __init__(self, *, opens: bool = True) -> None:
        records = private()
        records.beat(0, NOW, is_late=False)
        self.clock = FakeClock(NOW)
        self.seen: Seen = records.of(0, b"fra")
        self.gate = Gate("fra", cast(asyncio.AbstractEventLoop, ManualLoop()))
        self.told = 0
        self.note = Note(self.seen, self.gate, self.clock, Want(b"GET", b"/a", sent=self._tell), Meter(), opens=opens)

    def _tell(self) -> None:
        self.told += 1

    def evidence(self) -> Evidence:
        return self.seen.evidence(0.0, NOW)


def test_it_is_unanswered_from_its_beginning_if_a_connection_must_be_opened_and_else_from_its_request() -> None:
    opening, waiting = Attempt(opens=True), Attempt(opens=False)
    before = [list(each.evidence().waiting) for each in (opening, waiting)]
    for each in (opening, waiting):
        each.clock.advance(0.5)
        each.note.sent()
        each.clock.advance(0.25)
        each.note.sent()  # on another connection

    assert before == [[NOW], []]
    assert [list(each.evidence().waiting) for each in (opening, waiting)] == [[NOW + 0.75]] * 2
    assert opening.told == 2


def test_a_response_ends_it_and_its_time_counts_from_the_last_request() -> None:
    attempt = Attempt()
    for _ in range(20):
        note = Note(attempt.seen, attempt.gate, attempt.clock, Want(b"GET", b"/a"), Meter(), opens=True)
        attempt.clock.advance(0.25)
        note.sent()
        attempt.clock.advance(0.02)
        assert note.gave(Came.OK) == attempt.clock.now
    attempt.seen.measure(attempt.clock.now)

    assert attempt.seen.p95 is not None and attempt.seen.p95 < 0.03
    assert attempt.seen.evidence(0.0, attempt.clock.now).ok == 20
    assert len(attempt.evidence().waiting) == 1  # the first note, which goes on


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        (Fault.CONNECT, "dials"),
        (Fault.CONNECT_TIMEOUT, "dials"),
        (Fault.RESOLVE, "dials"),
        (Fault.TLS, "dials"),
        (Fault.SERVER, "failed"),
        (Fault.RESET, "failed"),
        (Fault.FIRST_BYTE_TIMEOUT, "failed"),
        (Fault.MALFORMED, "failed"),
        (Fault.AUTH, "refused"),
        (Fault.THROTTLED, "throttled"),
        (Fault.FORBIDDEN, "ok"),
        (Fault.REFUSED, "ok"),
        (Fault.VALIDATOR, "ok"),
        (Fault.COLD, "ok"),
        (Fault.POOL_TIMEOUT, None),
        (Fault.CANCELLED, None),
        (Fault.TOTAL_TIMEOUT, None),  # it had no time
    ],
)
def test_what_a_fault_says_of_its_origin(fault: Fault, field: str | None) -> None:
    attempt = Attempt()
    attempt.note.sent()
    attempt.note.failed(fault, b"/a")
    found = attempt.evidence()

    kinds = ("ok", "failed", "throttled", "dials", "refused")
    assert {kind for kind in kinds if getattr(found, kind)} - {"failed"} == {field} - {"failed", None}
    assert bool(found.failed) is (field in ("failed", "dials", "refused"))
    assert is_failure(fault) is (field != "ok")
    assert found.waiting == []


@pytest.mark.parametrize(
    ("seconds", "fault", "counts"),
    [
        (1.9, None, 0),
        (2.1, None, 1),
        (2.1, Fault.TOTAL_TIMEOUT, 1),
        (1.9, Fault.FIRST_BYTE_TIMEOUT, 0),
        (2.1, Fault.FIRST_BYTE_TIMEOUT, 1),
    ],
)
def test_one_that_is_given_up_counts_as_failed_if_its_origin_had_had_time(
    seconds: float, fault: Fault | None, counts: int
) -> None:
    attempt = Attempt()
    attempt.note.sent()
    attempt.clock.advance(seconds)
    if fault is None:
        attempt.note.given_up(b"/a")
    else:
        attempt.note.failed(fault, b"/a", hurried=True)

    assert attempt.evidence().streak == counts
    assert attempt.evidence().waiting == []


def test_one_that_waited_for_a_connection_of_ours_says_nothing() -> None:
    attempt = Attempt(opens=False)
    attempt.clock.advance(60.0)
    attempt.note.failed(Fault.POOL_TIMEOUT, b"/a")

    found = attempt.evidence()
    assert (found.ok, found.failed, found.streak, found.waiting) == (0, 0, 0, [])


def response_of(size: int | None) -> Response:
    response = Response(None, 1)
    response.head = ResponseHead(200, (), size)
    return response


@pytest.mark.parametrize("is_probe", [False, True])
def test_first_byte_and_body_count_by_the_size_and_probes_apart(is_probe: bool) -> None:
    attempt = Attempt()
    want = Want(b"GET", b"/a", choice=Choice(["fra"]), is_probe=is_probe)
    for _ in range(LEAST_SAMPLES):
        note = Note(attempt.seen, attempt.gate, attempt.clock, want, Meter(), opens=True)
        attempt.clock.advance(0.02)
        response = response_of(4 << 20)
        note.gave(Came.OK, response)
        assert response.weigh is not None
        response.weigh(4 << 20, 0.5)
    attempt.seen.measure(attempt.clock.now)

    found = attempt.seen.timings.timing(2)
    assert found.is_probed == is_probe and found.first_byte > 0.0
    assert found.goodput == 8 << 20
    assert want.choice is not None and list(want.choice.sizes[4:6]) == [LEAST_SAMPLES, LEAST_SAMPLES * (4 << 20)]
    assert attempt.evidence().succeeded == attempt.clock.now


@pytest.mark.parametrize("size", [None, BODY_BYTES - 1])
def test_a_body_that_is_small_or_of_unknown_length_tells_no_goodput(size: int | None) -> None:
    attempt, response = Attempt(), response_of(size)
    note = Note(attempt.seen, attempt.gate, attempt.clock, Want(b"GET", b"/a"), Meter(), opens=True)

    note.gave(Came.OK, response)

    assert response.weigh is None
