"""Interim responses of origins (RFC 9110 §15.2), as clients see them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.client import Answer, Client, request
from tests.doubles.faults import preceded_by
from tests.doubles.faulty_origin import FaultyOrigin
from tests.doubles.steps import Head, Step, Wait
from tests.node import FakeClock, Shield, settings_of

HINT = Head(103, [("link", "</a.css>; rel=preload"), ("set-cookie", "a=b")])
WORKING = Head(102)


def heads(client: Client, *, method: str = "GET") -> tuple[list[Answer], Answer]:
    """Interim responses, and the answer."""
    interim: list[Answer] = []
    while (head := client.read_head()).status < 200:
        interim.append(head)
    client.read_body(head, method)
    return interim, head


def hinted(origin: FaultyOrigin, *steps: Step, **fields: str) -> None:
    origin.serves("/a", b"hello", lifetime=60, fields=fields)
    origin.spoils("/a", preceded_by(*steps))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("cache_control", ["max-age=60", "no-store"])
def test_hints_come_before_the_answer_and_only_then(
    shield: Shield, origin: FaultyOrigin, method: str, cache_control: str
) -> None:
    gate = origin.gate()
    hinted(origin, Head(100), WORKING, HINT, Wait(gate), **{"cache-control": cache_control})
    with shield.client() as client:
        client.send(request("/a", method=method))
        first, second = client.read_head(), client.read_head()  # though there is no answer yet
        gate.open()
        rest, answer = heads(client, method=method)
        client.send(request("/other"))
        after, _ = heads(client)

    assert (first.status, first.fields) == (102, [])
    assert (second.status, second.fields) == (103, [("link", "</a.css>; rel=preload")])
    assert (answer.status, answer.body, answer.clean) == (200, b"hello" if method == "GET" else b"", True)
    assert answer.get("link") is None
    assert (rest, after) == ([], [])


def test_a_hit_has_no_hints(shield: Shield, origin: FaultyOrigin) -> None:
    hinted(origin, HINT)
    shield.get("/a")
    with shield.client() as client:
        client.send(request("/a"))
        interim, answer = heads(client)

    assert (interim, answer.hit) == ([], True)


def test_all_who_wait_get_hints_and_none_who_comes_later(shield: Shield, origin: FaultyOrigin) -> None:
    first, second = origin.gate(), origin.gate()
    hinted(origin, Wait(first), HINT, Wait(second))
    with shield.client() as one, shield.client() as two, shield.client() as late:
        one.send(request("/a"))
        two.send(request("/a"))
        shield.wait_for(lambda: shield.node.state()["fills"]["collapsed"] == 1)  # type: ignore[index]
        first.open()
        early = [one.read_head().status, two.read_head().status]
        late.send(request("/a"))
        shield.wait_for(lambda: shield.node.state()["fills"]["collapsed"] == 2)  # type: ignore[index]
        second.open()
        ends = [heads(client) for client in (one, two, late)]

    assert early == [103, 103]
    assert [([head.status for head in interim], answer.body) for interim, answer in ends] == [([], b"hello")] * 3
    assert origin.fetches("/a") == 1


def test_hints_are_for_those_alone_whose_request_the_origin_saw(origin: FaultyOrigin, clock: FakeClock) -> None:
    gate = origin.gate()
    hinted(origin, Wait(gate), HINT, vary="accept")
    routes = {"default": {"forward_request_headers": ["accept"]}}
    with (
        Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield,
        shield.client() as one,
        shield.client() as other,
    ):
        one.send(request("/a", [("accept", "image/webp")]))
        gate.reached()
        other.send(request("/a", [("accept", "image/avif")]))
        shield.wait_for(lambda: shield.node.state()["fills"]["collapsed"] == 1)  # type: ignore[index]
        gate.open()
        ours, theirs = heads(one), heads(other)

    assert [head.status for head in ours[0]] == [103]
    assert len(theirs[0]) <= 1  # of its own fetch
    assert [seen.get("accept") for seen in origin.requests] == ["image/webp", "image/avif"]


def test_clients_of_http_1_0_get_none(shield: Shield, origin: FaultyOrigin) -> None:
    hinted(origin, HINT, WORKING)
    with shield.client() as client:
        client.send(request("/a", version="1.0"))
        interim, answer = heads(client)

    assert (interim, answer.status, answer.body) == ([], 200, b"hello")


def test_a_route_may_keep_them_back(origin: FaultyOrigin, clock: FakeClock) -> None:
    hinted(origin, HINT, WORKING)
    routes = {"default": {"early_hints": "off"}}
    with Shield(settings_of({"fra": origin}, routes=routes), clock=clock) as shield, shield.client() as client:
        client.send(request("/a"))
        interim, answer = heads(client)

    assert (interim, answer.body) == ([], b"hello")


def test_hints_of_an_origin_that_fails_after_them_do_no_harm(
    pair: Shield, origin: FaultyOrigin, replica: FaultyOrigin
) -> None:
    origin.answers("/a", HINT.encode() + b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n")
    hinted(replica, WORKING)
    with pair.client() as client:
        client.send(request("/a"))
        interim, answer = heads(client)

    assert [head.status for head in interim] == [103, 102]
    assert (answer.status, answer.body) == (200, b"hello")


def test_requests_that_wait_their_turn_get_their_own_hints(shield: Shield, origin: FaultyOrigin) -> None:
    hinted(origin, HINT)
    origin.serves("/b", b"other", lifetime=60)
    with shield.client() as client:
        client.send(request("/b") + request("/a") + request("/b"))
        seen: Sequence[tuple[list[Answer], Answer]] = [heads(client) for _ in range(3)]

    assert [([head.status for head in interim], answer.body) for interim, answer in seen] == [
        ([], b"other"),
        ([103], b"hello"),
        ([], b"other"),
    ]
