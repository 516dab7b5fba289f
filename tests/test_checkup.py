"""The health path: a node's word on whether it can serve, for those who choose among nodes by it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from shield.rules.health import HealthRecord, HealthState
from tests.admin.test_origins import order
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of
from tests.origin.test_prober import Watched

PATH, CANARY = "/.shield/health", "/images/canary.webp"
BODY = bytes(range(256)) * 100


@pytest.fixture
def origins(origin: FaultyOrigin, replica: FaultyOrigin) -> dict[str, FaultyOrigin]:
    for each in (origin, replica):
        each.serves(CANARY, BODY, lifetime=60, fields={"etag": '"1"'})
    return {"fra": origin, "iad": replica}


@pytest.fixture
def node(clock: FakeClock, origins: dict[str, FaultyOrigin]) -> Iterator[Watched]:
    settings = settings_of(origins, probes={"canaries": [CANARY]}, health={"path": PATH})
    with Shield(settings, clock=clock) as shield:
        yield Watched(shield)


def told(node: Watched, query: str = "") -> tuple[int, dict[str, Any]]:
    """The answer at the listener for clients, after a fetch of the canary."""
    checkup = node.shield.node.checkup

    async def fetched() -> None:
        checkup._tried_at -= 10.0
        await checkup.fresh(b"")
        checkup._answered_at -= 10.0

    node.shield.run(fetched())
    answer = node.shield.get(PATH + query)
    return answer.status, json.loads(answer.body)


def publishes(node: Watched, name: str, state: HealthState) -> None:
    record = HealthRecord(state, since=1.0, until=1e12, bad_since=1.0)
    node.shield.call(lambda: node.shield.node.origins.get(name).seen.publish(record))


def test_a_node_that_is_well_says_so_of_each_origin(node: Watched, origins: dict[str, FaultyOrigin]) -> None:
    node.passes(times=2)

    status, said = told(node)

    assert (status, said["status"], said["way"], said["best"]) == (200, "ok", "ok", "fra")
    assert said["origins"]["iad"] == {
        "verdict": "ok",
        "state": "up",
        "flags": [],
        "reason": "no trouble yet",
        "probe": "clean",
        "probe_seconds_ago": 0.0,
    }
    answer = node.shield.get(PATH)
    assert answer.get("content-type") == "application/json" and answer.get("cache-control") == "no-store"
    assert (node.shield.get(PATH, method="HEAD").status, node.shield.get(PATH, method="POST").status) == (200, 405)
    assert not any(origin.fetches(PATH) for origin in origins.values())


def test_a_bad_origin_degrades_it_and_the_best_one_ends_it_for_the_strict(node: Watched) -> None:
    publishes(node, "iad", HealthState.OPEN)
    other = [told(node), told(node, "?strict")]
    publishes(node, "fra", HealthState.OPEN)
    publishes(node, "iad", HealthState.UP)
    best = [told(node), told(node, "?a=b&strict")]

    assert [(status, said["status"]) for status, said in other] == [(200, "degraded")] * 2
    assert [(status, said["status"]) for status, said in best] == [(200, "degraded"), (503, "degraded")]
    assert best[0][1]["origins"]["fra"]["verdict"] == "bad"


def test_without_any_origin_it_serves_as_long_as_its_canary_comes(
    node: Watched, clock: FakeClock, origins: dict[str, FaultyOrigin]
) -> None:
    assert told(node)[0] == 200
    for name, origin in origins.items():
        origin.fails(CANARY, status=500, code="InternalError")
        publishes(node, name, HealthState.OPEN)
    cached = told(node)
    clock.advance(10 * 365 * 86400.0)
    gone = told(node)

    assert (cached[0], cached[1]["status"]) == (200, "degraded")
    assert (gone[0], gone[1]["status"], gone[1]["way"]) == (503, "failing", "status 503")


def test_bytes_that_no_origin_has_are_no_service(node: Watched, clock: FakeClock, origin: FaultyOrigin) -> None:
    node.passes()
    origin.serves(CANARY, b"x" + BODY[1:], lifetime=60, fields={"etag": '"1"'})

    status, said = told(node)

    assert (status, said["way"]) == (503, "other bytes than at any origin")


def test_an_absent_canary_isn_t_an_outage(node: Watched, origins: dict[str, FaultyOrigin]) -> None:
    for origin in origins.values():
        origin.absent(CANARY)

    status, said = told(node)

    assert (status, said["status"], said["way"]) == (200, "degraded", "status 404")


def test_one_that_is_about_to_stop_fails(node: Watched) -> None:
    node.shield.node.vitals.ready = False

    assert told(node)[0] == 503


def test_asking_costs_no_fetch_and_an_answer_is_kept_for_a_moment(
    node: Watched, origins: dict[str, FaultyOrigin]
) -> None:
    answers = {node.shield.get(PATH).body for _ in range(20)}
    publishes(node, "fra", HealthState.OPEN)
    at_once = node.shield.get(PATH)

    assert len(answers) == 1 and at_once.body in answers
    assert not any(origin.requests for origin in origins.values())


def test_while_it_is_asked_for_the_canary_is_fetched_now_and_then(
    node: Watched, origin: FaultyOrigin, clock: FakeClock
) -> None:
    checkup = node.shield.node.checkup

    async def second() -> None:
        checkup.tick()
        if checkup._check is not None:
            await asyncio.wait([checkup._check])

    node.shield.run(second())
    assert origin.fetches(CANARY) == 0
    node.shield.get(PATH)
    for _ in range(3):
        node.shield.run(second())
        clock.advance(61.0)
    assert origin.fetches(CANARY) == 1
    checkup._tried_at -= 5.0
    node.shield.run(second())
    assert origin.fetches(CANARY) == 2
    checkup._tried_at -= 5.0
    checkup._asked_at -= 61.0
    node.shield.run(second())
    assert origin.fetches(CANARY) == 2


def test_a_fetch_of_long_ago_says_nothing(node: Watched, origins: dict[str, FaultyOrigin]) -> None:
    for origin in origins.values():
        origin.fails(CANARY, status=500, code="InternalError")
    lately = told(node)
    checkup = node.shield.node.checkup
    checkup._way_at -= 61.0
    checkup._answered_at -= 10.0
    answer = node.shield.get(PATH)

    assert (lately[0], lately[1]["way"]) == (503, "status 503")
    assert (answer.status, json.loads(answer.body)["way"]) == (200, None)


def test_it_counts_as_health_and_not_as_a_request_for_an_object(node: Watched) -> None:
    node.shield.get(PATH)

    assert node.shield.state()["requests"] == {"plain_hit": 0, "health": 1}
    assert node.shield.log()[-1]["cache"] == "health"


def test_the_admin_listener_has_it_in_any_case_and_after_a_fetch(
    clock: FakeClock, origins: dict[str, FaultyOrigin]
) -> None:
    settings = settings_of(origins, probes={"canaries": [CANARY]})
    with Shield(settings, clock=clock) as shield:
        status, said = order(shield, "/health?strict", method="GET")
        elsewhere = shield.get(PATH).status

    assert (status, said["status"], said["way"]) == (200, "ok", "ok")
    assert elsewhere == 404


def test_an_object_that_clients_requested_lately_serves_as_well(
    clock: FakeClock, origins: dict[str, FaultyOrigin]
) -> None:
    routes = {"default": {"strip": "/v1", "match": "/v1"}}
    with Shield(settings_of(origins, health={"path": PATH}, probes={}, routes=routes), clock=clock) as shield:
        node = Watched(shield)
        node.look()
        shield.get("/v1" + CANARY)
        node.passes(times=2)
        came = told(node)
        clock.advance(10 * 365 * 86400.0)
        for origin in origins.values():
            origin.absent(CANARY)
        gone = told(node)
        clock.advance(3600.0)
        for origin in origins.values():
            origin.fails(CANARY, status=500, code="InternalError")
        lost = told(node)
        for name in origins:
            publishes(node, name, HealthState.OPEN)
        out = told(node)

    assert (came[0], came[1]["canary"], came[1]["way"]) == (200, "/v1" + CANARY, "ok")
    assert (lost[0], lost[1]["status"], lost[1]["way"]) == (200, "degraded", "status 503")  # perhaps it alone
    assert out[0] == 503
    assert (gone[0], gone[1]["way"]) == (200, None)


def test_without_a_canary_origins_decide(clock: FakeClock, origins: dict[str, FaultyOrigin]) -> None:
    with Shield(settings_of(origins, health={"path": PATH}), clock=clock) as shield:
        node = Watched(shield)
        well = told(node)
        for name in origins:
            publishes(node, name, HealthState.OPEN)
        bad = told(node)

    assert (well[0], well[1]["way"], well[1]["canary"]) == (200, None, None)
    assert (bad[0], bad[1]["reason"]) == (503, "no origin works")


def test_it_has_requirements_of_its_own(clock: FakeClock, origins: dict[str, FaultyOrigin]) -> None:
    access = {
        "header": {"name": "X-Secret", "secrets": ["0123456789abcdef0123456789abcdef"]},
        "addresses": ["192.0.2.0/24"],
        "require": ["header"],
    }
    given = [("X-Secret", "0123456789abcdef0123456789abcdef")]
    for own, without, with_secret in ((None, 403, 200), ("off", 200, 200), (["addresses"], 403, 403)):
        health = {"path": PATH} if own is None else {"path": PATH, "access": own}
        with Shield(settings_of(origins, health=health, access=access), clock=clock) as shield:
            assert shield.get(PATH).status == without
            assert shield.get(PATH, given).status == with_secret
            assert shield.get(CANARY).status == 403
