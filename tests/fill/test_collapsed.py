"""Who shares an answer that has no lifetime: those who wait for it, and nobody who comes after it (RFC 9111 §4)."""

from __future__ import annotations

import pytest

from shield.config.settings import Settings
from tests.client import request
from tests.doubles.faults import at_body, preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Wait
from tests.node import FakeClock, Shield, settings_of

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
