"""PURGE requests on the listeners for clients: who may send them, over each protocol, and what is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.admin.calls import ask
from tests.client import Answer
from tests.doubles.faulty_origin import FaultyOrigin
from tests.edge.http2.conftest import Ground
from tests.edge.hypercorn_front import H2Client, hypercorn
from tests.node import FakeClock, Shield, settings_of

SECRET = "0123456789abcdef0123"
KEY = [("Fastly-Key", SECRET)]


@pytest.fixture
def shield(clock: FakeClock, origin: FaultyOrigin) -> Iterator[Shield]:
    """A node that admits PURGE with a secret."""
    for path in ("/a", "/b"):
        origin.serves(path, b"old", lifetime=60)
    with Shield(settings_of({"fra": origin}, purge_method={"secrets": [SECRET]}), clock=clock) as made:
        for path in ("/a", "/b"):
            made.get(path)
        yield made


def purge(shield: Shield, target: str = "/a", *fields: tuple[str, str]) -> Answer:
    return shield.get(target, [*KEY, *fields], method="PURGE")


def test_a_purge_is_answered_with_a_receipt(shield: Shield, origin: FaultyOrigin) -> None:
    before = len(origin.requests)

    answer = purge(shield, "/a")

    assert (answer.status, answer.get("content-type")) == (200, "application/json")
    assert answer.get("cache-control") == "no-store"
    receipt = json.loads(answer.body)
    assert (receipt["removed"], receipt["examples"], receipt["who"]) == (1, ['"/a"'], "PURGE from 127.0.0.1")
    assert len(origin.requests) == before, "it is never forwarded"
    assert not shield.get("/a").hit
    assert shield.get("/b").hit
    assert ask(shield, "GET", "/purges").json()["purges"][0]["id"] == receipt["id"]
    assert [line["cache"] for line in shield.log() if line["method"] == "PURGE"] == ["purge"]


def test_a_soft_purge_and_an_id_are_asked_for_by_fields(shield: Shield) -> None:
    first = purge(shield, "/a", ("Fastly-Soft-Purge", "1"), ("Idempotency-Key", '"job-1"'))

    assert (json.loads(first.body)["soft"], json.loads(first.body)["id"]) == (True, "job-1")
    assert purge(shield, "/a", ("Idempotency-Key", "job-1")).status == 409


def test_a_connection_is_kept_for_further_requests(shield: Shield) -> None:
    with shield.client() as client:
        statuses = [client.ask("/a", KEY, method="PURGE").status for _ in range(2)]
        statuses.append(client.ask("http://cdn.example/b", KEY, method="PURGE").status)

        assert statuses == [200, 200, 200]
        assert not client.ask("/b").hit


def test_a_pipelined_request_after_a_purge_sees_its_effect(shield: Shield) -> None:
    with shield.client() as client:
        client.send(b"PURGE /a HTTP/1.1\r\nHost: x\r\nFastly-Key: %b\r\n\r\n" % SECRET.encode())
        client.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")

        assert client.read().status == 200
        assert not client.read().hit


@pytest.mark.parametrize(
    "fields", [[], [("Fastly-Key", "wrong-wrong-wrong-wrong")], [("Authorization", "Basic eDp5")]]
)
def test_without_the_secret_it_is_forbidden_and_nothing_is_said(
    shield: Shield, fields: list[tuple[str, str]]
) -> None:
    answer = shield.get("/a", fields, method="PURGE")

    assert (answer.status, answer.body) == (403, b"forbidden\n")
    assert answer.get("cache-status") is None
    assert shield.get("/a").hit
    (line,) = [line for line in shield.log() if line["method"] == "PURGE"]
    assert line["detail"] in ("purge-secret-missing", "purge-secret-wrong")


@pytest.mark.parametrize(
    ("target", "fields", "status", "reason"),
    [
        ("/a*", [], 400, "a * stands for itself in a path"),
        ("/a", [("Surrogate-Key", "")], 400, "surrogate-key: there is no tag in it"),
        ("/", [], 400, "it would be rejected in a request: no-object-key"),
    ],
)
def test_an_unclear_request_is_refused(
    shield: Shield, target: str, fields: list[tuple[str, str]], status: int, reason: str
) -> None:
    answer = purge(shield, target, *fields)

    assert answer.status == status
    assert reason in json.loads(answer.body)["error"]


def test_a_body_is_refused(shield: Shield) -> None:
    assert purge(shield, "/a", ("Content-Length", "1")).status == 400
    assert purge(shield, "/a", ("Content-Length", "0")).status == 200


def test_it_works_over_http_2(clock: FakeClock, origin: FaultyOrigin, tmp_path: Path) -> None:
    origin.serves("/a", b"old", lifetime=60)
    ground = Ground(tmp_path, origin, clock)
    with ground.node(purge_method={"secrets": [SECRET]}) as shield:
        client = ground.client()
        client.get("/a")
        with_tag = {"fastly-key": SECRET, "surrogate-key": " "}
        asked = [client.ask("/a", {"fastly-key": SECRET}, method="PURGE"), client.ask("/a", method="PURGE")]
        asked.append(client.ask("/", with_tag, method="PURGE"))
        answers = [client.finish(number) for number in asked]

        assert [answer.status for answer in answers] == [200, 403, 400]
        assert json.loads(bytes(answers[0].body))["removed"] == 1
        assert "; hit" not in client.get("/a").fields["cache-status"]
        assert [line["cache"] for line in shield.log() if line["method"] == "PURGE"].count("purge") == 1


def test_it_works_behind_other_servers(shield: Shield) -> None:
    with hypercorn(shield) as port, H2Client(port) as client:
        numbers = [client.ask("/a", {"fastly-key": key}, method="PURGE") for key in (SECRET, "x" * 20)]
        answers = [client.finish(number) for number in numbers]

    assert [answer.status for answer in answers] == [200, 403]
    assert json.loads(bytes(answers[0].body))["removed"] == 1
    assert not shield.get("/a").hit


def test_a_node_that_stops_finishes_its_purges(shield: Shield) -> None:
    with shield.client() as client:
        client.send(b"PURGE /a HTTP/1.1\r\nHost: x\r\nFastly-Key: %b\r\n\r\n" % SECRET.encode())
        shield.wait_for(lambda: shield.node.purge_orders.statistics().orders)


@pytest.mark.parametrize("more", [{}, {"purge_method": {"allow": ["192.0.2.1"]}}])
def test_it_is_refused_unless_it_is_configured(
    clock: FakeClock, origin: FaultyOrigin, more: dict[str, Any], tmp_path: Path
) -> None:
    with Shield(settings_of({"fra": origin}, **more), clock=clock) as shield:
        answer = shield.get("/a", KEY, method="PURGE")

    assert answer.status == (403 if more else 405)
    assert not origin.requests


def test_an_address_may_be_enough(clock: FakeClock, origin: FaultyOrigin) -> None:
    settings = settings_of({"fra": origin}, purge_method={"allow": ["127.0.0.0/8"]})
    with Shield(settings, clock=clock) as shield:
        assert shield.get("/a", method="PURGE").status == 200
