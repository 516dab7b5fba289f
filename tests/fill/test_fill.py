"""Many clients, one fill: over the wire, with an origin that stops where the test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shield.config.settings import Settings
from tests.client import Answer, Client, fetch, request
from tests.compiled import INTERPRETED_ONLY
from tests.doubles.faults import at_body, chunked, preceded_by, says, until_close
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.gate import Gate
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Close, Reset, Wait
from tests.node import FakeClock, Shield, settings_of

MIB = 2**20

NO_ROOM = {"memory": {"capacity": "512MiB", "max_entry": "64MiB"}, "fills": {"memory": "64KiB"}}


def fills(shield: Shield) -> Any:
    return shield.node.state()["fills"]


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_clients_of_one_cold_object_make_one_get_though_the_leader_vanishes(
    shield: Shield, origin: FaultyOrigin
) -> None:
    body = Pattern(300_000)
    opened, half = origin.gate(), origin.gate()
    origin.serves("/cold.jpg", body, lifetime=60)
    origin.spoils("/cold.jpg", preceded_by(Wait(opened)), at_body(150_000, Wait(half)))
    leader = shield.client()
    leader.send(request("/cold.jpg"))
    origin.wait_for(lambda: origin.requests_active == 1)

    async def followers() -> list[Answer]:
        early = [asyncio.ensure_future(fetch(shield.port, "/cold.jpg")) for _ in range(600)]
        await asyncio.to_thread(shield.wait_for, lambda: fills(shield)["collapsed"] == 600)
        opened.open()
        await asyncio.to_thread(leader.read_some, 1000)
        leader.reset()
        late = [asyncio.ensure_future(fetch(shield.port, "/cold.jpg")) for _ in range(399)]
        await asyncio.to_thread(shield.wait_for, lambda: fills(shield)["collapsed"] == 999)
        half.open()
        return list(await asyncio.gather(*early, *late))

    answers = asyncio.run(followers())

    expected = body[:]
    assert len(answers) == 999
    assert all(answer.clean and answer.status == 200 and answer.body == expected for answer in answers)
    assert all(answer.collapsed for answer in answers)
    assert origin.fetches("/cold.jpg") == 1
    assert shield.get("/cold.jpg").hit


def test_followers_stream_what_has_arrived_whenever_they_join(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(2 * MIB)
    first, second = origin.gate(), origin.gate()
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", at_body(MIB, Wait(first)), at_body(MIB + 1000, Wait(second)))

    with shield.client() as leader, shield.client() as follower, shield.client() as late:
        leader.send(request("/a"))
        leader.read_head()
        assert leader.read_some(MIB) == body[:MIB]
        follower.send(request("/a"))
        follower.read_head()
        assert follower.read_some(MIB) == body[:MIB]
        first.open()
        assert follower.read_some(1000) == body[MIB : MIB + 1000]
        late.send(request("/a", [("range", f"bytes={MIB}-{MIB + 1999}")]))
        ranged = late.read_head()
        assert late.read_some(1000) == body[MIB : MIB + 1000]
        second.open()

        assert leader.read_some(MIB) == body[MIB:]
        assert follower.read_some(MIB - 1000) == body[MIB + 1000 :]
        assert late.read_some(1000) == body[MIB + 1000 : MIB + 2000]

    assert ranged.status == 206
    assert origin.fetches("/a") == 1


@pytest.mark.parametrize("at", [0, 500_000, 990_000])
def test_the_fill_goes_on_for_followers_when_its_leader_leaves(shield: Shield, origin: FaultyOrigin, at: int) -> None:
    body = Pattern(1_000_000)
    gate = origin.gate()
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", at_body(at, Wait(gate)))

    with shield.client() as leader, shield.client() as follower:
        leader.send(request("/a"))
        leader.read_some(100)
        follower.send(request("/a"))
        shield.wait_for(lambda: fills(shield)["collapsed"] == 1)
        leader.reset()
        shield.wait_for(lambda: shield.connections == 1)
        gate.open()
        answer = follower.read()

    assert answer.clean
    assert answer.body == body[:]
    assert origin.fetches("/a") == 1


def test_a_fill_that_nobody_reads_is_given_up_after_its_linger(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = origin.gate()
    origin.serves("/a", Pattern(50 * MIB), lifetime=60)
    origin.spoils("/a", at_body(MIB, Wait(gate)))
    settings = settings_of(
        {"fra": origin}, cache={"memory": {"capacity": "512MiB"}, "fills": {"linger": "1ms", "small": 1000}}
    )

    with Shield(settings, clock=clock) as shield:
        client = shield.client()
        client.send(request("/a"))
        client.read_some(1000)
        client.reset()
        shield.wait_for(lambda: not fills(shield)["in_flight"])
        origin.wait_for(lambda: not origin.connections_open)

        assert fills(shield)["memory_used_bytes"] == 0
        gate.open()


def test_a_fill_that_is_nearly_done_is_finished_for_nobody(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.serves("/a", Pattern(3 * MIB), lifetime=60)
    origin.spoils("/a", at_body(2 * MIB, Wait(gate)))

    client = shield.client()
    client.send(request("/a"))
    client.read_some(2 * MIB)
    client.reset()
    shield.wait_for(lambda: shield.connections == 0)
    gate.open()
    shield.wait_for(lambda: not fills(shield)["in_flight"])

    assert shield.get("/a").hit


def test_a_slow_client_slows_nobody(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(7 * MIB)
    origin.serves("/a", body, lifetime=60)

    with shield.client(receive_buffer=4096) as slow:
        slow.send(request("/a"))
        slow.read_some(100)
        fast = shield.get("/a")
        shield.wait_for(lambda: not fills(shield)["in_flight"])
        origin.wait_for(lambda: not origin.requests_active)
        hit = shield.get("/a")

    assert fast.body == body[:]
    assert hit.hit
    assert origin.fetches("/a") == 1


def test_an_error_is_shared_with_those_present(shield: Shield, origin: FaultyOrigin) -> None:
    gate = origin.gate()
    origin.script("/a", Wait(gate), Reset(), times=None)

    clients = [shield.client() for _ in range(21)]
    for client in clients:
        client.send(request("/a"))
    shield.wait_for(lambda: fills(shield)["collapsed"] == 20)
    gate.open()
    answers = [client.read() for client in clients]
    for client in clients:
        client.close()

    assert {answer.status for answer in answers} == {503}
    assert {answer.get("cache-control") for answer in answers} == {"no-store"}
    assert {answer.get("retry-after") for answer in answers} == {"5"}
    assert origin.fetches("/a") == 2  # once more, since it might have passed


def test_an_answer_that_cannot_be_shared_releases_the_followers_in_parallel(
    shield: Shield, origin: FaultyOrigin
) -> None:
    first, others = origin.gate(), origin.gate()
    origin.serves("/a", b"mine", fields={"cache-control": "private"})
    origin.spoils("/a", preceded_by(Wait(first)), times=1)
    origin.spoils("/a", preceded_by(Wait(others)))

    clients = [shield.client() for _ in range(10)]
    for client in clients:
        client.send(request("/a"))
    shield.wait_for(lambda: fills(shield)["collapsed"] == 9)
    first.open()
    origin.wait_for(lambda: origin.requests_active == 9)
    newcomer = shield.client()
    newcomer.send(request("/a"))
    origin.wait_for(lambda: origin.requests_active == 10)
    others.open()
    answers = [client.read() for client in (*clients, newcomer)]
    for client in (*clients, newcomer):
        client.close()

    assert {(answer.status, answer.body) for answer in answers} == {(200, b"mine")}
    assert origin.fetches("/a") == 11
    assert fills(shield)["hit_for_miss"] == 1


@pytest.mark.parametrize("ending", [Close(), Reset()], ids=["closed", "reset"])
def test_a_short_body_ends_uncleanly_for_all_and_is_not_stored(
    shield: Shield, origin: FaultyOrigin, ending: Close | Reset
) -> None:
    body = Pattern(1_000_000)
    gate = origin.gate()
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", at_body(600_000, Wait(gate), ending), times=1)
    origin.fails("/a", "InternalError")

    clients = [shield.client() for _ in range(5)]
    for client in clients:
        client.send(request("/a"))
    heads = [client.read_head() for client in clients]
    shield.wait_for(lambda: fills(shield)["collapsed"] == 4)
    gate.open()
    for client, answer in zip(clients, heads, strict=True):
        with contextlib.suppress(ConnectionError):
            client.read_body(answer)
        client.close()

    assert not any(answer.clean for answer in heads)
    assert all(body.check(answer.body) for answer in heads)
    assert fills(shield)["broken"] == 1
    origin.recovers("/a")
    again = shield.get("/a")
    assert not again.hit
    assert again.body == body[:]


def test_a_chunked_body_is_stored_with_its_length(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(2_500_000)
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", chunked(10_000))

    miss, hit = shield.get("/a"), shield.get("/a")

    assert miss.get("transfer-encoding") == "chunked"
    assert (miss.clean, miss.body) == (True, body[:])
    assert hit.get("content-length") == "2500000"
    assert hit.body == body[:]


def test_a_chunked_body_without_its_last_chunk_ends_uncleanly(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", Pattern(100_000), lifetime=60)
    origin.spoils("/a", chunked(10_000, last=False), times=1)

    broken, again = shield.get("/a"), shield.get("/a")

    assert not broken.clean
    assert not again.hit
    assert again.clean


def test_a_body_that_ends_with_its_connection(shield: Shield, origin: FaultyOrigin) -> None:
    body = Pattern(200_000)
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", until_close())

    miss = shield.get("/a")

    assert (miss.clean, miss.body) == (True, body[:])
    assert shield.get("/a").hit


@pytest.mark.slow
def test_the_memory_of_all_fills_together_is_bounded(origin: FaultyOrigin, clock: FakeClock) -> None:
    size, bound = 3 * MIB, 8 * MIB
    settings = settings_of(
        {"fra": origin}, cache={"memory": {"capacity": "64MiB"}, "fills": {"memory": bound, "linger": 0}}
    )
    gate = origin.gate()
    bodies = [Pattern(size, seed) for seed in range(12)]
    for seed, body in enumerate(bodies):
        origin.serves(f"/{seed}", body, lifetime=60)
        origin.spoils(f"/{seed}", at_body(size - 1000, Wait(gate)))

    with Shield(settings, clock=clock) as shield:
        clients = [shield.client(receive_buffer=4096) for _ in bodies]
        for seed, client in enumerate(clients):
            client.send(request(f"/{seed}"))
        heads = [client.read_head() for client in clients]
        used = fills(shield)["memory_used_bytes"]
        readers = asyncio.run(_read_all(clients, heads, gate))

        assert 0 < used <= bound
        assert readers == [body[:] for body in bodies]
        assert all(answer.clean for answer in heads)
        shield.wait_for(lambda: not fills(shield)["in_flight"])
        assert fills(shield)["memory_used_bytes"] == 0
    assert origin.fetches("/0") == 1


async def _read_all(clients: list[Client], heads: list[Answer], gate: Any) -> list[bytes]:
    def read(client: Client, answer: Answer) -> bytes:
        client.read_body(answer)
        client.close()
        return answer.body

    work = [asyncio.to_thread(read, client, answer) for client, answer in zip(clients, heads, strict=True)]
    gate.open()
    return list(await asyncio.gather(*work))


def test_without_memory_for_it_a_body_runs_through_a_window_at_the_client_s_pace(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    body = Pattern(60 * MIB)
    origin.serves("/big", body, lifetime=60)
    settings = settings_of({"fra": origin}, cache=NO_ROOM)

    with Shield(settings, clock=clock) as shield, shield.client(receive_buffer=65536) as slow:
        slow.send(request("/big"))
        answer = slow.read_head()
        answer.body = slow.read_some(1000)
        shield.wait_for(lambda: _paused(shield))
        sent = origin.requests[0].sent
        slow.read_body(answer)

    assert sent < 30 * MIB
    assert (answer.clean, answer.body == body[:]) == (True, True)


def _paused(shield: Shield) -> bool:
    windows = [fill._pacing._window for fill in shield.node.proxy._fills._alive if fill._pacing is not None]
    return any(window is not None and window._paused for window in windows)


def _read_fast_and_slow(settings: Settings, clock: FakeClock, opened: Gate) -> tuple[Answer, Answer]:
    """Two clients of `/big`, whose body runs through a window: one reads at once, the other when that has all."""
    with Shield(settings, clock=clock) as shield, shield.client(receive_buffer=65536) as slow:
        slow.send(request("/big"))
        with shield.client() as fast:
            fast.send(request("/big"))
            shield.wait_for(lambda: fills(shield)["collapsed"] == 1)
            opened.open()
            whole = fast.read()
        return whole, slow.read()


def test_a_reader_that_holds_the_window_up_goes_on_alone(
    origin: FaultyOrigin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.fill.window.PATIENCE_SECONDS", 0.01)
    body = Pattern(40 * MIB)
    gate = origin.gate()
    origin.serves("/big", body, lifetime=60)
    origin.spoils("/big", preceded_by(Wait(gate)), times=1)
    settings = settings_of({"fra": origin}, cache=NO_ROOM)

    whole, late = _read_fast_and_slow(settings, clock, gate)

    assert (whole.clean, whole.body == body[:]) == (True, True)
    assert (late.clean, late.body == body[:]) == (True, True)
    rest = [seen for seen in origin.requests if seen.get("range")]
    assert len(rest) == 1
    assert rest[0].get("if-match") is not None


@INTERPRETED_ONLY  # it is paused by hand: as a slow reader does, by chance
def test_a_response_whose_end_comes_late_ends_though_it_was_paused_when_its_last_reader_left(
    tmp_path: Path, origin: FaultyOrigin, clock: FakeClock
) -> None:
    body, gate = Pattern(6 * MIB), origin.gate()
    origin.serves("/a", body, fields={"cache-control": "no-store"})
    origin.spoils("/a", chunked(100_000), lambda answer: [*answer[:-1], Wait(gate), answer[-1]])
    tier = {"name": "ssd", "directories": [{"path": str(tmp_path), "capacity": "256MiB", "free_floor": 0}]}
    settings = settings_of({"fra": origin}, cache={"memory": {"capacity": "8MiB"}, "tiers": [tier]})

    with Shield(settings, clock=clock) as shield:
        client = shield.client(receive_buffer=4096)
        client.send(request("/a", [("range", "bytes=0-399999")]))

        def paused() -> bool:
            """Once all has come that is wanted, and not all was sent."""
            (fill,) = shield.node.fills._alive or (None,)
            pacing = None if fill is None or not fill._due or fill._buffer.received < fill._due else fill._pace()
            if pacing is not None:
                assert fill is not None and fill.shared_by
                pacing.hold()
            return pacing is not None

        client.read_some(100_000)
        shield.wait_for(paused)
        client.read_some(300_000)
        shield.wait_for(lambda: not fills(shield)["readers"])
        client.close()
        gate.open()

        shield.wait_for(lambda: not fills(shield)["in_flight"])


def test_what_is_over_goes_without_the_garbage_collector(shield: Shield, origin: FaultyOrigin) -> None:
    for number in range(20):
        origin.serves(f"/{number}", Pattern(10_000), lifetime=60)
    with shield.client() as client:
        client.ask("/0")
        shield.call(gc.collect)

        def left_behind() -> list[object]:
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            gc.set_debug(0)
            found = [x for x in gc.garbage if type(x).__module__.startswith("shield.")]
            gc.garbage.clear()
            return found

        gc.disable()
        try:
            for number in range(20):
                client.ask(f"/{number}")
            found = shield.call(left_behind)
        finally:
            gc.enable()

    assert found == []


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_a_range_of_what_is_not_kept_and_has_no_strong_etag(
    shield: Shield, origin: FaultyOrigin, etag: str | None
) -> None:
    body = Pattern(3_000_000)
    origin.serves("/a", body, fields={"cache-control": "no-store"})
    origin.spoils("/a", says(etag=etag))

    answer = shield.get("/a", [("range", "bytes=2000000-2000999")])

    assert (answer.status, answer.clean) == (200, True)  # the client takes as much as the origin sends
    assert answer.body == body[:]
    assert [seen.get("range") for seen in origin.requests] == [None]


def test_without_a_strong_etag_a_reader_that_holds_the_window_up_is_cut_off(
    origin: FaultyOrigin, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shield.fill.window.PATIENCE_SECONDS", 0.01)
    body = Pattern(40 * MIB)
    gate = origin.gate()
    origin.serves("/big", body, lifetime=60)
    origin.spoils("/big", preceded_by(Wait(gate)), says(etag='W/"weak"'), times=1)
    settings = settings_of({"fra": origin}, cache={"memory": {"capacity": "8MiB"}})

    whole, late = _read_fast_and_slow(settings, clock, gate)

    assert (whole.clean, whole.body == body[:]) == (True, True)
    assert not late.clean
    assert body.check(late.body)
    assert len(origin.requests) == 1


def test_a_chunked_body_that_grows_too_large_is_given_to_those_present_and_not_stored(
    origin: FaultyOrigin, clock: FakeClock
) -> None:
    body = Pattern(6 * MIB)
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", chunked(100_000))
    settings = settings_of({"fra": origin}, cache={"memory": {"capacity": "16MiB"}})

    with Shield(settings, clock=clock) as shield:
        first, second = shield.get("/a"), shield.get("/a")

    assert (first.clean, first.body == body[:]) == (True, True)
    assert (second.clean, second.hit) == (True, False)
    assert origin.fetches("/a") == 2


@INTERPRETED_ONLY
def test_a_bug_of_ours_releases_the_followers(
    shield: Shield, origin: FaultyOrigin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*args: object, **named: object) -> None:
        raise ZeroDivisionError("a bug")

    gate = origin.gate()
    body = bytes(3_000_000)
    origin.serves("/a", body, lifetime=60)
    origin.spoils("/a", preceded_by(Wait(gate)), times=1)
    clients = [shield.client() for _ in range(3)]
    for client in clients:
        client.send(request("/a"))
    shield.wait_for(lambda: fills(shield)["collapsed"] == 2)
    with monkeypatch.context() as patch:
        patch.setattr("shield.fill.fill.settle_ordinary", fails)
        gate.open()
        answers = [client.read() for client in clients]
    for client in clients:
        client.close()

    assert [answer.status for answer in answers] == [503] * 3
    assert "ZeroDivisionError" in caplog.text
    assert shield.state()["origins"]["fra"]["pool"]["busy"] == 0
    assert shield.get("/a").body == body
