"""Orders that are only tried: what they would purge on disk and in RAM, and what fetching that again would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shield.config.settings import Settings
from shield.purge_forecast import PurgeForecaster
from shield.rules.purge_orders import PurgeOrder
from tests.admin.calls import ask
from tests.disks import SLICE, settled, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.node import FakeClock, Shield
from tests.purging import order, refusal

KIB = 1024


def forecast(shield: Shield, **said: Any) -> dict[str, Any]:
    return order(shield, **said, dry_run=True)


@pytest.fixture
def settings(origin: FaultyOrigin, tmp_path: Path) -> Settings:
    made = with_disk(origin, tmp_path / "disk", memory="64MiB")
    plain = made.model_dump(exclude_unset=True, mode="python")
    plain["origins"]["fra"]["price"] = {"egress": 1000.0, "requests": 1.0, "currency": "EUR"}
    return Settings.model_validate(plain)


def fills(shield: Shield, origin: FaultyOrigin) -> None:
    """Ten small objects of 10 KiB, of which the even ones have a tag, and one of four slices."""
    for number in range(10):
        fields = {"surrogate-key": "even all"} if number % 2 == 0 else None
        origin.serves(f"/small/{number}", bytes(10 * KIB), lifetime=60, fields=fields)
        shield.get(f"/small/{number}")
    origin.serves("/large", Pattern(4 * SLICE), lifetime=60, fields={"surrogate-key": "big"})
    shield.get("/large")
    settled(shield)


@pytest.mark.parametrize(
    ("said", "entries", "size"),
    [
        ({"prefixes": ["/small/"]}, 10, 100 * KIB),
        ({"tags": ["even"]}, 5, 50 * KIB),
        ({"tags": ["big", "none"]}, 1, 4 * SLICE),
        ({"globs": ["*/3", "/l*ge"]}, 2, 4 * SLICE + 10 * KIB),
        ({"all": True}, 11, 100 * KIB + 4 * SLICE),
        ({"paths": ["/small/1", "/small/77", "/large"]}, 2, 10 * KIB + 4 * SLICE),
        ({"paths": ["/small/1"], "tags": ["even"]}, 6, 60 * KIB),
        ({"tags": ["none"]}, 0, 0),
    ],
)
def test_entries_on_disk_are_counted_and_stay(
    settings: Settings, clock: FakeClock, origin: FaultyOrigin, said: dict[str, Any], entries: int, size: int
) -> None:
    with Shield(settings, clock=clock) as shield:
        fills(shield, origin)

        found = forecast(shield, **said)

        assert (found["entries"], found["bytes"]) == (entries, size)
        assert found["disk"] == {"entries": entries, "bytes": size, "estimated": False, "scanned": 1.0}
        assert found["memory_alone"] == {"entries": 0, "bytes": 0, "workers": 1, "of_workers": 1}
        if entries:
            assert found["origins"]["fra"] | {"limit": 0, "seconds": 0.0} == {
                "requests": entries,
                "bytes": size,
                "money": pytest.approx(size / 1e6 + entries / 1000.0),
                "currency": "EUR",
                "limit": 0,
                "seconds": 0.0,
            }
        else:
            assert (found["origins"], len(found["advice"])) == ({}, 1)
        assert shield.get("/small/1").hit
        assert ask(shield, "GET", "/purges").json() == {"purges": []}


def test_entries_that_only_ram_has_are_counted(shield: Shield, origin: FaultyOrigin) -> None:
    for path in ("/a", "/b", "/c"):
        origin.serves(path, bytes(100), lifetime=60)
        shield.get(path)

    found = forecast(shield, globs=["/*"], soft=True)

    assert (found["memory_alone"]["entries"], found["memory_alone"]["bytes"], found["advice"]) == (3, 300, [])
    assert forecast(shield, paths=["/a"])["entries"] == 1


def test_without_time_the_rest_is_estimated(settings: Settings, clock: FakeClock, origin: FaultyOrigin) -> None:
    with Shield(settings, clock=clock) as shield:
        fills(shield, origin)
        node = shield.node
        hasty = PurgeForecaster(node.in_force, node.store, node.origins, workers=1, seconds=0.0)

        found = shield.run(hasty.forecast(PurgeOrder("x", everything=True)))

        assert found.scanned < 0.01
        assert found.on_disk.entries == 0
        assert found.shown()["disk"]["estimated"]


def test_what_was_purged_before_isnt_counted_again(
    settings: Settings, clock: FakeClock, origin: FaultyOrigin
) -> None:
    with Shield(settings, clock=clock) as shield:
        fills(shield, origin)
        order(shield, tags=["even"])
        order(shield, prefixes=["/large"], soft=True)

        found = [forecast(shield, all=True), forecast(shield, paths=["/small/0", "/small/1"])]

    assert [each["entries"] for each in found] == [6, 1]


def test_a_dry_run_is_refused_as_the_order_would_be(shield: Shield) -> None:
    assert "bad-escape" in refusal(shield, 400, paths=["/%zz"], dry_run=True)
    assert "takedown" in refusal(shield, 400, all=True, takedown=True, dry_run=True)


def test_tags_are_read_from_metadata_of_the_storage_that_clients_never_see(
    clock: FakeClock, origin: FaultyOrigin, tmp_path: Path
) -> None:
    storage = {"provider": "minio", "endpoint": origin.url, "bucket": "images"}
    keys = {"access_key_id": "AKEXAMPLE", "secret_key": "secretexample"}
    settings = with_disk(origin, tmp_path / "disk", memory="1MiB").model_dump(exclude_unset=True)
    settings["origins"] = {"fra": {**storage, **keys}}
    settings["freshness"] = {"tags": ["x-amz-meta-tags", "surrogate-key"]}
    origin.serves("/images/a", b"x", lifetime=60, fields={"x-amz-meta-tags": "cat, dog", "x-amz-meta-other": "1"})
    with Shield(Settings.model_validate(settings), clock=clock) as shield:
        answer = shield.get("/a")
        settled(shield)

        assert (answer.status, answer.get("x-amz-meta-tags"), answer.get("x-amz-meta-other")) == (200, None, None)
        assert [forecast(shield, tags=[tag])["entries"] for tag in ("cat", "dog", "cat, dog")] == [1, 1, 0]
