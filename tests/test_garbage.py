"""Nothing that happens to a request leaves a reference cycle: what is freed is freed at once, without a collector.

The collector is only a net beneath (`heap`): it may run seldom, and a node may be full of objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.client import request
from tests.depth import tries
from tests.disks import settled
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Reset
from tests.garbage import cycles, uncollected
from tests.node import Shield, settings_of

TIMES = tries(12)
SMALL, LARGE = 2_000, 700_000


@pytest.fixture
def left() -> Iterator[Callable[[], Counter[str]]]:
    with uncollected():
        yield cycles


@pytest.mark.slow  # broken bodies are waited for
def test_hits_misses_aborts_and_faults_leave_no_cycles(tmp_path: Path, left: Callable[[], Counter[str]]) -> None:
    with FaultyOrigin() as first, FaultyOrigin() as second:
        for number in range(TIMES):
            for origin in (first, second):
                origin.serves(f"/small/{number}", b"x" * SMALL, lifetime=60)
                origin.serves(f"/large/{number}", b"x" * LARGE, lifetime=60)
        tier = {"name": "ssd", "directories": [{"path": str(tmp_path), "capacity": "256MiB", "free_floor": 0}]}
        cache = {"memory": {"capacity": "1MiB"}, "tiers": [tier], "slice_bytes": "256KiB"}
        settings = settings_of({"a": first, "b": second}, cache=cache)
        with Shield(settings) as shield:
            with shield.client() as client:
                client.ask("/small/0")
                assert left() is not None  # what the start left

                for number in range(TIMES):  # misses, hits, ranges, conditions, absences, other methods
                    for _ in range(2):
                        assert client.ask(f"/small/{number}").status == 200
                    client.ask(f"/small/{number}", (("range", "bytes=5-9"),))
                    client.ask(f"/small/{number}", (("if-none-match", '"x"'),))
                    assert client.ask(f"/none/{number}").status == 404
                    client.ask(f"/small/{number}", method="DELETE")
                    assert len(client.ask(f"/large/{number}").body) == LARGE
                settled(shield)
                for number in range(TIMES):  # from the disk
                    assert len(client.ask(f"/large/{number}").body) == LARGE
                    client.ask(f"/small/{number}")
                assert left() == {}

                for seconds in (70.0, 3e6):  # stale, then to be validated
                    shield.clock.advance(seconds)
                    for number in range(TIMES):
                        assert client.ask(f"/small/{number}").status == 200
                assert left() == {}

            for number in range(TIMES):  # connections, and clients that are gone before the end
                assert shield.get(f"/small/{number}").status == 200
                with shield.client() as client:
                    client.socket.sendall(request(f"/large/{number}"))
                    client.socket.recv(1000)
            shield.clock.advance(3e6)
            first.spoils("/large/1", at_body(LARGE // 2, Reset()))
            first.fails("/large/2", "InternalError")
            for origin in (first, second):
                origin.fails("/small/3")
                origin.spoils("/small/4", at_body(100, Reset()))
            for _ in range(TIMES // 6):  # faults: a broken body that continues elsewhere, another origin, and none
                for path in ("/large/1", "/large/2", "/small/3", "/small/4"):
                    with shield.client() as client:
                        client.ask(path)
                shield.clock.advance(3e6)
            shield.wait_for(lambda: not shield.connections and not shield.node.state()["fills"]["in_flight"])  # type: ignore[index]
            assert left() == {}
