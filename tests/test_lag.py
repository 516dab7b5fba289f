"""Replicas that lag behind their primary, seen by clients: over real sockets on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shield.config.settings import Settings
from shield.rules.absence import WEAK_SECONDS
from shield.rules.changes import ChangeKind
from shield.rules.health import HealthRecord, HealthState
from shield.rules.purging import MarkKind
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
        assert origin.fetches(workers.path) == 1
        clock.advance(WEAK_SECONDS + 0.5)
        origin.serves(workers.path, b"there")
        assert workers.asker.get(workers.path).status == 200


# keys that were purged

LAG = 300


def lagging(origin: FaultyOrigin, replica: FaultyOrigin, **changes: Any) -> Settings:
    """A near replica, which is asked first, and its primary."""
    given = settings_of({"fra": origin, "iad": replica}, routes={"default": {"origins": ["iad", "fra"]}}, **changes)
    raw = given.model_dump(exclude_unset=True)
    raw["origins"]["iad"]["max_lag"] = f"{LAG}s"
    return Settings.model_validate(raw)


def purge(shield: Shield, *targets: bytes) -> None:
    shield.run(shield.node.purge.targets(targets))


@pytest.fixture
def lagged(clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin) -> Iterator[Shield]:
    """A node whose replica comes first."""
    with Shield(lagging(origin, replica), clock=clock) as made:
        yield made


def test_a_purged_key_is_fetched_from_the_primary_for_as_long_as_replicas_may_lag(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"old", lifetime=3600)
    assert lagged.get("/a").body == b"old"
    origin.serves("/a", b"new", lifetime=3600)

    purge(lagged, b"/a")

    assert lagged.get("/a").body == b"new"
    assert lagged.get("/a").hit
    assert (origin.fetches("/a"), replica.fetches("/a")) == (1, 1)
    replica.serves("/a", b"new", lifetime=3600)
    clock.advance(3600 + 60)
    assert lagged.get("/a").body == b"new"
    assert (origin.fetches("/a"), replica.fetches("/a")) == (1, 2)


def test_old_bytes_of_a_replica_are_kept_for_seconds_after_a_purge(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"old", lifetime=3600, grace=600)
    lagged.get("/a")
    origin.fails("/a", "InternalError", times=3)
    purge(lagged, b"/a")

    told = lagged.get("/a")
    again = lagged.get("/a")
    origin.recovers("/a")
    origin.serves("/a", b"new", lifetime=3600)
    clock.advance(WEAK_SECONDS + 0.5)
    after = lagged.get("/a")

    assert (told.body, told.get("cache-control")) == (b"old", f"max-age={WEAK_SECONDS:.0f}")
    assert "; detail=may-lag" in str(told.get("cache-status"))
    assert again.hit
    assert (after.body, after.get("cache-control")) == (b"new", "max-age=3600")


def test_other_bytes_of_a_replica_than_those_purged_are_kept_for_their_lifetime(
    lagged: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"old", lifetime=3600)
    lagged.get("/a")
    replica.serves("/a", b"new", lifetime=3600)
    origin.fails("/a", "InternalError")
    purge(lagged, b"/a")

    told = lagged.get("/a")

    assert (told.body, told.get("cache-control")) == (b"new", "max-age=3600")


@pytest.mark.parametrize("control", ["no-store", "private", "max-age=60, no-cache"])
def test_what_an_origin_forbids_stays_forbidden(
    lagged: Shield, origin: FaultyOrigin, replica: FaultyOrigin, control: str
) -> None:
    origin.fails("/a", "InternalError")
    replica.serves("/a", b"old", fields={"cache-control": control})
    purge(lagged, b"/a")

    assert lagged.get("/a").get("cache-control") == control


@pytest.mark.parametrize("prefix", [b"/images/", b":/images/", b"/"])
def test_keys_under_a_purged_prefix_are_fetched_from_the_primary(
    lagged: Shield, origin: FaultyOrigin, replica: FaultyOrigin, prefix: bytes
) -> None:
    for each in (origin, replica):
        for path in ("/images/a", "/other"):
            each.serves(path, b"x", lifetime=3600)

    lagged.run(lagged.node.purge.prefix((prefix,)))

    lagged.get("/images/a")
    lagged.get("/other")
    assert (origin.fetches("/images/a"), replica.fetches("/images/a")) == (1, 0)
    assert replica.fetches("/other") == (prefix != b"/")


@pytest.mark.parametrize("mark", [(MarkKind.TAG, (b"red",)), (MarkKind.GLOB, (b"/im*/a",))], ids=["tag", "pattern"])
@pytest.mark.parametrize("is_swept", [False, True], ids=["looked up", "swept"])
def test_what_fell_under_a_purge_by_tag_or_pattern_is_fetched_from_the_primary(
    lagged: Shield,
    origin: FaultyOrigin,
    replica: FaultyOrigin,
    mark: tuple[MarkKind, tuple[bytes, ...]],
    is_swept: bool,
) -> None:
    for each in (origin, replica):
        for path, tag in (("/images/a", "red"), ("/other", "blue")):
            each.serves(path, b"old", lifetime=3600, fields={"cache-tag": tag})
    for path in ("/images/a", "/other"):
        lagged.get(path)
    origin.serves("/images/a", b"new", lifetime=3600, fields={"cache-tag": "red"})

    lagged.run(lagged.node.purge.mark(*mark))
    if is_swept:
        lagged.call(lagged.node.tick)
        lagged.wait_for(lambda: lagged.node.store.memory_swept == lagged.node.store.marks.newest)

    assert lagged.get("/images/a").body == b"new"
    assert lagged.get("/other").hit
    assert (origin.fetches("/images/a"), replica.fetches("/images/a")) == (1, 1)


def test_operators_lifetimes_hold_for_seconds_too(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    replica.serves("/a", b"old", lifetime=60)
    origin.fails("/a", "InternalError")

    with Shield(lagging(origin, replica, freshness={"forced_lifetime": "1h"}), clock=clock) as shield:
        purge(shield, b"/a")
        shield.get("/a")
        clock.advance(WEAK_SECONDS + 0.5)
        assert not shield.get("/a").hit


def test_a_304_of_a_replica_freshens_for_seconds_only(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    replica.serves("/a", b"old", lifetime=10, grace=0)
    lagged.get("/a")
    clock.advance(11)
    lagged.call(lambda: lagged.node.purge.note(ChangeKind.CHANGED, lagged.node.in_force.regime.routes.keys(b"/a")))
    origin.fails("/a", "InternalError")

    told = lagged.get("/a")
    clock.advance(WEAK_SECONDS + 0.5)

    assert told.body == b"old"
    assert "fwd-status=304" in str(told.get("cache-status"))
    assert not lagged.get("/a").hit


# takedowns


def take_down(shield: Shield, *targets: bytes) -> tuple[int, bool]:
    return shield.run(shield.node.purge.take_down(targets))


def test_an_object_that_was_taken_down_comes_back_from_the_primary_alone(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for each in (origin, replica):
        each.serves("/a", b"bad", lifetime=3600)
    lagged.get("/a")
    origin.absent("/a")

    assert take_down(lagged, b"/a") == (1, False)

    assert lagged.get("/a").status == 404
    clock.advance(100 * LAG)  # replication seldom carries deletes
    lagged.sweep()
    lagged.call(lagged.node.tick)
    assert lagged.get("/a").status == 404
    origin.fails("/a", "InternalError", times=2)
    clock.advance(100)
    assert lagged.get("/a").status == 503  # not a replica's either
    origin.serves("/a", b"good", lifetime=3600)
    assert lagged.get("/a").body == b"good"
    assert replica.fetches("/a") == 1


def test_an_object_that_was_taken_down_is_served_by_replicas_once_that_is_lifted(
    lagged: Shield, replica: FaultyOrigin
) -> None:
    replica.serves("/a", b"good", lifetime=3600)
    take_down(lagged, b"/a")
    assert lagged.get("/a").status == 404

    assert lagged.run(lagged.node.purge.lift([b"/a", b"/b"])) == 1

    assert lagged.get("/a").body == b"good"


def test_a_route_without_the_primary_asks_it_for_what_was_taken_down(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    replica.serves("/a", b"bad", lifetime=3600)

    with Shield(
        settings_of({"fra": origin, "iad": replica}, routes={"default": {"origins": ["iad"]}}), clock=clock
    ) as shield:
        take_down(shield, b"/a")
        assert shield.get("/a").status == 404

    assert (origin.fetches("/a"), replica.fetches("/a")) == (1, 0)


def test_without_a_primary_all_origins_must_have_it(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origins = {name: {"provider": "http", "endpoint": each.url} for name, each in (("fra", origin), ("iad", replica))}
    origin.serves("/a", b"bad", lifetime=3600)

    with Shield(settings_of({}, origins=origins), clock=clock) as shield:
        take_down(shield, b"/a")
        assert shield.get("/a").status == 404
        replica.serves("/a", b"good", lifetime=3600)
        clock.advance(11)
        assert shield.get("/a").status == 200


def test_copies_in_other_workers_live_as_long_as_the_owners_whose_doubts_they_share(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    settings = lagging(origin, replica).model_dump(exclude_unset=True)

    with two(origin, clock, origins=settings["origins"], routes=settings["routes"]) as workers:
        for each in (origin, replica):
            each.serves(workers.path, b"old", lifetime=3600)

        def is_kept_after_a_purge() -> bool:
            """By the worker that asks the owner."""
            owner, asker, prefix = workers.owner, workers.asker, (workers.path.encode(),)
            owner.run(owner.node.purge.prefix(prefix))
            for worker in (owner, asker):
                worker.get(workers.path)
            asked = asker.node.owners.statistics().asked
            clock.advance(WEAK_SECONDS + 1)
            asker.get(workers.path)
            return asker.node.owners.statistics().asked == asked

        of_the_primary = is_kept_after_a_purge()
        origin.fails(workers.path, "InternalError")
        of_the_replica = is_kept_after_a_purge()

    assert of_the_primary and not of_the_replica


def test_workers_share_what_was_purged_and_taken_down(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    settings = lagging(origin, replica).model_dump(exclude_unset=True)

    with two(origin, clock, origins=settings["origins"], routes=settings["routes"]) as workers:
        for each in (origin, replica):
            each.serves(workers.path, b"old", lifetime=3600)
        assert workers.asker.get(workers.path).body == b"old"
        origin.serves(workers.path, b"new", lifetime=3600)
        purge(workers.owner, workers.path.encode())
        assert [each.get(workers.path).body for each in (workers.asker, workers.owner)] == [b"new", b"new"]

        origin.absent(workers.path)
        take_down(workers.asker, workers.path.encode())
        assert [each.get(workers.path).status for each in (workers.asker, workers.owner)] == [404, 404]
