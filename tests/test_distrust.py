"""An origin that sends wrong bytes under right ETags for a while: what was stored of them doesn't stay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from shield.distrust import AGAIN_SECONDS, Distrust
from shield.errors import StoreError
from shield.origin.prober import Doubt
from shield.purge_orders import PurgeOrders
from shield.rules.moments import shown
from tests.admin.calls import ask
from tests.client import request
from tests.disks import KIB, with_disk
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import START, FakeClock, Shield, settings_of
from tests.origin.test_prober import BODY, CANARY, CHANGED, Watched

GOOD, WRONG = b"g" * 1000, b"w" * 1000
LARGE = 600 * KIB  # three slices
PATHS = ("/before", "/during", "/large", "/elsewhere")


def serves(origin: FaultyOrigin, path: str, body: bytes) -> None:
    origin.serves(path, body, lifetime=3600, fields={"etag": '"1"', "accept-ranges": "bytes"})


@pytest.fixture(params=["ram", "disk"])
def watched(
    request: pytest.FixtureRequest, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin, tmp_path: Path
) -> Iterator[Watched]:
    """Two origins with the same objects, of which the first has all but one; and the canary is known to be clean."""
    settings = settings_of({"fra": origin, "iad": replica}, probes={"interval": "10s", "canaries": [CANARY]})
    if request.param == "disk":
        settings = settings.model_copy(update={"cache": with_disk(origin, tmp_path / "disk").cache})
    for each in (origin, replica):
        serves(each, CANARY, BODY)
        for path in ("/before", "/during", "/later"):
            serves(each, path, GOOD)
        serves(each, "/large", b"g" * LARGE)
    serves(replica, "/elsewhere", GOOD)
    with Shield(settings, clock=clock) as shield:
        made = Watched(shield)
        made.look()
        made.passes(times=2)
        yield made


def stored(watched: Watched, *paths: str) -> None:
    """Fetched, and written to the disk if there is one."""
    for path in paths:
        watched.shield.get(path)
    disk = watched.shield.node.state()["disk"]
    if disk is not None:
        watched.shield.wait_for(lambda: not any(_backlogs(watched.shield)))


def _backlogs(shield: Shield) -> list[int]:
    disk: Any = shield.node.state()["disk"]
    return [disk["pending"], *[volume["backlog_bytes"] for tier in disk["tiers"] for volume in tier["volumes"]]]


def _orders(shield: Shield) -> int:
    """In the log of purges."""
    return shield.node.purge.statistics().log.orders


def turns_corrupt(watched: Watched, origin: FaultyOrigin) -> None:
    """It sends wrong bytes for some seconds, and its canary tells."""
    stored(watched, "/before")
    watched.passes()
    serves(origin, CANARY, CHANGED)
    serves(origin, "/during", WRONG)
    serves(origin, "/large", b"w" * LARGE)
    watched.shield.clock.advance(2.0)
    stored(watched, "/during", "/large", "/elsewhere")
    assert watched.shield.get("/during").body == WRONG
    watched.passes()
    assert all(watched.shield.get(path).hit for path in PATHS)  # once may be a new version
    watched.passes(seconds=2.0)
    assert watched.health()["flags"] == ("corrupt",)
    watched.shield.wait_for(lambda: _orders(watched.shield))


def test_what_came_from_it_since_its_last_clean_probe_is_fetched_again_from_others(
    watched: Watched, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    turns_corrupt(watched, origin)

    again, large = watched.shield.get("/during"), watched.shield.get("/large")

    assert (again.hit, again.body) == (False, GOOD)
    assert (large.hit, large.body) == (False, b"g" * LARGE)
    assert replica.fetches("/during") == 1 and replica.fetches("/large") >= 1
    assert watched.shield.get("/during").hit
    assert watched.shield.get("/before").hit and watched.shield.get("/elsewhere").hit


def test_that_is_done_once_each_time_whoever_conducts_and_is_in_the_log_of_purges(
    watched: Watched, origin: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    turns_corrupt(watched, origin)
    found_at = watched.shield.clock()
    watched.passes(times=2)
    watched.shield.call(watched.shield.node.origins.prober.forget)  # another worker takes over
    distrust = Distrust(watched.shield.node.purge_orders, clock=watched.shield.clock)
    watched.shield.call(lambda: setattr(watched.shield.node.origins.conductor, "doubted", distrust.doubt))
    watched.passes(times=2)
    watched.shield.run(distrust.close())

    log = ask(watched.shield, "GET", "/purges").json()["purges"]

    assert [(each["id"], each["who"], each["origins"], each["completed"]) for each in log] == [
        (f"corrupt-fra-{found_at * 1000:.0f}", "shield: origin fra is corrupt", 1, True)
    ]
    since = shown(found_at - 19.0 - 10.0)  # its last clean probe, and a probe's interval
    assert log[0]["examples"] == [f'origin "fra" since {since}']
    said = [message for message in caplog.messages if "may be wrong" in message]
    assert len(said) == 1 and said[0].startswith(f"origin fra: what was stored from it since {since} ")
    metrics = ask(watched.shield, "GET", "/metrics").text.splitlines()
    assert [line for line in metrics if line.startswith("shield_purges_total{") and "origins" in line] == [
        'shield_purges_total{kind="origins",mode="hard"} 1.0'
    ]


def test_an_origin_that_is_corrupt_once_more_is_dealt_with_once_more(watched: Watched, origin: FaultyOrigin) -> None:
    turns_corrupt(watched, origin)
    serves(origin, CANARY, BODY)
    watched.passes(times=7)
    assert watched.health()["flags"] == ()
    serves(origin, "/later", WRONG)
    stored(watched, "/later")
    serves(origin, CANARY, CHANGED)
    watched.passes(times=3)
    assert watched.health()["flags"] == ("corrupt",)

    watched.shield.wait_for(lambda: _orders(watched.shield) == 2)


def test_of_fills_under_way_those_from_other_origins_are_stored(
    watched: Watched, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    gates = {"/later": origin.gate(), "/elsewhere/2": replica.gate()}
    serves(replica, "/elsewhere/2", GOOD)
    origin.spoils("/later", at_body(5, Wait(gates["/later"])), times=1)
    replica.spoils("/elsewhere/2", at_body(5, Wait(gates["/elsewhere/2"])), times=1)
    with watched.shield.client() as one, watched.shield.client() as two:
        for client, (path, gate) in zip((one, two), gates.items(), strict=True):
            client.send(request(path))
            gate.reached()
        turns_corrupt(watched, origin)
        for gate in gates.values():
            gate.open()
        assert [one.read().body, two.read().body] == [GOOD, GOOD]
    stored(watched)

    assert not watched.shield.get("/later").hit
    assert watched.shield.get("/elsewhere/2").hit


def test_a_purge_that_cannot_be_written_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    clock, tries = FakeClock(), list[str]()

    class Orders:
        async def distrust(self, origin: str, since: float, order_id: str) -> bool:
            tries.append(order_id)
            if len(tries) == 1:
                raise StoreError("the log of purges can't be written: no space left")
            return True

    async def run() -> None:
        distrust, doubt = Distrust(cast(PurgeOrders, Orders()), clock=clock), Doubt("fra", START, START - 20.0)
        for seconds in (0.0, 0.25, AGAIN_SECONDS, 0.25, 3600.0):
            clock.advance(seconds)
            distrust.doubt(doubt)
            await distrust.close()
        assert tries == ["corrupt-fra-1750000000000"] * 2
        distrust.doubt(Doubt("fra", START + 60.0, START + 40.0))
        await distrust.close()
        assert len(tries) == 3

    asyncio.run(run())
    assert "isn't removed: the log of purges can't be written: no space left; it is tried again" in caplog.messages[0]
    assert "fetched again from other origins" in caplog.messages[1]
