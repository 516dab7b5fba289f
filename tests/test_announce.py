"""Objects that are announced as new, changed or deleted, seen by clients: over real sockets on both sides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shield.announce import MOST_PREFETCHED
from shield.config.settings import Settings
from shield.rules.absence import WEAK_SECONDS
from tests.admin.calls import ask
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield, settings_of
from tests.origin.test_origins import s3
from tests.peers.pair import two


def nearest(origin: FaultyOrigin, replica: FaultyOrigin, **changes: Any) -> Settings:
    """A near replica, which is asked first, and its primary."""
    routes = {"default": {"origins": ["iad", "fra"]}}
    return settings_of({"fra": origin, "iad": replica}, **{"routes": routes, **changes})


def announce(shield: Shield, wish: object) -> Any:
    """By the admin API."""
    answer = ask(shield, "POST", "/announce", json=wish)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def lagged(clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin) -> Iterator[Shield]:
    with Shield(nearest(origin, replica, freshness={"negative_lifetime": "1h"}), clock=clock) as made:
        yield made


def test_an_upload_that_is_announced_is_served_at_once(
    lagged: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    assert lagged.get("/a").status == 404
    origin.serves("/a", b"new", lifetime=60)
    assert lagged.get("/a").hit  # its absence

    said = announce(lagged, {"new": ["https://cdn.example/a"]})

    assert said == {"announced": 1, "removed": 0, "prefetched": 0, "ignored": 0}
    assert (lagged.get("/a").body, lagged.get("/a").hit) == (b"new", True)
    assert replica.fetches("/a") == 1  # before the announcement


def test_an_object_that_is_announced_but_not_there_yet_is_absent_for_seconds(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin
) -> None:
    announce(lagged, {"new": ["/a"]})

    assert "; detail=announced" in str(lagged.get("/a").get("cache-status"))
    origin.serves("/a", b"new")
    clock.advance(WEAK_SECONDS + 0.5)
    assert lagged.get("/a").body == b"new"


def test_a_changed_object_is_stale_at_once_and_its_grace_holds(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"old", lifetime=3600, grace=60)
    lagged.get("/a")
    origin.serves("/a", b"new", lifetime=3600, grace=60)

    announce(lagged, {"changed": "/a"})

    stale = lagged.get("/a")
    assert (stale.body, stale.hit) == (b"old", True)
    assert "; ttl=-1" in str(stale.get("cache-status"))
    assert int(str(stale.get("age"))) > 3600  # a cache behind us must not keep it
    lagged.wait_for(lambda: not lagged.node.state()["fills"]["in_flight"])  # type: ignore[index]
    assert lagged.get("/a").body == b"new"
    assert (origin.fetches("/a"), replica.fetches("/a")) == (1, 1)


def test_a_changed_object_without_grace_is_fetched_anew(
    lagged: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    replica.serves("/a", b"old", lifetime=3600, grace=0)
    origin.serves("/a", b"new", lifetime=3600, grace=0)
    lagged.get("/a")

    announce(lagged, {"changed": ["/a"]})

    assert lagged.get("/a").body == b"new"


def test_a_deleted_object_is_gone_though_a_replica_still_has_it(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"old", lifetime=3600)
    lagged.get("/a")
    origin.absent("/a")

    said = announce(lagged, {"deleted": ["/a"]})

    assert said["removed"] == 1
    assert lagged.get("/a").status == 404
    assert replica.fetches("/a") == 1


def test_a_deleted_object_is_served_from_a_replica_for_seconds_while_the_primary_is_down(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    replica.serves("/a", b"old", lifetime=3600)
    origin.fails("/a", "InternalError")
    announce(lagged, {"deleted": ["/a"]})

    told = lagged.get("/a")

    assert (told.body, told.get("cache-control")) == (b"old", f"max-age={WEAK_SECONDS:.0f}")


def test_objects_are_fetched_before_anybody_asks_if_that_is_wanted(
    lagged: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    paths = [f"/{number}" for number in range(MOST_PREFETCHED + 10)]
    for path in paths:
        origin.serves(path, b"new", lifetime=60)

    said = announce(lagged, {"new": paths, "deleted": ["/gone"], "prefetch": True})

    assert said["prefetched"] == MOST_PREFETCHED
    lagged.wait_for(lambda: not lagged.node.state()["fills"]["in_flight"])  # type: ignore[index]
    assert lagged.get("/0").hit
    assert not lagged.get(paths[-1]).hit
    assert replica.requests == []


def test_events_of_the_primarys_bucket_count_and_those_of_copies_dont(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origins = s3(origin, replica)
    origins["b"] = {**origins["b"], "bucket": "copies"}  # type: ignore[dict-item]
    routes = {"v1": {"match": "/v1", "strip": "/v1", "add": "/x", "origins": ["b", "a"]}}
    for each, bucket in ((origin, "images"), (replica, "copies")):
        each.serves(f"/{bucket}/x/a b", b"old", lifetime=60, grace=0)

    def event(bucket: str, name: str = "ObjectCreated:Put") -> object:
        return {"Records": [{"eventName": name, "s3": {"bucket": {"name": bucket}, "object": {"key": "x/a+b"}}}]}

    with Shield(settings_of({}, origins=origins, routes=routes), clock=clock) as shield:
        assert shield.get("/v1/a%20b").body == b"old"
        origin.serves("/images/x/a b", b"new", lifetime=60, grace=0)
        assert announce(shield, event("copies"))["ignored"] == 1
        assert shield.get("/v1/a%20b").body == b"old"
        assert announce(shield, {"Type": "Notification", "Message": json.dumps(event("images"))})["announced"] == 1
        assert shield.get("/v1/a%20b").body == b"new"
        assert announce(shield, event("images", "ObjectRemoved:Delete"))["removed"] == 1


def test_workers_learn_of_each_others_announcements(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    settings = nearest(origin, replica).model_dump(exclude_unset=True)

    with two(origin, clock, origins=settings["origins"], routes=settings["routes"]) as workers:
        for each in (origin, replica):
            each.serves(workers.path, b"old", lifetime=3600, grace=0)
        assert [each.get(workers.path).body for each in (workers.asker, workers.owner)] == [b"old", b"old"]
        origin.serves(workers.path, b"new", lifetime=3600, grace=0)

        announce(workers.asker, {"changed": [workers.path]})

        assert [each.get(workers.path).body for each in (workers.owner, workers.asker)] == [b"new", b"new"]


def disk(path: Path, **changes: Any) -> dict[str, Any]:
    tier = {"name": "nvme", "directories": [{"path": str(path / "d"), "capacity": "64MiB", "free_floor": "0B"}]}
    return {"tiers": [tier], "slice_bytes": "64KiB", **changes}


@pytest.mark.parametrize("size", [10, 300_000])
def test_an_entry_on_disk_becomes_stale_for_good(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin, tmp_path: Path, size: int
) -> None:
    settings = nearest(origin, replica, cache=disk(tmp_path, memory={"capacity": "0B"}))
    for each in (origin, replica):
        each.serves("/a", b"o" * size, lifetime=3600, grace=600)
    with Shield(settings, clock=clock) as shield:
        shield.get("/a")
    with Shield(settings, clock=clock) as shield:
        assert shield.get("/a").hit
        announce(shield, {"changed": ["/a"]})

    origin.fails("/a", "InternalError")
    replica.fails("/a", "InternalError")
    with Shield(settings, clock=clock) as shield:
        stale = shield.get("/a")
        assert (stale.body, stale.hit) == (b"o" * size, True)
        assert "; ttl=-1" in str(stale.get("cache-status"))


def test_a_fill_under_way_isnt_stored_once_its_object_has_changed(
    lagged: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", b"new", lifetime=60)
    replica.serves("/a", b"old!", lifetime=60)
    gate = replica.gate()
    replica.spoils("/a", at_body(2, Wait(gate)), times=1)

    with lagged.client() as client:
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        gate.reached()
        announce(lagged, {"changed": ["/a"]})
        assert lagged.get("/a").body == b"new"
        gate.open()
        assert client.read().body == b"old!"

    assert lagged.get("/a").body == b"new"


def test_a_revalidation_under_way_isnt_stored_once_its_object_has_changed(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    replica.serves("/a", b"oldest", lifetime=10, grace=0)
    lagged.get("/a")
    clock.advance(20)
    replica.serves("/a", b"old!", lifetime=60)
    origin.serves("/a", b"new", lifetime=60)
    gate = replica.gate()
    replica.spoils("/a", at_body(2, Wait(gate)), times=1)

    with lagged.client() as client:
        client.send(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n")
        gate.reached()
        announce(lagged, {"changed": ["/a"]})
        gate.open()
        assert client.read().body == b"old!"

    assert lagged.get("/a").body == b"new"
