"""Requests at given times: what isn't good is kept, and waiting counts."""

from __future__ import annotations

import itertools
import random

from loadtest.open_loop import Flow, arrivals, play
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Reset


def test_arrivals_come_at_their_rate_and_at_random() -> None:
    times = list(itertools.islice(arrivals(100.0, random.Random(1)), 2000))

    assert times == sorted(times)
    assert 17 < times[-1] < 23
    assert len({round(later - earlier, 4) for earlier, later in itertools.pairwise(times)}) > 100


def test_every_answer_is_counted_and_what_is_not_good_is_kept_with_its_head() -> None:
    with FaultyOrigin() as origin:
        origin.serves("/good", b"x" * 100)
        origin.answers("/bad", b"HTTP/1.1 503 Slow Down\r\nContent-Length: 2\r\nX-Why: load\r\n\r\nno", times=None)
        origin.serves("/cut", b"x" * 100)
        origin.spoils("/cut", at_body(50, Reset()))
        port = int(origin.url.rpartition(":")[2])

        played = play(
            port,
            [Flow(name, 100.0, lambda name=name: f"/{name}", connections=2) for name in ("good", "bad", "cut")],  # type: ignore[misc]
            0.2,
        )

    assert len(played["good"].latencies) > 0 and not played["good"].bad
    assert 0 < played["good"].percentile(50) <= played["good"].percentile(100)
    assert played["bad"].bad and not played["bad"].latencies
    assert {bad.why for bad in played["bad"].bad} == {"another status"}
    assert "X-Why: load" in played["bad"].bad[0].answer
    assert played["cut"].bad and all("connection ended" in bad.why for bad in played["cut"].bad)
