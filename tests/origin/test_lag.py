"""The lag of a replica, measured over real sockets: gauge, histogram, flag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shield.config.settings import Settings
from shield.observe.metrics import Metrics
from shield.rules.lag import MOST_SOUGHT
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of

LAG = 60.0


def settings(origin: FaultyOrigin, replica: FaultyOrigin, **changes: Any) -> Settings:
    """A near replica, which is asked first, and its primary."""
    given = settings_of({"fra": origin, "iad": replica}, routes={"default": {"origins": ["iad", "fra"]}})
    raw = given.model_dump(exclude_unset=True)
    raw["origins"]["iad"].update(max_lag=f"{LAG:.0f}s", **changes)
    return Settings.model_validate(raw)


@pytest.fixture
def lagged(clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin) -> Iterator[Shield]:
    with Shield(settings(origin, replica), clock=clock) as made:
        yield made


def looked(shield: Shield, clock: FakeClock, seconds: float = 60.0) -> None:
    """Time passes, and what is due is looked for."""
    clock.advance(seconds)
    shield.call(shield.node.tick)
    lag = shield.node.origins.lag
    shield.wait_for(lambda: lag._task is None or lag._task.done())
    shield.call(lambda: shield.node.origins.conductor.look(shield.node.origins._now()))


def figures(shield: Shield) -> dict[str, Any]:
    return dict(shield.state()["replication"]["iad"])


def metric(shield: Shield, name: str) -> list[str]:
    text = shield.call(lambda: Metrics(lambda: shield.node.report().families).render()).decode()
    return [line for line in text.splitlines() if line.startswith(f"shield_{name}") and not line.startswith("#")]


def flags(shield: Shield) -> tuple[str, ...]:
    return shield.call(lambda: shield.node.origins.get("iad").statistics().health.flags)


def test_an_object_that_a_replica_lacks_is_sought_until_it_has_come(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.answers("/a", b'HTTP/1.1 200 OK\r\netag: "v"\r\ncontent-length: 3\r\n\r\nnew')

    assert lagged.get("/a").body == b"new"
    looked(lagged, clock, 30.0)
    assert figures(lagged)["behind_seconds"] == 30.0
    assert metric(lagged, "origin_lag_seconds") == ['shield_origin_lag_seconds{origin="iad"} 30.0']
    assert "lagging" not in flags(lagged)

    replica.serves("/a", b"new", fields={"etag": '"v"'})
    looked(lagged, clock, 10.0)

    assert figures(lagged)["behind_seconds"] == 0.0 and figures(lagged)["sought"] == 0
    buckets = metric(lagged, "origin_replication_seconds")
    assert 'shield_origin_replication_seconds_bucket{le="30.0",origin="iad"} 0.0' in buckets
    assert 'shield_origin_replication_seconds_bucket{le="60.0",origin="iad"} 1.0' in buckets
    assert 'shield_origin_replication_seconds_bucket{le="+Inf",origin="iad"} 1.0' in buckets
    assert 'shield_origin_replication_seconds_sum{origin="iad"} 40.0' in buckets


def test_a_replica_that_lags_for_too_long_is_flagged_until_the_object_has_come(
    lagged: Shield,
    clock: FakeClock,
    origin: FaultyOrigin,
    replica: FaultyOrigin,
    caplog: pytest.LogCaptureFixture,
) -> None:
    origin.answers("/a", b'HTTP/1.1 200 OK\r\netag: "v"\r\ncontent-length: 3\r\n\r\nnew')
    lagged.get("/a")

    looked(lagged, clock, LAG + 1)

    assert "lagging" in flags(lagged)
    assert metric(lagged, "origin_flag{") and "lags: /a has been at the primary for 61 s" in caplog.text
    assert 'shield_origin_flag{flag="lagging",origin="iad"} 1.0' in metric(lagged, "origin_flag{")
    replica.serves("/a", b"new", fields={"etag": '"v"'})
    looked(lagged, clock, 61.0)
    assert "lagging" not in flags(lagged)
    assert "doesn't lag any more" in caplog.text


def test_an_object_that_the_primary_deletes_is_no_longer_sought(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin
) -> None:
    origin.serves("/a", b"new")
    lagged.get("/a")
    origin.absent("/a")

    looked(lagged, clock, LAG + 1)

    assert figures(lagged)["sought"] == 0 and figures(lagged)["behind_seconds"] == 0.0
    assert "lagging" not in flags(lagged)


def test_a_purged_object_is_sought_in_its_new_version(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    replica.serves("/a", b"old", lifetime=60, fields={"etag": '"v"'})
    lagged.get("/a")
    origin.answers("/a", b'HTTP/1.1 200 OK\r\netag: "w"\r\ncontent-length: 3\r\n\r\nnew')
    lagged.run(lagged.node.purge.targets([b"/a"]))

    assert lagged.get("/a").body == b"new"
    assert figures(lagged)["behind_seconds"] == 0.0  # nobody has looked
    looked(lagged, clock, 5.0)
    assert figures(lagged)["behind_seconds"] == 5.0
    replica.serves("/a", b"new", fields={"etag": '"w"'})
    looked(lagged, clock, 5.0)
    assert figures(lagged)["arrived"][3] == 1  # within ten seconds


def test_what_a_hot_tier_lacks_is_no_lag(clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin) -> None:
    origin.serves("/a", b"new")

    with Shield(settings(origin, replica, holds="part"), clock=clock) as shield:
        assert shield.get("/a").body == b"new"
        assert figures(shield)["sought"] == 0


def test_a_replica_that_fails_to_answer_says_nothing_of_its_lag(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.answers("/a", b'HTTP/1.1 200 OK\r\netag: "v"\r\ncontent-length: 3\r\n\r\nnew')
    lagged.get("/a")
    replica.fails("/a", "InternalError")

    looked(lagged, clock, 10.0)

    assert figures(lagged)["sought"] == 1


def test_a_replica_that_never_answered_isnt_known_to_lack_a_purged_object(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    for server in (origin, replica):
        server.serves("/a", b"new")
    lagged.get("/a")
    lagged.run(lagged.node.purge.targets([b"/a"]))
    assert lagged.get("/a").body == b"new"
    replica.fails("/a", "InternalError")

    for _ in range(3):
        looked(lagged, clock, LAG)

    assert figures(lagged)["sought"] == 1 and figures(lagged)["behind_seconds"] == 0.0
    assert "lagging" not in flags(lagged)


def test_an_origin_of_other_routes_is_no_copy_of_what_the_primary_sends(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", b"new")
    given = settings(origin, replica).model_dump(exclude_unset=True)
    given["routes"] = {
        "default": {"match": "/", "origins": ["fra"]},
        "thumbnails": {"match": "/thumbnails", "origins": ["iad"]},
    }

    with Shield(Settings.model_validate(given), clock=clock) as shield:
        shield.get("/a")
        shield.run(shield.node.purge.targets([b"/a"]))
        assert shield.get("/a").body == b"new"
        looked(shield, clock, 10.0)

        assert figures(shield)["sought"] == 0 and replica.requests == []


def test_a_replica_that_is_drained_isnt_asked(
    lagged: Shield, clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.serves("/a", b"new")
    lagged.get("/a")
    iad = lagged.node.origins.get("iad")
    lagged.call(lambda: iad.seen.drain.set(float("inf")))

    looked(lagged, clock, 10.0)
    assert len(replica.requests) == 1 and figures(lagged)["sought"] == 1
    lagged.call(lambda: iad.seen.drain.set(0.0))
    looked(lagged, clock, 0.0)  # the conductor learns of it
    looked(lagged, clock, 10.0)
    assert len(replica.requests) == 2


def test_only_so_many_objects_are_sought_at_a_time(lagged: Shield, origin: FaultyOrigin) -> None:
    for number in range(MOST_SOUGHT + 5):
        origin.serves(f"/{number}", b"new")
        lagged.get(f"/{number}")
        lagged.get(f"/{number}?again")

    assert figures(lagged)["sought"] == MOST_SOUGHT


def test_a_lagging_replica_is_asked_last_for_what_changed(
    clock: FakeClock, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    with FaultyOrigin(clock=clock) as third:
        given = settings_of(
            {"fra": origin, "iad": replica, "sgp": third}, routes={"default": {"origins": ["iad", "sgp", "fra"]}}
        )
        raw = given.model_dump(exclude_unset=True)
        raw["origins"]["iad"]["max_lag"] = f"{LAG:.0f}s"
        origin.answers("/a", b'HTTP/1.1 200 OK\r\netag: "v"\r\ncontent-length: 3\r\n\r\nnew')
        third.serves("/a", b"new", fields={"etag": '"v"'})
        third.absent("/a")
        for each in (replica, third):
            each.serves("/b", b"b")
        origin.fails("/b", "InternalError")

        with Shield(Settings.model_validate(raw), clock=clock) as shield:
            shield.get("/a")
            third.serves("/a", b"new", fields={"etag": '"v"'})
            looked(shield, clock, LAG + 1)
            shield.run(shield.node.purge.targets([b"/b"]))
            assert shield.get("/b").body == b"b"

    assert (replica.fetches("/b"), third.fetches("/b")) == (0, 1)
