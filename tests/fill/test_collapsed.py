"""Who shares an answer that may not be reused without validation: those who waited before it was asked for, and
nobody who came later (RFC 9111 §4).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from shield.config.settings import Settings
from tests.client import request
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.fill.ground import SLICE, Ground, on_ground, turns
from tests.node import FakeClock, Shield, settings_of

TAG = (b"etag", b'"1"')
UNSHARED = ["no-cache", "max-age=0", "no-cache, max-age=60"]


def one_connection(origin: FaultyOrigin) -> Settings:
    made = {"provider": "http", "endpoint": origin.url, "role": "primary", "connections": 1}
    return settings_of({"fra": origin}, origins={"fra": made})


@pytest.mark.parametrize("cache_control", UNSHARED)
def test_requests_that_wait_before_the_origin_is_asked_share_its_answer(
    origin: FaultyOrigin, clock: FakeClock, cache_control: str
) -> None:
    gate = origin.gate()
    origin.serves("/busy", b"busy", lifetime=60)
    origin.spoils("/busy", preceded_by(Wait(gate)))
    origin.serves("/a", b"hello", fields={"cache-control": cache_control})
    with Shield(one_connection(origin), clock=clock) as shield:
        with shield.client() as busy, shield.client() as one, shield.client() as two:
            busy.send(request("/busy"))
            gate.reached()
            for client in (one, two):
                client.send(request("/a"))
            shield.wait_for(lambda: shield.node.state()["fills"]["collapsed"] == 1)  # type: ignore[index]
            assert origin.fetches("/a") == 0
            gate.open()
            answers = [one.read(), two.read(), busy.read()]
        later = shield.get("/a")

    assert [answer.body for answer in answers] == [b"hello", b"hello", b"busy"]
    assert (later.body, later.hit) == (b"hello", False)
    assert origin.fetches("/a") == 2


@pytest.mark.parametrize("cache_control", UNSHARED)
def test_a_request_that_comes_after_the_head_of_such_an_answer_has_its_own(
    shield: Shield, origin: FaultyOrigin, cache_control: str
) -> None:
    gate = origin.gate()
    origin.serves("/a", b"first body", fields={"cache-control": cache_control, "etag": '"1"'})
    origin.spoils("/a", at_body(5, Wait(gate)), times=1)
    with shield.client() as one:
        one.send(request("/a"))
        head = one.read_head()
        assert one.read_some(5) == b"first"

        origin.serves("/a", b"another", fields={"cache-control": cache_control, "etag": '"2"'})
        second = shield.get("/a")
        gate.open()
        rest = one.read_some(5)

    assert (head.status, rest) == (200, b" body")
    assert (second.status, second.body) == (200, b"another")
    assert origin.fetches("/a") == 2


@pytest.mark.parametrize("cache_control", UNSHARED)
def test_requests_that_come_before_the_head_of_such_an_answer_but_after_its_question_share_the_next(
    shield: Shield, origin: FaultyOrigin, cache_control: str
) -> None:
    gate = origin.gate()
    origin.serves("/a", b"first", fields={"cache-control": cache_control})
    origin.spoils("/a", preceded_by(Wait(gate)), times=1)
    with shield.client() as one, shield.client() as two, shield.client() as three:
        one.send(request("/a"))
        gate.reached()
        for client in (two, three):
            client.send(request("/a"))
        shield.wait_for(lambda: shield.node.state()["fills"]["collapsed"] == 2)  # type: ignore[index]
        origin.serves("/a", b"second", fields={"cache-control": cache_control})
        gate.open()
        bodies = [client.read().body for client in (one, two, three)]

    assert bodies[1:] == [b"second"] * 2
    assert origin.fetches("/a") == 2


def test_an_answer_with_a_lifetime_is_shared_with_all_who_come_meanwhile(
    shield: Shield, origin: FaultyOrigin
) -> None:
    gate = origin.gate()
    origin.serves("/a", b"first body", lifetime=60)
    origin.spoils("/a", at_body(5, Wait(gate)), times=1)
    with shield.client() as one, shield.client() as two:
        one.send(request("/a"))
        head = one.read_head()
        two.send(request("/a"))
        shield.wait_for(lambda: shield.node.state()["fills"]["collapsed"] == 1)  # type: ignore[index]
        gate.open()
        one.read_body(head)
        assert head.body == b"first body"
        assert two.read().body == b"first body"

    assert origin.fetches("/a") == 1


@pytest.mark.parametrize("cache_control", UNSHARED)
def test_requests_that_come_after_the_question_had_gone_out_share_one_of_their_own(cache_control: str) -> None:
    async def scenario(ground: Ground) -> None:
        early = [ground.asks(), ground.asks()]
        await turns()
        late = [await ground.asked() for _ in range(3)]
        first = ground.source.last
        first.answers((b"cache-control", cache_control.encode()), body=b"first")
        await turns()
        assert [client.body for client in early] == [b"first"] * 2
        assert [client.status for client in late] == [None] * 3
        assert len(ground.source.fetches) == 2
        ground.source.last.answers((b"cache-control", cache_control.encode()), body=b"second")
        await turns()

        assert [client.body for client in late] == [b"second"] * 3
        assert all(client.clean for client in early + late)
        assert len(ground.source.fetches) == 2

    on_ground(scenario)


def test_who_comes_while_a_question_waits_to_be_sent_shares_its_answer() -> None:
    async def scenario(ground: Ground) -> None:
        clients = [await ground.asked() for _ in range(3)]
        fetch = ground.source.last
        fetch.goes_out()
        late = await ground.asked()
        fetch.answers((b"cache-control", b"no-cache"), body=b"hello")
        await turns()

        assert [client.body for client in clients] == [b"hello"] * 3
        assert late.status is None
        assert len(ground.source.fetches) == 2

    on_ground(scenario)


def test_who_came_before_the_question_was_asked_of_another_origin_shares_its_answer() -> None:
    async def scenario(ground: Ground) -> None:
        client, other = await ground.asked(), await ground.asked()
        fetch = ground.source.last
        fetch.goes_out()
        fetch.goes_out()
        fetch.answers((b"cache-control", b"no-cache"), body=b"hello", origin="iad")
        await turns()

        assert (client.body, other.body) == (b"hello", b"hello")

    on_ground(scenario)


def test_what_is_one_clients_reaches_no_late_one_though_the_client_is_gone() -> None:
    async def scenario(ground: Ground) -> None:
        client, late = await ground.asked(), await ground.asked()
        fetch = ground.source.last
        client.leaves()
        fetch.answers((b"cache-control", b"private"), body=b"hers")
        await turns()
        assert late.status is None
        ground.source.last.answers((b"cache-control", b"private"), body=b"mine")
        await turns()

        assert late.body == b"mine"

    on_ground(scenario)


def test_an_answer_with_a_lifetime_is_for_late_ones_too() -> None:
    async def scenario(ground: Ground) -> None:
        clients = [await ground.asked() for _ in range(3)]
        ground.source.last.answers((b"cache-control", b"max-age=60"), body=b"hello")
        await turns()

        assert [client.body for client in clients] == [b"hello"] * 3
        assert len(ground.source.fetches) == 1

    on_ground(scenario)


def test_a_failure_is_for_all_who_wait() -> None:
    async def scenario(ground: Ground) -> None:
        clients = [await ground.asked() for _ in range(3)]
        ground.source.last.fails()
        await turns()

        assert [client.status for client in clients] == [503] * 3
        assert len(ground.source.fetches) == 1

    on_ground(scenario)


def test_late_ones_validate_a_large_object_and_read_the_slices_that_come_meanwhile(tmp_path: Path) -> None:
    body = bytes(3 * SLICE)
    parts = (b"accept-ranges", b"bytes")

    async def scenario(ground: Ground) -> None:
        client, late = await ground.asked(), await ground.asked()
        fetch = ground.source.last
        fetch.answers((b"cache-control", b"no-cache"), TAG, parts, length=len(body))
        await turns()
        fetch.sends(body, ends=True)
        await ground.until(lambda: client.clean)
        assert late.status is None
        assert ground.source.last.fields[b"if-none-match"] == TAG[1]
        ground.source.last.answers(TAG, status=304, length=None, body=b"")
        await ground.until(lambda: late.clean)

        assert client.body == late.body == body
        assert len(ground.source.fetches) == 2

    on_ground(scenario, path=tmp_path)
