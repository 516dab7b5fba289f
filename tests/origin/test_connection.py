"""Heads as they arrive, and when a connection may carry another exchange."""

from __future__ import annotations

import asyncio
import weakref
from typing import cast

import pytest

from shield.errors import Fault
from tests.origin.bench import CHUNKED, INTERIMS, OK5, Bench, ManualTransport, cut, fault_of, taken
from tests.origin.leg import Taker


def test_interim_heads_are_skipped_but_not_without_end(bench: Bench) -> None:
    response = bench.ask()

    bench.says(*[INTERIMS[0]] * 10)
    assert not response.answered
    bench.says(INTERIMS[0])

    assert fault_of(response) is Fault.MALFORMED


@pytest.mark.parametrize("step", [1, 1000, 100_000])
def test_a_head_too_large_is_refused_before_its_end(bench: Bench, step: int) -> None:
    response = bench.ask()
    head = b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n"

    bench.says(*[head[place : place + step] for place in range(0, len(head), step)])

    assert fault_of(response) is Fault.TOO_LARGE
    assert bench.connection.closed


def test_what_can_not_become_a_head_is_refused_at_once(bench: Bench) -> None:
    response = bench.ask()

    bench.says(b"<html>")

    assert fault_of(response) is Fault.MALFORMED


def test_bytes_on_an_idle_connection_close_it(bench: Bench) -> None:
    bench.ask()
    bench.says(OK5 + b"hello")
    assert bench.reusable

    bench.says(OK5)

    assert bench.connection.closed


def test_a_kept_connection_that_ends_before_any_byte_is_stale_and_a_new_one_is_not(bench: Bench) -> None:
    bench.ask()
    bench.says(OK5 + b"hello")
    again = bench.ask()
    bench.ends()

    fresh = Bench()
    first = fresh.ask()
    fresh.ends()

    assert again.stale
    assert bench.released == 1  # its place stays with whoever asked
    assert not first.stale
    assert fault_of(first) is Fault.RESET


def test_a_stale_answer_given_up_returns_its_place(bench: Bench) -> None:
    bench.ask()
    bench.says(OK5 + b"hello")
    again = bench.ask()
    bench.ends()

    again.close()

    assert bench.released == 2


def test_closing_in_the_middle_closes_the_connection_and_says_nothing(bench: Bench) -> None:
    response = bench.ask()
    taker = taken(response)
    bench.says(CHUNKED, b"5\r\nhel")

    response.close()
    bench.ends()

    assert (taker.body, taker.ends) == (b"hel", [])
    assert (bench.connection.closed, bench.released) == (True, 1)


@pytest.mark.parametrize("wire", [OK5 + b"hello", CHUNKED + b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n"])
@pytest.mark.parametrize("late", [False, True])
def test_a_sink_may_close_from_within(bench: Bench, wire: bytes, late: bool) -> None:
    response = bench.ask()

    class Leaver(Taker):
        def on_data(self, data: bytes) -> None:
            super().on_data(data)
            response.close()

    leaver = Leaver()
    if not late:
        response.start(leaver)
    bench.says(wire[:40], wire[40:])
    if late:
        response.start(leaver)

    assert (len(leaver.pieces), leaver.ends) == (1, [])
    assert bench.released == 1


def test_closing_a_complete_answer_leaves_the_connection_to_the_next(bench: Bench) -> None:
    first = bench.ask()
    bench.says(OK5 + b"hello")
    second = bench.ask()

    first.close()
    bench.says(OK5 + b"again")

    assert taken(second).body == b"again"


@pytest.mark.parametrize("wire", [b"HTTP/1.1 200 OK\n", b"HTTP/1.1 200 OK\r\na: b\n\n", b"HTTX", b"\r\n"])
def test_a_head_that_has_gone_wrong_is_not_waited_for(wire: bytes) -> None:
    for segments in ([wire], cut(wire, list(range(len(wire))))):
        bench = Bench()
        response = bench.ask()

        bench.says(*segments)

        assert fault_of(response) is Fault.MALFORMED


@pytest.mark.parametrize(
    ("paused", "weighed"),
    [(0.0, [(5, 2.0)]), (0.1, [(5, 2.0)]), (0.5, [])],  # a pause of more than a tenth: the kernel went on receiving
)
def test_the_time_of_a_body_is_told_without_short_pauses_and_not_at_all_after_long_ones(
    bench: Bench, paused: float, weighed: list[tuple[int, float]]
) -> None:
    for _ in range(2):
        found: list[tuple[int, float]] = []
        response = bench.ask()
        bench.loop.now += 7.0  # until the first byte
        bench.says(OK5 + b"he")
        response.weigh = lambda size, seconds, found=found: found.append((size, round(seconds, 6)))
        taken(response)
        bench.loop.now += 1.0
        if paused:
            response.pause()
            bench.loop.now += paused
            response.resume()
        bench.loop.now += 1.0
        bench.says(b"llo")

        assert found == weighed


def test_a_body_that_breaks_off_has_no_time(bench: Bench) -> None:
    response = bench.ask()
    bench.says(OK5 + b"he")
    response.weigh = lambda size, seconds: pytest.fail("it isn't whole")
    taken(response)

    bench.ends()


def test_a_connection_whose_opening_is_given_up_lets_go_of_its_transport(bench: Bench) -> None:
    """uvloop's goes on referring to it."""
    transport = ManualTransport()
    kept = weakref.ref(transport)
    bench.connection.connection_made(cast(asyncio.Transport, transport))

    bench.connection.discard()
    assert transport.aborted
    del transport

    assert kept() is None
