"""Removal of very many entries, which stops nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from shield.errors import RequestError
from shield.rules.purging import MOST_GLOBS, MarkKind, TooManyGlobsError
from tests.doubles.faulty_origin import FaultyOrigin
from tests.node import FakeClock, Shield
from tests.peers.pair import two

MANY = 10_000


def turns_during(shield: Shield, work: Awaitable[int]) -> tuple[int, int]:
    """What comes of it, and how often the event loop turned meanwhile."""

    async def run() -> tuple[int, int]:
        turns, over = 0, False

        def turn() -> None:
            nonlocal turns
            turns += 1
            if not over:
                asyncio.get_running_loop().call_soon(turn)

        turn()
        result = await work
        over = True
        return result, turns

    return shield.run(run())


def test_others_have_their_turn_while_very_many_targets_are_removed(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/5", b"a", lifetime=60)
    origin.serves("/kept", b"a", lifetime=60)
    for target in ("/5", "/kept"):
        shield.get(target)

    removed, turns = turns_during(shield, shield.node.purge.targets([b"/%d" % number for number in range(MANY)]))

    assert removed == 1
    assert turns > 2 * MANY / 1000
    assert not shield.get("/5").hit
    assert shield.get("/kept").hit


def test_a_target_that_names_nothing_keeps_all_others_from_being_removed(
    shield: Shield, origin: FaultyOrigin
) -> None:
    origin.serves("/5", b"a", lifetime=60)
    shield.get("/5")

    with pytest.raises(RequestError):
        shield.run(shield.node.purge.targets([*[b"/%d" % number for number in range(MANY)], b"/%zz"]))

    assert shield.get("/5").hit


def test_a_purge_by_prefix_leaves_others_in_ram_and_gives_back_the_memory_of_its_own(
    shield: Shield, origin: FaultyOrigin
) -> None:
    for number in range(1200):
        origin.serves(f"/{number % 2}/{number}", b"a", lifetime=60)
    with shield.client() as client:
        for number in range(1200):
            client.ask(f"/{number % 2}/{number}")

    shield.run(shield.node.purge.prefix((b"/1/",)))
    shield.call(shield.node.tick)
    shield.wait_for(lambda: shield.node.store.memory_swept == shield.node.store.marks.newest)

    assert shield.call(lambda: shield.node.store.statistics().memory.entries) == 600
    assert shield.get("/0/0").hit
    assert not shield.get("/1/1").hit


@pytest.mark.parametrize("strips", [False, True], ids=["tags are shown", "tags are stripped"])
def test_a_purge_by_tag_in_one_worker_reaches_the_copy_that_another_has_of_it(
    origin: FaultyOrigin, clock: FakeClock, strips: bool
) -> None:
    routes = {"default": {"freshness": {"strip_tags": strips}}}
    with two(origin, clock, routes=routes) as workers:
        for path, tags in ((workers.path, "red, cats"), ("/kept", "blue")):
            origin.serves(path, b"old", lifetime=3600, fields={"cache-tag": tags})
            for each in (workers.asker, workers.owner):
                each.get(path)
            assert workers.asker.get(path).hit
        origin.serves(workers.path, b"new", lifetime=3600)

        workers.owner.run(workers.owner.node.purge.mark(MarkKind.TAG, (b"red",)))

        assert [each.get(workers.path).body for each in (workers.asker, workers.owner)] == [b"new", b"new"]
        assert workers.asker.get("/kept").hit


def test_a_soft_purge_by_tag_serves_the_stale_entry_once_more_and_refreshes_it(
    shield: Shield, origin: FaultyOrigin
) -> None:
    origin.serves("/a", b"old", lifetime=3600, grace=600, fields={"cache-tag": "red"})
    shield.get("/a")
    origin.serves("/a", b"new", lifetime=3600, grace=600)

    shield.run(shield.node.purge.mark(MarkKind.TAG, (b"red",), soft=True))

    first = shield.get("/a")
    assert first.body == b"old" and "ttl=-" in str(first.get("cache-status"))
    shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)
    assert shield.get("/a").body == b"new"
    assert shield.get("/a").hit


def test_a_pattern_too_many_is_refused_and_nothing_is_purged(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", b"a", lifetime=3600)
    shield.get("/a")
    with pytest.raises(TooManyGlobsError):
        shield.run(
            shield.node.purge.mark(MarkKind.GLOB, [b"/%d*" % number for number in range(MOST_GLOBS)] + [b"/a*"])
        )

    assert shield.get("/a").hit
