"""What nodes make of each other's hints: three nodes in one process, over real TCP, with real origins."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from shield.records import Came
from shield.rules.health import Flag, HealthRecord, HealthState
from shield.rules.hints import Hint, HintKind, HintMessage, text_of
from shield.rules.latency import LEAST_SAMPLES
from shield.rules.ramp import Ramp, RampEnd, RampStatus
from shield.rules.spotchecks import Quarantine
from shield.spread.exchange import HINTS
from shield.spread.hints import Hints
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock
from tests.peers.cluster import ClusterNode, Three, three

PATH = "/a"


@pytest.fixture
def cluster(origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock) -> Iterator[Three]:
    for each in (origin, replica):
        each.serves(PATH, b"a", lifetime=600, fields={"etag": '"1"'})
    with three(origin, clock, others={"iad": replica}, regions=["eu", "eu", "us"]) as made:
        for node in made.nodes:
            node.wait_for(lambda node=node: node.node.origins.conducts)  # type: ignore[misc]
            node.run(node.node.origins.conductor.close())  # the test looks
            hints_of(node)._conducts = lambda: True  # though nobody beats now
        yield made


def hints_of(node: ClusterNode) -> Hints:
    assert node.node.spreader is not None and node.node.spreader.hints is not None
    return node.node.spreader.hints


def told(cluster: Three, *, by: int = 0, to: int = 1) -> None:
    """One node tells another, over HTTP."""
    node, other = cluster.nodes[by], cluster.nodes[to]
    spreader = node.node.spreader
    assert spreader is not None
    node.call(hints_of(node).look)
    while not node.run(spreader.exchange._with(other.name)):
        node.run(asyncio.sleep(0.05))  # a busy machine: the other seems to be down
    other.run(hints_of(other).refresh())


def becomes(node: ClusterNode, state: HealthState, name: str = "iad") -> None:
    """As its own conductor finds."""
    origin = node.node.origins.get(name)
    node.call(hints_of(node).look)
    now = node.call(lambda: asyncio.get_running_loop().time())
    until = now + 30.0 if state is HealthState.OPEN else 0.0
    node.call(lambda: origin.seen.publish(HealthRecord(state, since=now, until=until, bad_since=now)))


def looks(node: ClusterNode, *, seconds: float = 1.1, times: int = 3) -> None:
    """What the conductor does in so many seconds."""

    async def look() -> None:
        conductor, prober = node.node.origins.conductor, node.node.origins.prober
        for at in range(times):
            conductor.look(asyncio.get_running_loop().time() + seconds + at / 4)
            tasks = [*prober._tasks, *conductor._tasks]
            if tasks:
                await asyncio.wait(tasks)

    node.run(look())


def state_of(node: ClusterNode, name: str = "iad") -> HealthState:
    return node.node.origins.get(name).seen.record().state


def probes(node: ClusterNode, name: str = "iad") -> dict[str, int]:
    return {key: count for key, count in node.state()["origins"][name]["probes"].items() if count}


def sampled(node: ClusterNode, name: str = "iad") -> None:
    """The node has had an object from there."""
    node.node.origins.get(name).sample = PATH.encode(), b""


def test_an_origin_that_others_find_bad_is_probed_at_once_and_nothing_comes_of_it_if_it_is_well(
    cluster: Three, replica: FaultyOrigin
) -> None:
    first, second, _ = cluster.nodes
    sampled(second)
    becomes(first, HealthState.OPEN)
    told(cluster)
    assert replica.fetches(PATH) == 0
    looks(second)

    assert replica.fetches(PATH) == 1 and sum(probes(second).values()) == 1
    assert state_of(second) is HealthState.UP
    said: Any = second.call(hints_of(second).shown)["fra-0"]
    assert [(hint["kind"], hint["origin"]) for hint in said["hints"]] == [("bad", "iad")] and said["region"] == "eu"
    for _ in range(3):  # the same is said again and again
        told(cluster)
        looks(second, seconds=5.0)
    assert replica.fetches(PATH) == 1


def test_a_node_that_lies_all_the_time_costs_an_origin_a_probe_in_half_a_minute(
    cluster: Three, replica: FaultyOrigin
) -> None:
    second = cluster.nodes[1]
    sampled(second)
    hints, moved = hints_of(second), 0.0
    began = hints._now()
    hints._now = lambda: began + moved
    for at in range(60):
        moved = float(at)
        said = HintMessage(
            f"{at}", "eu", [Hint(HintKind.BAD, "iad", f"{at}", 30.0), Hint(HintKind.BAD, "x", "", 30.0)]
        )
        second.call(lambda said=said: hints.hear("fra-0", {HINTS: said.plain()}))  # type: ignore[misc]
        looks(second, seconds=moved + 1.1, times=2)

    assert replica.fetches(PATH) == 2 and hints.statistics().looks == 2
    assert state_of(second) is HealthState.UP


def test_a_probe_that_fails_here_too_makes_it_suspect_and_probes_of_its_own_put_it_out(
    cluster: Three, replica: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = cluster.nodes
    caplog.set_level(logging.INFO)
    sampled(second)
    replica.refuses()
    replica.drops_connections()
    becomes(first, HealthState.OPEN)
    told(cluster)
    looks(second, times=2)
    assert state_of(second) is HealthState.SUSPECT  # after one probe: clients would have had to find out by five

    looks(second, seconds=2.0)
    assert state_of(second) is HealthState.OPEN
    assert "node fra-0 says that it is bad: it is probed" in caplog.text


def test_an_origin_that_is_well_again_elsewhere_is_tried_here_before_its_time(cluster: Three) -> None:
    first, second, _ = cluster.nodes
    sampled(second)
    becomes(second, HealthState.OPEN)
    becomes(first, HealthState.OPEN)
    told(cluster, by=1, to=2)  # so that it has said that
    looks(second)
    assert state_of(second) is HealthState.OPEN

    becomes(first, HealthState.UP)
    told(cluster)
    looks(second, times=4)
    assert state_of(second) is HealthState.RECOVERING


def test_times_of_nodes_in_the_same_region_stand_in_until_it_has_measured(cluster: Three) -> None:
    first, second, third = cluster.nodes
    for node, seconds in ((first, 0.02), (third, 0.3)):
        seen = node.node.origins.get("iad").seen

        def measure(seen: Any = seen, seconds: float = seconds) -> None:
            now = asyncio.get_running_loop().time()
            for _ in range(10 * LEAST_SAMPLES):
                seen.succeeded(Came.OK, now, seconds, 1000)
            seen.measure(now)

        node.call(measure)
    told(cluster, by=2)
    ranker = second.node.origins.ranker
    assert second.call(lambda: ranker.prior("iad")) is None  # of another region

    told(cluster)
    known = second.call(lambda: ranker.prior("iad"))
    assert known is not None and known[0].first_byte == pytest.approx(0.02, rel=0.2)
    assert not second.node.origins.get("iad").seen.timings.timing(0).first_byte  # others' isn't passed on as its own
    told(cluster, by=1, to=2)
    assert "fra-1" not in hints_of(third).heard.of(HintKind.LATENCY, hints_of(third)._now())


def test_a_wrong_copy_that_one_node_found_is_neither_served_nor_fetched_at_the_others(
    cluster: Three, origin: FaultyOrigin, replica: FaultyOrigin, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = cluster.nodes
    second.believe({each.name: 1000.0 if each is second else 0.001 for each in cluster.nodes})
    assert second.get(PATH).status == 200 and second.get(PATH).hit
    key = second.node.proxy.resolve(PATH.encode()).key
    for name, wrong in (("iad", "iad"), ("fra", "fra")):
        quarantine = first.node.origins.quarantine or Quarantine()
        first.node.origins.quarantine = quarantine
        first.call(lambda q=quarantine, w=wrong: q.add(PATH.encode(), w, hints_of(first)._now(), key.text))  # type: ignore[misc]
        told(cluster)
        assert second.get(PATH).hit is (name == "iad")  # it was of fra
    assert "origin fra: its copy of /a was found to be wrong elsewhere" in caplog.text

    assert second.node.origins.quarantine is not None
    assert len(second.node.origins.quarantine) == 2 and origin.fetches(PATH) == 2  # all are wrong: as if none were
    first.call(lambda: setattr(first.node.origins, "quarantine", Quarantine()))
    first.call(lambda: first.node.origins.quarantine.add(PATH.encode(), "fra", hints_of(first)._now()))  # type: ignore[union-attr]
    told(cluster)
    second.purge(PATH)
    assert second.get(PATH).status == 200 and replica.fetches(PATH) == 1 and origin.fetches(PATH) == 2
    said: Any = second.call(hints_of(second).shown)["fra-0"]
    assert said["hints"][-1]["text"] == PATH

    first.call(lambda: setattr(first.node.origins, "quarantine", Quarantine()))
    told(cluster)
    assert len(second.node.origins.quarantine) == 0


def test_a_hot_copy_of_a_wrong_copy_is_dropped_too(cluster: Three) -> None:
    first, second, _ = cluster.nodes
    first.believe({each.name: 1000.0 if each is first else 0.001 for each in cluster.nodes})
    second.believe({each.name: 1000.0 if each is first else 0.001 for each in cluster.nodes})
    for _ in range(5):
        second.get(PATH)
    assert second.state()["cluster"]["copies"]["entries"] == 1
    key = second.node.proxy.resolve(PATH.encode()).key

    first.node.origins.quarantine = quarantine = Quarantine()
    first.call(lambda: quarantine.add(PATH.encode(), "fra", hints_of(first)._now(), key.text))
    told(cluster)

    assert second.call(lambda: second.node.store.find(key)) is None


def test_other_nodes_hear_what_any_worker_found_until_it_is_over(cluster: Three, clock: FakeClock) -> None:
    first, second, _ = cluster.nodes
    hints, journal = hints_of(first), first.node.spreader.journal  # type: ignore[union-attr]
    hints._workers = 2  # the other one says it by the journal
    key = second.node.proxy.resolve(PATH.encode()).key
    journal.note({"quarantine:1": json.dumps([[PATH, "fra", clock() + 100.0, text_of(key.text)]])})
    first.run(hints.refresh())
    told(cluster)

    found = second.node.origins.quarantine
    now = second.call(hints_of(second)._now)
    assert found is not None and found.trusted(PATH.encode(), ["fra", "iad"], now) == ["iad"]
    clock.advance(101.0)
    told(cluster)
    assert found.trusted(PATH.encode(), ["fra", "iad"], now) == ["fra", "iad"]


def put(node: ClusterNode, ramp: Ramp) -> None:
    node.call(lambda: node.node.origins.ramp_of(ramp.origin).store(ramp))


def ramp_of(node: ClusterNode) -> Ramp | None:
    return node.node.origins.ramp_of("iad").load("iad")


def test_a_node_for_which_an_origin_is_new_joins_its_ramp_and_one_that_uses_it_does_not(
    cluster: Three, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    first, second, third = cluster.nodes
    seen = third.node.origins.get("iad").seen

    def use() -> None:
        now = asyncio.get_running_loop().time()
        for _ in range(10 * LEAST_SAMPLES):
            seen.succeeded(Came.OK, now, 0.05, 1000)
        seen.measure(now)

    put(first, Ramp("iad", clock.now, clock.now, 2))
    third.call(use)
    told(cluster)  # before the third one tells of its use
    second.call(hints_of(second).look)
    second.wait_for(lambda: ramp_of(second) is not None)
    joined = ramp_of(second)
    assert joined is not None and (joined.step, joined.status) == (2, RampStatus.RUNNING)

    told(cluster, to=2)
    third.call(hints_of(third).look)
    assert ramp_of(third) is None and "start it here, too" in caplog.text


def test_a_ramp_that_trouble_ended_elsewhere_is_paused_here(
    cluster: Three, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = cluster.nodes
    put(first, Ramp("iad", clock.now, clock.now, 1, RampStatus.ABORTED, RampEnd.DIFFERENCES))
    put(second, Ramp("iad", clock.now, clock.now, 3))
    told(cluster)
    second.wait_for(lambda: (ramp := ramp_of(second)) is not None and ramp.status is RampStatus.PAUSED)
    assert "node fra-0 has aborted its ramp for trouble: the one here is paused" in caplog.text

    second.run(hints_of(second)._ramps.resume("iad"))
    told(cluster)
    resumed = ramp_of(second)
    assert resumed is not None and resumed.status is RampStatus.RUNNING  # the operator knows better


def test_a_corrupt_origin_is_looked_at_elsewhere(cluster: Three, replica: FaultyOrigin) -> None:
    first, second, _ = cluster.nodes
    sampled(second)
    seen = first.node.origins.get("iad").seen
    first.call(lambda: seen.publish(HealthRecord(flags=Flag.CORRUPT)))
    told(cluster)
    looks(second)

    assert sum(probes(second).values()) == 1
    assert not second.node.origins.get("iad").seen.record().flags & Flag.CORRUPT


def test_hints_of_those_who_are_no_members_count_for_nothing(cluster: Three) -> None:
    second = cluster.nodes[1]
    said = {HINTS: HintMessage("1", "eu", [Hint(HintKind.BAD, "iad", "1", 30.0)]).plain()}
    second.call(lambda: hints_of(second).hear("elsewhere", said))

    assert second.call(hints_of(second).shown) == {}
