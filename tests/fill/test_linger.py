"""What becomes of a fetch whose readers have left: it costs nothing more, unless it is worth its price."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fill.ground import MIB, Ground, on_ground, turns

LASTING = (b"cache-control", b"max-age=60")
TAG = (b"etag", b'"1"')
RANGES = (b"accept-ranges", b"bytes")


@pytest.mark.parametrize("in_slices", [True, False])
def test_what_one_client_read_is_given_up_when_it_leaves(tmp_path: Path, in_slices: bool) -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked()
        fetch = ground.source.last
        fetch.answers(LASTING, TAG, RANGES, length=7 * MIB)
        await turns()
        fetch.sends(bytes(100))
        client.leaves()
        await turns()

        assert fetch.connection.is_abandoned
        assert ground.fills.statistics().in_flight == 0

    on_ground(scenario, path=tmp_path if in_slices else None)


@pytest.mark.parametrize("in_slices", [True, False])
def test_what_several_read_is_held_up_until_one_comes_back(tmp_path: Path, in_slices: bool) -> None:
    async def scenario(ground: Ground) -> None:
        clients = [await ground.asked() for _ in range(2)]
        fetch = ground.source.last
        fetch.answers(LASTING, TAG, RANGES, length=7 * MIB)
        await turns()
        fetch.sends(bytes(100))
        for client in clients:
            client.leaves()
        await turns()
        assert (fetch.connection.is_held, fetch.connection.is_abandoned) == (True, False)

        again = await ground.asked()
        assert (fetch.connection.is_held, len(ground.source.fetches)) == (False, 1)
        fetch.sends(bytes(7 * MIB - 100), ends=True)
        await ground.until(lambda: again.clean)
        assert again.body == bytes(7 * MIB)

    on_ground(scenario, path=tmp_path if in_slices else None)


def test_what_several_left_before_its_head_came_is_held_up_from_the_start() -> None:
    async def scenario(ground: Ground) -> None:
        for client in [await ground.asked() for _ in range(2)]:
            client.leaves()
        fetch = ground.source.last
        fetch.answers(LASTING, length=7 * MIB)
        await turns()
        assert fetch.connection.is_held

        again = await ground.asked()
        assert not fetch.connection.is_held
        again.leaves()

    on_ground(scenario)


def test_what_was_read_to_the_end_of_a_range_becomes_an_entry() -> None:
    async def scenario(ground: Ground) -> None:
        client = await ground.asked(fields={b"range": b"bytes=0-9"})
        fetch = ground.source.last
        fetch.answers(LASTING, length=7 * MIB)
        await turns()
        fetch.sends(bytes(100))
        assert (client.clean, client.body) == (True, bytes(10))
        fetch.sends(bytes(7 * MIB - 100), ends=True)
        await turns()

        assert (await ground.asked()).told == "hit; ttl=60"

    on_ground(scenario)
