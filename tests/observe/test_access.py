from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shield.observe.access import AccessLog
from shield.outcome import End, Exchange, Forward, Outcome

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
    log = AccessLog(stream, misses_only=False)

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
            "fwd": "uri-miss",
            "forward_status": 200,
            "ttl": 60,
            "origin": "fra",
            "stored": True,
        }
    ]


@pytest.mark.parametrize("end", [End.BROKEN, End.ABANDONED])
def test_an_answer_that_was_cut_off_is_marked(end: End) -> None:
    stream = io.StringIO()
    log = AccessLog(stream, misses_only=False)

    write(log, MISS, end=end)

    assert written(log, stream)[0]["broken"] is True


def test_plain_hits_can_be_left_out() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, misses_only=True)

    write(log, Outcome(hit=True))
    write(log, Outcome(hit=True, ttl=-5))
    write(log, MISS)

    assert [line["cache"] for line in written(log, stream)] == ["stale", "miss"]


def test_what_cannot_be_written_is_counted_and_stops_nobody() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    stream = Full()
    log = AccessLog(stream, misses_only=False)

    write(log, MISS)
    write(log, MISS)

    assert written(log, stream) == []
    assert log.dropped == 2


def test_a_target_cannot_break_out_of_its_line() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, misses_only=False)

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
    log = AccessLog(stream, misses_only=False, alone=alone)
    write(log, MISS)

    assert len(written(log, stream)) == 1
    assert held == []
