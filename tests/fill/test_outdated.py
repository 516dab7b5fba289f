"""A stale large entry of which origins turn out to have another version, while it is served in its grace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.client import request
from tests.disks import MIB, settled, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.node import FakeClock, Shield
from tests.purging import order

OLD, NEW = Pattern(6 * MIB), Pattern(6 * MIB + 1)


def serve(origin: FaultyOrigin, body: Pattern) -> None:
    origin.serves("/big", body, lifetime=3600, grace=3600, fields={"cache-tag": "red"})


def under_way(shield: Shield) -> int:
    fills: Any = shield.node.state()["fills"]
    return int(fills["in_flight"])


@pytest.mark.parametrize("by_purge", [True, False], ids=["soft purge", "expiry"])
def test_it_is_served_once_more_and_then_the_other_version(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock, by_purge: bool
) -> None:
    serve(origin, OLD)
    with Shield(with_disk(origin, tmp_path), clock=clock) as shield:
        shield.get("/big")
        settled(shield)
        serve(origin, NEW)
        if by_purge:
            order(shield, tags=["red"], soft=True)
        else:
            clock.advance(3700.0)

        bodies = []
        for _ in range(3):
            bodies.append(shield.get("/big").body)
            settled(shield)

        assert [body == OLD[:] for body in bodies] == [True, False, False]
        assert bodies[1] == bodies[2] == NEW[:]
        assert len(origin.requests) == 3, "the first, the one in the background, and that of the other version"


def test_who_reads_it_gets_all_of_it(tmp_path: Path, origin: FaultyOrigin, clock: FakeClock) -> None:
    serve(origin, OLD)
    with Shield(with_disk(origin, tmp_path), clock=clock) as shield:
        shield.get("/big")
        settled(shield)
        serve(origin, NEW)
        order(shield, tags=["red"], soft=True)
        with shield.client(receive_buffer=4096) as slow:
            slow.send(request("/big"))
            shield.wait_for(lambda: len(origin.requests) == 2 and under_way(shield) == 1)

            assert shield.get("/big").body == OLD[:], "and causes no other fetch"
            assert slow.read().body == OLD[:]
        settled(shield)

        assert len(origin.requests) == 2
        assert shield.get("/big").body == NEW[:]
