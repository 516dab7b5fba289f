"""`/suspects` of the admin API, on real requests: what mechanisms of bill shock look like from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.admin.calls import ask
from tests.disks import with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two

ROUTES = {"default": {"match": "/", "query": {"allow": ["w"]}}}
MIB = 1 << 20


def seen(shield: Shield) -> dict[str, Any]:
    answer: dict[str, Any] = ask(shield, "GET", "/suspects").json()
    return answer


def suspects(shield: Shield) -> list[tuple[str, str]]:
    return [(each["kind"], each["name"]) for each in seen(shield)["suspects"]]


def test_queries_that_make_each_request_a_key_are_named(origin: FaultyOrigin, clock: FakeClock) -> None:
    with Shield(settings_of({"fra": origin}, routes=ROUTES), clock=clock) as shield, shield.client() as client:
        origin.serves("/a", bytes(100), lifetime=60)
        for number in range(120):
            assert client.ask(f"/a?w={number}&other={number}").status == 200

        assert suspects(shield) == [("query-flood", ":/a")]
        assert seen(shield)["missed"]["queries"] == seen(shield)["missed"]["missed"] == 120.0


def test_tiny_ranges_for_which_slices_are_fetched_are_named(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    origin.serves("/large", bytes(24 * MIB), lifetime=600)
    with Shield(with_disk(origin, tmp_path / "d", slice_bytes="3MiB"), clock=clock) as shield:
        for start in range(0, 24 * MIB, 3 * MIB):
            for offset in (0, MIB):  # the second touch of a slice fetches it
                assert shield.get("/large", [("range", f"bytes={start + offset}-{start + offset}")]).status == 206

        [suspect] = seen(shield)["suspects"]
        assert (suspect["kind"], suspect["name"]) == ("range-amplification", ":/large")
        assert suspect["bytes"] > 20e6 and "for 16 B sent, in 16 requests for ranges" in suspect["text"]


def test_all_workers_are_asked(origin: FaultyOrigin, clock: FakeClock) -> None:
    with two(origin, clock=clock, routes=ROUTES) as pair:
        origin.serves("/a", bytes(100), lifetime=60)
        for number in range(120):
            (pair.asker, pair.owner)[number % 2].get(f"/a?w={number}")

        assert suspects(pair.asker) == suspects(pair.owner) == [("query-flood", ":/a")]
