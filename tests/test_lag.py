"""Replicas that lag behind their primary, seen by clients: over real sockets on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from shield.rules.absence import WEAK_SECONDS
from shield.rules.health import HealthRecord, HealthState
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two

HOUR = {"negative_lifetime": "1h"}


def absences(shield: Shield, path: str = "/a") -> str:
    """Cache-Status of a miss."""
    answer = shield.get(path)
    assert (answer.status, answer.hit) == (404, False)
    return str(answer.get("cache-status"))


def test_an_absence_that_the_primary_states_is_kept_for_its_whole_lifetime(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    with Shield(settings_of({"fra": origin, "iad": replica}, freshness=HOUR), clock=clock) as shield:
        assert "; detail=absent-at-primary" in absences(shield)
        clock.advance(3599)
        assert shield.get("/a").hit
        assert [line["detail"] for line in shield.log() if line["cache"] == "miss"] == ["absent-at-primary"]

    assert (origin.fetches("/a"), replica.fetches("/a")) == (1, 1)


@pytest.mark.parametrize(
    ("origins", "detail"),
    [
        ({"iad": {"role": "replica"}}, "absent-at-replicas"),
        ({"iad": {"role": "replica", "holds": "part"}}, "absent-in-part"),
    ],
)
def test_an_absence_at_a_replica_alone_is_kept_for_seconds(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin, origins: dict[str, Any], detail: str
) -> None:
    settings = settings_of({"fra": origin, "iad": replica}, freshness=HOUR, routes={"default": {"origins": ["iad"]}})
    changed = settings.model_dump(exclude_unset=True)
    changed["origins"]["iad"].update(origins["iad"])

    with Shield(type(settings).model_validate(changed), clock=clock) as shield:
        assert f"; detail={detail}" in absences(shield)
        assert shield.get("/a").get("cache-control") == f"max-age={WEAK_SECONDS:.0f}"  # for the CDN
        replica.serves("/a", b"there")
        clock.advance(WEAK_SECONDS - 0.5)
        assert shield.get("/a").status == 404
        clock.advance(1.0)
        assert shield.get("/a").status == 200


def test_an_absence_that_a_primary_in_bad_health_states_is_kept_for_seconds(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    with Shield(settings_of({"fra": origin, "iad": replica}, freshness=HOUR), clock=clock) as shield:
        fra = shield.node.origins.get("fra")
        shield.call(lambda: fra.seen.publish(HealthRecord(HealthState.SUSPECT, since=1e12)))
        assert "; detail=primary-unwell" in absences(shield)
        clock.advance(WEAK_SECONDS + 0.5)
        assert not shield.get("/a").hit


def test_an_object_that_a_replica_lacks_is_fetched_from_the_primary_in_the_same_fill(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", b"there", lifetime=60)
    routes = {"default": {"origins": ["iad", "fra"]}}

    with Shield(settings_of({"fra": origin, "iad": replica}, routes=routes), clock=clock) as shield:
        first, second = shield.get("/a"), shield.get("/a")

    assert (first.status, first.body, second.hit) == (200, b"there", True)
    assert (replica.fetches("/a"), origin.fetches("/a")) == (1, 1)


def test_an_absence_is_as_short_and_told_by_another_worker(clock: FakeClock, origin: FaultyOrigin) -> None:
    only = {"fra": {"provider": "http", "endpoint": origin.url, "holds": "part"}}

    with two(origin, clock, origins=only, freshness=HOUR) as workers:
        told = workers.asker.get(workers.path)
        assert "; detail=absent-in-part" in str(told.get("cache-status"))
        clock.advance(WEAK_SECONDS + 0.5)
        origin.serves(workers.path, b"there")
        assert workers.asker.get(workers.path).status == 200
