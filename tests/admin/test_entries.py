"""`/entries` of the admin API: what the node has under a URL, in all workers' RAM and on disks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shield.admin.entries import entry_routes
from shield.rules.key import CacheKey
from shield.rules.purging import MarkKind
from shield.store.fifo import uses_of
from tests.admin.calls import ask
from tests.disks import settled, with_disk
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two


def entries(shield: Shield, url: str) -> tuple[int, Any]:
    answer = ask(shield, "GET", "/entries", params={"url": url})
    return answer.status_code, answer.json()


def test_an_entry_in_ram_is_shown_with_its_times_and_tags(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.serves("/a", b"hello", lifetime=60, fields={"surrogate-key": "x y"})
    shield.get("/a")
    clock.advance(70)

    status, said = entries(shield, "https://cdn.example/a")

    assert (status, said["route"], said["vary"]) == (200, "default", [])
    (entry,) = said["entries"]
    assert (entry["tier"], entry["worker"], entry["directory"]) == ("memory", 0, None)
    assert (entry["status"], entry["bytes"], entry["origin"]) == (200, 5, "fra")
    assert (entry["age"], entry["ttl"]) == (70.0, -10.0)
    assert entry["tags"] == ["x", "y"]
    assert entry["key"] == said["key"]


def test_looking_counts_as_no_use_and_what_isnt_there_is_nothing(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"hello", lifetime=60)
    shield.get("/a")
    text = entries(shield, "/a")[1]["key"].encode()
    entry, _ = shield.node.store.shown(text)
    assert entry is not None and entry.packed is not None
    before = uses_of(entry.packed)

    entries(shield, "/a")

    assert uses_of(entry.packed) == before
    assert entries(shield, "/none")[1]["entries"] == []


def test_what_no_client_could_request_is_refused(shield: Shield) -> None:
    assert entries(shield, "")[0] == 400
    assert entries(shield, "/%00")[0] == 400
    assert entries(shield, "http://[")[0] == 400


def test_variants_are_shown_with_the_fields_that_they_differ_by(clock: FakeClock, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"hello", lifetime=60, fields={"vary": "accept"})
    routes = {"default": {"match": "/", "forward_request_headers": ["accept"]}}
    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield:
        for accepted in ("image/webp", "image/avif"):
            shield.get("/a", [("accept", accepted)])
        said = entries(shield, "/a")[1]

    assert said["vary"] == ["accept"]
    assert len(said["entries"]) == 2 and len({each["key"] for each in said["entries"]}) == 2


def test_a_disk_is_shown_and_a_purged_entry_isnt(clock: FakeClock, origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.serves("/a", b"hello", lifetime=60)
    with Shield(with_disk(origin, tmp_path / "nvme", memory="16MiB", admission="all"), clock=clock) as shield:
        shield.get("/a")
        settled(shield)
        tiers = {each["tier"]: each for each in entries(shield, "/a")[1]["entries"]}
        shield.run(shield.node.purge.targets([b"/a"]))
        after = entries(shield, "/a")[1]["entries"]

    assert {"memory", "nvme"} <= tiers.keys()
    assert (tiers["nvme"]["directory"], tiers["nvme"]["worker"]) == (str(tmp_path / "nvme"), None)
    assert (tiers["nvme"]["bytes"], tiers["nvme"]["ttl"], tiers["nvme"]["origin"]) == (5, 60.0, "fra")
    assert after == []


@pytest.mark.parametrize("soft", [False, True])
def test_an_entry_that_a_purge_has_marked_is_shown_as_it_would_be_served(
    clock: FakeClock, origin: FaultyOrigin, tmp_path: Path, soft: bool
) -> None:
    origin.serves("/a", b"hello", lifetime=60, fields={"surrogate-key": "x"})
    with Shield(with_disk(origin, tmp_path / "nvme", admission="all"), clock=clock) as shield:
        shield.get("/a")
        settled(shield)
        clock.advance(1)
        shield.run(shield.node.purge.mark(MarkKind.TAG, [b"x"], soft=soft))
        found = entries(shield, "/a")[1]["entries"]

    assert [(each["tier"], each["ttl"] <= 0.0) for each in found] == ([("nvme", True)] if soft else [])


def test_the_ram_of_all_workers_is_shown(clock: FakeClock, origin: FaultyOrigin) -> None:
    paths = [f"/{number}" for number in range(8)]
    for path in paths:
        origin.serves(path, b"hello", lifetime=60)
    with two(origin, clock) as workers:
        for path in paths:
            workers.asker.get(path)
        found = [entries(workers.asker, path)[1]["entries"] for path in paths]

    assert {each["worker"] for entry in found for each in entry} == {0, 1}
    assert all(found)


def sizes(shield: Shield, *urls: object) -> Any:
    answer = ask(shield, "POST", "/sizes", json={"urls": list(urls)})
    return answer.json()["sizes"] if answer.status_code == 200 else answer.status_code


def test_sizes_are_those_of_objects_on_disks_and_in_ram(
    clock: FakeClock, origin: FaultyOrigin, tmp_path: Path
) -> None:
    origin.serves("/a", b"hello", lifetime=60)
    origin.serves("/large", bytes(300_000), lifetime=60)
    with Shield(with_disk(origin, tmp_path / "nvme", memory="16MiB", admission="all"), clock=clock) as shield:
        for url in ("/a", "/large", "/none"):
            shield.get(url)
        settled(shield)
        on_disk = [shield.node.store.size_on_disks(resource_key(shield, url)) for url in ("/a", "/large", "/none")]
        told = sizes(shield, "/a", "https://cdn.example/large", "/none", "/%zz")

    assert on_disk == [5, 300_000, None]
    assert told == {"/a": 5, "https://cdn.example/large": 300_000}


def resource_key(shield: Shield, url: str) -> CacheKey:
    return shield.node.in_force.regime.targets.resolve(url.encode()).named


def test_sizes_come_from_the_ram_of_all_workers(clock: FakeClock, origin: FaultyOrigin) -> None:
    paths = [f"/{number}" + "x" * 900 for number in range(16)]  # more than one question to the other worker
    for path in paths:
        origin.serves(path, b"hello", lifetime=60)
    with two(origin, clock) as workers:
        for path in paths[1:]:
            workers.owner.get(path)
        found = sizes(workers.asker, *paths)

    assert found == dict.fromkeys(paths[1:], 5)


def test_what_is_no_list_of_urls_is_refused_and_asking_is_no_change(shield: Shield) -> None:
    assert sizes(shield, 1) == 400
    assert sizes(shield, *["/a"] * 501) == 400
    assert ask(shield, "POST", "/sizes", json=[]).status_code == 400
    (operation,) = [each for each in entry_routes(Any, Any, Any) if each.path == "/sizes"]  # type: ignore[arg-type]
    assert not operation.changes
