"""A whole node that passes purges on to a CDN: receipts, the log, state and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shield.cdn.passing import HOLD_SECONDS
from shield.shared import Seat
from tests.admin.calls import ask
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.receiver import Receiver
from tests.node import FakeClock, Shield, settings_of
from tests.purging import order


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture
def node(origin: FaultyOrigin, receiver: Receiver, clock: FakeClock, tmp_path: Path) -> Iterator[Shield]:
    edge = {
        "provider": "fastly",
        "service": "s1",
        "token": "hunter2-hunter2",
        "base_url": "https://images.example",
        "api": receiver.place,
        "again": "0s",
    }
    settings = settings_of({"fra": origin}, purge={"edges": {"images": edge}})
    with Shield(settings, clock=clock, place=Seat(state=tmp_path)) as shield:
        yield shield


def test_a_purge_goes_on_to_the_cdn_after_its_answer(node: Shield, receiver: Receiver) -> None:
    receipt = order(node, id="job-1", paths=["/a"], prefixes=["/b/"], soft=True)
    said = "1 prefix not passed on: Fastly has none: purge by tag, or all"
    assert receipt["edge"] == {"images": {"state": "queued", "notes": [said]}}

    node.call(node.node.figures.edges.tick)
    (got,) = receiver.wait_for(1)

    assert (got.path, got.fields["fastly-soft-purge"]) == ("/purge/images.example/a", "1")
    while ask(node, "GET", "/purges").json()["purges"][0]["edge"]["images"]["state"] != "done":
        pass
    state = node.call(node.node.figures.state)
    assert state["edges"]["images"]["sent"] == 1  # type: ignore[index]
    assert 'shield_edge_purges_total{edge="images",result="sent"' in ask(node, "GET", "/metrics").text


def test_a_refused_order_and_a_trial_stay_here(node: Shield, receiver: Receiver, clock: FakeClock) -> None:
    assert ask(node, "POST", "/purge", json={"paths": ["/%zz"], "id": "job-1"}).status_code == 400
    assert ask(node, "POST", "/purge", json={"paths": ["/a"], "dry_run": True}).status_code == 200
    assert ask(node, "POST", "/store/remove", json={"paths": ["/b"]}).status_code == 200

    clock.advance(HOLD_SECONDS)
    node.call(node.node.figures.edges.tick)

    assert [each.path for each in receiver.wait_for(1)] == ["/purge/images.example/b"]


def test_what_came_from_a_corrupt_origin_is_purged_at_the_cdn_as_far_as_it_was_stored(
    origin: FaultyOrigin, receiver: Receiver, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edge = {
        "provider": "cloudflare",
        "zone": "z1",
        "token": "hunter2-hunter2",
        "base_url": "https://images.example",
        "api": receiver.place,
        "again": "0s",
        "corrupt_urls": 2,
    }
    route = {"match": "/images", "strip": "/images", "add": "/abc", "origins": ["fra"]}
    settings = settings_of({"fra": origin}, purge={"edges": {"images": edge}}, routes={"default": route})
    with Shield(settings, clock=clock, place=Seat(state=tmp_path)) as node:
        for name in ("a", "b", "c", "d"):
            origin.serves(f"/abc/{name}", b"wrong", lifetime=600)
        node.get("/images/a")
        clock.advance(60.0)
        for name in ("b", "c"):
            assert node.get(f"/images/{name}").status == 200
        node.wait_for(lambda: node.node.origins.conducts)

        def turns() -> None:
            node.call(node.node.purge.tick)
            node.wait_for(lambda: not node.node.purge._upkeep._sweeping)
            for service in node.node.services._services:
                if service.name in ("doubtful objects at CDNs", "purges at CDNs"):
                    node.call(service.tick)

        assert node.run(node.node.purge_orders.distrust("fra", clock() - 30.0, "corrupt-fra-1"))
        while not receiver.got:
            turns()

        (got,) = receiver.got
        assert sorted(got.said["files"]) == ["https://images.example/images/b", "https://images.example/images/c"]
        assert "purge everything there" not in caplog.text
