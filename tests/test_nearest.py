"""`choose: nearest` on real sockets: the origin that gets a miss, once times have been measured."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from shield.config.settings import Settings
from shield.origin.want import Fetched, Want
from shield.rules.latency import LEAST_SAMPLES
from shield.rules.ranking import HOLD_SECONDS
from tests.client import fetch
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Pause
from tests.node import FakeClock, Shield

MIB = 1 << 20
SLOW = 0.06


def settings_for(first: FaultyOrigin, second: FaultyOrigin, *, route: Any, **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "node": "test-1",
            "origins": {
                "one": {"provider": "http", "endpoint": first.url, **more.get("one", {})},
                "two": {"provider": "http", "endpoint": second.url, **more.get("two", {})},
            },
            "cache": {"memory": {"capacity": "64MiB"}},
            "routes": {"default": {"match": "/", **route}},
        }
    )


def objects(*origins: FaultyOrigin, slow: FaultyOrigin | None = None, body: bytes = b"x") -> list[str]:
    """Enough objects to measure an origin with, and one more."""
    paths = [f"/{number}" for number in range(LEAST_SAMPLES + 1)]
    for origin in origins:
        for path in paths:
            origin.serves(path, body, lifetime=60)
            if origin is slow:
                origin.spoils(path, preceded_by(Pause(SLOW)))
    return paths


def fetch_all(shield: Shield, paths: Sequence[str]) -> None:
    async def together() -> list[int]:
        return [answer.status for answer in await asyncio.gather(*[fetch(shield.port, path) for path in paths])]

    assert set(asyncio.run(together())) == {200}


def probe(shield: Shield, name: str, path: str, times: int = LEAST_SAMPLES) -> None:
    """What a prober does."""

    async def ask() -> None:
        origin, now = shield.node.origins.get(name), asyncio.get_running_loop().time
        for _ in range(times):
            want = Want(b"GET", path.encode(), is_probe=True)
            result = await origin.fetch(want, deadline=now() + 5.0, clock=shield.clock)
            assert isinstance(result, Fetched)
            await result.response.read(64 * MIB)

    shield.run(ask())


def time_passes(shield: Shield, seconds: float = HOLD_SECONDS + 2.0) -> None:
    """What the conductor does meanwhile."""

    def looks() -> None:
        conductor, now = shield.node.origins.conductor, asyncio.get_running_loop().time()
        for step in range(int(4 * seconds)):
            conductor.look(now + step / 4)

    shield.call(looks)


def test_a_miss_goes_to_the_origin_that_is_nearer_by_its_probes_and_comes_back_when_that_fails(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    *paths, last = objects(origin, replica, slow=origin)

    with Shield(settings_for(origin, replica, route={"choose": "nearest"}), clock=clock) as shield:
        fetch_all(shield, paths)
        probe(shield, "one", "/0")
        probe(shield, "two", "/0")
        assert sum(replica.fetches(path) for path in paths[1:]) == 0, "until it is measured, the order is as listed"

        time_passes(shield)
        assert shield.get(last).status == 200
        found: Any = shield.state()["ranked"]["default"]

        assert (origin.fetches(last), replica.fetches(last)) == (0, 1)
        assert list(found["origins"]) == ["two", "one"]
        assert found["origins"]["two"]["why"] == "by cost" and found["expected_bytes"] == 1
        assert found["origins"]["one"]["first_byte_seconds"] >= SLOW / 1.42  # the width of a bucket

        replica.fails("/new", "InternalError")
        origin.serves("/new", b"x", lifetime=60)
        assert shield.get("/new").status == 200
        assert (origin.fetches("/new"), replica.fetches("/new")) == (1, 1)


def test_an_origin_that_nobody_probed_gets_no_fetches_however_slow_the_first_is(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    *paths, last = objects(origin, replica, slow=origin)

    with Shield(settings_for(origin, replica, route={"choose": "nearest"}), clock=clock) as shield:
        fetch_all(shield, paths)
        time_passes(shield)
        assert shield.get(last).status == 200
        origin.serves("/large", bytes(MIB), lifetime=60)
        assert shield.get("/large", method="HEAD").status == 200
        found: Any = shield.state()["ranked"]["default"]

    assert found["expected_bytes"] == 1, "HEAD brings no body"
    assert (origin.fetches(last), replica.fetches(last)) == (1, 0)
    assert found["origins"]["two"] == {
        "position": 2,
        "why": "not measured yet",
        **dict.fromkeys(
            ("cost_seconds", "first_byte_seconds", "transfer_seconds", "money_seconds", "penalty_seconds")
        ),
    }


@pytest.mark.parametrize(("exchange", "first"), [("0s", 0), ("1000s", 1)])
def test_prices_count_as_much_as_the_route_says(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock, exchange: str, first: int
) -> None:
    *paths, last = objects(origin, replica, slow=replica, body=bytes(1000))
    settings = settings_for(
        origin,
        replica,
        route={"exchange": exchange},
        one={"price": {"egress": 1000.0}},  # at 1000 s a second for these objects
        two={"price": {"egress": 0.0}},
    )

    with Shield(settings, clock=clock) as shield:
        for path in paths:  # one at a time, so that their times are those of the origin
            assert shield.get(path).status == 200
        for name in ("one", "two"):
            probe(shield, name, "/0")
        time_passes(shield)
        assert shield.get(last).status == 200

    assert [origin.fetches(last), replica.fetches(last)] == [1 - first, first]


def test_a_reload_keeps_the_order_of_a_route_that_stays(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    *paths, last = objects(origin, replica, slow=origin)
    settings = settings_for(origin, replica, route={"choose": "nearest"})

    with Shield(settings, clock=clock) as shield:
        fetch_all(shield, paths)
        for name in ("one", "two"):
            probe(shield, name, "/0")
        time_passes(shield)
        other = settings_for(origin, replica, route={"choose": "nearest", "max_variants": 7}).route_table()

        shield.call(lambda: shield.node.in_force.swap(type(shield.node.in_force.regime)(other)))
        assert shield.get(last).status == 200

    assert (origin.fetches(last), replica.fetches(last)) == (0, 1)
