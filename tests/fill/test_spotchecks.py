"""Fills whose object is compared with another origin's copy, at a node with real origins."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from shield.config.settings import Settings
from tests.doubles.faulty_origin import YEAR, FaultyOrigin
from tests.node import FakeClock, Shield

BYTES = b"the bytes of an object" * 100


@pytest.fixture
def other() -> Iterator[FaultyOrigin]:
    with FaultyOrigin() as started:
        yield started


def settings(first: FaultyOrigin, second: FaultyOrigin, **audit: Any) -> Settings:
    def origin(at: FaultyOrigin, **more: Any) -> dict[str, Any]:
        keys = {"access_key_id": "AK", "secret_key": "secret"}
        where = {"provider": "ceph", "endpoint": at.url, "region": "eu-central-1", "bucket": "images"}
        return {**where, **keys, **more}

    return Settings.model_validate(
        {
            "node": "test-1",
            "origins": {"iad": origin(first, max_lag="15min"), "fra": origin(second, role="primary")},
            "audit": {"share": 1.0, **audit},
        }
    )


def audited(shield: Shield) -> Any:
    return shield.state()["audit"]


def compared(shield: Shield, target: str) -> Any:
    """The state after a request and the comparison that follows it."""
    before = sum(sum(each.values()) for each in audited(shield)["results"].values())
    assert shield.get(target).status == 200

    def is_done() -> bool:
        found = shield.node.figures.spot_checks.statistics().results
        return sum(found.values()) > before

    shield.wait_for(is_done)
    return audited(shield)


def heads(origin: FaultyOrigin) -> int:
    return sum(each.method == "HEAD" for each in origin.requests)


def test_equal_copies_are_the_same_by_a_head(origin: FaultyOrigin, other: FaultyOrigin, clock: FakeClock) -> None:
    for each in (origin, other):
        each.serves("/images/a", BYTES, lifetime=60)
    with Shield(settings(origin, other), clock=clock) as shield:
        found = compared(shield, "/a")

    assert found["results"] == {"fra": {"same": 1}}
    assert heads(other) == 1


def test_a_replicas_wrong_copy_is_neither_kept_nor_asked_for_again(
    origin: FaultyOrigin, other: FaultyOrigin, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    origin.serves("/images/a", BYTES, lifetime=60)
    other.serves("/images/a", BYTES[::-1], lifetime=60)
    clock.now = time.time()  # its objects are a year old
    with caplog.at_level(logging.ERROR), Shield(settings(origin, other), clock=clock) as shield:
        found = compared(shield, "/a")
        assert found["results"] == {"iad": {"different": 1}} and found["quarantined"] == 1
        answer = shield.get("/a")

    assert answer.body == BYTES[::-1]  # the primary's
    assert origin.fetches("/images/a") == 1
    assert "origin iad: its copy of /a has other bytes than that of fra" in caplog.text


def test_a_wrong_copy_elsewhere_leaves_the_primarys_bytes(
    origin: FaultyOrigin, other: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/images/a", BYTES[::-1], lifetime=60)
    other.serves("/images/a", BYTES, lifetime=60)
    clock.now = time.time()  # its objects are a year old
    made = settings(origin, other)
    made = made.model_copy(
        update={"routes": {"default": made.routes["default"].model_copy(update={"choose": "primary-first"})}}
    )
    with Shield(made, clock=clock) as shield:
        found = compared(shield, "/a")
        answer = shield.get("/a")

    assert found["results"] == {"iad": {"different": 1}}
    assert (answer.body, other.fetches("/images/a")) == (BYTES, 1)
    assert b"hit" in (answer.get("cache-status") or "").encode()


def test_a_copy_that_is_being_replicated_is_late_and_not_wrong(
    origin: FaultyOrigin, other: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/images/a", BYTES, lifetime=60)
    other.serves("/images/a", BYTES[::-1], lifetime=60)
    clock.now = time.time() - YEAR + 60.0
    with Shield(settings(origin, other), clock=clock) as shield:
        found = compared(shield, "/a")

    assert found["results"] == {"fra": {"lagging": 1}} and found["quarantined"] == 0


def test_an_absent_copy_is_counted(origin: FaultyOrigin, other: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/images/a", BYTES, lifetime=60)
    clock.now = time.time()  # its objects are a year old
    with Shield(settings(origin, other), clock=clock) as shield:
        found = compared(shield, "/a")

    assert found["results"] == {"fra": {"absent": 1}}


def test_without_a_share_nothing_is_compared(origin: FaultyOrigin, other: FaultyOrigin, clock: FakeClock) -> None:
    for each in (origin, other):
        each.serves("/images/a", BYTES, lifetime=60)
    with Shield(settings(origin, other, share=0.0), clock=clock) as shield:
        shield.get("/a")

    assert other.requests == []
