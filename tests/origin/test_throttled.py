"""Origins that refuse what is too much, over the wire: they see what they bear, and clients get their objects."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shield.observe.metrics import Metrics
from tests.client import Answer, fetch
from tests.doubles import s3
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.gate import Gate
from tests.doubles.ledger import Received
from tests.doubles.s3 import Refusal
from tests.doubles.steps import Bytes, Head, Pause, Step, Wait, Wire
from tests.node import FakeClock, Shield, settings_of
from tests.peers.pair import two

BODY = b"x" * 100
SERVICE = 0.02  # seconds that a request takes there: real ones, for the limit is learned from what is there at once


class Bearing:
    """An origin that bears so many requests at once, and refuses others as `refuses` says."""

    def __init__(self, origin: FaultyOrigin, most: int, refuses: Callable[[Received], Sequence[Step]]) -> None:
        self.most = most
        self.at_once = 0
        self.peak = 0  # since `forget`
        self.served = self.refused = 0
        self.lifetime = 60
        self._refuses = refuses
        origin.makes("*", self._answer)

    def forget(self) -> None:
        self.peak = self.refused = 0

    def _answer(self, request: Received) -> Sequence[Step]:
        self.peak = max(self.peak, self.at_once + 1)
        if self.at_once >= self.most:
            self.refused += 1
            return self._refuses(request)
        self.at_once += 1
        self.served += 1
        told = {"content-length": str(len(BODY)), "cache-control": f"max-age={self.lifetime}"}
        return (Pause(SERVICE), _Done(self), Head(200, told), Bytes(BODY))


class _Done:
    def __init__(self, bearing: Bearing) -> None:
        self._bearing = bearing

    async def play(self, wire: Wire) -> None:
        self._bearing.at_once -= 1


def slow_down(request: Received) -> Sequence[Step]:
    return s3.error(request, Refusal("SlowDown"), now=0.0)


def too_many(request: Received) -> Sequence[Step]:
    return (Head(429, {"content-length": "0", "retry-after": "1"}),)


def bad_request(request: Received) -> Sequence[Step]:
    """As Wasabi says it."""
    return s3.error(request, Refusal("InvalidRequest", 400), now=0.0)


def together(ports: Sequence[int], paths: Sequence[str]) -> list[Answer]:
    """All paths at once, in turn at the workers on these ports."""

    async def ask() -> list[Answer]:
        asked = [fetch(ports[place % len(ports)], path) for place, path in enumerate(paths)]
        return list(await asyncio.gather(*asked))

    return asyncio.run(ask())


def wasabi(origin: FaultyOrigin) -> dict[str, Any]:
    keys = {"access_key_id": "AKIA", "secret_key": "secret", "region": "eu-central-1"}
    return {"fra": {"provider": "wasabi", "endpoint": origin.url, "bucket": "images", **keys}}


def gate_of(state: Mapping[str, Any], name: str = "fra") -> Mapping[str, Any]:
    gate: Mapping[str, Any] = state["origins"][name]["gate"]
    return gate


@pytest.mark.parametrize("refuses", [slow_down, too_many])
def test_a_storm_of_misses_at_two_workers_shows_an_origin_what_it_bears(
    origin: FaultyOrigin, clock: FakeClock, refuses: Callable[[Received], Sequence[Step]]
) -> None:
    bearing = Bearing(origin, 10, refuses)

    with two(origin, clock) as workers:
        ports = (workers.asker.port, workers.owner.port)
        first: list[Answer] = []
        limit = 64
        for run in range(4):  # on a busy machine one storm may be over before it is judged
            if limit > 12:
                first += together(ports, [f"/first/{run}/{number}" for number in range(60)])
                limit = gate_of(workers.asker.state())["limit"]
        learned = (bearing.refused, bearing.peak)
        bearing.forget()
        later = [together(ports, [f"/later/{run}/{number}" for number in range(60)]) for run in range(3)]
        states = [worker.state()["origins"]["fra"] for worker in (workers.asker, workers.owner)]

    assert {answer.status for answer in first} == {200} and {answer.body for answer in first} == {BODY}
    assert learned[0] > 0 and learned[1] > 10 and limit <= 12
    assert {answer.status for answers in later for answer in answers} == {200}
    assert bearing.peak <= 13 and bearing.refused <= 12  # it grows by one each second until it is refused
    assert sum(state["gate"]["waited_total"] for state in states) > 0
    probes = 8
    misses = len(first) + 180
    assert sum(state["fetches"] for state in states) <= misses + learned[0] + bearing.refused + probes


def test_wasabi_says_it_with_400(origin: FaultyOrigin, clock: FakeClock) -> None:
    bearing = Bearing(origin, 5, bad_request)

    with Shield(settings_of({}, origins=wasabi(origin)), clock=clock) as shield:
        answers = together([shield.port], [f"/{number}" for number in range(30)])
        gate = gate_of(shield.state())

    assert {answer.status for answer in answers} == {200}
    assert gate["limit"] <= 6 and bearing.refused > 0


def test_beyond_its_limit_another_origin_is_asked_at_once(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    few, many = Bearing(origin, 4, slow_down), Bearing(replica, 1000, slow_down)

    with Shield(settings_of({"fra": origin, "iad": replica}), clock=clock) as shield:
        together([shield.port], [f"/first/{number}" for number in range(40)])
        shield.wait_for(lambda: gate_of(shield.node.state())["limit"] < 40)
        shield.wait_for(lambda: gate_of(shield.node.state())["lease"] < 40)
        few.forget()
        limit = gate_of(shield.state())["limit"]
        answers = together([shield.port], [f"/later/{number}" for number in range(40)])
        states = shield.state()

    assert {answer.status for answer in answers} == {200}
    assert few.peak <= limit + 1 and many.served >= 60
    assert gate_of(states)["refused_total"] == gate_of(states)["waited_total"] == 0
    assert "throttled" in states["origins"]["fra"]["health"]["flags"]


def test_a_storm_that_fails_over_shows_the_other_origin_its_limit(
    origin: FaultyOrigin, replica: FaultyOrigin, clock: FakeClock
) -> None:
    origin.refuses()
    bearing = Bearing(replica, 10, slow_down)

    with Shield(settings_of({"fra": origin, "iad": replica}), clock=clock) as shield:
        first = together([shield.port], [f"/first/{number}" for number in range(50)])
        bearing.forget()
        later = together([shield.port], [f"/later/{number}" for number in range(50)])

    assert {answer.status for answer in (*first, *later)} == {200}
    assert bearing.peak <= 12 and bearing.refused <= 10


def test_those_that_wait_too_long_get_503_and_when_to_return(
    shield: Shield, origin: FaultyOrigin, clock: FakeClock
) -> None:
    origin.fails("*", status=429, code="TooManyRequests", fields={"retry-after": "120"})
    first = shield.get("/a")
    asked = len(origin.requests)

    answer = shield.get("/b")

    assert (first.status, answer.status) == (503, 503)
    assert str(first.get("cache-status")).endswith('detail="fra=throttled"')
    assert str(answer.get("cache-status")).endswith('detail="fra=over-limit"')
    assert 100 < int(answer.get("retry-after") or 0) <= 120 and first.get("retry-after") == "120"
    assert len(origin.requests) == asked == 1


def test_what_is_stale_is_served_instead(shield: Shield, origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.serves("/a", BODY, lifetime=60)
    shield.get("/a")
    origin.fails("*", status=429, code="TooManyRequests", fields={"retry-after": "120"})
    shield.get("/b")
    asked = len(origin.requests)
    clock.advance(100)

    answer = shield.get("/a")

    assert (answer.status, answer.body) == (200, BODY)
    assert "fra=over-limit" in str(answer.get("cache-status"))
    assert len(origin.requests) == asked


def test_another_worker_learns_when_to_return_from_the_owner(origin: FaultyOrigin, clock: FakeClock) -> None:
    origin.fails("*", status=429, code="TooManyRequests", fields={"retry-after": "120"})

    with two(origin, clock) as workers:
        workers.owner.get(workers.path)
        answer = workers.asker.get(workers.path)

    assert answer.status == 503 and "fra=over-limit" in str(answer.get("cache-status"))
    assert 100 < int(answer.get("retry-after") or 0) <= 120


def test_the_object_that_most_clients_wait_for_comes_first(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = Gate()
    origins = {"fra": {"provider": "http", "endpoint": origin.url, "connections": 1}}
    for path in ("/busy", "/one", "/many"):
        origin.serves(path, BODY, lifetime=60)
    origin.script("/busy", Wait(gate), Head(200, {"content-length": "0"}))

    with Shield(settings_of({}, origins=origins), clock=clock) as shield, ThreadPoolExecutor(6) as pool:
        pool.submit(shield.get, "/busy")
        origin.wait_for(lambda: origin.requests_active == 1)
        waiting = [pool.submit(shield.get, "/one")]
        shield.wait_for(lambda: gate_of(shield.node.state())["waiting"] == 1)
        waiting += [pool.submit(shield.get, "/many") for _ in range(3)]
        shield.wait_for(lambda: shield.node.state()["fills"]["collapsed"] == 2)  # type: ignore[index]
        shield.run(asyncio.sleep(0.15))  # it counts its clients ten times a second
        gate.open()
        answers = [each.result() for each in waiting]

    assert {answer.body for answer in answers} == {BODY}
    assert [seen.path for seen in origin.requests] == ["/busy", "/many", "/one"]


def test_clients_that_leave_leave_no_miss_behind(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = Gate()
    origins = {"fra": {"provider": "http", "endpoint": origin.url, "connections": 1}}
    origin.script("/busy", Wait(gate), Head(200, {"content-length": "0"}))

    with Shield(settings_of({}, origins=origins), clock=clock) as shield, ThreadPoolExecutor(1) as pool:
        busy = pool.submit(shield.get, "/busy")
        origin.wait_for(lambda: origin.requests_active == 1)
        with shield.client() as client:
            client.send(b"GET /left HTTP/1.1\r\nhost: x\r\n\r\n")
            shield.wait_for(lambda: gate_of(shield.node.state())["waiting"] == 1)
            client.reset()
        shield.wait_for(lambda: gate_of(shield.node.state())["waiting"] == 0)
        gate.open()
        assert busy.result().status == 200

    assert Counter(seen.path for seen in origin.requests) == {"/busy": 1}


def test_metrics_have_the_limit_and_those_that_wait(shield: Shield, origin: FaultyOrigin) -> None:
    origin.serves("/a", BODY, lifetime=60)
    shield.get("/a")
    shield.wait_for(lambda: gate_of(shield.node.state())["limit"] is not None)

    text = shield.call(lambda: Metrics(lambda: shield.node.report().families).render()).decode()
    assert 'shield_origin_limit{origin="fra"} 64.0' in text
    assert 'shield_origin_in_flight{origin="fra"} 0.0' in text
    assert 'shield_origin_waiting{origin="fra"} 0.0' in text
    assert 'shield_origin_over_limit_total{origin="fra"} 0.0' in text
