"""Regular probes over the wire: their objects, and the fate of an origin that sends other bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shield.config.settings import Settings
from shield.origin.drains import Drains
from shield.origin.prober import Probed
from shield.rules.health import Flag
from shield.rules.probing import LARGE_BYTES, LARGE_EVERY
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import START, FakeClock, Shield, settings_of

BODY = bytes(range(256)) * 2000  # 512,000 bytes
CHANGED = BODY[:100] + b"!" + BODY[101:]
CANARY = "/images/canary.webp"


class Watched:
    """A node whose conductor looks only when it is told to, at times that only the test passes."""

    def __init__(self, shield: Shield) -> None:
        self.shield = shield
        self._passed = 0.0
        shield.run(shield.node.origins.conductor.close())

    def look(self) -> None:
        passed, prober = self._passed, self.shield.node.origins.prober

        async def look() -> None:
            self.shield.node.origins.conductor.look(asyncio.get_running_loop().time() + passed)
            if prober._tasks:
                await asyncio.wait(prober._tasks)
            self.shield.node.origins.conductor.look(asyncio.get_running_loop().time() + passed)

        self.shield.run(look())

    def passes(self, seconds: float = 15.0, times: int = 1) -> None:
        """Time passes, by steps in which each origin is probed once at most."""
        for _ in range(times):
            self._passed += seconds
            self.shield.clock.advance(seconds)
            self.look()

    def health(self, name: str = "fra") -> dict[str, Any]:
        found: dict[str, Any] = self.shield.state()["origins"][name]["health"]
        return found

    def results(self, name: str = "fra") -> dict[str, int]:
        found: dict[str, int] = self.shield.state()["origins"][name]["probes"]
        return found


@pytest.fixture
def watched(clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin) -> Iterator[Watched]:
    """Two origins with the same canary."""
    for each in (origin, replica):
        each.serves(CANARY, BODY, lifetime=60, fields={"etag": '"1"'})
    settings = settings_of({"fra": origin, "iad": replica}, probes={"canaries": [CANARY]})
    with Shield(settings, clock=clock) as shield:
        made = Watched(shield)
        made.look()
        yield made


@pytest.fixture
def learning(clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin) -> Iterator[Watched]:
    """The same without configured canaries."""
    with Shield(settings_of({"fra": origin, "iad": replica}, probes={}), clock=clock) as shield:
        made = Watched(shield)
        made.look()
        yield made


def test_all_origins_are_probed_in_small_parts_and_now_and_then_in_a_larger_one(
    watched: Watched, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    assert not origin.requests
    watched.passes(times=LARGE_EVERY)

    for each in (origin, replica):
        ranges = [request.get("range") for request in each.requests]
        assert ranges == ["bytes=0-4095"] * (LARGE_EVERY - 1) + ["bytes=0-262143"]
    assert watched.results() == {"learned": 2, "clean": LARGE_EVERY - 2}
    state = watched.shield.state()["origins"]["fra"]
    assert (state["fetches"], state["probe_bytes"]) == (LARGE_EVERY, 4096 * (LARGE_EVERY - 1) + LARGE_BYTES)


def test_no_more_often_than_that(watched: Watched, origin: FaultyOrigin) -> None:
    watched.passes(seconds=1.0, times=60)

    assert 4 <= len(origin.requests) <= 8


def test_a_fault_is_noticed_without_any_client(watched: Watched, origin: FaultyOrigin) -> None:
    origin.refuses()
    watched.passes(times=3)

    assert watched.health()["state"] in ("suspect", "open")
    assert watched.results()["failed"] >= 3
    assert watched.health("iad")["state"] == "up"


def test_other_bytes_make_it_corrupt_and_clients_get_those_of_another(
    watched: Watched, origin: FaultyOrigin, replica: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    watched.passes()
    origin.serves(CANARY, CHANGED, lifetime=60, fields={"etag": '"1"'})
    origin.serves("/a", b"damaged", lifetime=60)
    replica.serves("/a", b"good", lifetime=60)
    origin.serves("/only", b"here", lifetime=60)
    watched.passes()
    assert watched.health()["flags"] == ()
    watched.passes(seconds=2.0)  # at once, rather than after the usual time

    assert watched.health()["flags"] == ("corrupt",)
    assert watched.shield.get("/a").body == b"good"
    assert origin.fetches("/a") == 0
    assert watched.shield.get("/only").body == b"here"  # nobody else has it
    watched.shield.wait_for(lambda: len(caplog.messages) > 1)  # a thread writes the order down first
    assert caplog.messages == [
        "origin fra: corrupt: other bytes than before under the same ETag, twice; it isn't asked while another can "
        "serve",
        "origin fra: what was stored from it since 2025-06-15T14:52:02Z may be wrong: it is removed "
        "(corrupt-fra-1750000032000) and fetched again from other origins. CDNs of purge.edges get its URLs: purge "
        "others of what they fetched since then",
    ]


def test_it_is_back_gradually_after_clean_probes(
    watched: Watched, origin: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    watched.passes()
    origin.serves(CANARY, CHANGED, lifetime=60, fields={"etag": '"1"'})
    watched.passes(times=3)
    origin.serves(CANARY, BODY, lifetime=60, fields={"etag": '"1"'})
    watched.passes(times=2)
    assert watched.health()["flags"] == ("corrupt",)
    watched.passes(times=2)  # one of them at length, which was unknown so far

    assert (watched.health()["flags"], watched.health()["state"]) == ((), "recovering")
    assert any(each.startswith("origin fra: not corrupt any more") for each in caplog.messages)
    watched.passes(times=3)
    assert watched.health()["state"] == "up"


def test_an_operator_says_that_its_bytes_are_right(watched: Watched, origin: FaultyOrigin) -> None:
    watched.passes()
    origin.serves(CANARY, CHANGED, lifetime=60, fields={"etag": '"1"'})
    watched.passes(times=3)
    origins = watched.shield.node.origins

    async def restore() -> None:
        await Drains(origins, dict, clock=watched.shield.clock, directory=None).restore("fra")

    watched.shield.run(restore())
    watched.look()
    assert watched.health()["flags"] == ()
    watched.passes(times=3)

    assert watched.health()["flags"] == ()
    assert watched.results()["wrong"] >= 2


def test_another_conductor_continues_with_what_is_known(watched: Watched, origin: FaultyOrigin) -> None:
    watched.passes()
    watched.shield.call(watched.shield.node.origins.prober.forget)
    origin.serves(CANARY, CHANGED, lifetime=60, fields={"etag": '"1"'})
    watched.passes(times=3)
    assert watched.health()["flags"] == ("corrupt",)

    watched.shield.call(watched.shield.node.origins.prober.forget)
    watched.passes(times=3)
    assert watched.health()["flags"] == ("corrupt",)
    assert "learned" in watched.results() and watched.results()["learned"] == 1


def test_new_versions_and_weak_etags_are_no_damage(watched: Watched, origin: FaultyOrigin) -> None:
    for number in range(4):
        origin.serves(CANARY, BODY + b"%d" % number, lifetime=60, fields={"etag": f'"{number}"'})
        watched.passes()
    origin.serves(CANARY, BODY, lifetime=60, fields={"etag": 'W/"1"'})
    watched.passes()
    origin.serves(CANARY, CHANGED, lifetime=60, fields={"etag": 'W/"1"'})
    watched.passes()

    assert watched.results() == {"learned": 4, "unproven": 2}
    assert watched.health()["flags"] == ()


def test_objects_that_clients_fetched_become_canaries_of_all_origins(
    learning: Watched, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    learning.passes(times=2)
    assert not origin.requests
    for each in (origin, replica):
        each.serves("/a", b"0123456789", lifetime=60)

    learning.shield.get("/a")
    learning.passes(times=2)

    assert origin.fetches("/a") == 3
    assert replica.fetches("/a") == 2  # at no client's expense
    assert learning.results() == learning.results("iad") == {"learned": 1, "clean": 1}


def test_an_origin_without_these_objects_is_left_alone(
    learning: Watched, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", b"0123456789", lifetime=60)
    learning.shield.get("/a")

    learning.passes(times=6)

    assert replica.fetches("/a") == 1
    assert learning.results("iad") == {"absent": 1}
    assert learning.health("iad")["state"] == "up"


def test_an_absent_canary_makes_room_for_another_that_is_there(
    learning: Watched, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", b"0123456789", lifetime=60)
    learning.shield.get("/a")
    learning.passes(times=2)
    for each in (origin, replica):
        each.serves("/b", b"0123456789", lifetime=60)
    learning.shield.call(lambda: setattr(learning.shield.node.origins.get("fra"), "_sampled_until", 0.0))
    learning.shield.get("/b")

    learning.passes(times=6)

    assert replica.fetches("/a") == 1
    assert replica.fetches("/b") >= 1


def test_a_suspect_that_no_client_has_fetched_from_is_probed_with_its_canary(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.passes()
    iad = watched.shield.node.origins.get("iad")

    def stall() -> None:
        for _ in range(3):
            iad.seen.begin(asyncio.get_running_loop().time() + 1.0)

    watched.shield.call(stall)
    watched.passes(seconds=2.0)
    watched.shield.wait_for(lambda: not watched.shield.node.origins.conductor._tasks)
    watched.look()

    assert iad.sample is None
    assert caplog.messages[0].startswith("origin iad: suspect: 3 unanswered")
    assert caplog.messages[1].startswith("origin iad: up: probes passed")


def test_one_that_is_out_is_left_to_its_circuit_breaker(watched: Watched, origin: FaultyOrigin) -> None:
    watched.passes()
    before = len(origin.requests)
    seen = watched.shield.node.origins.get("fra").seen
    watched.shield.call(lambda: seen.suspect(asyncio.get_running_loop().time() + 1e6))

    prober = watched.shield.node.origins.prober

    async def only_regular() -> None:
        for seconds in (100.0, 200.0):
            prober.look(asyncio.get_running_loop().time() + seconds)
        assert len(prober._tasks) == 1  # of the other
        await asyncio.wait(prober._tasks)

    watched.shield.run(only_regular())

    assert len(origin.requests) == before


def test_one_that_throttles_is_left_alone(watched: Watched, origin: FaultyOrigin) -> None:
    watched.passes()
    seen = watched.shield.node.origins.get("fra").seen
    watched.shield.call(lambda: seen.publish(replace(seen.record(), flags=Flag.THROTTLED)))
    prober = watched.shield.node.origins.prober

    async def only_regular() -> None:
        for seconds in (100.0, 200.0):
            prober.look(asyncio.get_running_loop().time() + seconds)
        await asyncio.wait(prober._tasks)

    watched.shield.run(only_regular())

    assert len(origin.requests) == 1


def test_probes_of_a_bucket_are_signed_and_refused_credentials_are_a_failure(clock: FakeClock) -> None:
    with FaultyOrigin(bucket="images", clock=clock) as bucket:
        bucket.trusts("AKTEST", "secret", region="us-east-1")
        bucket.serves("/a", BODY, lifetime=60)
        origin = {"provider": "minio", "endpoint": bucket.url, "bucket": "images", "region": "us-east-1"}
        keys = {"access_key_id": "AKTEST", "secret_key": "secret"}
        settings = Settings.model_validate(
            {"origins": {"fra": origin | keys}, "probes": {"canaries": ["/a"]}, "node": "test-1"}
        )
        with Shield(settings, clock=clock) as shield:
            watched = Watched(shield)
            watched.look()
            watched.passes(times=3)
            signed = watched.results()
            bucket.trusts("AKTEST", "another", region="us-east-1")
            watched.passes(times=2)
            after = watched.results()

    assert signed == {"learned": 1, "clean": 2}
    assert after == {"learned": 1, "clean": 2, "failed": 2}


def test_off_is_off(clock: FakeClock, origin: FaultyOrigin) -> None:
    settings = settings_of({"fra": origin}, probes={"interval": "off", "canaries": [CANARY]})
    with Shield(settings, clock=clock) as shield:
        watched = Watched(shield)
        watched.passes(times=5)

    assert not origin.requests


def test_an_examination_changes_nothing(watched: Watched, origin: FaultyOrigin) -> None:
    watched.passes()
    origin.serves(CANARY, CHANGED, lifetime=60, fields={"etag": '"1"'})
    origins = watched.shield.node.origins

    found = [watched.shield.run(origins.prober.examine(origins.get("fra"))) for _ in range(3)]
    origin.fails(CANARY, status=500, code="InternalError")
    failed = watched.shield.run(origins.prober.examine(origins.get("fra")))
    watched.look()

    assert [(each.path, each.asked, each.result) for each in found[2]] == [
        (CANARY, 4096, "wrong"),
        (CANARY, LARGE_BYTES, "learned"),
    ]
    assert failed[0].result == "failed" and "500" in str(failed[0].problem)
    assert watched.health()["flags"] == ()


def test_nothing_known_is_nothing_examined(learning: Watched) -> None:
    origins = learning.shield.node.origins

    assert learning.shield.run(origins.prober.examine(origins.get("fra"))) == []


def test_a_listing_has_its_canaries_and_the_last_result(watched: Watched) -> None:
    watched.passes()

    (fra, _) = watched.shield.call(watched.shield.node.figures.standing)

    probes = fra["probes"]
    assert isinstance(probes, dict)
    assert (probes["last"], probes["last_at"]) == ("learned", START + 15.0)
    assert probes["canaries"][0]["path"] == CANARY and probes["canaries"][0]["etag"] == '"1"'
    assert isinstance(Probed("/a", 1, "clean", 1.0), Probed)
