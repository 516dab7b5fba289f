"""Time limits of an exchange."""

from __future__ import annotations

from shield.errors import Fault
from tests.origin.bench import OK5, Bench, fault_of, taken


def test_each_limit_has_its_own_fault(bench: Bench) -> None:
    response = bench.ask()
    bench.loop.passes(11)
    assert fault_of(response) is Fault.FIRST_BYTE_TIMEOUT

    hurried = Bench()
    response = hurried.ask(patience=2)
    hurried.loop.passes(3)
    assert fault_of(response) is Fault.FIRST_BYTE_TIMEOUT
    assert response.error is not None and response.error.detail.startswith("no answer within 2 s, all that was left")

    silent = Bench()
    taker = taken(response := silent.ask())
    silent.says(OK5 + b"he")
    silent.loop.passes(6)
    assert taker.ends[0] and taker.ends[0].fault is Fault.BETWEEN_BYTES_TIMEOUT

    dripping = Bench()
    taker = taken(response := dripping.ask())
    dripping.says(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    for _ in range(25):
        dripping.says(b"x")
        dripping.loop.passes(2.5)
    assert taker.ends[0] and taker.ends[0].fault is Fault.TOTAL_TIMEOUT


def test_a_head_that_drips_is_late_as_one_that_does_not_come(bench: Bench) -> None:
    response = bench.ask()

    for byte in OK5[:12]:
        bench.says(bytes([byte]))
        bench.loop.passes(1)

    assert fault_of(response) is Fault.FIRST_BYTE_TIMEOUT


def test_time_we_pause_ourselves_is_not_the_origins(bench: Bench) -> None:
    taker = taken(response := bench.ask())
    bench.says(OK5 + b"he")

    response.pause()
    bench.loop.passes(1000)
    response.resume()
    bench.loop.passes(4)
    bench.says(b"l")
    bench.loop.passes(4)
    bench.says(b"lo")

    assert taker.ends == [None]


def test_after_a_pause_the_clock_runs_again(bench: Bench) -> None:
    taker = taken(response := bench.ask())
    bench.says(OK5 + b"he")
    response.pause()
    bench.loop.passes(1000)

    response.resume()
    bench.loop.passes(6)

    assert taker.ends[0] and taker.ends[0].fault is Fault.BETWEEN_BYTES_TIMEOUT


def test_a_blocked_loop_is_not_a_slow_origin(bench: Bench) -> None:
    response = bench.ask()

    bench.loop.blocks(60)
    early = response.error
    bench.says(OK5)
    bench.loop.blocks(60)
    bench.says(b"hello")

    assert early is None
    assert taken(response).ends == [None]


def test_an_origin_still_silent_after_the_block_is(bench: Bench) -> None:
    response = bench.ask()

    bench.loop.blocks(30)
    bench.loop.passes(21)

    assert fault_of(response) is Fault.FIRST_BYTE_TIMEOUT


def test_any_number_of_exchanges_and_segments_arm_one_timer(bench: Bench) -> None:
    armed = set()
    made = len(bench.loop.timers)

    for _ in range(100):
        bench.ask()
        bench.says(OK5, b"he", b"llo")
        armed.add(bench.loop.armed)
        bench.loop.passes(0.01)

    assert armed == {1}
    assert len(bench.loop.timers) - made <= 2


def test_a_deadline_that_had_passed_before_is_no_reason_to_wait_as_long_again(bench: Bench) -> None:
    response = bench.ask(patience=-60)

    bench.loop.passes(0.1)

    assert fault_of(response) is Fault.FIRST_BYTE_TIMEOUT
