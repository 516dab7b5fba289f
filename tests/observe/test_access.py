from __future__ import annotations

import asyncio
import io
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shield.observe.access import AccessLog
from shield.outcome import End, Exchange, Forward, Outcome
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of

MISS = Outcome(forward=Forward.URI_MISS, forward_status=200, stored=True, ttl=60, origin="fra")


def written(log: AccessLog, stream: io.StringIO) -> list[dict[str, Any]]:
    async def close() -> None:
        log.flush()
        await log.close()

    asyncio.run(close())
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def write(log: AccessLog, outcome: Outcome, *, end: End = End.WHOLE) -> None:
    exchange = Exchange(b"GET", b"/a.jpg", "192.0.2.1", 1000.25, route="all")
    exchange.answer(200, outcome, 1000.25)
    exchange.sent = 5
    exchange.finish(end, 1000.5)
    log.write(exchange)


def test_a_line_says_who_what_and_what_became_of_it() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, hits=1.0)

    write(log, MISS)

    assert written(log, stream) == [
        {
            "time": 1000.5,
            "client": "192.0.2.1",
            "method": "GET",
            "target": "/a.jpg",
            "status": 200,
            "bytes": 5,
            "seconds": 0.25,
            "cache": "miss",
            "reason": "uri-miss",
            "forward_status": 200,
            "ttl": 60,
            "origin": "fra",
            "stored": True,
        }
    ]


@pytest.mark.parametrize("end", [End.BROKEN, End.ABANDONED])
def test_an_answer_that_was_cut_off_is_marked(end: End) -> None:
    stream = io.StringIO()
    log = AccessLog(stream, hits=1.0)

    write(log, MISS, end=end)

    assert written(log, stream)[0]["broken"] is True


def test_plain_hits_can_be_left_out() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, hits=0.0)

    write(log, Outcome(hit=True))
    write(log, Outcome(hit=True, ttl=-5))
    write(log, MISS)

    assert [line["cache"] for line in written(log, stream)] == ["stale", "miss"]


def test_what_cannot_be_written_is_counted_and_stops_nobody() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    stream = Full()
    log = AccessLog(stream, hits=1.0)

    write(log, MISS)
    write(log, MISS)

    assert written(log, stream) == []
    assert log.dropped == 2


def test_a_target_cannot_break_out_of_its_line() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, hits=1.0)

    log.write(Exchange(b"GET", b'/"\xff\x1b', "x", 0.0))

    assert len(written(log, stream)) == 1


def test_what_several_processes_write_to_one_stream_is_written_alone() -> None:
    held: list[bool] = []

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            assert held == [True]
            return super().write(text)

    @contextmanager
    def alone() -> Iterator[None]:
        held.append(True)
        yield
        held.clear()

    stream = Watched()
    log = AccessLog(stream, hits=1.0, alone=alone)
    write(log, MISS)

    assert len(written(log, stream)) == 1
    assert held == []


def test_long_texts_are_cut_and_say_so() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, hits=1.0)

    for method, target in ((b"GET", b"/" + b"x" * 30_000), (b"X" * 3000, b"/" + b"x" * 1023)):
        exchange = Exchange(method, target, "x", 0.0)
        exchange.answer(502, Outcome(forward=Forward.URI_MISS, detail="d" * 5000), 0.0)
        log.write(exchange)

    first, second = written(log, stream)
    assert first["target"] == "/" + "x" * 1023 + " [28977 more]"
    assert first["detail"] == "d" * 1024 + " [3976 more]"
    assert second["target"] == "/" + "x" * 1023
    assert second["method"] == "X" * 1024 + " [1976 more]"


def test_lines_beyond_the_memory_are_counted_and_complained_of_once_in_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = io.StringIO()
    log = AccessLog(stream, hits=1.0, max_bytes=10_000)

    for _ in range(1000):
        write(log, MISS)
    held = log.held_bytes

    assert 10_000 <= held < 11_000
    assert len(written(log, stream)) + log.dropped == 1000
    assert log.held_bytes == 0
    assert [record.getMessage() for record in caplog.records] == [
        "access log: lines are lost: their reader is too slow; 1 so far"
    ]


def test_a_node_whose_output_nobody_reads_answers_and_holds_no_more_than_it_may(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    reading, writing = os.pipe()
    settings = settings_of({"fra": origin}, log={"access": "all", "access_memory": "64KiB"})
    long = "/" + "x" * 4000
    shield: Any = Shield(settings, clock=clock)
    shield.access = os.fdopen(writing, "w")

    with os.fdopen(reading, "rb") as out:
        with shield:
            log = shield.node.figures.access
            with shield.client() as client:
                for _ in range(400):
                    assert client.ask(long, method="POST").status == 405
                    shield.call(shield.node.tick)
            assert log.dropped > 0
            assert shield.call(lambda: log.held_bytes) < 68 * 1024
            lines: list[bytes] = []
            reader = threading.Thread(target=lambda: lines.extend(out), daemon=True)
            reader.start()
        shield.access.close()
        reader.join(10)

    assert len(lines) + log.dropped == 400
    assert all(json.loads(line)["target"].endswith(" [2977 more]") for line in lines)
