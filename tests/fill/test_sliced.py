"""Large objects on their way through slices: how far a fetch goes, who waits for whom, what becomes of the rest."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import fetch, request
from tests.disks import MIB, SLICE, Failing, settled, with_disk
from tests.doubles.faults import at_body
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Stall, Wait
from tests.node import FakeClock, Shield


@pytest.fixture
def files() -> Iterator[Failing]:
    failing = Failing()
    yield failing
    failing.broken.clear()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shield.fill.sliced.PATIENCE_SECONDS", 0.01)


def fills(shield: Shield) -> Any:
    return shield.node.state()["fills"]


def test_a_fetch_ends_when_its_client_has_left(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    origin.serves("/big", Pattern(60 * MIB), lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme", fills={"linger": "1ms"})

    with Shield(settings, clock=clock) as shield:
        client = shield.client()
        client.send(request("/big"))
        client.read_some(SLICE)
        client.reset()
        shield.wait_for(lambda: not fills(shield)["in_flight"])
        origin.wait_for(lambda: not origin.connections_open)

    assert origin.requests[0].sent < 30 * MIB
    assert not origin.requests[0].complete


def test_who_comes_back_within_the_linger_finds_the_fetch_under_way(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(4 * MIB)
    gate = origin.gate()
    origin.serves("/big", body, lifetime=60)
    origin.spoils("/big", at_body(SLICE + 10, Wait(gate)), times=1)

    with Shield(with_disk(origin, tmp_path / "nvme", fills={"linger": "1h"}), clock=clock) as shield:
        client = shield.client()
        client.send(request("/big"))
        client.read_some(SLICE)
        client.reset()
        shield.wait_for(lambda: shield.connections == 0)
        with shield.client() as again:
            again.send(request("/big"))
            again.read_head()
            gate.open()
            assert again.read_some(4 * MIB) == body[:]

    assert origin.fetches("/big") == 1


@pytest.mark.usefixtures("impatient")
def test_a_slow_client_holds_no_fetch_and_pays_for_no_more_than_it_reads(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(40 * MIB)
    origin.serves("/big", body, lifetime=60)

    settings = with_disk(origin, tmp_path / "nvme")
    with Shield(settings, clock=clock) as shield, shield.client(receive_buffer=65536) as slow:
        slow.send(request("/big"))
        answer = slow.read_head()
        answer.body = slow.read_some(1000)
        origin.wait_for(lambda: not origin.requests_active)
        shield.wait_for(lambda: shield.node.fills.statistics().memory_used_bytes <= 6 * SLICE)
        paid = origin.requests[0].sent
        slow.read_body(answer)

    assert paid < 30 * MIB
    assert (answer.clean, answer.body == body[:]) == (True, True)


def test_a_fast_client_does_not_wait_for_a_slow_one(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    body = Pattern(20 * MIB)
    origin.serves("/big", body, lifetime=60)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        with shield.client(receive_buffer=4096) as slow:
            slow.send(request("/big"))
            slow.read_some(100)
            fast = shield.get("/big")
        settled(shield)

    assert (fast.clean, fast.body == body[:]) == (True, True)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("call", ["write", "open"])
def test_what_no_disk_takes_streams_through_little_memory(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path, files: Failing, call: str
) -> None:
    body = Pattern(12 * MIB)
    origin.serves("/big", body, lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme", fills={"memory": 4 * SLICE})

    with Shield(settings, clock=clock, files=files) as shield:
        files.broken[call] = errno.EIO
        with shield.client(receive_buffer=65536) as slow:
            slow.send(request("/big"))
            fast = shield.get("/big")
            answer = slow.read_head()
            slow.read_body(answer)

    assert (fast.clean, fast.body == body[:]) == (True, True)
    assert (answer.clean, answer.body == body[:]) == (True, True)


def test_many_fills_share_what_memory_there_is(origin: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    bodies = [Pattern(3 * MIB, number) for number in range(8)]
    for number, body in enumerate(bodies):
        origin.serves(f"/{number}", body, lifetime=60)
    settings = with_disk(origin, tmp_path / "nvme", fills={"memory": 4 * SLICE})

    async def together(port: int) -> list[bool]:
        answers = await asyncio.gather(*[fetch(port, f"/{number}") for number in range(8) for _ in range(2)])
        return [answer.clean and answer.body == bodies[at // 2][:] for at, answer in enumerate(answers)]

    with Shield(settings, clock=clock) as shield:
        right = asyncio.run(together(shield.port))
        settled(shield)

    assert all(right)
    assert sum(seen.get("range") is None for seen in origin.requests) == 8


def test_an_origin_that_stalls_in_a_slice_stalls_only_those_who_need_it(
    origin: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    body = Pattern(4 * MIB)
    origin.serves("/big", body, lifetime=60)

    with Shield(with_disk(origin, tmp_path / "nvme"), clock=clock) as shield:
        shield.get("/big", [("range", f"bytes=0-{SLICE - 1}")])
        settled(shield)
        origin.spoils("/big", at_body(0, Stall()), times=1)
        with shield.client() as stuck:
            stuck.send(request("/big"))
            stuck.read_some(SLICE)
            stored = shield.get("/big", [("range", f"bytes=0-{SLICE - 1}")])
            elsewhere = shield.get("/big", [("range", f"bytes={3 * MIB}-{3 * MIB + 9}")])

    assert (stored.hit, stored.body) == (True, body[:SLICE])
    assert elsewhere.body == body[3 * MIB : 3 * MIB + 10]
