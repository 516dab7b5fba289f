"""A simulated node does what a real one does: the same hits, the same fetches, the same bytes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shield.build.simulation import simulation_terms
from shield.config.settings import Settings
from shield.rules.egress import FetchReason
from shield.simulate.disks import SimulatedDirectoryTerms, SimulatedTierTerms
from shield.simulate.node import FetchAccount, SimulatedCounts, SimulatedNode, SimulationTerms, received, replayed
from shield.simulate.results import Foretold, Replayed, foretold
from shield.simulate.traffic import Gathering
from tests.client import Fields
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.ledger import Received
from tests.doubles.pattern import Pattern
from tests.node import Shield, settings_of
from tests.store.worker_ground import is_written

MEMORY = 256 << 10


def zipf(number: int, objects: int, *, seed: int = 1, skew: float = 0.9) -> list[int]:
    weights = [1.0 / (place + 1) ** skew for place in range(objects)]
    return random.Random(seed).choices(range(objects), weights, k=number)


def size_of(number: int) -> int:
    return 1000 + number * 7919 % 8999  # always four digits, so that all heads are as long


def gathered(lines: Sequence[str], share: float = 1.0) -> Gathering:
    made = Gathering(share)
    made.take(lines)
    made.finish()
    return made


def line(target: str, at: float, *, status: int = 200, size: int = 1000, method: str = "GET", **more: object) -> str:
    said = {"time": at, "method": method, "target": target, "status": status, "bytes": size, "cache": "hit", **more}
    return json.dumps(said)


def run(terms: SimulationTerms, *lines: str) -> SimulatedCounts:
    return replayed(terms, gathered(lines).samples)[0]


def ssd(capacity: int, segment_bytes: int) -> SimulatedTierTerms:
    return SimulatedTierTerms("ssd", (SimulatedDirectoryTerms(capacity, segment_bytes),))


def fetched(counts: SimulatedCounts) -> dict[str, tuple[int, int]]:
    """Requests and bytes of bodies by reason."""
    return {account.reason: (each.requests, each.bodies) for account, each in counts.fetches.items()}


@pytest.fixture
def plain() -> SimulationTerms:
    """A node with one origin, default freshness, and room for about a hundred objects."""
    settings = settings_of(
        {}, origins={"a": {"provider": "http", "endpoint": "http://127.0.0.1:1"}}, routes={"all": {"match": "/"}}
    )
    return SimulationTerms(settings.route_table(), MEMORY)


@pytest.mark.parametrize("step", [0.01, 40.0], ids=["all stay fresh", "lifetimes end"])
def test_a_simulated_node_agrees_with_a_real_one_to_the_request_and_byte(step: float) -> None:
    """Zipf traffic over five times the room, with absences and HEADs."""
    with FaultyOrigin() as origin:
        settings, lines, head_bytes = _played(origin, step)
        told = [each for each in origin.requests if each.method == "GET" and each.get("if-none-match") is None]
        real = {"miss": len([each for each in origin.requests if each.get("if-none-match") is None])}
        if len(origin.requests) > real["miss"]:
            real["revalidation"] = len(origin.requests) - real["miss"]
        bodies = sum(size_of(int(each.target[3:])) for each in told if int(each.target[3:]) % 29)

    counts = run(SimulationTerms(settings.route_table(), MEMORY, head_bytes=head_bytes), *lines)

    words = [json.loads(each)["cache"] for each in lines]
    assert counts.hits == {"memory": words.count("hit") + words.count("stale")}
    assert {reason: requests for reason, (requests, _) in fetched(counts).items()} == real
    assert sum(size for _, size in fetched(counts).values()) == bodies
    assert not real.get("revalidation") or step > 1.0
    assert 0.2 < words.count("hit") / len(words) < 0.6  # it has something to decide


def _played(origin: FaultyOrigin, step: float) -> tuple[Settings, list[str], int]:
    """The log of a real node after some traffic, and the size of its stored heads."""
    for number in range(300):
        if number % 29:
            origin.serves(f"/o/{number}", bytes(size_of(number)))
    settings = settings_of({"a": origin}, cache={"memory": {"capacity": MEMORY}})
    with Shield(settings) as shield, shield.client() as client:
        client.ask("/o/1")
        (entry,) = shield.call(shield.node.store.in_memory)
        for turn, number in enumerate(zipf(700, 300)):
            shield.clock.advance(step)
            client.ask(f"/o/{number}", method="HEAD" if turn % 17 == 0 else "GET")
        return settings, [json.dumps(each) for each in shield.log()], len(entry.head.block)


def test_with_a_disk_it_comes_close_to_a_real_node(tmp_path: Path) -> None:
    """Not exactly, as to which entries go with which segment. It has only six segments: much is at stake."""
    sizes = random.Random(3).choices(range(4000, 60_000), k=1000)
    tiers = [{"name": "ssd", "directories": [{"path": str(tmp_path), "capacity": "16MiB"}]}]
    with FaultyOrigin() as origin:
        for number, size in enumerate(sizes):
            origin.serves(f"/o/{number}", bytes(size))
        settings = settings_of({"a": origin}, cache={"memory": {"capacity": 1 << 20}, "tiers": tiers})
        with Shield(settings) as shield, shield.client() as client:
            for number in zipf(2000, len(sizes)):
                shield.clock.advance(0.5)
                client.ask(f"/o/{number}")
                while not shield.call(lambda: is_written(shield.node.store)):
                    time.sleep(0.0002)  # the simulation writes at once
            lines = [json.dumps(each) for each in shield.log()]
        bodies = sum(sizes[int(each.target[3:])] for each in origin.requests)

    counts = run(simulation_terms(settings), *lines)

    hits = [json.loads(each)["cache"] for each in lines].count("hit")
    assert sum(counts.hits.values()) == pytest.approx(hits, abs=0.01 * len(lines))
    assert sum(size for _, size in fetched(counts).values()) == pytest.approx(bodies, rel=0.02)
    assert counts.hits["ssd"] > 300


@pytest.mark.parametrize("disk", ["40MiB", None], ids=["a disk", "RAM alone"])
def test_of_large_objects_it_fetches_the_slices_that_a_real_node_does(tmp_path: Path, disk: str | None) -> None:
    """Parts and wholes of objects of up to nine slices, among small ones. The disk has room for all of them."""
    dice = random.Random(5)
    sizes = [
        dice.randrange(4000, 30_000) if number % 3 else dice.randrange(60_000, 2_300_000) for number in range(90)
    ]
    tiers = [{"name": "ssd", "directories": [{"path": str(tmp_path), "capacity": disk, "free_floor": 0}]}]
    cache = {"memory": {"capacity": 1 << 20}, "tiers": tiers if disk else [], "slice_bytes": 256 << 10}
    with FaultyOrigin() as origin:
        for number, size in enumerate(sizes):
            origin.serves(f"/o/{number}", Pattern(size, seed=number))
        settings = settings_of({"a": origin}, cache=cache)
        with Shield(settings) as shield, shield.client() as client:
            paid: list[Received] = []
            for number in zipf(600, len(sizes)):
                shield.clock.advance(0.5)
                before = len(origin.requests)
                client.ask(f"/o/{number}", _some_range(dice, sizes[number]))
                while not shield.call(lambda: is_idle(shield)):
                    time.sleep(0.0002)  # the simulation writes at once
                asked = origin.requests[before:]
                if len(asked) > 1 and asked[0].get("range") in (None, asked[1].get("range")):
                    asked = asked[1:]  # the first was given up: how much had been sent by then, sockets decide
                paid += asked
            lines = [json.dumps(each) for each in shield.log()]
        requests = len(origin.requests)
        origin.wait_for(lambda: all(each.ended for each in paid))  # it notes afterwards how much it sent
    bodies = sum(each.sent for each in paid)

    counts = run(replace(simulation_terms(settings), sizes=_listed(sizes)), *lines)

    told = fetched(counts)["miss"]
    hits = [json.loads(each)["cache"] for each in lines].count("hit")
    assert sum(counts.hits.values()) == hits
    assert counts.parts > 100 and counts.placed == counts.guessed == 0
    assert told[0] == requests
    assert told[1] == pytest.approx(bodies, rel=0.005)  # the origin counts heads, too


def _some_range(dice: random.Random, size: int) -> Fields:
    """Of a player or a reader of archives: none, to the end, a long or a little part, or the end."""
    first = dice.randrange(size) // 100_000 * 100_000
    last = min(first + dice.choice([999, 70_000, 500_000]), size - 1)
    part = f"bytes={first}-{last}"
    kind = dice.choice(["", "bytes=0-", f"bytes={first}-", "bytes=-700", *[part] * 20])
    return [("Range", kind)] if kind else []


def is_idle(shield: Shield) -> bool:
    fills: Any = shield.node.state()["fills"]
    return not fills["in_flight"] and (not shield.node.store.has_disk or is_written(shield.node.store))


def _listed(sizes: Sequence[int]) -> dict[bytes, int]:
    return {b"/o/%d" % number: size for number, size in enumerate(sizes)}


def test_samples_come_close_to_the_whole_and_say_how_close(plain: SimulationTerms) -> None:
    lines = [
        line(f"/o/{number}", 1000.0 + turn, size=size_of(number)) for turn, number in enumerate(zipf(40_000, 4000))
    ]
    terms = replace(plain, memory=2 << 20)
    whole, parts = _foretold(terms, lines, 1.0), _foretold(terms, lines, 0.1)

    assert whole.hit.error == 0.0 and parts.hit.error is not None
    assert parts.asked == whole.asked == 40_000
    assert 0.2 < whole.hit.value < 0.9
    assert abs(parts.hit.value - whole.hit.value) < max(2 * parts.hit.error, 0.02)
    assert parts.hit.error < 0.05
    assert parts.all_received.value == pytest.approx(whole.all_received.value, rel=0.1)


def _foretold(terms: SimulationTerms, lines: Sequence[str], share: float) -> Foretold:
    made = gathered(lines, share)
    sampled = sum(map(len, made.samples))
    of = Replayed(made.tally.requests, sampled, share, made.tally.last - made.tally.first)
    return foretold("a", replayed(terms, made.samples, share=share), of, tiers=(), prices={})


def test_the_second_request_is_a_hit_until_the_lifetime_ends(plain: SimulationTerms) -> None:
    counts = run(plain, line("/a", 0.0), line("/a", 3599.0), line("/a?x=1", 3599.5), line("/a", 9000.0))

    assert counts.hits == {"memory": 2}
    assert fetched(counts) == {"miss": (1, 1000), "revalidation": (1, 0)}


def test_a_stale_entry_in_its_grace_is_a_hit_and_validated(plain: SimulationTerms) -> None:
    counts = run(plain, line("/a", 0.0), line("/a", 3610.0), line("/a", 3620.0))

    assert counts.hits == {"memory": 2}
    assert fetched(counts) == {"miss": (1, 1000), "revalidation": (1, 0)}


def test_a_changed_object_comes_with_its_revalidation_once_its_size_is_sure(plain: SimulationTerms) -> None:
    later = [line("/a", at, size=2000) for at in (7200.0, 7201.0, 20_000.0)]

    counts = run(plain, line("/a", 0.0), *later)

    assert fetched(counts) == {"miss": (1, 1000), "revalidation": (2, 2000)}


def test_absences_are_kept_for_the_time_of_their_status(plain: SimulationTerms) -> None:
    counts = run(plain, *[line("/a", at, status=404, size=9) for at in (0.0, 9.0, 11.0)])

    assert counts.hits == {"memory": 1}
    assert fetched(counts) == {"miss": (2, 0)}
    assert counts.fetches[FetchAccount("a", "all", "miss")].classes == [0, 0, 2, 0, 0]


def test_errors_of_origins_are_not_stored(plain: SimulationTerms) -> None:
    assert fetched(run(plain, *[line("/a", at, status=503) for at in (0.0, 1.0)])) == {"miss": (2, 0)}


def test_sizes_that_no_line_tells_are_the_median_and_counted(plain: SimulationTerms) -> None:
    known = [line(f"/k{size}", 0.0, size=size) for size in (100, 200, 9000)]
    unknown = [line("/u", 1.0, status=304, size=0), line("/u", 2.0, status=206, size=7)]

    counts = run(plain, *known, *unknown, line("/late", 3.0, status=304, size=0), line("/late", 4.0, size=50))

    assert counts.guessed == 2 and counts.guessed_bytes == 100
    assert fetched(counts) == {"miss": (5, 9300 + 100 + 50)}


def test_an_object_that_fits_nowhere_is_fetched_each_time(plain: SimulationTerms) -> None:
    assert fetched(run(plain, *[line("/a", at, size=MEMORY) for at in (0.0, 1.0)])) == {"miss": (2, 2 * MEMORY)}


def test_a_target_without_a_key_is_refused(plain: SimulationTerms) -> None:
    counts = run(plain, line("/%zz", 0.0), line("/a", 1.0))

    assert (counts.requests, counts.refused) == (2, 1)


def test_what_comes_before_the_end_of_the_warm_up_only_fills_the_caches(plain: SimulationTerms) -> None:
    samples = gathered([line("/a", 0.0), line("/b", 1.0), line("/a", 2.0)]).samples

    (counts,) = replayed(plain, samples, warm_until=2.0)

    assert (counts.requests, counts.hits, counts.fetches) == (1, {"memory": 1}, {})


def test_origins_may_state_a_lifetime(plain: SimulationTerms) -> None:
    lines = [line("/a", 0.0), line("/a", 50_000.0)]

    assert fetched(run(replace(plain, stated=86_400.0), *lines)) == {"miss": (1, 1000)}


def test_several_workers_have_one_fetch_and_a_copy_each(plain: SimulationTerms) -> None:
    lines = [line(f"/o/{number}", float(turn)) for turn, number in enumerate(zipf(2000, 50))]

    counts = run(replace(plain, memory=8 << 20, workers=4), *lines)

    assert fetched(counts) == {"miss": (50, 50_000)}
    assert counts.hits == {"memory": 1950}


def test_a_worker_without_an_entry_has_the_owner_validate_its_own(plain: SimulationTerms) -> None:
    lines = [line("/a", 4000.0 * turn) for turn in range(12)]  # stale each time, and asked of either worker

    assert fetched(run(replace(plain, workers=2), *lines)) == {"miss": (1, 1000), "revalidation": (11, 0)}


def test_disks_have_what_ram_has_no_room_for(plain: SimulationTerms) -> None:
    lines = [line(f"/o/{number}", float(turn)) for turn, number in enumerate(zipf(4000, 1000))]
    disk = ssd(64 << 20, 1 << 20)

    without, with_disk = run(plain, *lines), run(replace(plain, tiers=(disk,)), *lines)

    names = {json.loads(each)["target"] for each in lines}
    assert fetched(with_disk)["miss"][0] == len(names) < fetched(without)["miss"][0]
    assert with_disk.hits["ssd"] > 0
    assert received(with_disk) < received(without)
    assert received(with_disk, [FetchReason.MISS]) + received(with_disk, [FetchReason.REVALIDATION]) == received(
        with_disk
    )


def test_a_full_disk_admits_what_is_asked_for_again_only(plain: SimulationTerms) -> None:
    wonders = [line(f"/w/{turn}", float(turn)) for turn in range(6000)]
    hot = [line(f"/o/{turn % 600}", 0.5 + turn) for turn in range(6000)]
    lines = [each for pair in zip(wonders, hot, strict=True) for each in pair]
    disk = ssd(4 << 20, 128 << 10)

    everything = run(replace(plain, tiers=(disk,)), *lines)
    repeated = run(replace(plain, tiers=(disk,), remembered=4000), *lines)

    assert repeated.hits["ssd"] > everything.hits.get("ssd", 0)


def test_a_part_of_the_keys_has_the_same_part_of_the_room() -> None:
    half = SimulatedTierTerms("ssd", (SimulatedDirectoryTerms(50 << 20, 512 << 10),), share=0.5)
    assert ssd(100 << 20, 1 << 20).part(0.5) == half
    assert ssd(1 << 20, 1 << 17).part(1e-9).directories[0].segment_bytes == 1


def test_parts_without_a_place_follow_each_other_and_are_counted(plain: SimulationTerms) -> None:
    size, piece = 4 << 20, 1 << 20
    terms = replace(plain, tiers=(ssd(64 << 20, 1 << 20),), slice_bytes=piece, sizes={b"/v": size})
    lines = [line("/v", float(turn), status=206, size=piece) for turn in range(8)]  # watched twice

    counts = run(terms, *lines)

    assert fetched(counts) == {"miss": (4, size)}
    assert (counts.hits, counts.parts, counts.placed, counts.guessed) == ({"ssd": 4}, 8, 8, 0)


def test_little_of_a_slice_is_fetched_exactly_once_and_then_as_a_whole(plain: SimulationTerms) -> None:
    terms = replace(plain, tiers=(ssd(64 << 20, 1 << 20),), slice_bytes=1 << 20)
    known = line("/v", 0.0, status=206, size=2, range="bytes=4194302-4194309")  # it ends there
    lines = [line("/v", 1.0 + turn, status=206, size=100, range=f"bytes={turn}-{turn + 99}") for turn in range(3)]

    counts = run(terms, known, *lines)

    assert fetched(counts) == {"miss": (3, 32768 + (64 << 10) + (1 << 20))}
    assert counts.hits == {"ssd": 1}


def test_little_of_the_last_slice_does_not_bring_that_slice(plain: SimulationTerms) -> None:
    terms = replace(plain, tiers=(ssd(64 << 20, 1 << 20),), slice_bytes=1 << 20)
    terms = replace(terms, sizes={b"/v": 4 << 20})
    known = line("/v", 0.0, status=206, size=1 << 20, range="bytes=3145728-4194303")

    counts = run(terms, known, line("/v", 1.0, status=206, size=1_049_576, range="bytes=0-1049575"))

    assert fetched(counts) == {"miss": (3, (1 << 20) + (1 << 20) + 32768)}


def test_of_a_large_body_that_broke_off_only_the_beginning_is_fetched(plain: SimulationTerms) -> None:
    terms = replace(plain, tiers=(ssd(64 << 20, 1 << 20),), slice_bytes=1 << 20)
    terms = replace(terms, sizes={b"/v": 50 << 20})

    counts = run(terms, line("/v", 0.0, size=(2 << 20) + 9, broken=True), line("/v", 1.0, size=2 << 20, broken=True))

    assert fetched(counts) == {"miss": (1, (2 << 20) + 9)}
    assert counts.hits == {"ssd": 1}


def test_a_node_counts_from_nothing(plain: SimulationTerms) -> None:
    assert SimulatedNode(plain).counts == SimulatedCounts()
