"""Large objects where there is no disk: readers share what is in memory by their positions, each at its own speed,
and queue for what isn't.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from shield.errors import Fault
from shield.fill.means import FillPolicy
from shield.fill.runs import RUN_SLICES, UNKEPT_RUNS
from shield.rules.ranges import Span
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.fill.ground import FakeClient, Fetch, Ground, on_ground, turns
from tests.node import FakeClock, Shield, settings_of

MIB = 1 << 20
LENGTH = 12 * MIB  # above what the RAM tier takes
BODY = Pattern(LENGTH)[:]
LASTING, TAG, RANGES = (b"cache-control", b"max-age=60"), (b"etag", b'"1"'), (b"accept-ranges", b"bytes")
READERS = 60
NO_LINGER = FillPolicy(linger_seconds=0.0)


async def begun(ground: Ground) -> tuple[FakeClient, Fetch]:
    client = await ground.asked()
    fetch = ground.source.last
    fetch.answers(LASTING, TAG, RANGES, length=LENGTH)
    await turns()
    return client, fetch


def sends_part(fetch: Fetch) -> None:
    """The part that it asks for comes."""
    span = fetch.want.span
    assert span is not None
    stated = (b"content-range", b"bytes %d-%d/%d" % (span.start, span.stop - 1, LENGTH))
    fetch.answers(TAG, LASTING, stated, status=206, body=BODY[span.start : span.stop])


def waiting(ground: Ground) -> list[Fetch]:
    return [fetch for fetch in ground.source.fetches if not fetch.result.done()]


async def served(ground: Ground, clients: Sequence[FakeClient]) -> None:
    """All fetches succeed, until these clients have all."""

    def are_over() -> bool:
        for fetch in waiting(ground):
            sends_part(fetch)
        return all(client.is_over for client in clients)

    await ground.until(are_over)


def test_who_comes_later_shares_the_fetch_of_who_came_first_and_nothing_is_stored() -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        fetch.sends(BODY[: MIB // 2])
        late = await ground.asked()
        assert late.body == client.body == BODY[: MIB // 2]
        assert "stored" not in client.told and "stored" not in late.told and "collapsed" in late.told
        for start in range(MIB // 2, LENGTH, MIB // 2):
            fetch.sends(BODY[start : start + MIB // 2], ends=start + MIB // 2 == LENGTH)
            await turns()
        await ground.until(lambda: client.is_over and late.is_over)
        assert client.body == late.body == BODY
        assert len(ground.source.fetches) == 1
        await ground.until(lambda: not ground.fills.statistics().in_flight)
        assert ground.memory.used == 0

        await ground.asked()
        assert len(ground.source.fetches) == 2

    on_ground(scenario)


def test_a_late_reader_is_brought_what_is_no_longer_in_memory_by_its_position() -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        for start in range(0, 6 * MIB, MIB):
            fetch.sends(BODY[start : start + MIB])
            await turns()
        late = await ground.asked()
        other = await ground.asked()
        assert [fetch.want.span for fetch in waiting(ground)] == [Span(0, RUN_SLICES * MIB // 2)]
        await served(ground, [])
        for start in range(6 * MIB, LENGTH, MIB):
            fetch.sends(BODY[start : start + MIB], ends=start + MIB == LENGTH)
            await turns()
        await served(ground, [client, late, other])

        assert client.body == late.body == other.body == BODY
        assert len(ground.source.fetches) <= 1 + LENGTH // (RUN_SLICES * MIB // 2) + 1

    on_ground(scenario, memory=8 * MIB)


def test_readers_at_many_places_queue_for_few_fetches_at_a_time() -> None:
    async def scenario(ground: Ground) -> None:
        client, _ = await begun(ground)
        client.ready = False
        places = range(11, 1, -1)
        parts = [await ground.asked(fields={b"range": b"bytes=%d-%d" % (at * MIB, at * MIB + 9)}) for at in places]
        await turns()
        assert len(waiting(ground)) <= UNKEPT_RUNS
        await served(ground, parts)

        assert [part.body for part in parts] == [BODY[at * MIB : at * MIB + 10] for at in places]
        client.leaves()
        await ground.until(lambda: not ground.fills.statistics().in_flight)

    on_ground(scenario, policy=NO_LINGER)


def test_without_memory_for_all_places_readers_take_turns_and_none_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shield.fill.sliced.PATIENCE_SECONDS", 0.01)

    async def scenario(ground: Ground) -> None:
        client, _ = await begun(ground)
        client.ready = False
        parts = [await ground.asked(fields={b"range": b"bytes=%d-" % (at * MIB)}) for at in range(1, 12)]
        most = 0

        def step() -> bool:
            nonlocal most
            most = max(most, ground.memory.used)
            for fetch in waiting(ground):
                sends_part(fetch)
            for part in parts:
                if part.status is not None and not part.is_over:
                    part.takes_more()
            return all(part.is_over for part in parts)

        await ground.until(step)
        assert all(part.clean for part in parts)
        assert [part.body == BODY[at * MIB :] for at, part in enumerate(parts, 1)] == [True] * 11
        assert most <= ground.memory.capacity
        client.leaves()
        await ground.until(lambda: not ground.fills.statistics().in_flight)

    on_ground(scenario, policy=NO_LINGER, memory=4 * MIB)


def test_a_stumbling_origin_cuts_off_none_of_them() -> None:
    async def scenario(ground: Ground) -> None:
        client, fetch = await begun(ground)
        fetch.sends(BODY[:MIB])
        fetch.breaks_off()
        await ground.until(lambda: waiting(ground))
        ground.source.last.fails(Fault.SERVER, status=503)
        await served(ground, [client])

        assert (client.clean, client.body) == (True, BODY)

    on_ground(scenario)


def test_a_player_that_asks_for_all_as_a_range_costs_one_fetch(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/film", BODY, lifetime=600)
    memory = {"memory": {"capacity": "64MiB", "max_entry": "1MiB"}}

    with Shield(settings_of({"fra": origin}, cache=memory), clock=clock) as shield:
        for turn in range(1, 3):
            found = shield.get("/film", [("range", "bytes=0-")])
            assert (found.status, found.body) == (206, BODY)
            assert origin.fetches("/film") == turn


@pytest.mark.slow
def test_a_crowd_of_slow_readers_without_a_disk_is_served_by_few_connections(
    origin: FaultyOrigin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come one after the other, so that they read at many places at a time."""
    monkeypatch.setattr("shield.origin.pool.PATIENCE_SECONDS", 0.2)
    body = Pattern(8_000_000)
    whole = body[:]
    origin.serves("/big", body, lifetime=600)
    made = {"provider": "http", "endpoint": origin.url, "role": "primary", "connections": 4}
    memory = {"memory": {"capacity": "8MiB", "max_entry": "1MiB"}, "fills": {"memory": "32MiB"}}
    settings = settings_of({"fra": origin}, origins={"fra": made}, cache=memory)
    most = 0

    async def read_slowly(port: int, number: int) -> bool:
        await asyncio.sleep(number * 0.05)
        taker = socket.socket()
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        taker.connect(("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=taker, limit=65536)
        writer.write(b"GET /big HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        taken = bytearray()
        while data := await reader.read(65536):
            taken += data
            await asyncio.sleep(0.03)
        writer.close()
        return head.startswith(b"HTTP/1.1 200 ") and bytes(taken) == whole

    async def all_of_them(port: int, shield: Shield) -> list[bool]:
        nonlocal most
        crowd = asyncio.gather(*[read_slowly(port, number) for number in range(READERS)])
        while not crowd.done():
            most = max(most, shield.node.fills.statistics().memory_used_bytes)
            await asyncio.sleep(0.05)
        return await crowd

    with Shield(settings, clock=clock) as shield:
        well = asyncio.run(all_of_them(shield.port, shield))

    assert well.count(False) == 0
    assert origin.connections_peak <= 4
    assert most <= 32 << 20
    assert origin.fetches("/big") < READERS // 2
