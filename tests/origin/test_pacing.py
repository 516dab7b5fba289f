"""Backpressure, and what time means while we pause."""

from __future__ import annotations

from shield.origin.terms import MessageLimits
from tests.origin.bench import OK5, Bench, taken
from tests.origin.leg import Taker


def test_a_body_nobody_takes_stops_the_reading_and_taking_it_starts_it_again() -> None:
    bench = Bench(MessageLimits(unstarted_bytes=1000))
    response = bench.ask()

    bench.says(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", bytes(999))
    before = bench.transport.reading
    bench.says(bytes(1))

    assert (before, bench.transport.reading) == (True, False)

    taker = taken(response)

    assert bench.transport.reading
    assert len(taker.body) == 1000


def test_a_sink_that_pauses_while_it_catches_up_is_heeded() -> None:
    bench = Bench(MessageLimits(unstarted_bytes=1000))
    response = bench.ask()
    bench.says(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + bytes(2000))

    class Slow(Taker):
        def on_data(self, data: bytes) -> None:
            super().on_data(data)
            response.pause()

    response.start(Slow())
    stopped = not bench.transport.reading
    response.resume()

    assert stopped
    assert bench.transport.reading


def test_a_connection_paused_at_the_last_byte_reads_again_for_the_next(bench: Bench) -> None:
    response = bench.ask()

    class Slow(Taker):
        def on_data(self, data: bytes) -> None:
            super().on_data(data)
            response.pause()

    slow = Slow()
    response.start(slow)
    bench.says(OK5 + b"hello")

    assert slow.ends == [None]
    assert bench.transport.reading
    assert bench.reusable
