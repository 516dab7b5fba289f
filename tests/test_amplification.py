"""What small requests cost an origin, over the wire: counted by what its kernel got acknowledged."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shield.build.regime import regime_of
from shield.config.settings import Settings
from shield.observe.metrics import Metrics
from shield.rules.addresses import peer_of
from shield.rules.exact import FREE
from tests.client import Answer, fetch, request
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.pattern import Pattern
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield, settings_of

MIB = 1 << 20
SLICE = 4 * MIB
BODY = Pattern(24 * MIB)
HEADS = 4096
CUT = 768 << 10  # what is on its way when a body is given up
LEFT = 3 * MIB  # of one whose client reads nothing: some 1.5 MiB


def with_slices(origin: FaultyOrigin, path: Path, **limits: Any) -> Settings:
    tier = {"name": "nvme", "directories": [{"path": str(path), "capacity": "256MiB", "free_floor": 0}]}
    cache = {"memory": {"capacity": "16MiB"}, "tiers": [tier], "slice_bytes": SLICE}
    return settings_of({"fra": origin}, cache=cache, limits={"amplification": limits})


def in_ram(origin: FaultyOrigin) -> Settings:
    return settings_of({"fra": origin}, cache={"memory": {"capacity": "16MiB", "max_entry": "1MiB"}})


def over(shield: Shield) -> None:
    shield.wait_for(lambda: not shield.node.fills.statistics().in_flight)


def part(shield: Shield, value: str, path: str = "/big") -> Answer:
    answer = shield.get(path, [("range", f"bytes={value}")])
    over(shield)
    return answer


@pytest.fixture
def small() -> Any:
    """An origin whose kernel takes little that nobody reads."""
    with FaultyOrigin(socket_buffer=64 << 10) as origin:
        yield origin


@pytest.mark.parametrize(
    "value",
    [
        "0-0",
        f"{10 * MIB}-{10 * MIB}",
        f"{SLICE - 1}-{SLICE}",
        "-1",
        "-70000",
        f"{24 * MIB - 1}-",
        f"{99 * MIB}-{99 * MIB}",
        ",".join(f"{place * MIB}-{place * MIB}" for place in range(16)),
        f"{SLICE - 500_000}-{3 * SLICE + 70_000}",
    ],
)
def test_no_first_request_costs_more_than_64_kib_and_twice_what_it_takes(
    small: FaultyOrigin, clock: FakeClock, tmp_path: Path, value: str
) -> None:
    small.serves("/big", BODY, lifetime=60)

    with Shield(with_slices(small, tmp_path), clock=clock) as shield:
        answer = part(shield, value)

    assert answer.clean
    assert small.acknowledged() <= FREE + 2 * len(answer.body) + HEADS * len(small.requests)


def test_a_client_that_asks_for_a_byte_and_is_gone_costs_no_more(
    small: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    small.serves("/big", BODY, lifetime=60)

    with Shield(with_slices(small, tmp_path), clock=clock) as shield:
        with shield.client() as client:
            client.send(request("/big", [("range", "bytes=5000000-5000000")]))
            small.wait_for(lambda: small.requests)
            client.reset()
        over(shield)

    assert small.acknowledged() <= FREE + HEADS


def test_the_second_touch_is_paid_from_the_budget_of_its_address(
    small: FaultyOrigin, clock: FakeClock, tmp_path: Path
) -> None:
    small.serves("/big", BODY, lifetime=600)

    with Shield(with_slices(small, tmp_path, burst=SLICE, recovery="100s"), clock=clock) as shield:
        for _ in range(2):
            part(shield, f"{SLICE + 5}-{SLICE + 5}")
        paid = small.acknowledged()
        for _ in range(4):
            part(shield, f"{3 * SLICE + 5}-{3 * SLICE + 5}")
        thrifty = small.acknowledged() - paid
        text = shield.call(lambda: Metrics(lambda: shield.node.report().families).render()).decode()
        clock.advance(200.0)
        part(shield, f"{3 * SLICE + 5}-{3 * SLICE + 5}")
        again = small.acknowledged() - paid - thrifty

    assert paid > SLICE
    assert thrifty <= 4 * (FREE + HEADS)
    assert 'shield_fills_thrifty_total{how="exact"} 3.0' in text
    assert again >= SLICE


def test_a_thousand_clients_of_one_byte_make_one_fetch(small: FaultyOrigin, clock: FakeClock, tmp_path: Path) -> None:
    small.serves("/big", BODY, lifetime=60)

    async def together(port: int) -> list[Answer]:
        wanted = [("range", "bytes=5000000-5000009")]
        return list(await asyncio.gather(*[fetch(port, "/big", wanted) for _ in range(300)]))

    gate = small.gate()

    small.spoils("/big", preceded_by(Wait(gate)), times=1)
    with Shield(with_slices(small, tmp_path), clock=clock) as shield:

        def all_wait() -> bool:
            if shield.node.fills.statistics().collapsed < 299:
                return False
            gate.open()
            return True

        opener = threading.Thread(target=lambda: shield.wait_for(all_wait))
        opener.start()
        answers = asyncio.run(together(shield.port))
        opener.join()

    assert {answer.body for answer in answers} == {BODY[5_000_000:5_000_010]}
    assert small.fetches("/big") == 1


def test_in_ram_alone_what_is_known_to_be_too_large_is_asked_for_by_range(
    small: FaultyOrigin, clock: FakeClock
) -> None:
    small.serves("/big", BODY, lifetime=60)

    with Shield(in_ram(small), clock=clock) as shield:
        answers = [part(shield, "9000000-9000009") for _ in range(4)]

    assert {answer.body for answer in answers} == {BODY[9_000_000:9_000_010]}
    assert [seen.get("range") for seen in small.requests[2:]] == ["bytes=9000000-9000009"] * 3
    assert small.acknowledged() <= 2 * CUT + HEADS * len(small.requests)


@pytest.mark.parametrize("fields", [{}, {"cache-control": "no-store"}])
def test_where_there_are_no_ranges_and_nothing_is_kept_the_client_takes_the_whole_too(
    small: FaultyOrigin, clock: FakeClock, fields: Mapping[str, str]
) -> None:
    small.ignores("range")
    small.serves("/big", BODY, fields={"accept-ranges": "none", "etag": 'W/"1"', **fields})

    with Shield(in_ram(small), clock=clock) as shield:
        far, near = part(shield, "9000000-9000009"), part(shield, "0-9")

    assert (far.status, far.clean, far.body == BODY[:]) == (200, True, True)
    assert (near.status, near.body) == (206, BODY[:10])
    assert small.acknowledged() <= len(BODY) + len(BODY) // 2  # the second may come over the first one's connection


def held_up(shield: Shield) -> bool:
    """Whether an answer waits for its readers."""
    fills = shield.node.proxy._fills
    pacings = [fill._pacing for fill in fills._alive if fill._pacing is not None]
    windows = [pacing._window for pacing in pacings]
    return (
        any(pacing._is_held for pacing in pacings)
        or any(window is not None and window._paused for window in windows)
        or any(sliced._runs._waiting for sliced in fills._all_sliced)
    )


@pytest.mark.parametrize("where", ["slices", "RAM, too large", "RAM", "window"])
def test_a_client_that_asks_for_much_and_reads_nothing_costs_little(
    small: FaultyOrigin, clock: FakeClock, tmp_path: Path, where: str
) -> None:
    small.serves("/big", BODY, fields={"cache-control": "no-store" if where == "window" else "max-age=60"})
    large = settings_of({"fra": small}, cache={"memory": {"capacity": "64MiB", "max_entry": "32MiB"}})
    settings = {"slices": with_slices(small, tmp_path), "RAM": large}.get(where, in_ram(small))

    with Shield(settings, clock=clock) as shield:
        with shield.client(receive_buffer=16 << 10) as client:
            client.send(request("/big"))
            shield.wait_for(lambda: held_up(shield))
            client.reset()
        over(shield)

    assert small.acknowledged() <= LEFT


@pytest.mark.parametrize("where", ["slices", "RAM"])
def test_who_is_slow_rather_than_gone_holds_no_origin_up(
    small: FaultyOrigin, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr("shield.fill.pacing.PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr("shield.fill.sliced.PATIENCE_SECONDS", 0.01)
    small.serves("/big", BODY, lifetime=60)
    large = settings_of({"fra": small}, cache={"memory": {"capacity": "64MiB", "max_entry": "32MiB"}})
    settings = with_slices(small, tmp_path) if where == "slices" else large

    with Shield(settings, clock=clock) as shield:
        with shield.client(receive_buffer=16 << 10) as client:
            client.send(request("/big"))
            small.wait_for(lambda: small.requests and not small.requests_active)
            answer = client.read()
        over(shield)

    assert (answer.clean, answer.body == BODY[:]) == (True, True)


def test_a_body_that_its_only_client_leaves_is_given_up_at_once(small: FaultyOrigin, clock: FakeClock) -> None:
    small.serves("/a", Pattern(7 * MIB), lifetime=60)

    with Shield(settings_of({"fra": small}, cache={"fills": {"linger": "1h"}}), clock=clock) as shield:
        gate = small.gate()

        small.spoils("/a", at_body(MIB, Wait(gate)))
        client = shield.client()
        client.send(request("/a"))
        client.read_head()
        client.reset()
        over(shield)
        gate.open()

    assert small.acknowledged() <= MIB + HEADS


def test_the_budget_is_a_setting_that_workers_share_and_addresses_are_exempt_from(origin: FaultyOrigin) -> None:
    said = {"amplification": {"ratio": 3, "burst": "4MiB", "recovery": "1m", "exempt": ["192.0.2.0/24"]}}
    limits = regime_of(settings_of({"fra": origin}, limits=said), workers=2).amplification
    off = regime_of(settings_of({"fra": origin}, limits={"amplification": "off"}), workers=2).amplification

    assert limits is not None
    assert (limits.ratio, limits.burst, limits.recovery_seconds) == (3.0, 2 * MIB, 60.0)
    assert peer_of("192.0.2.9") in limits.exempt
    assert off is None
