from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from shield.admin.api import admin_api
from shield.admin.livelog import log_route
from shield.observe.accounting import Accounting
from shield.observe.counters import Counters
from shield.observe.livelog import LiveLog
from shield.outcome import Exchange, Forward, Outcome
from tests.admin.calls import call
from tests.node import FakeClock

MISS = Outcome(forward=Forward.URI_MISS, forward_status=200)


def log_of(clock: FakeClock, *, ends: int) -> LiveLog:
    """A worker at which so many requests end between two batches."""
    accounting = Accounting(Counters())

    async def nobody(query: bytes) -> Sequence[bytes]:
        return []

    async def pause(seconds: float) -> None:
        clock.advance(seconds)
        for _ in range(ends):
            exchange = Exchange(b"GET", b"/a", "10.0.0.1", clock.now)
            exchange.answer_whole(200, MISS, 10, clock.now)
            accounting.finished(exchange)
        await asyncio.sleep(0)

    return LiveLog(accounting, nobody, clock=clock, pause=pause)


def test_requests_are_lines_of_json(clock: FakeClock) -> None:
    answer = call(admin_api([log_route(log_of(clock, ends=1))]), "GET", "/log?query=miss&seconds=1")

    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = answer.text.split("\n")
    assert lines[0] == ""  # a sign of life: the stream has begun
    assert [json.loads(line)["target"] for line in lines[1:-1]] == ["/a", "/a"]


def test_or_server_sent_events(clock: FakeClock) -> None:
    accept = {"accept": "text/event-stream"}
    answer = call(admin_api([log_route(log_of(clock, ends=600))]), "GET", "/log?seconds=0.5", headers=accept)

    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[0] == ":"
    assert events[1].startswith("event: request\ndata: {")
    assert events[-2] == 'event: dropped\ndata: {"dropped":100,"unexamined":0}'
    assert len(events) == 1 + 500 + 1 + 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("query=miss%20bytes%3E", "query: expected a value after >, at character 12"),
        ("seconds=long", "seconds: expected a number from 0 to 86400"),
        ("seconds=-1", "seconds: expected a number from 0 to 86400"),
    ],
)
def test_what_cannot_be_understood_is_refused(query: str, said: str, clock: FakeClock) -> None:
    answer = call(admin_api([log_route(log_of(clock, ends=0))]), "GET", f"/log?{query}")

    assert answer.status_code == 400
    assert answer.json()["problems"] == [said]
