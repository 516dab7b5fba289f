from __future__ import annotations

import asyncio
import io
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shield.errors import ConfigError
from shield.observe.access import AccessLog, LogTerms
from shield.observe.output import LogOutput
from shield.outcome import End, Exchange, Forward, Outcome
from tests.client import Fields
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
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
    log = AccessLog(LogOutput(stream), LogTerms(hits=1.0))

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
            "first_byte": 0.0,
            "cache": "miss",
            "reason": "uri-miss",
            "forward_status": 200,
            "ttl": 60,
            "origin": "fra",
            "route": "all",
            "stored": True,
        }
    ]


@pytest.mark.parametrize("end", [End.BROKEN, End.ABANDONED])
def test_an_answer_that_was_cut_off_is_marked(end: End) -> None:
    stream = io.StringIO()
    log = AccessLog(LogOutput(stream), LogTerms(hits=1.0))

    write(log, MISS, end=end)

    assert written(log, stream)[0]["broken"] is True


def test_plain_hits_can_be_left_out() -> None:
    stream = io.StringIO()
    log = AccessLog(LogOutput(stream))

    write(log, Outcome(hit=True))
    write(log, Outcome(hit=True, ttl=-5))
    write(log, MISS)

    assert [line["cache"] for line in written(log, stream)] == ["stale", "miss"]


def test_what_cannot_be_written_is_counted_and_stops_nobody() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    stream = Full()
    log = AccessLog(LogOutput(stream), LogTerms(hits=1.0))

    write(log, MISS)
    write(log, MISS)

    assert written(log, stream) == []
    assert log.dropped == 2


def test_a_target_cannot_break_out_of_its_line() -> None:
    stream = io.StringIO()
    log = AccessLog(LogOutput(stream), LogTerms(hits=1.0))

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
    log = AccessLog(LogOutput(stream, alone=alone), LogTerms(hits=1.0))
    write(log, MISS)

    assert len(written(log, stream)) == 1
    assert held == []


def test_long_texts_are_cut_and_say_so() -> None:
    stream = io.StringIO()
    log = AccessLog(LogOutput(stream), LogTerms(hits=1.0))

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
    log = AccessLog(LogOutput(stream), LogTerms(hits=1.0, max_bytes=10_000))

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
    settings = settings_of({"fra": origin}, access_log={"hits": 1, "memory": "64KiB"})
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


def lines_of(settings: Any, clock: FakeClock, *asked: tuple[str, Fields]) -> list[Mapping[str, Any]]:
    with Shield(settings, clock=clock) as shield, shield.client() as client:
        for target, fields in asked:
            client.ask(target, fields)
        return list(shield.log())


def test_a_line_says_where_a_response_came_from_and_why(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"x" * 10, lifetime=60)
    origin.fails("/a", "InternalError")
    cache = {
        "memory": {"capacity": "1MiB"},
        "tiers": [{"name": "nvme", "directories": [{"path": str(tmp_path), "capacity": "64MiB", "free_floor": 0}]}],
    }
    settings = settings_of({"fra": origin, "iad": replica}, cache=cache)

    miss, hit = lines_of(settings, clock, ("/a", ()), ("/a", ()))
    cold, ranged = lines_of(settings, clock, ("/a", ()), ("/a", [("range", "bytes=0-1")]))

    assert (miss["cache"], miss["reason"], miss["origin"], miss["attempts"]) == ("miss", "uri-miss", "iad", 2)
    assert "tier" not in miss and miss["first_byte"] == 0.0
    assert (hit["cache"], hit["tier"], hit["route"]) == ("hit", "memory", "default")
    assert "attempts" not in hit and "reason" not in hit
    assert (cold["cache"], cold["tier"]) == ("hit", "nvme")
    assert (ranged["tier"], ranged["status"]) == ("memory", 206)


def test_lines_in_the_combined_format_have_what_the_client_sent(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"abc", lifetime=60)
    log = {"format": "combined", "fields": ["cache", "request_id", "host"], "hits": 1}
    settings = settings_of({"fra": origin}, access_log=log)

    with Shield(settings, clock=clock) as shield, shield.client() as client:
        client.ask("/a", [("user-agent", "test"), ("referer", "/b"), ("cf-ray", "8f-FRA")])
        shield.run(shield.node.access.close())
        line = shield.access.getvalue()

    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[[^]]+\] "GET /a HTTP/1\.1" 200 3 "/b" "test" cache=miss request_id=8f-FRA host=\S+\n',
        line,
    )


def test_a_share_of_the_hits_is_logged_and_all_others(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", b"abc", lifetime=60)
    asked: list[Any] = [("/a", ())] * 400 + [("/a", [("range", "bytes=0-0")])] * 400 + [("/missing", ())]

    lines = lines_of(settings_of({"fra": origin}, access_log={"hits": 0.25}), clock, *asked)

    found = Counter((line["status"], line["cache"]) for line in lines)
    assert found[200, "miss"] == 1 and found[404, "miss"] == 1
    assert 50 < found[200, "hit"] < 150 and 50 < found[206, "hit"] < 150


def test_a_file_is_written_and_one_that_cannot_be_is_an_error_at_the_start_and_at_a_reload(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/a", b"abc", lifetime=60)
    path = tmp_path / "access.log"

    lines_of(settings_of({"fra": origin}, access_log={"file": str(path)}), clock, ("/a", ()))
    with (
        pytest.raises(
            ConfigError, match=r"access_log\.file: .*/none/a: No such file or directory; its directory must"
        ),
        Shield(settings_of({"fra": origin}, access_log={"file": str(tmp_path / "none" / "a")}), clock=clock),
    ):
        pass

    assert json.loads(path.read_text())["target"] == "/a"


def test_a_large_object_names_its_origin_and_then_the_tier_of_its_slices(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/large", Pattern(300_000), lifetime=60)
    cache = {
        "slice_bytes": "64KiB",
        "tiers": [{"name": "nvme", "directories": [{"path": str(tmp_path), "capacity": "64MiB", "free_floor": 0}]}],
    }

    with Shield(settings_of({"fra": origin}, cache=cache), clock=clock) as shield, shield.client() as client:
        client.ask("/large")
        shield.wait_for(lambda: shield.node.store.tier_of(shield.node.proxy.resolve(b"/large").key))
        shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)
        shield.wait_for(lambda: (disk := shield.node.store.statistics().disk) is None or not disk.pending)
        client.ask("/large")
        miss, hit = shield.log()

    assert (miss["cache"], miss["origin"], miss["bytes"]) == ("miss", "fra", 300_000)
    assert (hit["cache"], hit["tier"], "origin" in hit) == ("hit", "nvme", False)
